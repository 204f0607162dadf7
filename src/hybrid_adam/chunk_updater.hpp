// Who updates the segments of a chunk where they lie: the processor, or an accelerator.
//
// One interface, so that whoever walks the chunks need not know what their tier is made of. The processor's updater
// serves every tier that is host memory, the simulated accelerator's among them.
//
// Invariants
//   * The bits are the same (device_kernels.hpp).
//
// Threading: one caller at a time.
#pragma once

#include <span>

#include "device/accelerator.hpp"
#include "hybrid_adam/device_kernels.hpp"
#include "hybrid_adam/update_grid.hpp"

namespace asterias {
class ThreadPool;
}

namespace asterias::hybrid_adam {

class ChunkUpdater {
 public:
  ChunkUpdater() = default;
  ChunkUpdater(const ChunkUpdater&) = delete;
  ChunkUpdater& operator=(const ChunkUpdater&) = delete;
  virtual ~ChunkUpdater() = default;

  // Updates all segments of a chunk, which share one codec. Returns when it is done or, on an accelerator, enqueued:
  // the arrays stay until its compute stream has passed. Throws CudaError for a launch that fails.
  virtual void update(Algorithm algorithm, std::span<const UpdateSegment> segments) = 0;
  // True where the caller's processor does the work.
  virtual bool costs_processor() const = 0;
};

class ProcessorUpdater final : public ChunkUpdater {
 public:
  // `pool` outlives it.
  explicit ProcessorUpdater(ThreadPool& pool) : pool_(pool) {}

  void update(Algorithm algorithm, std::span<const UpdateSegment> segments) override;
  bool costs_processor() const override { return true; }

 private:
  ThreadPool& pool_;
};

// Launches into the compute stream, one launch for up to 64 segments. On threads that the accelerator has adopted.
class AcceleratorUpdater final : public ChunkUpdater {
 public:
  // Both outlive it.
  AcceleratorUpdater(device::Accelerator& accelerator, KernelCalls& calls)
      : accelerator_(accelerator), kernels_(calls) {}

  void update(Algorithm algorithm, std::span<const UpdateSegment> segments) override;
  bool costs_processor() const override { return false; }

 private:
  device::Accelerator& accelerator_;
  const DeviceKernels kernels_;
};

}  // namespace asterias::hybrid_adam
