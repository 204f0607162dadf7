// Random walks over everything Residency can do, on tiny tiers, against a model of what each payload should hold.
#include <array>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

class Walk {
 public:
  // `ample`: the drive has room for all, so that a request must succeed if its tier's need allows.
  Walk(Rig& rig, unsigned seed, bool ample) : rig_(rig), random_(seed), ample_(ample) {
    for (int i = 0; i < 7; ++i) {
      auto& payload = payloads_.emplace_back(std::make_unique<Payload>());
      payload->resident = rig.make_chunk(1 + random_() % 3, static_cast<chunk::ListKind>(i % chunk::kNumListKinds));
      if (i % 2 == 0) rig.residency->add_tenant(payload->resident, &payload->pointer);
    }
  }

  void step() {
    switch (random_() % 17) {
      case 0: return adopt();
      case 1: return remove();
      case 2: return rig_.residency->prefetch(any()->resident, any_tier());
      case 3: return rig_.residency->write_behind(any()->resident, any_tier());
      case 4: return forget();
      case 5: return allocate();
      case 6: return hold();
      case 7:
      case 8: return let_go();
      case 9: return evict_sometimes();
      case 15: return rig_.residency->reset_stats();
      case 10: return pass();
      case 11: return surrender();
      default: return use();
    }
  }

  void check_books() { rig_.check_books(unmovable_); }

  void check_all_bytes() {
    while (!held_.empty()) let_go();
    blocks_.clear();
    unmovable_ = {};
    for (auto& payload : payloads_) CATCH_REQUIRE(rig_.reads(payload->resident, payload->version));
  }

  int num_refused() const { return num_refused_; }

 private:
  struct Payload {
    Resident* resident = nullptr;
    std::uint64_t version = 0;
    bool is_activation = false;
    Pointer pointer;
  };
  struct Held {
    std::vector<Want> wants;
    Tier tier;
  };

  Payload* any() { return payloads_[random_() % payloads_.size()].get(); }
  Tier any_tier() { return rig_.gpu && random_() % 3 != 0 ? Tier::kGpu : Tier::kCpu; }

  bool is_held(const Resident* resident, Tier tier) const {
    for (const auto& held : held_)
      for (const auto& want : held.wants)
        if (want.resident == resident && held.tier == tier) return true;
    return false;
  }
  bool is_held(const Resident* resident) const {
    return is_held(resident, Tier::kGpu) || is_held(resident, Tier::kCpu);
  }
  bool is_held_elsewhere(const Resident* resident, Tier tier) const {
    return is_held(resident, tier == Tier::kGpu ? Tier::kCpu : Tier::kGpu);
  }

  std::uint64_t need_without(Tier tier) const {
    std::uint64_t need = unmovable_[static_cast<int>(tier)];
    for (const auto& payload : payloads_)
      if (is_held(payload->resident, tier)) need += payload->resident->bytes;
    return need;
  }

  // Runs a request that brings `more` bytes to `tier`, and checks that it is refused exactly when it must be.
  template <typename Request>
  bool attempt(Tier tier, std::uint64_t more, const Request& request, std::size_t num_wants = 1) {
    const std::uint64_t need = need_without(tier) + more + rig_.pool(tier).foreign_bytes();
    const bool too_much = need > rig_.pool(tier).limit_bytes();
    // What comes up and what goes down pass through the cpu tier at once, beside what is held there.
    constexpr std::uint64_t kTransitBytes = 2 * 3 * kPage;
    const bool has_way = tier == Tier::kCpu || need_without(Tier::kCpu) + kTransitBytes <= rig_.cpu->limit_bytes();
    try {
      request();
      CATCH_REQUIRE_FALSE(too_much);
      return true;
    } catch (const OutOfMemory& error) {
      ++num_refused_;
      // In one piece of memory what is held may leave no place.
      const bool may_lack_place = rig_.pool(tier).is_one_piece() && (num_wants > 1 || need_without(tier) > 0);
      CATCH_CAPTURE(error.what(), tier_name(tier), more, need_without(Tier::kGpu), need_without(Tier::kCpu));
      CATCH_REQUIRE((too_much || !ample_ || !has_way || may_lack_place));
      if (too_much && error.tier() == tier) CATCH_REQUIRE(error.need_bytes() == need);
      return false;
    }
  }

  // Chooses up to three residents; the same may come twice.
  std::vector<Want> choose(Tier tier) {
    std::vector<Want> wants;
    for (std::uint64_t n = 1 + random_() % 3; n > 0; --n) {
      auto* resident = any()->resident;
      const auto access = is_held_elsewhere(resident, tier) ? Access::kRead
                          : random_() % 2                   ? Access::kRead
                                                            : Access::kWrite;
      wants.push_back({resident, access});
    }
    auto* overwritten = any()->resident;
    const bool is_named =
        std::any_of(wants.begin(), wants.end(), [&](const Want& want) { return want.resident == overwritten; });
    if (random_() % 4 == 0 && !is_named && !is_held_elsewhere(overwritten, tier))
      wants.push_back({overwritten, Access::kOverwrite});
    return wants;
  }

  std::uint64_t bytes_to_pin(const std::vector<Want>& wants, Tier tier) const {
    std::map<const Resident*, std::uint64_t> bytes;
    for (const auto& want : wants)
      if (!is_held(want.resident, tier)) bytes[want.resident] = want.resident->bytes;
    std::uint64_t sum = 0;
    for (const auto& [_, each] : bytes) sum += each;
    return sum;
  }

  void use_payload(const Want& want, Tier tier) {
    auto& payload =
        **std::find_if(payloads_.begin(), payloads_.end(), [&](auto& p) { return p->resident == want.resident; });
    std::byte* const at = rig_.residency->address(want.resident, tier);
    const std::uint64_t bytes = want.resident->bytes;
    if (want.access != Access::kOverwrite) rig_.expect(tier, at, bytes, payload.version);
    if (want.access == Access::kRead) return;
    payload.version = ++versions_;
    rig_.put(tier, at, bytes, payload.version);
  }

  void use() {
    const Tier tier = any_tier();
    const auto wants = choose(tier);
    if (!attempt(
            tier, bytes_to_pin(wants, tier), [&] { rig_.residency->acquire(wants, tier); }, wants.size()))
      return;
    for (const auto& want : wants) use_payload(want, tier);
    rig_.residency->release(wants, tier);
  }

  void hold() {
    if (held_.size() >= 2) return;
    const Tier tier = any_tier();
    const std::vector<Want> wants{{any()->resident, Access::kRead}};
    if (!attempt(tier, bytes_to_pin(wants, tier), [&] { rig_.residency->acquire(wants, tier); })) return;
    use_payload(wants[0], tier);
    held_.push_back({wants, tier});
  }

  void let_go() {
    if (held_.empty()) return;
    rig_.residency->release(held_.back().wants, held_.back().tier);
    held_.pop_back();
  }

  void adopt() {
    if (payloads_.size() > 12) return;
    const Tier tier = rig_.compute();
    const std::uint64_t bytes = (1 + random_() % 2) * kPage;
    chunk::Block block;
    if (!attempt(tier, bytes, [&] { block = rig_.residency->allocate(bytes, tier); })) return;
    auto& payload = payloads_.emplace_back(std::make_unique<Payload>());
    payload->is_activation = true;
    payload->pointer.follow(block.data());
    payload->version = ++versions_;
    rig_.put(tier, block.data(), bytes, payload->version);
    payload->resident = rig_.residency->adopt(std::move(block), &payload->pointer);
  }

  void erase(const Payload* gone) {
    std::erase_if(payloads_, [&](const auto& payload) { return payload.get() == gone; });
  }

  void remove() {
    auto* payload = any();
    if (!payload->is_activation || is_held(payload->resident)) return;
    CATCH_REQUIRE(rig_.residency->remove_tenant(payload->resident, &payload->pointer) == 0);
    erase(payload);
  }

  void surrender() {
    auto* payload = any();
    if (!payload->is_activation || is_held(payload->resident)) return;
    const auto block = rig_.residency->surrender(payload->resident, any_tier());
    if (!block) return;
    rig_.expect(block.pool()->tier(), block.data(), block.bytes(), payload->version);
    erase(payload);
  }

  void forget() {
    auto* payload = any();
    if (random_() % 3 != 0 || payload->is_activation) return;
    rig_.residency->forget(payload->resident);
    if (!is_held(payload->resident)) payload->version = 0;
  }

  void allocate() {
    if (blocks_.size() >= 2) {
      unmovable_[static_cast<int>(blocks_.back().pool()->tier())] -= blocks_.back().bytes();
      blocks_.pop_back();
      return;
    }
    const Tier tier = any_tier();
    const std::uint64_t bytes = (random_() % 8 == 0 ? 20 : 1 + random_() % 2) * kPage;
    if (!attempt(tier, bytes, [&] { blocks_.push_back(rig_.residency->allocate(bytes, tier)); })) return;
    unmovable_[static_cast<int>(tier)] += bytes;
    rig_.put(tier, blocks_.back().data(), bytes, 1);
  }

  void evict_sometimes() {
    if (random_() % 6 == 0) rig_.residency->evict_all();
  }

  void pass() {
    if (++moment_ % 20 == 0)
      rig_.residency->with_timeline([](Timeline& timeline) {
        timeline.end_pass();
        timeline.begin_pass(1);
      });
    rig_.residency->begin_operator("an operator", moment_ % 20);
  }

  Rig& rig_;
  std::mt19937_64 random_;
  const bool ample_;
  std::vector<std::unique_ptr<Payload>> payloads_;
  std::vector<Held> held_;
  std::vector<chunk::Block> blocks_;
  std::array<std::uint64_t, 2> unmovable_{};
  std::uint64_t versions_ = 0;
  std::uint64_t moment_ = 0;
  int num_refused_ = 0;
};

void walk(Rig& rig, unsigned seed, bool ample, int steps) {
  Walk walk(rig, seed, ample);
  for (int step = 0; step < steps; ++step) {
    CATCH_CAPTURE(seed, step);
    walk.step();
    walk.check_books();
    CATCH_REQUIRE_FALSE(rig.residency->failure());
    CATCH_REQUIRE(rig.num_wrong == 0);
    CATCH_REQUIRE(rig.card_calls.order.num_races() == 0);
  }
  CATCH_CHECK(walk.num_refused() > 0);
  if (ample) walk.check_all_bytes();
}

std::unique_ptr<EvictionPolicy> policy_for(unsigned seed) {
  switch (seed % 4) {
    case 0: return make_next_use_policy();
    case 1: return make_lru_policy();
    case 2: return make_fifo_policy();
    default: return make_static_policy();
  }
}

CATCH_TEST_CASE("residency walk: cpu and nvme", "[evict]") {
  for (unsigned seed = 0; seed < 8; ++seed) {
    Rig rig({0, 10, 80}, nullptr, policy_for(seed));
    walk(rig, seed, true, 1200);
  }
}

CATCH_TEST_CASE("residency walk: gpu, cpu and nvme", "[evict]") {
  for (unsigned seed = 100; seed < 108; ++seed) {
    Rig rig({10, 14, 80}, nullptr, policy_for(seed));
    walk(rig, seed, true, 1200);
  }
}

CATCH_TEST_CASE("residency walk: gpu and an ample cpu", "[evict]") {
  for (unsigned seed = 200; seed < 204; ++seed) {
    Rig rig({10, 100, 0}, nullptr, policy_for(seed));
    walk(rig, seed, true, 1200);
  }
}

// Poison is written by the compute stream, so that without it less is in order by chance.
CATCH_TEST_CASE("residency walk: an accelerator's memory in one piece", "[evict]") {
  for (const Memory memory : {Memory::kOnePiece, Memory::kCard, Memory::kSlowCard})
    for (unsigned seed = 600; seed < 608; ++seed) {
      Rig rig({12, 16, 80}, nullptr, policy_for(seed), ActivationPlacement::kAuto, memory);
      rig.gpu->set_poison(seed % 2);
      walk(rig, seed, true, 1200);
      CATCH_CHECK(rig.residency->stats().fetches > 0);
    }
}

// Fetches ahead are in flight when what they bring is evicted, written or dies.
CATCH_TEST_CASE("residency walk: a card that is run ahead of, and what passes leave is let go", "[evict]") {
  for (const auto activations : {ActivationPlacement::kAuto, ActivationPlacement::kOffload})
    for (unsigned seed = 800; seed < 812; ++seed) {
      const Memory memory = seed % 3 == 0 ? Memory::kCard : Memory::kSlowCard;
      Rig rig({12, 16, 80}, nullptr, policy_for(seed), activations, memory, 3);
      rig.gpu->set_poison(seed % 2);
      walk(rig, seed, true, 1200);
    }
}

CATCH_TEST_CASE("residency walk: a card where every tier is tight", "[evict]") {
  for (const Memory memory : {Memory::kOnePiece, Memory::kCard, Memory::kSlowCard})
    for (unsigned seed = 700; seed < 704; ++seed) {
      Rig rig({7, 7, 8}, nullptr, policy_for(seed), ActivationPlacement::kAuto, memory);
      rig.gpu->set_poison(seed % 2);
      walk(rig, seed, false, 1200);
    }
}

// Requests may fail for want of room below; no byte may change, and the books stay right.
CATCH_TEST_CASE("residency walk: every tier is tight", "[evict]") {
  for (unsigned seed = 300; seed < 308; ++seed) {
    Rig rig(seed % 2 ? Pages{6, 6, 8} : Pages{0, 8, 10}, nullptr, policy_for(seed));
    walk(rig, seed, false, 1200);
  }
}

CATCH_TEST_CASE("residency walk: a real file with short and interrupted transfers", "[evict][fault]") {
  const auto calls = std::make_shared<FaultyFileCalls>();
  Rig rig({10, 14, 80}, calls);
  calls->short_transfers = true;
  calls->interrupted = true;
  walk(rig, 400, true, 300);
}

// The first error is kept; every other error is a request's own, and no byte changes but those in flight to nowhere.
CATCH_TEST_CASE("residency walk: transfers fail at random", "[evict][fault]") {
  std::mt19937_64 random(500);
  const auto calls = std::make_shared<FaultyFileCalls>();
  Rig rig({8, 8, 80}, calls);
  Walk walk(rig, 501, false);
  int num_errors = 0;
  for (int step = 0; step < 400; ++step) {
    CATCH_CAPTURE(step);
    if (random() % 20 == 0)
      calls->fail_transfer(static_cast<std::int64_t>(1 + random() % 4), random() % 2 ? EIO : ENOSPC);
    calls->allocate_error = random() % 20 == 0 ? ENOSPC : 0;
    try {
      walk.step();
    } catch (const IoError&) {
      ++num_errors;
      CATCH_REQUIRE(rig.residency->failure());
    }
    walk.check_books();
  }
  CATCH_CHECK(num_errors > 0);
  calls->fail_transfer(0, EIO);
  calls->allocate_error = 0;
  for (int i = 0; i < 100; ++i) try {  // what had failed before in flight is told once each
      walk.check_all_bytes();
      break;
    } catch (const IoError&) {
      CATCH_REQUIRE(i < 99);
    }
}

}  // namespace
}  // namespace asterias::evict::tests
