#include "runtime/card_norms.hpp"

#include <algorithm>

namespace asterias::runtime {
namespace {

std::uint64_t scratch_bytes(std::size_t max_count) {
  const hybrid_adam::NumberArray largest{{}, max_count};
  return std::max<std::uint64_t>(hybrid_adam::DeviceKernels::square_sum_scratch({&largest, 1}), 1) * sizeof(double);
}

}  // namespace

CardNorms::CardNorms(evict::Residency& residency, hybrid_adam::KernelCalls& kernels, std::size_t num_arrays,
                     std::size_t max_count)
    : residency_(residency),
      kernels_(kernels),
      scratch_(residency.allocate(scratch_bytes(max_count), Tier::kGpu)),
      sums_(residency.allocate(num_arrays * sizeof(double), Tier::kGpu)),
      values_(num_arrays) {}

void CardNorms::start(std::size_t number, const hybrid_adam::NumberArray& array) {
  auto& card = *residency_.hierarchy().pool(Tier::kGpu).accelerator();
  kernels_.sums_of_squares(card.compute().handle(), {&array, 1}, reinterpret_cast<double*>(scratch_.data()),
                           reinterpret_cast<double*>(sums_.data()) + number);
  is_read_ = false;
}

double CardNorms::value(std::size_t number) {
  if (!is_read_)
    residency_.hierarchy().copy_out(Tier::kGpu, reinterpret_cast<std::byte*>(values_.data()), sums_.data(),
                                    values_.size() * sizeof(double));
  is_read_ = true;
  return values_[number];
}

}  // namespace asterias::runtime
