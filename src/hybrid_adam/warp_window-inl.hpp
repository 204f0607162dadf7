// What a warp does with a window of 256 elements: the update of arrays in any formats, and the codecs of moments alone.
//
// The CUDA kernels run a Lane on each of a warp's 32 threads; tests run all 32 in a loop (tests/hybrid_adam/
// host_grid.hpp) and so check on any machine what the kernels compute. Between the two halves of a lane's work, load()
// with update() and finish(), lies the only thing that a window's lanes do together: the largest magnitudes of 8-bit
// moments, which the caller takes over all lanes.
//
// Included once for each space, after codec_math.hpp and under the same macros. `Ops` has one element at a time.
//
// Invariants
//   * Lane l has elements l, l + 32, ..., l + 224 of its window: neighbouring lanes read neighbouring elements.
//   * A lane reads its element of every array before it writes it in any, so an output may lie in the gradient's place.
//   * An element past the window's count is neither read nor written and shows in no largest magnitude.

namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE {

inline constexpr unsigned kWarpLanes = 32;
inline constexpr unsigned kLaneElements = static_cast<unsigned>(kBlock8Elements) / kWarpLanes;

// Decodes element `i` of a moment stored as `kCodec`. kSigned: exp_avg.
template <class Ops, StateCodec kCodec, bool kSigned>
ASTERIAS_FORMULA_INLINE typename Ops::V load_moment(const MomentArray& from, std::size_t i) {
  if constexpr (kCodec == StateCodec::kFloat32) return Ops::load(static_cast<const float*>(from.data) + i);
  if constexpr (kCodec == StateCodec::kBfloat16) {
    return load_bfloat16<Ops>(static_cast<const std::uint16_t*>(from.data) + i);
  }
  if constexpr (kCodec == StateCodec::kBlock8) {
    const auto* const codes = static_cast<const std::uint8_t*>(from.data);
    return BlockCode<Ops, kSigned>::decode(codes + i, Ops::set(*from.absmax));
  }
}

// What is written of a moment besides its value: the noise of its element (bf16), the scale of its block (8-bit).
template <class Ops, StateCodec kCodec, bool kSigned>
ASTERIAS_FORMULA_INLINE void store_moment(typename Ops::V x, const MomentArray& to, std::size_t i,
                                          typename Ops::U noise, const BlockScale& scale) {
  if constexpr (kCodec == StateCodec::kFloat32) Ops::store(x, static_cast<float*>(to.data) + i);
  if constexpr (kCodec == StateCodec::kBfloat16) {
    const auto rounded = stochastic_bfloat16<Ops>(x, moment_noise<Ops, kSigned>(noise));
    Ops::store_16(rounded, static_cast<std::uint16_t*>(to.data) + i);
  }
  if constexpr (kCodec == StateCodec::kBlock8) {
    std::uint8_t& code = static_cast<std::uint8_t*>(to.data)[i];
    if (!scale.has_codes) {  // all lanes alike
      code = 0;
      return;
    }
    const auto n = BlockCode<Ops, kSigned>::nearest(Ops::mul(kSigned ? Ops::abs(x) : x, Ops::set(scale.inverse)));
    code = kSigned ? Ops::signed_byte(n, x) : static_cast<std::uint8_t>(n);
  }
}

// One lane's part of the update of a window, which has 1 to 256 elements and, for 8-bit moments, is one block.
template <class Rule, class Ops, StateCodec kCodec>
class UpdateLane {
 public:
  ASTERIAS_FORMULA_INLINE UpdateLane(const UpdateArrays& window, unsigned lane) : a_(window), lane_(lane) {}

  // Updates the elements and writes the parameters, four elements at a time: that many loads of each array are under
  // way at once, and their registers are free again for the next. The window's moments are still as they were.
  ASTERIAS_FORMULA_INLINE void update(const Rule& rule) {
    ASTERIAS_UNROLL
    for (unsigned begin = 0; begin < kLaneElements; begin += kGroup) {
      Element<Ops> group[kGroup] = {};
      load(group, begin);
      ASTERIAS_UNROLL
      for (unsigned k = 0; k < kGroup; ++k) {
        const std::size_t i = lane_ + (begin + k) * kWarpLanes;
        if (i < a_.count) update_element(rule, group[k], i, begin + k);
      }
    }
  }

  // The bits of the lane's largest magnitudes, exp_avg_sq with its sign.
  ASTERIAS_FORMULA_INLINE std::uint32_t largest() const { return largest_; }
  ASTERIAS_FORMULA_INLINE std::uint32_t largest_sq() const { return largest_sq_; }

  // Writes the moments; REQUIRES: the largest of all lanes, and that every lane has updated.
  ASTERIAS_FORMULA_INLINE void finish(std::uint32_t largest, std::uint32_t largest_sq) {
    const BlockScale scale = scale_of(largest, a_.exp_avg, Rule::kWritesExpAvg);
    const BlockScale scale_sq = scale_of(largest_sq, a_.exp_avg_sq, Rule::kUsesExpAvgSq);
    const Noise<Ops> noise(key_of_span(a_.rounding, a_.first_element >> 32));
    ASTERIAS_UNROLL
    for (unsigned k = 0; k < kLaneElements; ++k) {
      const std::size_t i = lane_ + k * kWarpLanes;
      if (i >= a_.count) continue;
      const auto both = noise.at(static_cast<std::uint32_t>(a_.first_element + i));
      if constexpr (Rule::kWritesExpAvg) store_moment<Ops, kCodec, true>(exp_avg_[k], a_.exp_avg, i, both, scale);
      if constexpr (Rule::kUsesExpAvgSq)
        store_moment<Ops, kCodec, false>(exp_avg_sq_[k], a_.exp_avg_sq, i, both, scale_sq);
    }
  }

 private:
  static constexpr unsigned kGroup = 4;

  ASTERIAS_FORMULA_INLINE void load(Element<Ops> (&group)[kGroup], unsigned begin) const {
    ASTERIAS_UNROLL
    for (unsigned k = 0; k < kGroup; ++k) {
      const std::size_t i = lane_ + (begin + k) * kWarpLanes;
      if (i >= a_.count) continue;
      group[k].param = Ops::load(a_.param + i);
      group[k].grad = load_number<Ops>(a_.grad.type, a_.grad.data, i);
      if constexpr (Rule::kReadsExpAvg) group[k].exp_avg = load_moment<Ops, kCodec, true>(a_.exp_avg, i);
      if constexpr (Rule::kUsesExpAvgSq) group[k].exp_avg_sq = load_moment<Ops, kCodec, false>(a_.exp_avg_sq, i);
    }
  }

  ASTERIAS_FORMULA_INLINE void update_element(const Rule& rule, Element<Ops>& e, std::size_t i, unsigned k) {
    rule.apply(e);
    Ops::store(e.param, a_.param + i);
    if (a_.param_out.data) store_number_16<Ops>(a_.param_out.type, e.param, a_.param_out.data, i);
    if constexpr (Rule::kWritesExpAvg) {
      exp_avg_[k] = e.exp_avg;
      largest_ = Ops::max_bits(largest_, Ops::bits(Ops::abs(e.exp_avg)));
    }
    if constexpr (Rule::kUsesExpAvgSq) {
      exp_avg_sq_[k] = e.exp_avg_sq;
      largest_sq_ = Ops::max_bits(largest_sq_, Ops::bits(e.exp_avg_sq));
    }
  }

  ASTERIAS_FORMULA_INLINE BlockScale scale_of(std::uint32_t largest, const MomentArray& moment, bool is_written) const {
    if (kCodec != StateCodec::kBlock8 || !is_written) return {};
    const BlockScale scale = block_scale<Ops>(largest);
    if (lane_ == 0) *moment.absmax = scale.absmax;
    return scale;
  }

  const UpdateArrays a_;
  const unsigned lane_;
  typename Ops::V exp_avg_[kLaneElements], exp_avg_sq_[kLaneElements];
  std::uint32_t largest_ = 0, largest_sq_ = 0;
};

// One lane's part of encoding a window of moments, as an update with the same noise writes them.
template <class Ops, StateCodec kCodec, bool kSigned>
class EncodeLane {
 public:
  ASTERIAS_FORMULA_INLINE EncodeLane(unsigned lane, std::size_t count) : lane_(lane), count_(count) {}

  // Reads the window; exp_avg_sq is taken by magnitude.
  ASTERIAS_FORMULA_INLINE void load(const float* from) {
    ASTERIAS_UNROLL
    for (unsigned k = 0; k < kLaneElements; ++k) {
      const std::size_t i = lane_ + k * kWarpLanes;
      if (i >= count_) continue;
      x_[k] = Ops::load(from + i);
      largest_ = Ops::max_bits(largest_, Ops::bits(Ops::abs(x_[k])));
    }
  }

  ASTERIAS_FORMULA_INLINE std::uint32_t largest() const { return largest_; }

  // Writes the window, which holds elements first_element, ... of the span of `key`.
  ASTERIAS_FORMULA_INLINE void finish(std::uint32_t largest, const MomentArray& to, std::uint32_t first_element,
                                      std::uint64_t key) {
    const BlockScale scale = block_scale<Ops>(largest);
    if (kCodec == StateCodec::kBlock8 && lane_ == 0) *to.absmax = scale.absmax;
    const Noise<Ops> noise(key);
    ASTERIAS_UNROLL
    for (unsigned k = 0; k < kLaneElements; ++k) {
      const std::size_t i = lane_ + k * kWarpLanes;
      if (i >= count_) continue;
      const auto both = noise.at(first_element + static_cast<std::uint32_t>(i));
      store_moment<Ops, kCodec, kSigned>(x_[k], to, i, both, scale);
    }
  }

 private:
  const unsigned lane_;
  const std::size_t count_;
  typename Ops::V x_[kLaneElements];
  std::uint32_t largest_ = 0;
};

// One lane's sum over a block of the sum of squares (norm.hpp): elements lane, lane + 32, ... in order.
template <class Ops>
ASTERIAS_FORMULA_INLINE double square_sum_of_lane(ConstNumbers block, std::size_t count, unsigned lane) {
  double sum = 0.0;
  for (std::size_t i = lane; i < count; i += kWarpLanes) {
    sum = Ops::add_square(sum, load_number<Ops>(block.type, block.data, i));
  }
  return sum;
}

}  // namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE
