#include "hybrid_adam/update_arrays.hpp"

#include <algorithm>
#include <string>

#include "base/error.hpp"

namespace asterias::hybrid_adam {
namespace {

void refuse(const char* what) {
  throw StateError(StateError::Cause::kBug, std::string("the update was given ") + what);
}

}  // namespace

void check_formats(Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& a) {
  const bool moments = algorithm != Algorithm::kSgd || constants.has_momentum;
  if (a.param_out.data && a.param_out.type == NumberType::kFloat32)
    refuse("an fp32 output: the fp32 parameter is updated in place, a second one is not written");
  if (a.param_out.data && a.grad.type != NumberType::kFloat32 && a.grad.type != a.param_out.type)
    refuse("a bf16 and an fp16 array: gradient and output have the same 16-bit type, or the gradient is fp32");
  if (!moments) return;
  if (algorithm != Algorithm::kSgd && a.exp_avg.codec != a.exp_avg_sq.codec)
    refuse("exp_avg and exp_avg_sq in different codecs");
  if (a.exp_avg.codec == StateCodec::kBlock8 && a.first_element % kBlock8Elements != 0)
    refuse("8-bit moments from the middle of a block: first_element is a multiple of 256");
}

std::size_t elements_of_span(const UpdateArrays& a) {
  constexpr std::uint64_t kSpan = std::uint64_t{1} << 32;
  return static_cast<std::size_t>(std::min<std::uint64_t>(a.count, kSpan - a.first_element % kSpan));
}

}  // namespace asterias::hybrid_adam
