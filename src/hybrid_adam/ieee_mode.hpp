// Puts the calling thread's floating-point unit into its default IEEE mode for a scope: round to nearest, denormals
// neither flushed (FTZ) nor read as zero (DAZ), no traps.
//
// The mode belongs to a thread: torch::set_flush_denormal(true) in the user's thread does not reach our workers, so
// without this guard the same element would get other bits on another thread. Explicit comparisons alone cannot mend
// that: an intermediate product that the hardware flushed is gone before anything could compare it.
// Costs 0.2 us, so it is taken once per call of a kernel, never per element.
//
// Threading: the guard lives and dies on one thread.
#pragma once

#include <cfenv>

namespace asterias::hybrid_adam {

class IeeeMode {
 public:
  IeeeMode() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  IeeeMode(const IeeeMode&) = delete;
  IeeeMode& operator=(const IeeeMode&) = delete;
  ~IeeeMode() { std::fesetenv(&saved_); }

 private:
  std::fenv_t saved_;
};

}  // namespace asterias::hybrid_adam
