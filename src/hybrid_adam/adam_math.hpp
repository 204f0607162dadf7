// The one written formula of every update: what happens to one element (or to one vector of elements) in a step.
//
// The portable loop, the SIMD kernels and, later, the CUDA kernel all compile this text, each with its own small set of
// operations, and so give the same bits. Not here: loops over memory (update_loop-inl.hpp) and constants from
// hyper-parameters (update_constants.hpp).
//
// Included once for each instruction set, so it has no include guard: intrinsics inline only into functions compiled
// for their own target, hence the text must stand inside that target's region. The includer first defines
//   ASTERIAS_FORMULA_SPACE  the namespace, under asterias::hybrid_adam, that receives the code (undefined again at the
//   end) ASTERIAS_FORMULA_INLINE how its functions are declared (`inline`, HWY_INLINE, `__host__ __device__ inline`);
//   kept
// and gives an `Ops` with a value type V and static functions, each of them one correctly rounded IEEE operation:
//   V set(float); V add(V, V); V sub(V, V); V mul(V, V); V mul_add(V a, V b, V c)  // a * b + c rounded once
//   V sqrt(V); V div(V, V); V flush_tiny(V)              // +0 where |x| < FLT_MIN, else x (NaN stays)
//
// Invariants
//   * Elementwise: an element's result depends on its own inputs and the constants, never on its position.
//   * Only the operations above touch data: nothing is left to the compiler to fuse, reorder or widen.
//   * Stored moments are never denormal: without a gradient they decay, and would otherwise spend thousands of steps
//     there
//     at a tenth of the speed. The step itself still uses the value before it is flushed, as torch does.
//   * Parameters are stored as computed, denormal or not; only moments are flushed.
//   * Callers run in the default IEEE mode (ieee_mode.hpp: no FTZ, no DAZ, to nearest); CUDA without -ftz=true.

#ifndef ASTERIAS_FORMULA_SPACE
#error "define ASTERIAS_FORMULA_SPACE and ASTERIAS_FORMULA_INLINE before including hybrid_adam/adam_math.hpp"
#endif

namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE {

// One element's inputs, and its outputs once a rule has been applied.
template <class Ops>
struct Element {
  typename Ops::V param;
  typename Ops::V grad;
  typename Ops::V exp_avg;
  typename Ops::V exp_avg_sq;
};

// Adam when `kDecoupledDecay` is false, AdamW when it is true. With g the scaled gradient:
//   Adam:  g = g + wd*p            AdamW:  p = p - lr*wd*p
//   m = m + (1-beta1)*(g-m)        v = beta2*v + (1-beta2)*g^2
//   p = p - lr*c/(1-beta1^t) * m / (sqrt(v) + eps*c)   where c = sqrt(1-beta2^t)
// Source: Kingma and Ba 2015, algorithm 1, with c folded into the two constants as at the end of its section 2;
// Loshchilov and Hutter 2019, algorithm 2 (decay before the step, as torch).
//
// The forms are those with the fewest roundings at no more operations. m as one interpolation, from the side that is
// nearer (beta1 < 0.5: g - beta1*(g-m)), as torch. v not so: inf - inf would turn the parameter of a gradient above
// 1e19 into NaN, where torch leaves it unchanged. (1-beta2)*g is rounded before the other g joins in the fma: g^2 alone
// would be denormal below 1e-19. Relative roundings of p's update at most, in units of 2^-24, at default betas: m 1.2,
// v 2.8 (halved by the root), root, sum, quotient and constant 1 each, so 6.6 if all fall the same way; gradient scale
// and L2 decay add up to 2 each to m and twice that to v.
template <class Ops, bool kDecay, bool kDecoupledDecay>
struct AdamRule {
  using V = typename Ops::V;
  static constexpr bool kReadsExpAvg = true;
  static constexpr bool kWritesExpAvg = true;
  static constexpr bool kUsesExpAvgSq = true;

  V grad_scale, decay, exp_avg_weight, beta2, one_minus_beta2, scaled_eps, neg_step_size;
  bool exp_avg_from_grad;

  explicit ASTERIAS_FORMULA_INLINE AdamRule(const UpdateConstants& c)
      : grad_scale(Ops::set(c.grad_scale)),
        decay(Ops::set(kDecoupledDecay ? c.neg_lr_weight_decay : c.weight_decay)),
        exp_avg_weight(Ops::set(c.exp_avg_weight)),
        beta2(Ops::set(c.beta2)),
        one_minus_beta2(Ops::set(c.one_minus_beta2)),
        scaled_eps(Ops::set(c.scaled_eps)),
        neg_step_size(Ops::set(c.neg_step_size)),
        exp_avg_from_grad(c.exp_avg_from_grad) {}

  ASTERIAS_FORMULA_INLINE void apply(Element<Ops>& e) const {
    V g = Ops::mul(e.grad, grad_scale);
    if constexpr (kDecay && !kDecoupledDecay) g = Ops::mul_add(decay, e.param, g);
    if constexpr (kDecay && kDecoupledDecay) e.param = Ops::mul_add(decay, e.param, e.param);
    const V m = Ops::mul_add(exp_avg_weight, Ops::sub(g, e.exp_avg), exp_avg_from_grad ? g : e.exp_avg);
    const V v = Ops::mul_add(Ops::mul(one_minus_beta2, g), g, Ops::mul(beta2, e.exp_avg_sq));
    const V denominator = Ops::add(Ops::sqrt(v), scaled_eps);
    e.param = Ops::mul_add(neg_step_size, Ops::div(m, denominator), e.param);
    e.exp_avg = Ops::flush_tiny(m);
    e.exp_avg_sq = Ops::flush_tiny(v);
  }
};

// How SGD treats its momentum buffer in this step.
enum class Momentum { kNone, kFirstStep, kLaterStep };

// SGD as torch.optim.SGD. With g the scaled gradient plus wd*p:
//   first step: b = g; later: b = momentum*b + (1-dampening)*g
//   p = p - lr * (nesterov ? g + momentum*b : b), without momentum p = p - lr*g
template <class Ops, bool kDecay, Momentum kMomentum, bool kNesterov>
struct SgdRule {
  using V = typename Ops::V;
  static constexpr bool kReadsExpAvg = kMomentum == Momentum::kLaterStep;
  static constexpr bool kWritesExpAvg = kMomentum != Momentum::kNone;
  static constexpr bool kUsesExpAvgSq = false;

  V grad_scale, decay, momentum, one_minus_dampening, neg_lr;

  explicit ASTERIAS_FORMULA_INLINE SgdRule(const UpdateConstants& c)
      : grad_scale(Ops::set(c.grad_scale)),
        decay(Ops::set(c.weight_decay)),
        momentum(Ops::set(c.momentum)),
        one_minus_dampening(Ops::set(c.one_minus_dampening)),
        neg_lr(Ops::set(c.neg_lr)) {}

  ASTERIAS_FORMULA_INLINE void apply(Element<Ops>& e) const {
    V g = Ops::mul(e.grad, grad_scale);
    if constexpr (kDecay) g = Ops::mul_add(decay, e.param, g);
    V direction = g;
    if constexpr (kMomentum != Momentum::kNone) {
      V buffer = g;
      if constexpr (kMomentum == Momentum::kLaterStep) {
        buffer = Ops::mul_add(one_minus_dampening, g, Ops::mul(momentum, e.exp_avg));
      }
      if constexpr (kNesterov) direction = Ops::mul_add(momentum, buffer, g);
      if constexpr (!kNesterov) direction = buffer;
      e.exp_avg = Ops::flush_tiny(buffer);
    }
    e.param = Ops::mul_add(neg_lr, direction, e.param);
  }
};

}  // namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE
