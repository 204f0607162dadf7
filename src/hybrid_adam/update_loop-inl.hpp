// The choice of a rule of adam_math.hpp, and the loop that applies it to fp32 arrays.
//
// Included once for each instruction set by update_kernel.cpp, after adam_math.hpp and under the same macros, for the
// same reason. Other formats have a loop of their own, window_loop-inl.hpp.

namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE {

// UpdateArrays of which every array is fp32 and nothing is cast out.
struct FloatArrays {
  float* param;
  const float* grad;
  float* exp_avg;
  float* exp_avg_sq;
  std::size_t count;
};

// Updates elements [i, i + kLanes).
template <class Rule, class Ops>
ASTERIAS_FORMULA_INLINE void update_vector(const Rule& rule, const FloatArrays& a, std::size_t i) {
  Element<Ops> e;
  e.param = Ops::load(a.param + i);
  e.grad = Ops::load(a.grad + i);
  if constexpr (Rule::kReadsExpAvg) e.exp_avg = Ops::load(a.exp_avg + i);
  if constexpr (Rule::kUsesExpAvgSq) e.exp_avg_sq = Ops::load(a.exp_avg_sq + i);
  rule.apply(e);
  Ops::store(e.param, a.param + i);
  if constexpr (Rule::kWritesExpAvg) Ops::store(e.exp_avg, a.exp_avg + i);
  if constexpr (Rule::kUsesExpAvgSq) Ops::store(e.exp_avg_sq, a.exp_avg_sq + i);
}

// Updates the last `count` < kLanes elements by copying them into one whole vector: the same instructions as everywhere
// else, hence the same bits, and no byte outside the arrays is touched.
template <class Rule, class Ops>
inline void update_tail(const Rule& rule, const FloatArrays& a, std::size_t begin, std::size_t count) {
  float param[Ops::kLanes] = {}, grad[Ops::kLanes] = {}, exp_avg[Ops::kLanes] = {}, exp_avg_sq[Ops::kLanes] = {};
  const std::size_t bytes = count * sizeof(float);
  std::memcpy(param, a.param + begin, bytes);
  std::memcpy(grad, a.grad + begin, bytes);
  if constexpr (Rule::kReadsExpAvg) std::memcpy(exp_avg, a.exp_avg + begin, bytes);
  if constexpr (Rule::kUsesExpAvgSq) std::memcpy(exp_avg_sq, a.exp_avg_sq + begin, bytes);
  update_vector<Rule, Ops>(rule, FloatArrays{param, grad, exp_avg, exp_avg_sq, Ops::kLanes}, 0);
  std::memcpy(a.param + begin, param, bytes);
  if constexpr (Rule::kWritesExpAvg) std::memcpy(a.exp_avg + begin, exp_avg, bytes);
  if constexpr (Rule::kUsesExpAvgSq) std::memcpy(a.exp_avg_sq + begin, exp_avg_sq, bytes);
}

// Applies whatever rule it is given to fp32 arrays.
template <class Ops>
struct FloatLoop {
  FloatArrays arrays;

  template <class Rule>
  inline void run(const Rule& rule) const {
    const std::size_t whole = arrays.count - arrays.count % Ops::kLanes;
    for (std::size_t i = 0; i < whole; i += Ops::kLanes) update_vector<Rule, Ops>(rule, arrays, i);
    if (whole != arrays.count) update_tail<Rule, Ops>(rule, arrays, whole, arrays.count - whole);
  }
};

template <class Ops, bool kDecay, Momentum kMomentum, class Loop>
ASTERIAS_HD inline void run_sgd_momentum(const UpdateConstants& c, const Loop& loop) {
  c.nesterov ? loop.run(SgdRule<Ops, kDecay, kMomentum, true>(c)) : loop.run(SgdRule<Ops, kDecay, kMomentum, false>(c));
}

template <class Ops, bool kDecay, class Loop>
ASTERIAS_HD inline void run_sgd(const UpdateConstants& c, const Loop& loop) {
  if (!c.has_momentum) return loop.run(SgdRule<Ops, kDecay, Momentum::kNone, false>(c));
  if (c.first_step) return run_sgd_momentum<Ops, kDecay, Momentum::kFirstStep>(c, loop);
  run_sgd_momentum<Ops, kDecay, Momentum::kLaterStep>(c, loop);
}

// Runs `loop` with the rule that `algorithm` and `c` ask for. Without decay Adam and AdamW are one rule.
template <class Ops, class Loop>
ASTERIAS_HD inline void run_rule(Algorithm algorithm, const UpdateConstants& c, const Loop& loop) {
  if (algorithm == Algorithm::kSgd)
    return c.has_weight_decay ? run_sgd<Ops, true>(c, loop) : run_sgd<Ops, false>(c, loop);
  if (!c.has_weight_decay) return loop.run(AdamRule<Ops, false, false>(c));
  if (algorithm == Algorithm::kAdam) return loop.run(AdamRule<Ops, true, false>(c));
  loop.run(AdamRule<Ops, true, true>(c));
}

}  // namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE
