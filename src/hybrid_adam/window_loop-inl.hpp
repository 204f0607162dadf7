// The loop that applies a rule where anything is not fp32: 16-bit gradients, a 16-bit parameter out, coded moments. One
// pass, in windows of 256 elements, which are the blocks of 8-bit moments.
//
// Included once for each instruction set by update_kernel.cpp, after update_loop-inl.hpp and under the same macros. The
// types of gradient and output are looked at in the loop (branches that always go the same way cost little, and one
// loop each for rule and codec is enough code); the codec is a template parameter.

namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE {

inline constexpr std::size_t kWindow = kBlock8Elements;

// A window's moments as floats, in L1: new ones wait here until their absmax is known.
struct WindowMoments {
  alignas(64) float exp_avg[kWindow];
  alignas(64) float exp_avg_sq[kWindow];
};

// One window's moments in each codec. load() and store() take the index of the vector's first element; finish() writes
// what can only be written when all is stored. Which moments there are the rule says.
template <class Rule, class Ops>
class Float32Moments {
 public:
  ASTERIAS_FORMULA_INLINE Float32Moments(const UpdateArrays& a, WindowMoments&)
      : exp_avg_(static_cast<float*>(a.exp_avg.data)), exp_avg_sq_(static_cast<float*>(a.exp_avg_sq.data)) {}
  ASTERIAS_FORMULA_INLINE void load(Element<Ops>& e, std::size_t i) const {
    if constexpr (Rule::kReadsExpAvg) e.exp_avg = Ops::load(exp_avg_ + i);
    if constexpr (Rule::kUsesExpAvgSq) e.exp_avg_sq = Ops::load(exp_avg_sq_ + i);
  }
  ASTERIAS_FORMULA_INLINE void store(const Element<Ops>& e, std::size_t i) {
    if constexpr (Rule::kWritesExpAvg) Ops::store(e.exp_avg, exp_avg_ + i);
    if constexpr (Rule::kUsesExpAvgSq) Ops::store(e.exp_avg_sq, exp_avg_sq_ + i);
  }
  ASTERIAS_FORMULA_INLINE void finish() const {}

 private:
  float *const exp_avg_, *const exp_avg_sq_;
};

template <class Rule, class Ops>
class Bfloat16Moments {
 public:
  ASTERIAS_FORMULA_INLINE Bfloat16Moments(const UpdateArrays& a, WindowMoments&)
      : exp_avg_(static_cast<std::uint16_t*>(a.exp_avg.data)),
        exp_avg_sq_(static_cast<std::uint16_t*>(a.exp_avg_sq.data)),
        first_element_(static_cast<std::uint32_t>(a.first_element)),
        noise_(key_of_span(a.rounding, a.first_element >> 32)) {}
  ASTERIAS_FORMULA_INLINE void load(Element<Ops>& e, std::size_t i) const {
    if constexpr (Rule::kReadsExpAvg) e.exp_avg = load_bfloat16<Ops>(exp_avg_ + i);
    if constexpr (Rule::kUsesExpAvgSq) e.exp_avg_sq = load_bfloat16<Ops>(exp_avg_sq_ + i);
  }
  ASTERIAS_FORMULA_INLINE void store(const Element<Ops>& e, std::size_t i) {
    const auto noise = noise_.at(first_element_ + static_cast<std::uint32_t>(i));
    Ops::store_16(stochastic_bfloat16<Ops>(e.exp_avg, moment_noise<Ops, true>(noise)), exp_avg_ + i);
    if constexpr (!Rule::kUsesExpAvgSq) return;
    Ops::store_16(stochastic_bfloat16<Ops>(e.exp_avg_sq, moment_noise<Ops, false>(noise)), exp_avg_sq_ + i);
  }
  ASTERIAS_FORMULA_INLINE void finish() const {}

 private:
  std::uint16_t *const exp_avg_, *const exp_avg_sq_;
  const std::uint32_t first_element_;
  const Noise<Ops> noise_;
};

// The window is one block. Decoding, updating (which finds the absmax) and encoding are a loop each: one loop for the
// first two was 6 % slower on AVX2 and no faster on AVX-512 (Zen 4).
template <class Rule, class Ops>
class Block8Moments {
 public:
  inline Block8Moments(const UpdateArrays& a, WindowMoments& floats) : floats_(floats), exp_avg_(a.exp_avg) {
    if constexpr (Rule::kReadsExpAvg) decode_block<Ops, true>(exp_avg_, floats_.exp_avg);
    if constexpr (!Rule::kUsesExpAvgSq) return;
    exp_avg_sq_ = a.exp_avg_sq;
    decode_block<Ops, false>(exp_avg_sq_, floats_.exp_avg_sq);
  }
  ASTERIAS_FORMULA_INLINE void load(Element<Ops>& e, std::size_t i) const {
    if constexpr (Rule::kReadsExpAvg) e.exp_avg = Ops::load(floats_.exp_avg + i);
    if constexpr (Rule::kUsesExpAvgSq) e.exp_avg_sq = Ops::load(floats_.exp_avg_sq + i);
  }
  ASTERIAS_FORMULA_INLINE void store(const Element<Ops>& e, std::size_t i) {
    Ops::store(e.exp_avg, floats_.exp_avg + i);
    largest_ = Ops::max_bits(largest_, Ops::bits(Ops::abs(e.exp_avg)));
    if constexpr (!Rule::kUsesExpAvgSq) return;
    Ops::store(e.exp_avg_sq, floats_.exp_avg_sq + i);
    largest_sq_ = Ops::max_bits(largest_sq_, Ops::bits(e.exp_avg_sq));
  }
  inline void finish() const {
    encode_block<Ops, true>(floats_.exp_avg, Ops::largest_lane(largest_), exp_avg_);
    if constexpr (!Rule::kUsesExpAvgSq) return;
    encode_block<Ops, false>(floats_.exp_avg_sq, Ops::largest_lane(largest_sq_), exp_avg_sq_);
  }

 private:
  typename Ops::U largest_ = Ops::set_bits(0), largest_sq_ = Ops::set_bits(0);
  WindowMoments& floats_;
  MomentArray exp_avg_, exp_avg_sq_;
};

// Updates the first 256 elements of `a`. The output may lie in the gradient's place.
template <class Rule, class Ops, class Moments>
inline void update_window(const Rule& rule, const UpdateArrays& a, WindowMoments& floats) {
  Moments moments(a, floats);
  float* const param = a.param;
  const ConstNumbers grad = a.grad;
  const Numbers16 out = a.param_out;
  for (std::size_t i = 0; i < kWindow; i += Ops::kLanes) {
    Element<Ops> e;
    e.param = Ops::load(param + i);
    e.grad = load_number<Ops>(grad.type, grad.data, i);
    moments.load(e, i);
    rule.apply(e);
    Ops::store(e.param, param + i);
    if (out.data) store_number_16<Ops>(out.type, e.param, out.data, i);
    moments.store(e, i);
  }
  moments.finish();
}

// A window of fewer than 256 elements, copied to where 256 lie, zeros behind them, and back: the same instructions as
// everywhere else, hence the same bits, and no byte outside the arrays is touched. Zeros stay zeros in every moment, so
// they do not show in an absmax.
class PaddedWindow {
 public:
  explicit PaddedWindow(const UpdateArrays& a) : source_(a), window_(a) {
    window_.param = param_;
    window_.grad.data = grad_;
    if (a.param_out.data) window_.param_out.data = param_out_;
    redirect(window_.exp_avg, exp_avg_);
    redirect(window_.exp_avg_sq, exp_avg_sq_);
    window_.count = kWindow;
    std::memcpy(param_, a.param, a.count * sizeof(float));
    std::memcpy(grad_, a.grad.data, a.count * size_bytes(a.grad.type));
    copy(a.exp_avg, window_.exp_avg);
    copy(a.exp_avg_sq, window_.exp_avg_sq);
  }
  const UpdateArrays& arrays() const { return window_; }

  void copy_back() const {
    std::memcpy(source_.param, param_, source_.count * sizeof(float));
    if (source_.param_out.data) std::memcpy(source_.param_out.data, param_out_, source_.count * sizeof(std::uint16_t));
    copy(window_.exp_avg, source_.exp_avg);
    copy(window_.exp_avg_sq, source_.exp_avg_sq);
  }

 private:
  static void redirect(MomentArray& moment, float* memory) {
    if (!moment) return;
    moment.data = memory;
    if (moment.absmax) moment.absmax = memory + kWindow;
  }
  void copy(const MomentArray& from, const MomentArray& to) const {
    if (!from) return;
    std::memcpy(to.data, from.data, source_.count * size_bytes(from.codec));
    if (from.absmax) *to.absmax = *from.absmax;
  }

  const UpdateArrays& source_;
  UpdateArrays window_;
  float param_[kWindow] = {}, grad_[kWindow] = {};
  float exp_avg_[kWindow + 1] = {}, exp_avg_sq_[kWindow + 1] = {};
  std::uint16_t param_out_[kWindow];
};

// Applies whatever rule it is given to arrays of any format.
template <class Ops>
struct CodedLoop {
  const UpdateArrays& arrays;

  template <class Rule>
  inline void run(const Rule& rule) const {
    if constexpr (!Rule::kWritesExpAvg) return run_as<Rule, Float32Moments<Rule, Ops>>(rule);
    switch (arrays.exp_avg.codec) {
      case StateCodec::kFloat32: return run_as<Rule, Float32Moments<Rule, Ops>>(rule);
      case StateCodec::kBfloat16: return run_as<Rule, Bfloat16Moments<Rule, Ops>>(rule);
      case StateCodec::kBlock8: return run_as<Rule, Block8Moments<Rule, Ops>>(rule);
    }
  }

  template <class Rule, class Moments>
  inline void run_as(const Rule& rule) const {
    WindowMoments floats;
    const std::size_t whole = arrays.count - arrays.count % kWindow;
    for (std::size_t begin = 0; begin < whole; begin += kWindow) {
      update_window<Rule, Ops, Moments>(rule, arrays.part(begin, kWindow), floats);
    }
    if (whole == arrays.count) return;
    UpdateArrays rest = arrays.part(whole, arrays.count - whole);
    if constexpr (!Rule::kWritesExpAvg) rest.exp_avg = nullptr;
    if constexpr (!Rule::kUsesExpAvgSq) rest.exp_avg_sq = nullptr;
    PaddedWindow padded(rest);
    update_window<Rule, Ops, Moments>(rule, padded.arrays(), floats);
    padded.copy_back();
  }
};

// Updates `a`, whatever its formats.
template <class Ops>
inline void run_update(Algorithm algorithm, const UpdateConstants& c, const UpdateArrays& a) {
  const bool plain = a.grad.type == NumberType::kFloat32 && !a.param_out.data &&
                     a.exp_avg.codec == StateCodec::kFloat32 && a.exp_avg_sq.codec == StateCodec::kFloat32;
  if (!plain) return run_rule<Ops>(algorithm, c, CodedLoop<Ops>{a});
  const FloatArrays floats{a.param, static_cast<const float*>(a.grad.data), static_cast<float*>(a.exp_avg.data),
                           static_cast<float*>(a.exp_avg_sq.data), a.count};
  run_rule<Ops>(algorithm, c, FloatLoop<Ops>{floats});
}

}  // namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE
