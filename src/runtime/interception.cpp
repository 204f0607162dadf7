#include "runtime/interception.hpp"

#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/SparseCsrTensorImpl.h>
#include <ATen/SparseTensorImpl.h>
#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/SmallVector.h>

#include "base/error.hpp"
#include "runtime/host_operators.hpp"
#include "runtime/operator_info.hpp"
#include "runtime/runtime.hpp"
#include "runtime/storage_slot.hpp"

namespace asterias::runtime {
namespace {

constexpr auto kKey = c10::DispatchKey::Fake;

using Wants = c10::SmallVector<evict::Want, 8>;

// ---- which storages an argument names -------------------------------------------------------------------------------

bool is_compressed_sparse(c10::Layout layout) {
  return layout == at::kSparseCsr || layout == at::kSparseCsc || layout == at::kSparseBsr || layout == at::kSparseBsc;
}

template <class Visit>
void visit_storages(const at::Tensor& tensor, const Visit& visit) {
  if (!tensor.defined()) return;
  auto* impl = tensor.unsafeGetTensorImpl();
  if (impl->has_storage()) {
    if (auto* storage = impl->unsafe_storage().unsafeGetStorageImpl()) visit(storage);
  } else if (tensor.layout() == at::kSparse) {
    auto* sparse = static_cast<at::SparseTensorImpl*>(impl);
    visit_storages(sparse->indices(), visit);
    visit_storages(sparse->values(), visit);
  } else if (is_compressed_sparse(tensor.layout())) {
    auto* sparse = static_cast<at::SparseCsrTensorImpl*>(impl);
    visit_storages(sparse->compressed_indices(), visit);
    visit_storages(sparse->plain_indices(), visit);
    visit_storages(sparse->values(), visit);
  }
}

template <class Visit>
void visit_storages(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    visit_storages(value.toTensor(), visit);
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorList()) visit_storages(tensor, visit);
  } else if (value.isList()) {  // Tensor?[] is a list, but no TensorList
    for (const c10::IValue& element : value.toListRef()) visit_storages(element, visit);
  }
}

// Tells operators apart that differ in sizes only. FNV-1a over dimensions.
std::uint64_t hash_call(const OperatorInfo& info, c10::ArrayRef<c10::IValue> arguments) {
  std::uint64_t hash = info.hash;
  for (const auto& argument : arguments)
    if (argument.isTensor() && argument.toTensor().defined())
      for (const auto size : argument.toTensor().sizes())
        hash = (hash ^ static_cast<std::uint64_t>(size)) * 0x100000001b3ULL;
  return hash;
}

// ---- per-thread state -----------------------------------------------------------------------------------------------

class Frame;
thread_local Frame* outermost_frame = nullptr;
thread_local int scope_count = 0;
thread_local int raw_writes_count = 0;

// The outputs of a thread's last operator.
class LastOutputs {
 public:
  LastOutputs() {
    const std::lock_guard lock(all_mutex());
    all().push_back(this);
  }
  LastOutputs(const LastOutputs&) = delete;
  LastOutputs& operator=(const LastOutputs&) = delete;
  ~LastOutputs() {
    {
      const std::lock_guard lock(all_mutex());
      std::erase(all(), this);
    }
    release();
  }

  // REQUIRES: released, on its own thread.
  void hold(const std::shared_ptr<Runtime>& runtime, Wants wants) {
    const std::lock_guard lock(mutex_);
    runtime_ = runtime;
    wants_ = std::move(wants);
    is_worker_ = scope_count == 0;
  }
  void release() noexcept {
    std::shared_ptr<Runtime> runtime;
    Wants wants;
    {
      const std::lock_guard lock(mutex_);
      runtime.swap(runtime_);
      wants.swap(wants_);
    }
    if (!wants.empty()) runtime->residency().release(wants, runtime->compute_tier());
  }
  // Releases those of threads that hold no scope of their own: autograd's, which work for one.
  static void release_workers() noexcept {
    const std::lock_guard lock(all_mutex());
    for (auto* each : all())
      if (each->is_worker_) each->release();
  }

 private:
  static std::mutex& all_mutex() {
    static auto* const kMutex = new std::mutex;  // outlives every thread
    return *kMutex;
  }
  static std::vector<LastOutputs*>& all() {
    static auto* const kAll = new std::vector<LastOutputs*>;
    return *kAll;
  }

  std::mutex mutex_;
  std::shared_ptr<Runtime> runtime_;
  Wants wants_;
  std::atomic<bool> is_worker_ = false;
};
thread_local LastOutputs last_outputs;

// ---- one operator ---------------------------------------------------------------------------------------------------

// Everything pinned for one outermost operator and those nested in it.
class Frame {
 public:
  Frame(const std::shared_ptr<Runtime>& runtime, const OperatorInfo& info)
      : runtime_(runtime), info_(info), is_outermost_(outermost_frame == nullptr), tier_(runtime->compute_tier()) {
    if (!is_outermost_) return;
    outermost_frame = this;
    last_outputs.release();
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  ~Frame() {
    if (!is_outermost_) return;
    outermost_frame = nullptr;
    residency().release(held_, tier_);
    bury();
  }

  void before(c10::ArrayRef<c10::IValue> arguments) {
    if (is_outermost_) {
      if (runs_on_host(*runtime_, info_, arguments)) tier_ = Tier::kCpu;
      runtime_->check_stream();
      runtime_->work_between_operators();
      residency().begin_operator(info_.label, hash_call(info_, arguments));
    }
    if (info_.touches_tensors) {
      Wants wants;
      for (std::size_t i = 0; i < arguments.size(); ++i) collect(arguments[i], info_.uses[i], wants);
      hold(wants);
      if (runtime_->debug().audit && is_outermost_) remember_inputs(wants);
    }
    bury();
  }

  // The operator is run_on_host()'s.
  bool is_on_host() const { return tier_ != runtime_->compute_tier(); }

  // Comes between before() and the kernel.
  void start_clock() {
    if (is_outermost_ && residency().is_recording()) kernel_start_ = evict::Residency::Clock::now();
  }

  void after(c10::ArrayRef<c10::IValue> outputs) {
    if (kernel_start_) residency().record_operator(info_.label, *kernel_start_, evict::Residency::Clock::now());
    if (!is_outermost_) {  // the kernel that called this one may read what it returned
      Wants wants;
      for (const auto& output : outputs) collect(output, Use::kRead, wants);
      hold(wants);
      return;
    }
    if (!audited_.empty()) compare_inputs();
    if (is_on_host() && info_.on_tables != OnTables::kLookUp) return;  // what is a table's stays there
    adopt_outputs(outputs);
  }

  bool is_outermost() const { return is_outermost_; }

 private:
  struct Audited {
    evict::Resident* resident;
    std::vector<std::byte> bytes;
    std::size_t number;  // among the arguments' storages
  };

  evict::Residency& residency() const { return runtime_->residency(); }

  void collect(const c10::IValue& value, Use use, Wants& wants) const {
    if (use == Use::kNone || use == Use::kView) return;
    const bool writes = use == Use::kWrite || raw_writes_count > 0;
    const auto access = writes ? evict::Access::kWrite : evict::Access::kRead;
    visit_storages(value, [&](c10::StorageImpl* storage) {
      // A nested operator's inputs may still be unknown to torch's bookkeeping of the outer one: only residents are
      // pinned.
      auto* slot = is_outermost_ ? StorageSlot::adopt(runtime_->shared_residency(), storage)
                                 : StorageSlot::find(runtime_->shared_residency(), storage);
      if (!slot) return;
      if (slot->is_lent()) slot->recall();
      if (use == Use::kWrite) slot->note_write();
      wants.push_back({slot->resident(), access});
    });
  }

  void hold(const Wants& wants) {
    if (wants.empty()) return;
    residency().acquire(wants, outermost_frame->tier_);
    auto& held = outermost_frame->held_;
    held.append(wants.begin(), wants.end());
  }

  void adopt_outputs(c10::ArrayRef<c10::IValue> outputs) {
    Wants wants;
    for (const auto& output : outputs)
      visit_storages(output, [&](c10::StorageImpl* storage) {
        auto* slot = StorageSlot::adopt(runtime_->shared_residency(), storage);
        if (slot && storage->_mutable_data_ptr_no_checks().get())
          wants.push_back({slot->resident(), evict::Access::kRead});
      });
    if (wants.empty()) return;
    residency().acquire(wants, runtime_->compute_tier());
    last_outputs.hold(runtime_, std::move(wants));
  }

  void remember_inputs(const Wants& wants) {
    for (std::size_t i = 0; i < wants.size(); ++i) {
      if (wants[i].access != evict::Access::kRead) continue;
      const auto* at = residency().address(wants[i].resident, tier_);
      audited_.push_back({wants[i].resident, {at, at + wants[i].resident->bytes}, i});
    }
  }

  void compare_inputs() const {
    for (const auto& audited : audited_) {
      const auto* at = residency().address(audited.resident, tier_);
      if (std::memcmp(at, audited.bytes.data(), audited.bytes.size()) == 0 || is_written(audited.resident)) continue;
      throw StateError(StateError::Cause::kBug, "operator " + info_.name + " wrote tensor argument " +
                                                    std::to_string(audited.number) +
                                                    ", which its schema calls read-only");
    }
  }

  bool is_written(const evict::Resident* resident) const {
    for (const auto& want : held_)
      if (want.resident == resident && want.access != evict::Access::kRead) return true;
    return false;
  }

  const std::shared_ptr<Runtime>& runtime_;
  const OperatorInfo& info_;
  const bool is_outermost_;
  Tier tier_;  // where what is held is held
  Wants held_;
  std::vector<Audited> audited_;
  std::optional<evict::Residency::Clock::time_point> kernel_start_;  // while a trace runs
};

void intercept(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const auto below = keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kKey);
  const OperatorInfo& info = operator_info(op);
  const auto runtime = Runtime::current();
  if (info.is_transparent || !runtime) {
    op.redispatchBoxed(below, stack);
    return;
  }
  bool is_outermost = false;
  {
    Frame frame(runtime, info);
    frame.before(torch::jit::last(*stack, info.uses.size()));
    frame.start_clock();
    frame.is_on_host() ? run_on_host(runtime, op, info, *stack) : op.redispatchBoxed(below, stack);
    frame.after(torch::jit::last(*stack, op.schema().returns().size()));
    is_outermost = frame.is_outermost();
  }
  if (is_outermost && runtime->debug().evict_always) {
    runtime->residency().evict_all();
    bury();
  }
}

}  // namespace

void install_interception() {
  static const auto kRegistration = c10::Dispatcher::singleton().registerFallback(
      kKey, c10::KernelFunction::makeFromBoxedFunction<&intercept>(), "asterias: residency of operator arguments");
}

bool is_in_scope() { return c10::impl::tls_is_dispatch_key_included(kKey); }

Scope::Scope() {
  if (scope_count++ == 0) c10::impl::tls_set_dispatch_key_included(kKey, true);
}

Scope::~Scope() {
  if (--scope_count > 0) return;
  c10::impl::tls_set_dispatch_key_included(kKey, false);
  last_outputs.release();
  bury();
}

OutOfScope::OutOfScope() : was_in_scope_(is_in_scope()) { c10::impl::tls_set_dispatch_key_included(kKey, false); }

OutOfScope::~OutOfScope() { c10::impl::tls_set_dispatch_key_included(kKey, was_in_scope_); }

RawWrites::RawWrites() { ++raw_writes_count; }

RawWrites::~RawWrites() { --raw_writes_count; }

void release_last_outputs() {
  last_outputs.release();
  bury();
}

void release_worker_outputs() {
  LastOutputs::release_workers();
  bury();
}

Pin::Pin(std::shared_ptr<evict::Residency> residency, const std::vector<at::Tensor>& tensors, evict::Access access)
    : residency_(std::move(residency)), tensors_(tensors), access_(access) {
  if (!residency_) return;
  for (const auto& tensor : tensors_)  // first: a recall moves another storage, which may be among them
    visit_storages(tensor, [&](c10::StorageImpl* storage) {
      const auto* slot = StorageSlot::find(residency_, storage);
      if (slot && slot->is_lent()) slot->recall();
    });
  for (const auto& tensor : tensors_)
    visit_storages(tensor, [&](c10::StorageImpl* storage) {
      auto* slot = StorageSlot::find(residency_, storage);
      if (!slot) return;
      wants_.push_back({slot->resident(), access});
    });
  note_writes();
  residency_->acquire(wants_, residency_->hierarchy().compute_tier());
  bury();
}

Pin::~Pin() {
  if (!residency_) return;
  note_writes();  // those since somebody looked
  residency_->release(wants_, residency_->hierarchy().compute_tier());
  bury();
}

void Pin::note_writes() const {
  if (access_ == evict::Access::kRead) return;
  for (const auto& tensor : tensors_)
    visit_storages(tensor, [](c10::StorageImpl* storage) {
      if (auto* slot = StorageSlot::of(storage)) slot->note_write();
    });
}

}  // namespace asterias::runtime
