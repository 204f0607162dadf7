// Both updaters on the same segments: the accelerator's kernels are loops (host_grid.hpp) that a fake card's compute
// stream runs when their turn comes.
#include "hybrid_adam/chunk_updater.hpp"

#include <functional>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "device/cuda_accelerator.hpp"
#include "device/simulated_accelerator.hpp"
#include "host_grid.hpp"
#include "kernel_suite.hpp"
#include "tests/device/fake_cuda_calls.hpp"

namespace asterias::hybrid_adam::testing {
namespace {

// Launches that wait for their turn in the stream.
class EnqueuedGrid final : public KernelCalls {
 public:
  explicit EnqueuedGrid(device::tests::FakeCudaCalls& card) : card_(card) {}

  int update(const UpdateGrid& grid, device::StreamHandle stream) override {
    ++num_launches;
    return card_.enqueue(stream, [this, grid] { grid_.update(grid, kAnyStream); });
  }
  int accumulate(float*, ConstNumbers, std::size_t, device::StreamHandle) override { return kNone; }
  int cast(const float*, Numbers16, std::size_t, device::StreamHandle) override { return kNone; }
  int decode(Moment, const MomentArray&, float*, std::size_t, device::StreamHandle) override { return kNone; }
  int encode(Moment, const float*, const MomentArray&, std::size_t, std::uint32_t, std::uint64_t,
             device::StreamHandle) override {
    return kNone;
  }
  int sum_blocks(const SquareSumGrid&, double*, device::StreamHandle) override { return kNone; }
  int sum_arrays(const SquareSumGrid&, const double*, double*, device::StreamHandle) override { return kNone; }
  const char* error_text(int) override { return "not of an update"; }

  int num_launches = 0;

 private:
  static constexpr int kNone = 1;
  device::tests::FakeCudaCalls& card_;
  HostGrid grid_;
};

constexpr std::size_t kSegments = 5, kElements = 700;

// A chunk of tensors, each at a block of its own.
std::vector<UpdateSegment> segments_of(CodedArrays& arrays, const Variant& variant) {
  std::vector<UpdateSegment> segments;
  for (std::size_t at = 0; at < kSegments; ++at)
    segments.push_back({variant.constants(), arrays.view().part(at * 768, kElements)});
  return segments;
}

CATCH_TEST_CASE("an accelerator's updater gives the processor's bits, in one launch, when its stream comes to it") {
  device::tests::FakeCudaCalls calls;
  device::CudaOptions options;
  options.limit_bytes = calls.context_bytes + 64 * kMiB;
  const auto card = device::open_cuda_accelerator(calls, options);
  EnqueuedGrid grid(calls);
  AcceleratorUpdater above(*card, grid);
  ThreadPool pool(2);
  ProcessorUpdater below(pool);
  CATCH_CHECK(below.costs_processor());
  CATCH_CHECK_FALSE(above.costs_processor());
  const Arrays input = random_arrays(kSegments * 768, 81);
  for (const Variant& variant : all_variants())
    for (const Formats& formats : all_formats()) {
      CodedArrays before(formats, input, input.size()), got = before, want = before;
      const int num_launches = grid.num_launches;
      calls.hold_all();
      above.update(variant.algorithm, segments_of(got, variant));
      CATCH_CHECK(got.count_differences(before) == 0);  // nothing has waited
      calls.release_all();
      below.update(variant.algorithm, segments_of(want, variant));
      card->compute().point()->wait();
      CATCH_INFO(to_string(formats) << " " << variant.name);
      CATCH_CHECK(want.count_differences(before) > 0);
      CATCH_CHECK(got.count_differences(want) == 0);
      CATCH_CHECK(grid.num_launches == num_launches + 1);
    }
}

CATCH_TEST_CASE("an updater's launch that fails is an error") {
  const auto accelerator = device::make_simulated_accelerator({kMiB, 0, 0});
  HostGrid grid;
  grid.error = 700;
  const Variant variant = all_variants().front();
  CodedArrays arrays(all_formats().front(), random_arrays(kSegments * 768, 82), kSegments * 768);
  CATCH_CHECK_THROWS_AS(AcceleratorUpdater(*accelerator, grid).update(variant.algorithm, segments_of(arrays, variant)),
                        CudaError);
}

}  // namespace
}  // namespace asterias::hybrid_adam::testing
