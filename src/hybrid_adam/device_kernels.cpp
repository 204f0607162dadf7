#include "hybrid_adam/device_kernels.hpp"

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "hybrid_adam/norm.hpp"

namespace asterias::hybrid_adam {
namespace {

constexpr std::uint64_t kSpan = std::uint64_t{1} << 32;

std::uint64_t pieces(std::size_t count, std::size_t size) { return (count + size - 1) / size; }

bool has_moments(Algorithm algorithm, const UpdateConstants& constants) {
  return algorithm != Algorithm::kSgd || constants.has_momentum;
}

// Throws unless all segments may share a launch; returns the codec of their moments.
StateCodec check_segments(Algorithm algorithm, std::span<const UpdateSegment> segments) {
  const UpdateSegment* first = nullptr;
  for (const UpdateSegment& segment : segments) {
    check_formats(algorithm, segment.constants, segment.arrays);
    if (!has_moments(algorithm, segment.constants)) continue;
    if (!first) first = &segment;
    if (segment.arrays.exp_avg.codec != first->arrays.exp_avg.codec)
      throw StateError(StateError::Cause::kBug, "a launch was given moments in two codecs");
  }
  return first ? first->arrays.exp_avg.codec : StateCodec::kFloat32;
}

void add_segment(UpdateGrid& grid, const UpdateConstants& constants, const UpdateArrays& arrays) {
  grid.first_window[grid.num_segments] = grid.num_windows;
  grid.segments[grid.num_segments++] = {constants, arrays};
  grid.num_windows += pieces(arrays.count, kBlock8Elements);
}

}  // namespace

void DeviceKernels::check(int error, const char* what) const {
  if (error == 0) return;
  throw CudaError(CudaError::Cause::kFailed, std::string("launching the ") + what +
                                                 " failed: " + calls_.error_text(error) +
                                                 "; nothing saved is lost, resume from the last checkpoint");
}

void DeviceKernels::update(device::StreamHandle stream, Algorithm algorithm,
                           std::span<const UpdateSegment> segments) const {
  UpdateGrid grid;
  grid.algorithm = algorithm;
  grid.codec = check_segments(algorithm, segments);
  const auto launch = [&] {
    if (grid.num_segments > 0) check(calls_.update(grid, stream), "update");
    grid.num_segments = 0;
    grid.num_windows = 0;
  };
  for (const UpdateSegment& segment : segments) {
    for (UpdateArrays rest = segment.arrays; rest.count > 0;) {
      const std::size_t count = elements_of_span(rest);
      add_segment(grid, segment.constants, rest.part(0, count));
      if (grid.num_segments == kGridSegments) launch();
      rest = rest.part(count, rest.count - count);
    }
  }
  launch();
}

void DeviceKernels::accumulate(device::StreamHandle stream, float* into, ConstNumbers from, std::size_t count) const {
  if (count > 0) check(calls_.accumulate(into, from, count, stream), "sum of gradients");
}

void DeviceKernels::cast(device::StreamHandle stream, const float* from, Numbers16 to, std::size_t count) const {
  if (count > 0) check(calls_.cast(from, to, count, stream), "cast");
}

void DeviceKernels::decode_moments(device::StreamHandle stream, Moment moment, const MomentArray& from, float* to,
                                   std::size_t count) const {
  if (count > 0) check(calls_.decode(moment, from, to, count, stream), "decoding of moments");
}

void DeviceKernels::encode_moments(device::StreamHandle stream, Moment moment, const float* from, const MomentArray& to,
                                   std::size_t count, std::uint64_t first_element, RoundingKey rounding) const {
  for (std::size_t begin = 0; begin < count;) {
    const std::uint64_t first = first_element + begin;
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(count - begin, kSpan - first % kSpan));
    check(calls_.encode(moment, from + begin, to.from(begin), part, static_cast<std::uint32_t>(first),
                        key_of_span(rounding, first / kSpan), stream),
          "encoding of moments");
    begin += part;
  }
}

std::size_t DeviceKernels::square_sum_scratch(std::span<const NumberArray> arrays) {
  std::uint64_t most = 0;
  for (std::size_t begin = 0; begin < arrays.size(); begin += kGridSegments) {
    std::uint64_t blocks = 0;
    for (const NumberArray& array : arrays.subspan(begin, std::min<std::size_t>(kGridSegments, arrays.size() - begin)))
      blocks += pieces(array.count, kNormBlockElements);
    most = std::max(most, blocks);
  }
  return most;
}

// Launches follow one another in the stream, so one scratch serves all.
void DeviceKernels::sums_of_squares(device::StreamHandle stream, std::span<const NumberArray> arrays, double* scratch,
                                    double* sums) const {
  for (std::size_t begin = 0; begin < arrays.size(); begin += kGridSegments) {
    SquareSumGrid grid;
    for (const NumberArray& array :
         arrays.subspan(begin, std::min<std::size_t>(kGridSegments, arrays.size() - begin))) {
      grid.first_block[grid.num_arrays] = grid.num_blocks;
      grid.arrays[grid.num_arrays++] = array;
      grid.num_blocks += pieces(array.count, kNormBlockElements);
    }
    if (grid.num_blocks > 0) check(calls_.sum_blocks(grid, scratch, stream), "sum of squares");
    check(calls_.sum_arrays(grid, scratch, sums + begin, stream), "sum of squares");
  }
}

}  // namespace asterias::hybrid_adam
