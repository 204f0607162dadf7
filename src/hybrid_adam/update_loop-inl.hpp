// The loop that applies one rule of adam_math.hpp to arrays on a CPU, and the choice of the rule.
//
// Included once for each instruction set by update_kernel.cpp, right after adam_math.hpp and under the same macros, for
// the same reason. Besides the formula's operations, `Ops` here also has
//   static constexpr std::size_t kLanes; static V load(const float*); static void store(V, float*)  // any alignment

namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE {

// Updates elements [i, i + kLanes).
template <class Rule, class Ops>
ASTERIAS_FORMULA_INLINE void update_vector(const Rule& rule, const UpdateArrays& a, std::size_t i) {
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
inline void update_tail(const Rule& rule, const UpdateArrays& a, std::size_t begin, std::size_t count) {
  float param[Ops::kLanes] = {}, grad[Ops::kLanes] = {}, exp_avg[Ops::kLanes] = {}, exp_avg_sq[Ops::kLanes] = {};
  const std::size_t bytes = count * sizeof(float);
  std::memcpy(param, a.param + begin, bytes);
  std::memcpy(grad, a.grad + begin, bytes);
  if constexpr (Rule::kReadsExpAvg) std::memcpy(exp_avg, a.exp_avg + begin, bytes);
  if constexpr (Rule::kUsesExpAvgSq) std::memcpy(exp_avg_sq, a.exp_avg_sq + begin, bytes);
  update_vector<Rule, Ops>(rule, UpdateArrays{param, grad, exp_avg, exp_avg_sq, Ops::kLanes}, 0);
  std::memcpy(a.param + begin, param, bytes);
  if constexpr (Rule::kWritesExpAvg) std::memcpy(a.exp_avg + begin, exp_avg, bytes);
  if constexpr (Rule::kUsesExpAvgSq) std::memcpy(a.exp_avg_sq + begin, exp_avg_sq, bytes);
}

template <class Rule, class Ops>
inline void run(const UpdateConstants& constants, const UpdateArrays& a) {
  const Rule rule(constants);
  const std::size_t whole = a.count - a.count % Ops::kLanes;
  for (std::size_t i = 0; i < whole; i += Ops::kLanes) update_vector<Rule, Ops>(rule, a, i);
  if (whole != a.count) update_tail<Rule, Ops>(rule, a, whole, a.count - whole);
}

template <class Ops, bool kDecoupledDecay>
inline void run_adam(const UpdateConstants& c, const UpdateArrays& a) {
  c.has_weight_decay ? run<AdamRule<Ops, true, kDecoupledDecay>, Ops>(c, a)
                     : run<AdamRule<Ops, false, kDecoupledDecay>, Ops>(c, a);
}

template <class Ops, bool kDecay, Momentum kMomentum>
inline void run_sgd_momentum(const UpdateConstants& c, const UpdateArrays& a) {
  c.nesterov ? run<SgdRule<Ops, kDecay, kMomentum, true>, Ops>(c, a)
             : run<SgdRule<Ops, kDecay, kMomentum, false>, Ops>(c, a);
}

template <class Ops, bool kDecay>
inline void run_sgd(const UpdateConstants& c, const UpdateArrays& a) {
  if (!c.has_momentum) return run<SgdRule<Ops, kDecay, Momentum::kNone, false>, Ops>(c, a);
  if (c.first_step) return run_sgd_momentum<Ops, kDecay, Momentum::kFirstStep>(c, a);
  run_sgd_momentum<Ops, kDecay, Momentum::kLaterStep>(c, a);
}

template <class Ops>
inline void run_update(Algorithm algorithm, const UpdateConstants& c, const UpdateArrays& a) {
  switch (algorithm) {
    case Algorithm::kAdam: return run_adam<Ops, false>(c, a);
    case Algorithm::kAdamW: return run_adam<Ops, true>(c, a);
    case Algorithm::kSgd: return c.has_weight_decay ? run_sgd<Ops, true>(c, a) : run_sgd<Ops, false>(c, a);
  }
}

}  // namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE
