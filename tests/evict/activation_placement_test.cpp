// Residency with activations that are kept or offloaded.
#include <optional>

#include <catch2/catch.hpp>

#include "evict/look_ahead.hpp"
#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

constexpr auto kRead = Access::kRead;

// An activation of some pages, with its tenant.
class Activation {
 public:
  Activation(Rig& rig, std::uint64_t pages, std::uint64_t version) : rig_(rig) {
    auto block = rig.residency->allocate(pages * kPage, rig.compute());
    pointer_.follow(block.data());
    write_version(block.data(), block.bytes(), version);
    resident = rig.residency->adopt(std::move(block), &pointer_);
  }
  Activation(const Activation&) = delete;
  Activation& operator=(const Activation&) = delete;
  ~Activation() { rig_.residency->remove_tenant(resident, &pointer_); }

  Resident* resident;

 private:
  Rig& rig_;
  Pointer pointer_;
};

void begin_pass(Rig& rig) {
  rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
}

void end_pass(Rig& rig) {
  rig.residency->with_timeline([](Timeline& timeline) { timeline.end_pass(); });
}

Rig make_rig(const Pages& pages, ActivationPlacement activations) {
  return Rig(pages, nullptr, make_next_use_policy(), activations);
}

CATCH_TEST_CASE("what a pass makes is kept: nothing moves it, and what lacks counts it", "[evict]") {
  auto rig = make_rig({4, 8, 8}, ActivationPlacement::kKeep);
  const Activation before(rig, 1, 1);
  begin_pass(rig);
  rig.residency->begin_operator("an operator", 1);
  {
    const Activation kept(rig, 2, 2);
    rig.residency->evict_all();
    CATCH_CHECK(rig.state(kept.resident, Tier::kGpu) == CopyState::kCurrent);
    CATCH_CHECK(rig.state(before.resident, Tier::kGpu) == CopyState::kAbsent);
    CATCH_CHECK(rig.residency->pinned_bytes(Tier::kGpu) == 2 * kPage);
    rig.check_books();
    CATCH_CHECK(rig.reads(kept.resident, 2, Tier::kCpu));  // another copy may be read elsewhere
    try {
      rig.residency->allocate(3 * kPage, Tier::kGpu);
      CATCH_FAIL("there was room");
    } catch (const OutOfMemory& error) {
      CATCH_CHECK(error.need_bytes() == 5 * kPage);
    }
    CATCH_CHECK(rig.residency->needs().working_set[0] == 5 * kPage);
  }
  CATCH_CHECK(rig.residency->pinned_bytes(Tier::kGpu) == 0);
  CATCH_CHECK(rig.residency->resident_bytes(Tier::kGpu) == 0);
  CATCH_CHECK(rig.reads(before.resident, 1));
  rig.check_books();
}

CATCH_TEST_CASE("what is kept dies after the operator that still holds it", "[evict]") {
  auto rig = make_rig({4, 8, 0}, ActivationPlacement::kKeep);
  begin_pass(rig);
  std::optional<Activation> kept(std::in_place, rig, 1, 1);
  const auto held = rig.acquire({{kept->resident, kRead}});
  kept.reset();
  CATCH_CHECK(rig.residency->pinned_bytes(Tier::kGpu) == kPage);
  rig.residency->release(held, Tier::kGpu);
  CATCH_CHECK(rig.residency->num_residents() == 0);
  rig.check_books();
}

CATCH_TEST_CASE("when keeping ends, what was kept moves as all does", "[evict]") {
  auto rig = make_rig({4, 8, 0}, ActivationPlacement::kKeep);
  begin_pass(rig);
  const Activation kept(rig, 2, 1);
  rig.residency->stop_keeping();
  const Activation later(rig, 2, 2);
  CATCH_CHECK(rig.residency->pinned_bytes(Tier::kGpu) == 0);
  rig.empty_compute_tier();
  CATCH_CHECK(rig.residency->resident_bytes(Tier::kGpu) == 0);
  CATCH_CHECK(rig.reads(kept.resident, 1));
  CATCH_CHECK(rig.reads(later.resident, 2));
}

// A pass that makes an activation, has more operators than running ahead looks at, and uses it again.
class LongPass {
 public:
  explicit LongPass(Rig& rig) : rig_(rig), chunk_(rig.make_chunk()) { rig.write(chunk_, 7); }

  // Looks at the activation's state on the compute tier when the operator after its birth has begun.
  CopyState run() {
    begin_pass(rig_);
    rig_.residency->begin_operator("makes it", 1);
    const Activation made(rig_, 2, 3);
    CATCH_CHECK(rig_.reads(made.resident, 3));
    CopyState seen{};
    for (int i = 0; i < kScannedUses + 1; ++i) {
      rig_.residency->begin_operator("does not use it", 2);
      if (i == 0) seen = rig_.state(made.resident, rig_.compute());
      CATCH_CHECK(rig_.reads(chunk_, 7));
      rig_.check_books();
    }
    rig_.residency->begin_operator("uses it", 3);
    CATCH_CHECK(rig_.reads(made.resident, 3));
    CATCH_CHECK(rig_.state(made.resident, rig_.compute()) == CopyState::kCurrent);
    rig_.residency->begin_operator("does not use it", 2);
    CATCH_CHECK(rig_.state(made.resident, rig_.compute()) == CopyState::kCurrent);  // about to die
    end_pass(rig_);
    return seen;
  }

 private:
  Rig& rig_;
  Resident* chunk_;
};

CATCH_TEST_CASE("offloaded activations leave an empty tier once the trace knows that they are not used soon",
                "[evict]") {
  for (const Pages pages : {Pages{16, 16, 0}, Pages{0, 16, 16}, Pages{16, 8, 16}}) {
    auto rig = make_rig(pages, ActivationPlacement::kOffload);
    LongPass pass(rig);
    CATCH_CHECK(pass.run() == CopyState::kCurrent);  // recorded
    CATCH_CHECK(pass.run() == CopyState::kAbsent);
    const std::uint64_t made_and_chunk = 3 * kPage;
    CATCH_CHECK(rig.residency->peak_activation_bytes(rig.compute()) == 2 * kPage);
    CATCH_CHECK(rig.residency->peak_activation_bytes(rig.gpu ? Tier::kCpu : Tier::kNvme) == 2 * kPage);
    CATCH_CHECK(rig.residency->needs().content == made_and_chunk);
  }
}

CATCH_TEST_CASE("activations that nobody asked to offload stay while there is room", "[evict]") {
  for (const auto activations : {ActivationPlacement::kAuto, ActivationPlacement::kKeep}) {
    auto rig = make_rig({16, 16, 0}, activations);
    LongPass pass(rig);
    for (int i = 0; i < 3; ++i) CATCH_CHECK(pass.run() == CopyState::kCurrent);
  }
}

CATCH_TEST_CASE("what finds no room below stays, and has no budget refused", "[evict]") {
  auto rig = make_rig({16, 1, 0}, ActivationPlacement::kOffload);
  rig.residency->set_measuring(true, [](std::uint64_t) { return true; });
  LongPass pass(rig);
  pass.run();
  CATCH_CHECK(pass.run() == CopyState::kCurrent);
  CATCH_CHECK_FALSE(rig.residency->is_refused());
}

}  // namespace
}  // namespace asterias::evict::tests
