// The CUDA kernels' work done by loops on the CPU: the same tables, windows, lanes and order, from the same text
// (update_grid.hpp, warp_window-inl.hpp). What differs on a GPU is the loops and the warp's largest magnitude.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

#include "hybrid_adam/ieee_mode.hpp"
#include "hybrid_adam/kernel_calls.hpp"
#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/scalar_ops.hpp"

#define ASTERIAS_FORMULA_SPACE host_grid
#define ASTERIAS_FORMULA_INLINE inline
#include "hybrid_adam/adam_math.hpp"
#include "hybrid_adam/codec_math.hpp"
#include "hybrid_adam/update_loop-inl.hpp"
#include "hybrid_adam/warp_window-inl.hpp"
#undef ASTERIAS_FORMULA_SPACE
#undef ASTERIAS_FORMULA_INLINE

namespace asterias::hybrid_adam::testing {

using Ops = portable::ScalarOps;

// One window, all lanes in turn.
template <StateCodec kCodec>
struct HostWindowUpdate {
  const UpdateArrays& window;

  template <class Rule>
  void run(const Rule& rule) const {
    std::vector<host_grid::UpdateLane<Rule, Ops, kCodec>> lanes;
    for (unsigned lane = 0; lane < host_grid::kWarpLanes; ++lane) lanes.emplace_back(window, lane);
    std::uint32_t largest = 0, largest_sq = 0;
    for (auto& lane : lanes) {
      lane.update(rule);
      largest = std::max(largest, lane.largest());
      largest_sq = std::max(largest_sq, lane.largest_sq());
    }
    for (auto& lane : lanes) lane.finish(largest, largest_sq);
  }
};

// Runs launches at once; counts them.
class HostGrid final : public KernelCalls {
 public:
  int num_launches = 0;
  int error = 0;  // what the next launches return, doing nothing

  int update(const UpdateGrid& grid, device::StreamHandle) override {
    return launch([&] {
      for (std::uint64_t w = 0; w < grid.num_windows; ++w) {
        const std::uint32_t segment = last_not_above(grid.first_window, grid.num_segments, w);
        const UpdateArrays window = arrays_of_window(grid, segment, w);
        update_window(grid, grid.segments[segment].constants, window);
      }
    });
  }

  int accumulate(float* into, ConstNumbers from, std::size_t count, device::StreamHandle) override {
    return launch([&] {
      for (std::size_t i = 0; i < count; ++i)
        into[i] = Ops::add(into[i], host_grid::load_number<Ops>(from.type, from.data, i));
    });
  }

  int cast(const float* from, Numbers16 to, std::size_t count, device::StreamHandle) override {
    return launch([&] {
      for (std::size_t i = 0; i < count; ++i) host_grid::store_number_16<Ops>(to.type, from[i], to.data, i);
    });
  }

  int decode(Moment moment, const MomentArray& from, float* to, std::size_t count, device::StreamHandle) override {
    const bool is_signed = moment == Moment::kExpAvg;
    return launch([&] {
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t in_block = i % kBlock8Elements;
        to[i] = is_signed ? decoded<true>(from.from(i - in_block), in_block)
                          : decoded<false>(from.from(i - in_block), in_block);
      }
    });
  }

  int encode(Moment moment, const float* from, const MomentArray& to, std::size_t count, std::uint32_t first_element,
             std::uint64_t key, device::StreamHandle) override {
    const auto encode_as = [&](auto run) {
      for (std::size_t begin = 0; begin < count; begin += kBlock8Elements)
        run(from + begin, to.from(begin), elements_from(begin, count, kBlock8Elements),
            first_element + static_cast<std::uint32_t>(begin), key);
    };
    const bool is_signed = moment == Moment::kExpAvg;
    return launch([&] {
      switch (to.codec) {
        case StateCodec::kFloat32:
          return is_signed ? encode_as(encode_window<StateCodec::kFloat32, true>)
                           : encode_as(encode_window<StateCodec::kFloat32, false>);
        case StateCodec::kBfloat16:
          return is_signed ? encode_as(encode_window<StateCodec::kBfloat16, true>)
                           : encode_as(encode_window<StateCodec::kBfloat16, false>);
        case StateCodec::kBlock8:
          return is_signed ? encode_as(encode_window<StateCodec::kBlock8, true>)
                           : encode_as(encode_window<StateCodec::kBlock8, false>);
      }
    });
  }

  int sum_blocks(const SquareSumGrid& grid, double* block_sums, device::StreamHandle) override {
    return launch([&] {
      for (std::uint64_t b = 0; b < grid.num_blocks; ++b) {
        const std::uint32_t index = last_not_above(grid.first_block, grid.num_arrays, b);
        const NumberArray& array = grid.arrays[index];
        const std::size_t begin = (b - grid.first_block[index]) * kNormBlockElements;
        std::array<double, kNormLanes> lanes;
        for (unsigned lane = 0; lane < kNormLanes; ++lane)
          lanes[lane] = host_grid::square_sum_of_lane<Ops>(array.values.from(begin),
                                                           elements_from(begin, array.count, kNormBlockElements), lane);
        for (std::size_t half = kNormLanes / 2; half > 0; half /= 2)
          for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
        block_sums[b] = lanes[0];
      }
    });
  }

  int sum_arrays(const SquareSumGrid& grid, const double* block_sums, double* sums, device::StreamHandle) override {
    return launch([&] {
      for (std::uint32_t index = 0; index < grid.num_arrays; ++index) {
        const std::uint64_t end = index + 1 < grid.num_arrays ? grid.first_block[index + 1] : grid.num_blocks;
        sums[index] = 0.0;
        for (std::uint64_t b = grid.first_block[index]; b < end; ++b) sums[index] += block_sums[b];
      }
    });
  }

  const char* error_text(int) override { return "out of order"; }

 private:
  template <class Work>
  int launch(const Work& work) {
    if (error != 0) return error;
    const IeeeMode mode;
    ++num_launches;
    work();
    return 0;
  }

  static void update_window(const UpdateGrid& grid, const UpdateConstants& constants, const UpdateArrays& window) {
    using host_grid::run_rule;
    switch (grid.codec) {
      case StateCodec::kFloat32:
        return run_rule<Ops>(grid.algorithm, constants, HostWindowUpdate<StateCodec::kFloat32>{window});
      case StateCodec::kBfloat16:
        return run_rule<Ops>(grid.algorithm, constants, HostWindowUpdate<StateCodec::kBfloat16>{window});
      case StateCodec::kBlock8:
        return run_rule<Ops>(grid.algorithm, constants, HostWindowUpdate<StateCodec::kBlock8>{window});
    }
  }

  template <bool kSigned>
  static float decoded(const MomentArray& block, std::size_t i) {
    switch (block.codec) {
      case StateCodec::kFloat32: return host_grid::load_moment<Ops, StateCodec::kFloat32, kSigned>(block, i);
      case StateCodec::kBfloat16: return host_grid::load_moment<Ops, StateCodec::kBfloat16, kSigned>(block, i);
      case StateCodec::kBlock8: return host_grid::load_moment<Ops, StateCodec::kBlock8, kSigned>(block, i);
    }
    return 0.0f;
  }

  template <StateCodec kCodec, bool kSigned>
  static void encode_window(const float* from, const MomentArray& to, std::size_t count, std::uint32_t first_element,
                            std::uint64_t key) {
    std::vector<host_grid::EncodeLane<Ops, kCodec, kSigned>> lanes;
    for (unsigned lane = 0; lane < host_grid::kWarpLanes; ++lane) lanes.emplace_back(lane, count);
    std::uint32_t largest = 0;
    for (auto& lane : lanes) {
      lane.load(from);
      largest = std::max(largest, lane.largest());
    }
    for (auto& lane : lanes) lane.finish(largest, to, first_element, key);
  }
};

}  // namespace asterias::hybrid_adam::testing
