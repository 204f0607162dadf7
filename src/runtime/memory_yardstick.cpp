#include "runtime/memory_yardstick.hpp"

#include <algorithm>
#include <functional>

#include "base/thread_pool.hpp"

namespace asterias::runtime {
namespace {

using hybrid_adam::kUpdateBlockElements;

// noipa: a factor of 1 that the compiler knew of would leave nothing to do.
[[gnu::noipa]] void scale(float* values, std::size_t count, float factor) {
  for (std::size_t i = 0; i < count; ++i) values[i] *= factor;
}

double moment_bytes(const hybrid_adam::MomentArray& moment) {
  const bool is_block8 = moment.codec == hybrid_adam::StateCodec::kBlock8;
  return static_cast<double>(size_bytes(moment.codec)) + (is_block8 ? 4.0 / hybrid_adam::kBlock8Elements : 0.0);
}

}  // namespace

double update_bytes_per_param(hybrid_adam::Algorithm algorithm, const hybrid_adam::UpdateArrays& arrays) {
  const bool is_sgd = algorithm == hybrid_adam::Algorithm::kSgd;
  const double moments = moment_bytes(arrays.exp_avg) + (is_sgd ? 0.0 : moment_bytes(arrays.exp_avg_sq));
  return 2 * sizeof(float) + static_cast<double>(size_bytes(arrays.grad.type)) + (arrays.param_out.data ? 2.0 : 0.0) +
         2 * moments;
}

void rewrite_in_place(ThreadPool& pool, const std::array<float*, 3>& arrays, std::size_t count) {
  const auto rewrite_block = [&](std::size_t block) {
    const std::size_t begin = block * kUpdateBlockElements;
    const std::size_t elements = std::min(kUpdateBlockElements, count - begin);
    for (float* array : arrays) scale(array + begin, elements, 1.0F);
  };
  pool.parallel_for((count + kUpdateBlockElements - 1) / kUpdateBlockElements, std::cref(rewrite_block));
}

}  // namespace asterias::runtime
