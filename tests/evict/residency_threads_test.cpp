// One engine, one allocator of plain blocks and one maker of activations at once. ThreadSanitizer watches; so do the
// limits.
#include <atomic>
#include <exception>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

// Runs bodies at once and rethrows the first that failed: Catch's own checks belong to one thread.
template <typename... Bodies>
void run_at_once(const Bodies&... bodies) {
  std::vector<std::exception_ptr> errors(sizeof...(bodies));
  std::vector<std::thread> threads;
  std::size_t number = 0;
  (threads.emplace_back([&bodies, &error = errors[number++]] {
    try {
      bodies();
    } catch (...) {
      error = std::current_exception();
    }
  }),
   ...);
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

// The engine pins 3 pages at most, the allocator 2, the activations' maker 2 + 1: with 9 nothing may ever be refused.
void run(Rig& rig, int rounds) {
  const Tier tier = rig.compute();
  std::vector<Resident*> chunks;
  for (int i = 0; i < 8; ++i) chunks.push_back(rig.make_chunk());
  const auto train = [&] {
    std::mt19937_64 random(1);
    std::vector<std::uint64_t> versions(chunks.size());
    for (int round = 0; round < rounds; ++round) {
      std::vector<Want> wants;
      const std::size_t first = random() % chunks.size();
      for (std::size_t i = 0; i < 1 + random() % 3; ++i) wants.push_back({chunks[(first + i) % 8], Access::kWrite});
      rig.residency->begin_operator("an operator", 1);
      rig.residency->acquire(wants, tier);
      for (std::size_t i = 0; i < wants.size(); ++i) {
        auto& version = versions[(first + i) % 8];
        std::byte* const at = rig.residency->address(wants[i].resident, tier);
        require(holds_version(at, kPage, version), "a chunk has other bytes");
        write_version(at, kPage, version = 1 + random() % 1000);
      }
      rig.residency->release(wants, tier);
      rig.residency->prefetch(chunks[random() % 8], tier);
      rig.residency->write_behind(chunks[random() % 8], Tier::kCpu);
    }
  };
  const auto load_data = [&] {
    std::mt19937_64 random(2);
    std::vector<chunk::Block> blocks;
    for (int round = 0; round < rounds; ++round) {
      if (blocks.size() == 2) blocks.erase(blocks.begin());
      blocks.push_back(rig.residency->allocate(1 + random() % kPage, tier));
      blocks.back().data()[0] = std::byte{1};
    }
  };
  const auto make_activations = [&] {
    std::mt19937_64 random(3);
    struct Activation {
      Resident* resident = nullptr;
      std::uint64_t version = 0;
      Pointer pointer;
    };
    std::vector<std::unique_ptr<Activation>> alive;
    const auto check = [&](Activation& activation) {
      const Want want{activation.resident, Access::kRead};
      rig.residency->acquire({&want, 1}, tier);
      require(activation.pointer.at() == rig.residency->address(activation.resident, tier),
              "a tenant points elsewhere");
      require(holds_version(activation.pointer.at(), kPage, activation.version), "an activation has other bytes");
      rig.residency->release({&want, 1}, tier);
    };
    for (int round = 0; round < rounds; ++round) {
      if (alive.size() < 5) {
        chunk::Block block = rig.residency->allocate(kPage, tier);
        auto& made = alive.emplace_back(std::make_unique<Activation>());
        write_version(block.data(), kPage, made->version = 1 + random() % 1000);
        made->pointer.follow(block.data());
        made->resident = rig.residency->adopt(std::move(block), &made->pointer);
        continue;
      }
      std::swap(alive[random() % alive.size()], alive.back());
      check(*alive.back());
      require(rig.residency->remove_tenant(alive.back()->resident, &alive.back()->pointer) == 0, "a tenant is left");
      alive.pop_back();
    }
    for (auto& activation : alive) rig.residency->remove_tenant(activation->resident, &activation->pointer);
  };
  run_at_once(train, load_data, make_activations);
}

CATCH_TEST_CASE("residency threads: engine, allocator and activations at once", "[evict]") {
  for (const Pages pages : {Pages{0, 9, 64}, Pages{9, 12, 64}}) {
    Rig rig(pages);
    run(rig, 5000);
    CATCH_CHECK(rig.residency->num_residents() == 8);
    rig.check_books();
  }
}

CATCH_TEST_CASE("residency threads: on a real file", "[evict]") {
  Rig rig({0, 9, 64}, std::make_shared<FaultyFileCalls>());
  run(rig, 500);
  CATCH_CHECK(rig.residency->num_residents() == 8);
  rig.check_books();
}

}  // namespace
}  // namespace asterias::evict::tests
