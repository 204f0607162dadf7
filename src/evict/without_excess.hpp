// Keeps limits as they are while it lives, also during the measuring pass.
//
// Threading: Residency's lock covers the flag.
#pragma once

#include <utility>

namespace asterias::evict {

class WithoutExcess {
 public:
  explicit WithoutExcess(bool& measuring) : measuring_(measuring), before_(std::exchange(measuring, false)) {}
  WithoutExcess(const WithoutExcess&) = delete;
  WithoutExcess& operator=(const WithoutExcess&) = delete;
  ~WithoutExcess() { measuring_ = before_; }

 private:
  bool& measuring_;
  const bool before_;
};

}  // namespace asterias::evict
