// The simulated accelerator, and the CUDA one over a fake runtime: what a card does to us, done on order.
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "accelerator_suite.hpp"
#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "device/cuda_accelerator.hpp"
#include "device/cuda_device.hpp"
#include "device/cuda_plugin.hpp"
#include "device/cuda_stream.hpp"
#include "device/pinned_memory.hpp"
#include "device/simulated_accelerator.hpp"
#include "fake_cuda_calls.hpp"

namespace asterias::device::tests {
namespace {

using Cause = CudaError::Cause;

CudaOptions limit_of(std::uint64_t bytes) {
  CudaOptions options;
  options.limit_bytes = bytes;
  return options;
}

// Runs `action`, which must throw a CudaError of `cause`; returns its text.
std::string text_of(Cause cause, const std::function<void()>& action) {
  try {
    action();
  } catch (const CudaError& error) {
    CATCH_CHECK(error.cause() == cause);
    return error.what();
  }
  CATCH_FAIL("nothing was thrown");
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  CATCH_INFO(text);
  const bool found = text.find(part) != std::string::npos;
  CATCH_CHECK(found);
  return found;
}

}  // namespace

CATCH_TEST_CASE("a simulated accelerator is an accelerator") {
  const std::uint64_t rate = GENERATE(as<std::uint64_t>(), 0, 4'000'000'000);
  const auto accelerator = make_simulated_accelerator({2 * kMiB - 1, rate, rate});
  CATCH_CHECK(accelerator->memory_bytes() == 2 * kMiB);
  check_accelerator(*accelerator);
}

CATCH_TEST_CASE("a CUDA accelerator is an accelerator and gives everything back") {
  FakeCudaCalls cuda;
  {
    const auto accelerator = open_cuda_accelerator(cuda, limit_of(400 * kMiB));
    CATCH_CHECK(accelerator->name() == "cuda:0 (Fake 24)");
    check_accelerator(*accelerator);
  }
  CATCH_CHECK(cuda.num_living() == 0);
}

CATCH_TEST_CASE("a card is an accelerator", "[gpu]") {
  if (!CudaPlugin::has_driver()) {
    CATCH_WARN("no NVIDIA driver answers here: NOT RUN, the fake runtime stands in");
    return;
  }
  CudaCalls& calls = CudaPlugin::open().calls();
  const auto accelerator = open_cuda_accelerator(calls, limit_of(2 * kGiB));
  check_accelerator(*accelerator);
  CATCH_CHECK(accelerator->memory_bytes() + accelerator->library_bytes() <= 2 * kGiB);
  const PinnedMemory pinned(accelerator->host_pinner(), 4 * kMiB);
  auto back = bytes_of(4 * kMiB, 0);
  std::memset(pinned.data(), 3, pinned.bytes());
  Ticket up = accelerator->to_device().copy(accelerator->memory(), pinned.data(), pinned.bytes());
  start_after(accelerator->compute(), up);
  accelerator->to_host().wait_for(accelerator->compute().point());
  accelerator->to_host().copy(back.data(), accelerator->memory(), pinned.bytes()).wait();
  CATCH_CHECK(back == bytes_of(4 * kMiB, 3));
  CATCH_WARN("run on " << accelerator->name() << (pinned.is_pinned() ? "" : ", host memory not pinned"));
}

CATCH_TEST_CASE("a limit covers context, libraries and memory") {
  FakeCudaCalls cuda;  // 300 MiB of context
  CudaOptions options = limit_of(1001 * kMiB);
  options.library_growth_bytes = 200 * kMiB;
  const auto accelerator = open_cuda_accelerator(cuda, options);
  CATCH_CHECK(accelerator->memory_bytes() == 500 * kMiB);
  CATCH_CHECK(accelerator->library_bytes() == 300 * kMiB);
  cuda.devices[0].others_bytes = 50 * kMiB;
  CATCH_CHECK(accelerator->library_bytes() == 350 * kMiB);  // whoever takes memory later counts as a library
}

CATCH_TEST_CASE("other processes' memory from before does not count, where it can be known") {
  FakeCudaCalls cuda;
  cuda.devices[0].others_bytes = 20 * kGiB;
  CATCH_CHECK(open_cuda_accelerator(cuda, limit_of(kGiB))->memory_bytes() == 724 * kMiB);
  cuda.count_used_error = FakeCudaCalls::kOther;
  text_of(Cause::kTooSmall, [&] { open_cuda_accelerator(cuda, limit_of(kGiB)); });
}

CATCH_TEST_CASE("without a limit the whole card is taken but for the libraries' growth") {
  FakeCudaCalls cuda;
  CudaOptions options;
  options.library_growth_bytes = 212 * kMiB;
  CATCH_CHECK(open_cuda_accelerator(cuda, options)->memory_bytes() == 24 * kGiB - 512 * kMiB);
}

CATCH_TEST_CASE("the host waits for nothing while streams wait for each other") {
  FakeCudaCalls cuda;
  const auto accelerator = open_cuda_accelerator(cuda, limit_of(400 * kMiB));
  cuda.hold_all();
  const auto from = bytes_of(4096, 1);
  auto back = bytes_of(4096, 0);
  Ticket up = accelerator->to_device().copy(accelerator->memory(), from.data(), 4096);
  start_after(accelerator->compute(), up);
  bool computed = false;
  cuda.enqueue(accelerator->compute().handle(), [&] { computed = back[0] == std::byte{0}; });
  const SharedPoint point = accelerator->compute().point();
  accelerator->to_host().wait_for(point);
  Ticket down = accelerator->to_host().copy(back.data(), accelerator->memory(), 4096);
  CATCH_CHECK_FALSE(up.done());  // all of this returned although nothing has run
  CATCH_CHECK_FALSE(down.done());
  CATCH_CHECK_FALSE(point->reached());
  cuda.release_all();
  down.wait();
  CATCH_CHECK(computed);
  CATCH_CHECK(back == from);
  CATCH_CHECK(point->reached());
}

CATCH_TEST_CASE("events are used again and a point holds its own") {
  FakeCudaCalls cuda;
  const auto device = std::make_shared<const CudaDevice>(cuda, 0);
  const auto events = std::make_shared<CudaEvents>(device);
  CudaStream stream(events);
  const std::size_t before = cuda.num_living();
  for (int i = 0; i < 100; ++i) stream.point()->wait();
  CATCH_CHECK(cuda.num_living() == before + 1);
  const SharedPoint kept = stream.point();
  kept->wait();
  cuda.hold_all();
  const SharedPoint later = stream.point();
  CATCH_CHECK_FALSE(later->reached());
  CATCH_CHECK(kept->reached());
  cuda.release_all();
  later->wait();
  CATCH_CHECK(cuda.num_living() == before + 2);
}

CATCH_TEST_CASE("another library's stream is used and left alone") {
  FakeCudaCalls cuda;
  StreamHandle theirs;
  cuda.set_device(0);
  cuda.create_stream(0, theirs);
  CudaOptions options = limit_of(400 * kMiB);
  options.uses_foreign_stream = true;
  options.compute_stream = theirs;
  check_accelerator(*open_cuda_accelerator(cuda, options));
  CATCH_CHECK(cuda.num_living() == 1);
  CATCH_CHECK(cuda.destroy_stream(theirs) == 0);
}

CATCH_TEST_CASE("a point of another device is our bug") {
  FakeCudaCalls cuda, other;
  const auto mine = open_cuda_accelerator(cuda, limit_of(400 * kMiB));
  const auto yours = open_cuda_accelerator(other, limit_of(400 * kMiB));
  CATCH_CHECK_THROWS_AS(mine->compute().wait_for(yours->compute().point()), StateError);
}

CATCH_TEST_CASE("a card that cannot be had says why and what to do", "[fault]") {
  FakeCudaCalls cuda;
  const auto open = [&](int index, std::uint64_t limit = UINT64_MAX) {
    CudaOptions options = limit_of(limit);
    options.index = index;
    open_cuda_accelerator(cuda, options);
  };
  CATCH_SECTION("the driver is missing or old") {
    cuda.count_error = FakeCudaCalls::kNoDriver;
    contains(text_of(Cause::kNoDriver, [&] { open(0); }), "fakeError (as ordered); nvidia-smi must list the card");
  }
  CATCH_SECTION("there is none") {
    cuda.count_error = FakeCudaCalls::kNoDevice;
    contains(text_of(Cause::kNoSuchDevice, [&] { open(0); }), "this machine shows no CUDA device");
  }
  CATCH_SECTION("there are fewer") {
    cuda.devices.push_back({"Fake 8", 8 * kGiB});
    contains(text_of(Cause::kNoSuchDevice, [&] { open(2); }),
             "device \"cuda:2\" was asked for, but this machine shows cuda:0 Fake 24, cuda:1 Fake 8; name one of them");
  }
  CATCH_SECTION("another process has it") {
    cuda.set_device_error = FakeCudaCalls::kBusy;
    contains(text_of(Cause::kBusy, [&] { open(0); }), "another process has it to itself");
  }
  CATCH_SECTION("the plugin has no kernels for it") {
    cuda.kernel_error = FakeCudaCalls::kOther;
    contains(text_of(Cause::kNoSuchDevice, [&] { open(0); }), "build with -DASTERIAS_CUDA_ARCHITECTURES=89");
  }
  CATCH_SECTION("it is smaller than the limit") {
    contains(text_of(Cause::kTooSmall, [&] { open(0, 32 * kGiB); }),
             "tiers.gpu.limit is 32 GiB, cuda:0 (Fake 24) has 24 GiB in all");
  }
  CATCH_SECTION("the limit is all context") {
    contains(text_of(Cause::kTooSmall, [&] { open(0, 301 * kMiB); }), "context and libraries take 300 MiB");
  }
  CATCH_SECTION("others have its memory") {
    cuda.devices[0].others_bytes = 20 * kGiB;
    contains(text_of(Cause::kBusy, [&] { open(0, 8 * kGiB); }),
             "has 3796 MiB free of 24 GiB, 7892 MiB are asked for besides 300 MiB");
  }
  CATCH_CHECK(cuda.num_living() == 0);
}

CATCH_TEST_CASE("a card that is lost in the middle fails every copy and call, and nothing hangs", "[fault]") {
  FakeCudaCalls cuda;
  {
    const auto accelerator = open_cuda_accelerator(cuda, limit_of(400 * kMiB));
    const auto from = bytes_of(4096, 1);
    cuda.hold_all();
    Ticket under_way = accelerator->to_device().copy(accelerator->memory(), from.data(), 4096);
    Ticket dropped = accelerator->to_device().copy(accelerator->memory(), from.data(), 4096);
    const SharedPoint point = accelerator->compute().point();
    cuda.lose();
    contains(text_of(Cause::kLost, [&] { under_way.wait(); }), "start again from the last checkpoint");
    text_of(Cause::kLost, [&] { point->wait(); });
    text_of(Cause::kLost, [&] { point->reached(); });
    Ticket later = accelerator->to_host().copy(nullptr, accelerator->memory(), 4096);
    contains(text_of(Cause::kLost, [&] { later.wait(); }), "cuda:0 (Fake 24): copying to the host failed");
    text_of(Cause::kLost, [&] { accelerator->compute().point(); });
    text_of(Cause::kLost, [&] { accelerator->adopt_thread(); });
  }
}

CATCH_TEST_CASE("pinned memory is registered once, outlives its accelerator, and does without") {
  FakeCudaCalls cuda;
  auto accelerator = open_cuda_accelerator(cuda, limit_of(400 * kMiB));
  const auto pinner = accelerator->host_pinner();
  {
    const PinnedMemory pinned(pinner, kMiB);
    CATCH_CHECK(pinned.is_pinned());
    CATCH_CHECK(pinned.bytes() == kMiB);
    accelerator->to_host().copy(pinned.data(), accelerator->memory(), kMiB).wait();
    CATCH_CHECK(cuda.num_pageable_copies == 0);
    accelerator.reset();
    CATCH_CHECK(cuda.num_living() == 1);
  }
  CATCH_CHECK(cuda.num_living() == 0);
  cuda.register_error = FakeCudaCalls::kOutOfMemory;
  const PinnedMemory plain(pinner, kMiB);
  CATCH_CHECK_FALSE(plain.is_pinned());
  std::memset(plain.data(), 1, plain.bytes());
  const PinnedMemory nothing(pinner, 0);
  CATCH_CHECK_FALSE(nothing.is_pinned());
  CATCH_CHECK(cuda.num_register_calls == 2);
}

}  // namespace asterias::device::tests
