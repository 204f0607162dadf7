// Transfers that fail, are late, or are under way when their resident is wanted, dies or loses its Residency.
#include <cerrno>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "device/swap_file_header.hpp"
#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

struct Faulty {
  explicit Faulty(const Pages& pages) : rig(pages, calls) {}
  std::shared_ptr<FaultyFileCalls> calls = std::make_shared<FaultyFileCalls>();
  Rig rig;
};

// Lets the transfers go on once `count` of them stand at the gate.
class Opener {
 public:
  Opener(FaultyFileCalls& calls, int count)
      : thread_([&calls, count] {
          calls.wait_for_held(count);
          calls.open_gate();
        }) {}
  ~Opener() { thread_.join(); }

 private:
  std::thread thread_;
};

int error_number_of(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const IoError& io) {
    return io.error_number();
  }
  return 0;
}

CATCH_TEST_CASE("residency fault: a write-down that fails leaves the payload where it was", "[evict][fault]") {
  for (const Pages pages : {Pages{0, 1, 8}, Pages{1, 2, 8}}) {
    Faulty test(pages);
    auto& rig = test.rig;
    std::vector<Resident*> chunks;
    for (std::uint64_t i = 0; i < pages.gpu + pages.cpu; ++i) {
      chunks.push_back(rig.make_chunk());
      rig.write(chunks.back(), 1 + i);
    }
    test.calls->fail_transfer(1, EIO);
    CATCH_CHECK_THROWS_AS(rig.residency->allocate(kPage, rig.compute()), IoError);
    CATCH_CHECK(error_number_of(rig.residency->failure()) == EIO);
    rig.check_books();
    for (std::uint64_t i = 0; i < chunks.size(); ++i) CATCH_CHECK(rig.reads(chunks[i], 1 + i));
    CATCH_CHECK(rig.residency->allocate(kPage, rig.compute()));
  }
}

CATCH_TEST_CASE("residency fault: a fetch that fails leaves the payload where it was", "[evict][fault]") {
  for (const Pages pages : {Pages{0, 2, 8}, Pages{2, 2, 8}}) {
    Faulty test(pages);
    auto& rig = test.rig;
    std::vector<Resident*> chunks;
    for (std::uint64_t i = 0; i < 5; ++i) {
      chunks.push_back(rig.make_chunk());
      rig.write(chunks.back(), 1 + i);
    }
    rig.residency->evict_all();
    CATCH_REQUIRE(rig.state(chunks[0], Tier::kNvme) == CopyState::kCurrent);
    CATCH_REQUIRE(rig.state(chunks[0], Tier::kCpu) == CopyState::kAbsent);
    const Want want{chunks[0], Access::kRead};
    // The transfers that make room come first; the read is the one after the last of them that fails.
    bool failed_reading = false;
    for (int nth = 1; nth < 4 && !failed_reading; ++nth) {
      const auto read_before = rig.residency->stats().moved(Edge::kNvmeRead);
      test.calls->fail_transfer(nth, EIO);
      try {
        rig.residency->acquire({&want, 1}, rig.compute());
        rig.residency->release({&want, 1}, rig.compute());
        break;
      } catch (const IoError&) {
        failed_reading = rig.residency->stats().moved(Edge::kNvmeRead) > read_before;
      }
      rig.check_books();
    }
    CATCH_CHECK(failed_reading);
    CATCH_CHECK(error_number_of(rig.residency->failure()) == EIO);
    CATCH_CHECK(rig.residency->pinned_bytes(rig.compute()) == 0);
    test.calls->fail_transfer(0, EIO);
    for (std::uint64_t i = 0; i < 5; ++i) CATCH_CHECK(rig.reads(chunks[i], 1 + i));
  }
}

CATCH_TEST_CASE("residency fault: an overwrite beside a fetch that fails loses no bytes", "[evict][fault]") {
  Faulty test({0, 2, 8});
  auto& rig = test.rig;
  auto *a = rig.make_chunk(), *b = rig.make_chunk();
  rig.write(a, 1);
  rig.write(b, 2);
  rig.residency->evict_all();
  test.calls->fail_transfer(1, EIO);
  CATCH_CHECK_THROWS_AS(rig.acquire({{a, Access::kOverwrite}, {b, Access::kRead}}), IoError);
  rig.check_books();
  CATCH_CHECK(rig.reads(a, 1));
  CATCH_CHECK(rig.reads(b, 2));
}

CATCH_TEST_CASE("residency fault: a full drive surfaces and is kept", "[evict][fault]") {
  for (const bool behind : {false, true}) {
    Faulty test({0, 1, 8});
    auto& rig = test.rig;
    auto *a = rig.make_chunk(), *b = rig.make_chunk();
    rig.write(a, 1);
    test.calls->allocate_error = ENOSPC;
    if (behind) {
      rig.residency->write_behind(a, Tier::kCpu);
    } else {
      CATCH_CHECK_THROWS_AS(rig.reads(b, 0), IoError);
    }
    CATCH_CHECK(error_number_of(rig.residency->failure()) == ENOSPC);
    rig.check_books();
    test.calls->allocate_error = 0;
    CATCH_CHECK(rig.reads(b, 0));
    CATCH_CHECK(rig.reads(a, 1));
  }
}

CATCH_TEST_CASE("residency fault: the first failure is the one that is kept", "[evict][fault]") {
  Faulty test({0, 1, 8});
  auto& rig = test.rig;
  auto *a = rig.make_chunk(), *b = rig.make_chunk();
  rig.write(a, 1);
  for (const int error_number : {EIO, ENXIO}) {
    test.calls->fail_transfer(1, error_number);
    CATCH_CHECK_THROWS_AS(rig.reads(b, 0), IoError);
  }
  CATCH_CHECK(error_number_of(rig.residency->failure()) == EIO);
}

// Two departures in flight, of a and then of b; one fails and ends the request. What has not left is wanted again.
CATCH_TEST_CASE("residency fault: a departure is cancelled by an acquire", "[evict][fault]") {
  for (const auto access : {Access::kRead, Access::kWrite, Access::kOverwrite})
    for (const bool first_fails : {true, false}) {
      CATCH_CAPTURE(access, first_fails);
      Faulty test({0, 2, 8});
      auto& rig = test.rig;
      auto *a = rig.make_chunk(), *b = rig.make_chunk();
      Pointer pointer;
      rig.residency->add_tenant(b, &pointer);
      rig.write(a, 1);
      rig.write(b, 2);
      // A new file fills from its start.
      test.calls->fail_transfer_at(device::kSwapFileHeaderBytes + (first_fails ? 0 : kPage), EIO);
      test.calls->close_gate();
      {
        const Opener opener(*test.calls, 2);
        CATCH_CHECK_THROWS_AS(rig.residency->allocate(2 * kPage, Tier::kCpu), IoError);
      }
      // The request waits in order: when b fails, a has left.
      CATCH_CHECK((rig.state(a, Tier::kCpu) == CopyState::kAbsent) == !first_fails);
      CATCH_CHECK((pointer.at() == nullptr) == first_fails);  // b is on its way out, or was kept by its failure
      const auto before = rig.residency->stats();
      for (auto* chunk : {a, b}) {
        const auto held = rig.acquire({{chunk, access}});
        CATCH_CHECK(rig.state(chunk, Tier::kCpu) != CopyState::kAbsent);
        if (access == Access::kRead)
          CATCH_CHECK(holds_version(rig.residency->address(chunk, Tier::kCpu), kPage, chunk == a ? 1 : 2));
        if (access != Access::kRead) write_version(rig.residency->address(chunk, Tier::kCpu), kPage, 9);
        rig.residency->release(held, Tier::kCpu);
      }
      const bool was_read = access == Access::kRead;
      const bool comes_back = !first_fails && access != Access::kOverwrite;
      CATCH_CHECK(rig.residency->stats().moved(Edge::kNvmeRead) ==
                  before.moved(Edge::kNvmeRead) + (comes_back ? kPage : 0));
      CATCH_CHECK(pointer.at() == rig.residency->address(b, Tier::kCpu));
      rig.check_books();
      for (int i = 0; i < 2; ++i) rig.residency->evict_all();
      CATCH_CHECK(rig.reads(a, was_read ? 1 : 9));
      CATCH_CHECK(rig.reads(b, was_read ? 2 : 9));
    }
}

CATCH_TEST_CASE("residency fault: what is here does not wait for what is late", "[evict][fault]") {
  Faulty test({0, 3, 8});
  auto& rig = test.rig;
  auto *here = rig.make_chunk(), *late = rig.make_chunk(), *written = rig.make_chunk();
  for (auto* chunk : {here, late, written}) rig.write(chunk, chunk->id);
  rig.residency->evict_all();
  CATCH_CHECK(rig.reads(here, here->id));
  rig.write(written, 50);
  test.calls->close_gate();
  rig.residency->prefetch(late, Tier::kCpu);
  rig.residency->write_behind(written, Tier::kCpu);
  CATCH_CHECK(rig.reads(here, here->id));  // would hang
  CATCH_CHECK(rig.reads(written, 50));     // being written is still readable
  rig.check_books();
  const Opener opener(*test.calls, 1);
  CATCH_CHECK(rig.reads(late, late->id));
  rig.write(written, 51);
  CATCH_CHECK(rig.reads(written, 51));
}

CATCH_TEST_CASE("residency fault: a prefetch that fails is told to who wants the bytes", "[evict][fault]") {
  Faulty test({0, 2, 8});
  auto& rig = test.rig;
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1);
  rig.residency->evict_all();
  test.calls->fail_transfer(1, EIO);
  rig.residency->prefetch(chunk, Tier::kCpu);
  CATCH_CHECK_THROWS_AS(rig.reads(chunk, 1), IoError);
  CATCH_CHECK(rig.reads(chunk, 1));
  rig.check_books();
}

CATCH_TEST_CASE("residency fault: residents die and are forgotten while their bytes move", "[evict][fault]") {
  for (const bool fails : {false, true}) {
    Faulty test({0, 8, 8});
    auto& rig = test.rig;
    chunk::Block block = rig.residency->allocate(kPage, Tier::kCpu);
    Pointer pointer(block.data());
    auto* activation = rig.residency->adopt(std::move(block), &pointer);
    auto *arriving = rig.make_chunk(), *leaving = rig.make_chunk();
    rig.write(arriving, 1);
    rig.residency->write_behind(arriving, Tier::kCpu);
    rig.residency->evict_all();
    rig.write(leaving, 2);
    CATCH_CHECK(rig.state(arriving, Tier::kCpu) == CopyState::kAbsent);
    const Want want{activation, Access::kWrite};
    rig.residency->acquire({&want, 1}, Tier::kCpu);
    rig.residency->release({&want, 1}, Tier::kCpu);
    test.calls->close_gate();
    if (fails) test.calls->fail_transfer(1, EIO);
    rig.residency->write_behind(activation, Tier::kCpu);
    rig.residency->write_behind(leaving, Tier::kCpu);
    rig.residency->prefetch(arriving, Tier::kCpu);
    {
      const Opener opener(*test.calls, 2);
      CATCH_CHECK(rig.residency->remove_tenant(activation, &pointer) == 0);
      rig.residency->forget(arriving);
      rig.residency->forget(leaving);
    }
    CATCH_CHECK(rig.residency->num_residents() == 2);
    CATCH_CHECK(rig.cpu->used_bytes() == 0);
    CATCH_CHECK(static_cast<bool>(rig.residency->failure()) == fails);
    rig.check_books();
    CATCH_CHECK(rig.reads(arriving, 0));
    CATCH_CHECK(rig.reads(leaving, 0));
  }
}

CATCH_TEST_CASE("residency fault: the end of a Residency waits for what moves", "[evict][fault]") {
  for (const bool fails : {false, true}) {
    Faulty test({0, 8, 16});
    auto& rig = test.rig;
    std::vector<Resident*> chunks;
    for (int i = 0; i < 4; ++i) {
      chunks.push_back(rig.make_chunk());
      rig.write(chunks.back(), 1);
    }
    rig.residency->evict_all();
    test.calls->close_gate();
    if (fails) test.calls->fail_transfer(2, EIO);
    for (auto* chunk : chunks) rig.residency->prefetch(chunk, Tier::kCpu);
    const Opener opener(*test.calls, 2);
    rig.residency.reset();
    CATCH_CHECK(rig.cpu->used_bytes() == 0);
  }
}

}  // namespace
}  // namespace asterias::evict::tests
