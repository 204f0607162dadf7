#include "evict/update_pipeline.hpp"

#include <map>
#include <stdexcept>

#include <catch2/catch.hpp>

#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

// Chunks of a parameter, its gradient and its state, a page each, and updates that write what can be told apart.
class Training {
 public:
  Training(Rig& rig, std::size_t num_chunks) : rig_(rig) {
    for (std::size_t place = 0; place < num_chunks; ++place) {
      auto& chunk = chunks_.emplace_back();
      chunk.param = rig.make_chunk();
      chunk.grad = rig.make_chunk(1, chunk::ListKind::kGrad);
      chunk.state = rig.make_chunk(1, chunk::ListKind::kExpAvg);
      chunk.version = place + 1;
      rig.write(chunk.param, chunk.version, Tier::kCpu);
    }
  }

  // One step: every parameter is read, every gradient written, and every chunk updated where it is said.
  void step(const std::vector<Tier>& tiers) {
    ++num_steps_;
    rig_.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(7); });
    for (std::size_t place = 0; place < chunks_.size(); ++place) {
      rig_.residency->begin_operator("forward", place);
      CATCH_CHECK(rig_.reads(chunks_[place].param, chunks_[place].version));
    }
    for (std::size_t place = chunks_.size(); place-- > 0;) {
      rig_.residency->begin_operator("backward", 100 + place);
      rig_.write(chunks_[place].grad, 1000 * num_steps_ + place);
    }
    rig_.residency->with_timeline([](Timeline& timeline) { timeline.end_pass(); });
    std::vector<UpdatePipeline::Lists> lists;
    for (std::size_t place = 0; place < chunks_.size(); ++place) lists.push_back(lists_of(place, tiers[place]));
    updated_on.clear();
    UpdatePipeline(*rig_.residency, 9)
        .run(
            lists, [](std::size_t) { return false; }, [&](std::size_t place, Tier tier) { update(place, tier); });
    rig_.check_books();
  }

  UpdatePipeline::Lists lists_of(std::size_t place, Tier tier) const {
    const auto& chunk = chunks_[place];
    UpdatePipeline::Lists lists{
        {chunk.state, Access::kWrite}, {chunk.grad, Access::kRead}, {chunk.param, Access::kWrite}};
    lists.set_tier(tier);
    return lists;
  }

  bool holds(std::size_t place) {
    const auto& chunk = chunks_[place];
    return rig_.reads(chunk.param, chunk.version) && rig_.reads(chunk.state, 10'000 * num_steps_ + place) &&
           rig_.reads(chunk.grad, 1000 * num_steps_ + place);
  }

  std::map<std::size_t, Tier> updated_on;  // in the last step

 private:
  struct Chunk {
    Resident *param, *grad, *state;
    std::uint64_t version = 0;
  };

  void update(std::size_t place, Tier tier) {
    auto& chunk = chunks_[place];
    updated_on[place] = tier;
    const auto at = [&](const Resident* list) { return rig_.residency->address(list, tier); };
    const std::uint64_t state_before = num_steps_ == 1 ? 0 : 10'000 * (num_steps_ - 1) + place;
    rig_.expect(tier, at(chunk.grad), kPage, 1000 * num_steps_ + place);
    rig_.expect(tier, at(chunk.state), kPage, state_before);
    chunk.version = 100'000 * num_steps_ + place;
    rig_.run(tier, [state = at(chunk.state), param = at(chunk.param), version = chunk.version,
                    state_version = 10'000 * num_steps_ + place] {
      write_version(state, kPage, state_version);
      write_version(param, kPage, version);
    });
  }

  Rig& rig_;
  std::vector<Chunk> chunks_;
  std::uint64_t num_steps_ = 0;
};

constexpr Tier kAbove = Tier::kGpu, kBelow = Tier::kCpu;

}  // namespace

CATCH_TEST_CASE("update pipeline: chunks are updated where their lists say, with what was there and nothing else",
                "[evict]") {
  for (const auto memory : {Memory::kPages, Memory::kOnePiece, Memory::kCard})
    for (const int look_ahead : {0, 1, 2})
      for (const std::uint64_t gpu_pages : {3, 4, 6, 12, 32}) {
        CATCH_CAPTURE(static_cast<int>(memory), look_ahead, gpu_pages);
        Rig rig({gpu_pages, 7, 32}, memory, look_ahead);
        Training training(rig, 4);
        for (const auto& tiers : std::vector<std::vector<Tier>>{{kBelow, kBelow, kBelow, kBelow},
                                                                {kAbove, kBelow, kAbove, kBelow},
                                                                {kAbove, kBelow, kAbove, kBelow},
                                                                {kAbove, kBelow, kAbove, kBelow},
                                                                {kAbove, kAbove, kAbove, kAbove},
                                                                {kAbove, kAbove, kAbove, kAbove},
                                                                {kBelow, kAbove, kBelow, kAbove}}) {
          training.step(tiers);
          for (std::size_t place = 0; place < tiers.size(); ++place) {
            if (memory == Memory::kPages || gpu_pages == 32) CATCH_CHECK(training.updated_on[place] == tiers[place]);
            CATCH_CHECK(training.holds(place));
          }
        }
        rig.await_card();
        CATCH_CHECK(rig.num_wrong == 0);
      }
}

CATCH_TEST_CASE("update pipeline: what cannot be pinned above at once is updated below", "[evict]") {
  for (const auto memory : {Memory::kPages, Memory::kOnePiece, Memory::kCard}) {
    Rig rig({2, 8, 0}, memory);
    const auto needed_before = rig.residency->needs().working_set[index_of(kAbove)];
    Training training(rig, 2);
    for (int step = 0; step < 3; ++step) {
      training.step({kAbove, kAbove});
      CATCH_CHECK(training.updated_on[0] == kBelow);
      CATCH_CHECK(training.holds(0));
      CATCH_CHECK(training.holds(1));
    }
    rig.await_card();
    CATCH_CHECK(rig.num_wrong == 0);
    if (memory == Memory::kPages)
      CATCH_CHECK(rig.residency->needs().working_set[index_of(kAbove)] == needed_before + kPage);  // the operators'
  }
}

CATCH_TEST_CASE("update pipeline: room that somebody holds is none for an update above", "[evict]") {
  Rig rig({6, 16, 0});
  Training training(rig, 1);
  training.step({kAbove});
  CATCH_CHECK(training.updated_on[0] == kAbove);
  const auto held = rig.residency->allocate(4 * kPage, kAbove);
  const auto lists = training.lists_of(0, kAbove);
  CATCH_CHECK(rig.residency->begin_chunk(0, lists, kAbove) == kBelow);
  rig.residency->end_chunk(lists, kBelow);
  CATCH_CHECK(training.holds(0));
}

CATCH_TEST_CASE("update pipeline: an update that fails leaves nothing pinned", "[evict]") {
  Rig rig({8, 8, 0});
  Training training(rig, 1);
  training.step({kAbove});
  const std::vector<UpdatePipeline::Lists> lists{training.lists_of(0, kAbove)};
  CATCH_CHECK_THROWS_AS(UpdatePipeline(*rig.residency, 9)
                            .run(
                                lists, [](std::size_t) { return false; },
                                [](std::size_t, Tier) { throw std::runtime_error("the launch failed"); }),
                        std::runtime_error);
  CATCH_CHECK(rig.residency->pinned_bytes(kAbove) == 0);
}

// A step in which all chunks are updated above, and there is room for all, moves nothing.
CATCH_TEST_CASE("update pipeline: what is updated above stays there", "[evict]") {
  Rig rig({16, 16, 0}, Memory::kPages, /*look_ahead=*/2);
  Training training(rig, 3);
  for (int step = 0; step < 4; ++step) {
    rig.residency->reset_stats();
    training.step({kAbove, kAbove, kAbove});
    if (step < 2) continue;
    CATCH_CHECK(rig.residency->stats().moved(Edge::kH2d) == 0);
    CATCH_CHECK(rig.residency->stats().moved(Edge::kD2h) == 0);
  }
  rig.residency->reset_stats();
  training.step({kAbove, kBelow, kAbove});
  CATCH_CHECK(rig.residency->stats().moved(Edge::kD2h) == 3 * kPage);
}

}  // namespace asterias::evict::tests
