#include "fake_torch_cuda.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include "runtime/torch_device.hpp"
#include "tests/hybrid_adam/host_grid.hpp"

namespace asterias::test {
namespace {

const c10::Device kCard(c10::kCUDA, 0);

// ---- torch's side ---------------------------------------------------------------------------------------------------

void free_plain(void* data) { std::free(data); }

class PlainAllocator final : public c10::Allocator {
 public:
  at::DataPtr allocate(std::size_t bytes) override {
    void* const data = bytes > 0 ? std::aligned_alloc(64, (bytes + 63) / 64 * 64) : nullptr;
    return {data, data, &free_plain, kCard};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_plain; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

device::StreamHandle compute_stream() {
  static const auto kStream = [] {
    device::StreamHandle stream;
    fake_card().create_stream(0, stream);
    return stream;
  }();
  return kStream;
}

std::atomic<c10::Allocator*> server{nullptr};
std::atomic<bool> is_on_stream{true};

class FakeTorch final : public runtime::TorchDevice {
 public:
  int cuda_version() override { return 13000; }
  c10::Allocator* own_allocator() override {
    static PlainAllocator allocator;
    return &allocator;
  }
  void serve_by(c10::Allocator* allocator, int) override { server = allocator; }
  device::StreamHandle stream(int) override { return compute_stream(); }
  bool is_on_stream(int) override { return test::is_on_stream; }
  void drop_workspaces() override {}
};

FakeTorch& fake_torch() {
  static FakeTorch torch;
  return torch;
}

c10::Allocator* allocator_now() { return server ? server.load() : fake_torch().own_allocator(); }

// Kernels take their turn in the stream.
class FakeKernels final : public hybrid_adam::KernelCalls {
 public:
  int update(const hybrid_adam::UpdateGrid& grid, device::StreamHandle stream) override {
    return fake_card().enqueue(stream, [this, grid] { grid_.update(grid, {}); });
  }
  int accumulate(float* into, hybrid_adam::ConstNumbers from, std::size_t count, device::StreamHandle stream) override {
    return fake_card().enqueue(stream, [=, this] { grid_.accumulate(into, from, count, {}); });
  }
  int cast(const float* from, hybrid_adam::Numbers16 to, std::size_t count, device::StreamHandle stream) override {
    return fake_card().enqueue(stream, [=, this] { grid_.cast(from, to, count, {}); });
  }
  int decode(hybrid_adam::Moment moment, const hybrid_adam::MomentArray& from, float* to, std::size_t count,
             device::StreamHandle stream) override {
    return fake_card().enqueue(stream, [=, this] { grid_.decode(moment, from, to, count, {}); });
  }
  int encode(hybrid_adam::Moment moment, const float* from, const hybrid_adam::MomentArray& to, std::size_t count,
             std::uint32_t first, std::uint64_t key, device::StreamHandle stream) override {
    return fake_card().enqueue(stream, [=, this] { grid_.encode(moment, from, to, count, first, key, {}); });
  }
  int sum_blocks(const hybrid_adam::SquareSumGrid& grid, double* sums, device::StreamHandle stream) override {
    return fake_card().enqueue(stream, [=, this] { grid_.sum_blocks(grid, sums, {}); });
  }
  int sum_arrays(const hybrid_adam::SquareSumGrid& grid, const double* block_sums, double* sums,
                 device::StreamHandle stream) override {
    return fake_card().enqueue(stream, [=, this] { grid_.sum_arrays(grid, block_sums, sums, {}); });
  }
  const char* error_text(int error) override { return fake_card().error_text(error); }

 private:
  hybrid_adam::testing::HostGrid grid_;
};

}  // namespace

device::tests::FakeCudaCalls& fake_card() {
  static auto* const kCalls = new device::tests::FakeCudaCalls;  // outlives every tensor
  return *kCalls;
}

void install_fake_card() {
  static FakeKernels kernels;
  fake_card().context_bytes = 0;
  runtime::replace_cuda_backend({&fake_card(), &kernels, &fake_torch()});
}

void set_on_stream(bool on) { is_on_stream = on; }

namespace {

// ---- operators ------------------------------------------------------------------------------------------------------

// Waits as a kernel does.
void take_turn() {
  if (fake_card().synchronize(compute_stream()) != 0) TORCH_CHECK(false, "CUDA error: the fake card is lost");
}

at::Tensor make_strided(at::IntArrayRef sizes, at::IntArrayRef strides, c10::ScalarType dtype) {
  return at::detail::empty_strided_generic(sizes, strides, allocator_now(), c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                           dtype);
}

at::Tensor empty(c10::SymIntArrayRef sizes, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
                 std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(c10::asIntArrayRefSlow(sizes, __FILE__, __LINE__), allocator_now(),
                                   c10::DispatchKeySet(c10::DispatchKey::CUDA), dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides, std::optional<c10::ScalarType> dtype,
                         std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return make_strided(c10::asIntArrayRefSlow(sizes, __FILE__, __LINE__),
                      c10::asIntArrayRefSlow(strides, __FILE__, __LINE__), dtype.value_or(at::kFloat));
}

// The card's tensors among an operator's arguments as CPU tensors over the same memory.
class OnHost {
 public:
  // A view looks at no bytes, and may be of a tensor that has none just now.
  explicit OnHost(bool is_view) : is_view_(is_view) {}

  c10::IValue of(const c10::IValue& value) {
    if (value.isTensor()) return of(value.toTensor());
    if (value.isTensorList()) {
      std::vector<at::Tensor> tensors;
      for (const at::Tensor& tensor : value.toTensorList()) tensors.push_back(of(tensor));
      return tensors;
    }
    if (value.isList()) {
      const auto list = value.toList();
      auto result = c10::impl::GenericList(list.elementType());
      for (const c10::IValue& element : value.toListRef()) result.push_back(of(element));
      return result;
    }
    if (value.isDevice() && value.toDevice().is_cuda()) return c10::Device(c10::kCPU);
    return value;
  }

  at::Tensor of(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.device().is_cuda()) return tensor;
    for (const auto& pair : pairs_)
      if (pair.card.is_same(tensor)) return pair.host;
    auto host = at::detail::make_tensor<c10::TensorImpl>(storage_of(tensor), c10::DispatchKeySet(c10::DispatchKey::CPU),
                                                         tensor.dtype());
    host.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
    pairs_.push_back({tensor, host, tensor.sizes().vec()});
    return host;
  }

  // A result as the card's tensor: the argument it is, a view of one, or one of its own.
  c10::IValue back(const c10::IValue& value) {
    if (value.isTensor()) return back(value.toTensor());
    if (value.isTensorList()) {
      std::vector<at::Tensor> tensors;
      for (const at::Tensor& tensor : value.toTensorList()) tensors.push_back(back(tensor));
      return tensors;
    }
    return value;
  }

  at::Tensor back(const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    for (const auto& pair : pairs_)
      if (pair.host.is_same(tensor)) return pair.card;
    for (const auto& storage : storages_)
      if (tensor.storage().unsafeGetStorageImpl() == storage.host.unsafeGetStorageImpl()) {
        auto view = at::detail::make_tensor<c10::TensorImpl>(
            c10::Storage(storage.card), c10::DispatchKeySet(c10::DispatchKey::CUDA), tensor.dtype());
        view.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
        return view;
      }
    auto card = make_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type());
    take_turn();  // behind what still reads or writes that memory
    if (card.storage().nbytes() > 0)
      std::memcpy(card.mutable_data_ptr(), tensor.const_data_ptr(), card.storage().nbytes());
    return card;
  }

  // An operator may have given an argument another size.
  void take_sizes_back() {
    for (auto& pair : pairs_) {
      if (pair.host.sizes() == pair.card.sizes()) continue;
      auto* const storage = pair.card.storage().unsafeGetStorageImpl();
      const std::size_t bytes = pair.host.storage().nbytes();
      if (bytes > storage->nbytes()) {
        storage->set_data_ptr_noswap(allocator_now()->allocate(bytes));
        storage->set_nbytes(bytes);
        take_turn();
        std::memcpy(storage->mutable_data(), pair.host.storage().data(), bytes);
      }
      pair.card.unsafeGetTensorImpl()->set_sizes_and_strides(pair.host.sizes(), pair.host.strides());
    }
  }

 private:
  struct Pair {
    at::Tensor card, host;
    std::vector<std::int64_t> sizes;
  };
  struct Storages {
    c10::Storage card, host;
  };

  c10::Storage storage_of(const at::Tensor& tensor) {
    for (const auto& storage : storages_)
      if (storage.card.unsafeGetStorageImpl() == tensor.storage().unsafeGetStorageImpl()) return storage.host;
    auto* const storage_impl = tensor.storage().unsafeGetStorageImpl();
    void* data = storage_impl->_mutable_data_ptr_no_checks().get();
    if (!data && !is_view_ && tensor.storage().nbytes() > 0) data = storage_impl->mutable_data();
    c10::Storage host(c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), at::DataPtr(data, c10::kCPU),
                      c10::GetCPUAllocator(), /*resizable=*/true);
    storages_.push_back({tensor.storage(), host});
    return host;
  }

  const bool is_view_;
  std::vector<Pair> pairs_;
  std::vector<Storages> storages_;
};

bool is_view(const c10::FunctionSchema& schema) {
  const auto& returns = schema.returns();
  return !returns.empty() && returns[0].alias_info() && !returns[0].alias_info()->isWrite();
}

// Runs the CPU's operator on the card's memory. What it calls in turn are no operators of the card.
void run_on_host(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const std::size_t num_arguments = op.schema().arguments().size();
  const std::size_t begin = stack->size() - num_arguments;
  OnHost on_host(is_view(op.schema()));
  for (std::size_t i = begin; i < stack->size(); ++i) (*stack)[i] = on_host.of((*stack)[i]);
  take_turn();
  {
    const c10::impl::ExcludeDispatchKeyGuard unseen(c10::DispatchKey::Fake);
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  on_host.take_sizes_back();
  const std::size_t num_returns = op.schema().returns().size();
  for (std::size_t i = stack->size() - num_returns; i < stack->size(); ++i) (*stack)[i] = on_host.back((*stack)[i]);
}

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  // These have one kernel for all devices, which asks for a table of a device's own.
  library.impl("copy_", torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

// ---- the device -----------------------------------------------------------------------------------------------------

struct Guard final : c10::impl::DeviceGuardImplInterface {
  Guard() = default;
  explicit Guard(c10::DeviceType) {}
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device) const override { return kCard; }
  c10::Device getDevice() const override { return kCard; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kCard); }
  c10::Stream getDefaultStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kCard); }
  c10::Stream exchangeStream(c10::Stream) const override { return c10::Stream(c10::Stream::DEFAULT, kCard); }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { take_turn(); }
  void synchronizeEvent(void*) const override { take_turn(); }
  void synchronizeDevice(c10::DeviceIndex) const override { take_turn(); }
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

}  // namespace
}  // namespace asterias::test

namespace at {

// torch looks its hooks up by this name.
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  int getNumGPUs() const override { return 1; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(DeviceIndex) const override {}
  DeviceIndex exchangeDevice(DeviceIndex) const override { return 0; }
  DeviceIndex maybeExchangeDevice(DeviceIndex) const override { return 0; }
  bool isPinnedPtr(const void*) const override { return false; }
  const Generator& getDefaultGenerator(DeviceIndex) const override {
    static const Generator kGenerator = detail::createCPUGenerator();
    return kGenerator;
  }
};

REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace at
