#include "hybrid_adam/chunk_updater.hpp"

#include "hybrid_adam/update_kernel.hpp"

namespace asterias::hybrid_adam {

void ProcessorUpdater::update(Algorithm algorithm, std::span<const UpdateSegment> segments) {
  for (const UpdateSegment& segment : segments) update_parallel(pool_, algorithm, segment.constants, segment.arrays);
}

void AcceleratorUpdater::update(Algorithm algorithm, std::span<const UpdateSegment> segments) {
  kernels_.update(accelerator_.compute().handle(), algorithm, segments);
}

}  // namespace asterias::hybrid_adam
