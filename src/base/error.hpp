// The exceptions that end a step, a run or a start. Each message says what was asked, what was there, and what to do.
//
// Values (std::optional, small enums) are for what is expected; these are for what is not. docs/errors.md lists them
// for users with their causes and remedies.
//
// Threading: immutable once thrown.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/tier.hpp"

namespace asterias {

// The root of everything Asterias throws on its own account.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The configuration cannot be used. All complaints are collected before it is thrown.
class ConfigError : public Error {
 public:
  explicit ConfigError(std::vector<std::string> complaints);
  explicit ConfigError(const std::string& complaint) : ConfigError(std::vector<std::string>{complaint}) {}
  const std::vector<std::string>& complaints() const { return complaints_; }

 private:
  std::vector<std::string> complaints_;
};

// A budget of one tier, in bytes.
struct TierBudget {
  Tier tier;
  std::uint64_t bytes;
};

// The model cannot be trained in the budgets given; thrown before the first weight changes.
class BudgetError : public Error {
 public:
  // `smallest` names, for each tier that is too small, the smallest budget that would do with the others as given.
  BudgetError(Tier tier, std::uint64_t need_bytes, std::uint64_t have_bytes, std::vector<TierBudget> smallest,
              const std::string& because);
  Tier tier() const { return tier_; }
  std::uint64_t need_bytes() const { return need_bytes_; }
  std::uint64_t have_bytes() const { return have_bytes_; }
  const std::vector<TierBudget>& smallest() const { return smallest_; }

 private:
  Tier tier_;
  std::uint64_t need_bytes_;
  std::uint64_t have_bytes_;
  std::vector<TierBudget> smallest_;
};

// One operation needs more of a tier at once than its budget holds. Weights are as they were before the step.
class OutOfMemory : public Error {
 public:
  OutOfMemory(Tier tier, std::uint64_t need_bytes, std::uint64_t have_bytes, const std::string& because);
  Tier tier() const { return tier_; }
  std::uint64_t need_bytes() const { return need_bytes_; }
  std::uint64_t have_bytes() const { return have_bytes_; }

 private:
  Tier tier_;
  std::uint64_t need_bytes_;
  std::uint64_t have_bytes_;
};

// A file could not be read, written, opened or grown.
class IoError : public Error {
 public:
  IoError(int error_number, std::string path, std::uint64_t offset, const std::string& what_was_done);
  int error_number() const { return error_number_; }
  const std::string& path() const { return path_; }
  std::uint64_t offset() const { return offset_; }

 private:
  int error_number_;
  std::string path_;
  std::uint64_t offset_;
};

// fp16 gradients overflow although the loss scale is the smallest allowed. Weights are as they were before the step.
class LossScaleError : public Error {
 public:
  // `parameter` is the first, in the order of names, whose gradient is not finite.
  LossScaleError(std::string parameter, double loss_scale);
  const std::string& parameter() const { return parameter_; }
  double loss_scale() const { return loss_scale_; }

 private:
  std::string parameter_;
  double loss_scale_;
};

// An accelerator that was asked for cannot be had, or has failed. What lay on the drive is as it was; a run resumes
// from its last checkpoint.
class CudaError : public Error {
 public:
  enum class Cause : std::uint8_t {
    kNoDriver,      // no NVIDIA driver answers
    kNoPlugin,      // libasterias_cuda.so is missing, or of another build
    kNoSuchDevice,  // fewer devices than asked for, or one that these kernels were not built for
    kBusy,          // another process holds the device, or its memory
    kTooSmall,      // it has less memory than asked for
    kLost,          // it stopped answering in the middle of the run
    kFailed,        // a call was refused for another reason
  };
  CudaError(Cause cause, const std::string& message) : Error(message), cause_(cause) {}
  Cause cause() const { return cause_; }

 private:
  Cause cause_;
};

// A call that the present state does not allow.
class StateError : public Error {
 public:
  enum class Cause : std::uint8_t { kMisuse, kBug };
  StateError(Cause cause, const std::string& message);
  Cause cause() const { return cause_; }

 private:
  Cause cause_;
};

}  // namespace asterias
