// Sees every leaf operator: pins what it names before it runs, adopts what it made after.
//
// A boxed fallback at the unused dispatch key `Fake`, below autograd, so composite operators are met as their parts, in
// forward and backward alike. The key is on in a thread while it holds a Scope; autograd carries it to its own workers.
// RecordFunction lost: it swallows exceptions, so a failed fetch could not stop the operator.
//
// Invariants
//   * What an operator names is on the compute tier (for what host_operators.hpp runs: on the cpu tier) from before its
//     kernel starts until the outermost operator of the thread ends.
//   * The outputs of a thread's last operator stay until its next one: at::tensor({...}) and empty + accessor fill them
//     by pointer.
//   * No lock is held while a kernel runs.
//
// Threading: per-thread state; the residency it calls is thread-safe.
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "evict/residency.hpp"

namespace asterias::runtime {

// Registers the fallback; idempotent.
void install_interception();

// True in a thread that holds a Scope (or works for one, as autograd's threads do).
bool is_in_scope();

// Turns the interception on in this thread for its lifetime. Counted: scopes may end in any order.
class Scope {
 public:
  Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope();
};

// Takes this thread out of the scopes it is in for its lifetime: it allocates and computes as one that has none.
class OutOfScope {
 public:
  OutOfScope();
  OutOfScope(const OutOfScope&) = delete;
  OutOfScope& operator=(const OutOfScope&) = delete;
  ~OutOfScope();

 private:
  const bool was_in_scope_;
};

// While it lives, this thread's operators count as writing whatever they read: so a constructor that writes through a
// raw pointer, between operators, writes the only copy.
class RawWrites {
 public:
  RawWrites();
  RawWrites(const RawWrites&) = delete;
  RawWrites& operator=(const RawWrites&) = delete;
  ~RawWrites();
};

// Lets go of the outputs that this thread's last operator left pinned.
void release_last_outputs();
// Lets go of those that autograd's threads left. REQUIRES: no backward is under way.
void release_worker_outputs();

// The right to see bytes: what `tensors` name stays on the compute tier, readable (and, as long as `access` allows,
// writable) by pointer, while this lives. Sparse tensors pin their parts. Threads without a scope may hold one.
class Pin {
 public:
  // Pins nothing when `residency` is null.
  Pin(std::shared_ptr<evict::Residency> residency, const std::vector<at::Tensor>& tensors,
      evict::Access access = evict::Access::kWrite);
  Pin(Pin&&) noexcept = default;
  Pin& operator=(Pin&&) = delete;
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  ~Pin();

 private:
  void note_writes() const;

  std::shared_ptr<evict::Residency> residency_;
  std::vector<evict::Want> wants_;
  std::vector<at::Tensor> tensors_;
  evict::Access access_ = evict::Access::kRead;
};

}  // namespace asterias::runtime
