// What all engines of a process share: the tiers, the residency, the allocator and the interception.
//
// The first engine makes it from its configuration; later ones join and must ask for the same tiers; it ends with the
// last engine, when tensors that live on get plain memory back as far as it fits. Budgets are judged here: what is too
// small, and what would do.
//
// Threading: attach and detach on engine threads; everything else is thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <c10/core/Device.h>

#include "base/error.hpp"
#include "evict/residency.hpp"
#include "runtime/config.hpp"
#include "runtime/cuda_backend.hpp"

namespace asterias::runtime {

// Somebody who has work that fits between two operators.
class BetweenOperators {
 public:
  // Called before each outermost operator, on its thread. Must not run operators.
  virtual void work_between_operators() noexcept = 0;

 protected:
  ~BetweenOperators() = default;
};

class Runtime : public std::enable_shared_from_this<Runtime> {
 public:
  // Joins the process's runtime, or makes it. Throws ConfigError when the tiers differ from those in use.
  static std::shared_ptr<Runtime> attach(const EngineConfig& config);
  // Leaves it. With the last engine the allocator goes back to torch's own.
  static void detach(const std::shared_ptr<Runtime>& runtime);
  // The process's runtime, or null. Costs one atomic load and a reference count.
  static std::shared_ptr<Runtime> current();

  evict::Residency& residency() const { return *residency_; }
  const std::shared_ptr<evict::Residency>& shared_residency() const { return residency_; }
  Tier compute_tier() const { return compute_tier_; }
  // The fastest tier whose bytes the host may read and write.
  Tier host_tier() const { return residency_->hierarchy().host_tier(); }
  const DebugConfig& debug() const { return debug_; }

  // Whose tensors are computed with: a card, or the CPU, also on the simulated device.
  c10::Device device() const { return device_; }
  // True where tensors of this device have their memory from the tiers.
  bool serves(c10::Device device) const { return device.is_cpu() || device == device_; }
  // Embedding tables of some engine stay on the cpu tier, and operators on them run there.
  void note_tables() { has_tables_ = true; }
  bool has_tables() const { return has_tables_; }
  // The card's kernels; null where there is none.
  hybrid_adam::KernelCalls* kernels() const { return cuda_.kernels; }
  // Throws StateError where the calling thread's operators go into another stream of the card than moves are ordered
  // by.
  void check_stream() const;

  // Throws the first cause when a transfer has failed for good; everything after it would be wrong.
  void check_failure() const;

  // Throws BudgetError if the measuring pass had to exceed a limit, or if what it measured will not fit once optimizer
  // state exists. After the first update nothing is judged any more.
  void check_refusal() const;
  // Throws BudgetError only if a limit has been exceeded already: for an evaluation, which is not measured and gets no
  // excess.
  void check_excess() const;
  // Has `worker` called between operators, until it is removed. Both on the engine's thread.
  void add_worker(BetweenOperators* worker) { workers_.push_back(worker); }
  void remove_worker(BetweenOperators* worker) { std::erase(workers_, worker); }
  void work_between_operators() noexcept {
    for (auto* worker : workers_) worker->work_between_operators();
  }

  bool is_measuring() const { return is_measuring_; }
  // Says that nothing has to move: the CPU computes, and its memory holds all that ever lived at once.
  bool is_all_there() const { return !is_measuring_ && compute_tier_ == Tier::kCpu && residency_->all_fits(); }
  // Ends the measuring: from now on a limit is final. Called when the first update is about to change weights.
  void end_measuring();
  // Throws BudgetError for a model that could not even be built, unless no tier lacks anything that is known of.
  void refuse_build() const;

  // The smallest budgets that would do, each with the others as given; only those that exceed what is given if
  // `only_lacking`.
  std::vector<TierBudget> smallest_budgets(bool only_lacking) const;

 private:
  Runtime(const EngineConfig& config, const CudaBackend& cuda);
  bool may_exceed(std::uint64_t bytes) const;
  [[noreturn]] void refuse(const char* why, const char* remark = "") const;

  std::shared_ptr<evict::Residency> residency_;
  Tier compute_tier_;
  c10::Device device_;
  CudaBackend cuda_;  // empty where there is no card
  DebugConfig debug_;
  bool is_measuring_ = true;
  std::atomic<bool> has_tables_ = false;
  std::vector<BetweenOperators*> workers_;
  std::string tiers_key_;  // what later engines must ask for, too
};

}  // namespace asterias::runtime
