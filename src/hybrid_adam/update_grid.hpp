// What one launch of a kernel works on: a table of array segments, and how a warp finds its part of it.
//
// A table travels by value, as the kernel's parameter, so a launch copies nothing to the device beforehand and waits
// for nothing. The CUDA kernels and the tests' host grid read it by the same functions. Who fills one is DeviceKernels.
//
// Invariants: first_window and first_block rise strictly; no segment is empty.
// Threading: immutable values. Units: windows of 256 elements (kBlock8Elements), blocks of 4096 (kNormBlockElements).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hybrid_adam/host_device.hpp"
#include "hybrid_adam/number_arrays.hpp"
#include "hybrid_adam/update_arrays.hpp"
#include "hybrid_adam/update_constants.hpp"

namespace asterias::hybrid_adam {

// Segments of one launch; 64 of them are 11 KB of the 32 KB that a kernel's parameters may take.
inline constexpr std::uint32_t kGridSegments = 64;

// Arrays that share constants.
struct UpdateSegment {
  UpdateConstants constants;
  UpdateArrays arrays;
};

// Updates of one algorithm with moments in one codec.
struct UpdateGrid {
  Algorithm algorithm;
  StateCodec codec;
  std::uint32_t num_segments = 0;
  std::uint64_t num_windows = 0;
  std::uint64_t first_window[kGridSegments];
  UpdateSegment segments[kGridSegments];
};

// One contiguous array of numbers that are summed in order.
struct NumberArray {
  ConstNumbers values;
  std::size_t count = 0;
};

struct SquareSumGrid {
  std::uint32_t num_arrays = 0;
  std::uint64_t num_blocks = 0;
  std::uint64_t first_block[kGridSegments];
  NumberArray arrays[kGridSegments];
};

static_assert(std::is_trivially_copyable_v<UpdateGrid> && sizeof(UpdateGrid) <= 16384);
static_assert(std::is_trivially_copyable_v<SquareSumGrid>);

// Finds the last of `count` (> 0) rising numbers, of which the first is 0, that is not above `index`.
ASTERIAS_HD inline std::uint32_t last_not_above(const std::uint64_t* rising, std::uint32_t count, std::uint64_t index) {
  std::uint32_t low = 0;
  for (std::uint32_t high = count; high - low > 1;) {
    const std::uint32_t middle = (low + high) / 2;
    (rising[middle] <= index ? low : high) = middle;
  }
  return low;
}

// Cuts `size` elements from `begin` on, or as many as are left.
ASTERIAS_HD inline std::size_t elements_from(std::size_t begin, std::size_t count, std::size_t size) {
  return count - begin < size ? count - begin : size;
}

// Cuts window number `window` out of segment `segment` of `grid`.
ASTERIAS_HD inline UpdateArrays arrays_of_window(const UpdateGrid& grid, std::uint32_t segment, std::uint64_t window) {
  const UpdateArrays& arrays = grid.segments[segment].arrays;
  const std::size_t begin = (window - grid.first_window[segment]) * kBlock8Elements;
  return arrays.part(begin, elements_from(begin, arrays.count, kBlock8Elements));
}

}  // namespace asterias::hybrid_adam
