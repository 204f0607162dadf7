// Sums of squares of gradients that lie on a card: enqueued as each gradient becomes final, read once for all.
//
// The bits are those of hybrid_adam::sum_of_squares. Sums and scratch are memory of the gpu tier that cannot move.
//
// Threading: start() on whatever thread has the gradient, value() when none is under way. Units: elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "evict/residency.hpp"
#include "hybrid_adam/device_kernels.hpp"

namespace asterias::runtime {

class CardNorms {
 public:
  // For arrays number 0 to `num_arrays` - 1 of at most `max_count` elements. Throws OutOfMemory.
  CardNorms(evict::Residency& residency, hybrid_adam::KernelCalls& kernels, std::size_t num_arrays,
            std::size_t max_count);

  // Starts the sum of array `number`, which is pinned on the card; it stays as it is until work that is enqueued later.
  void start(std::size_t number, const hybrid_adam::NumberArray& array);

  // The sum that was started last for array `number`. Waits for the card where it has not been read yet.
  double value(std::size_t number);

 private:
  evict::Residency& residency_;
  const hybrid_adam::DeviceKernels kernels_;
  const chunk::Block scratch_;
  const chunk::Block sums_;
  std::vector<double> values_;
  bool is_read_ = false;
};

}  // namespace asterias::runtime
