#include <memory>

#include <torch/nn/module.h>
#include <xxhash.h>

#include "runtime/engine_core.hpp"
#include "runtime/interception.hpp"
#include "runtime/runtime.hpp"

namespace asterias {
namespace {

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// XXH3 over one value after another; a length before each makes the sequence unambiguous.
class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) { XXH3_64bits_reset(state_.get()); }

  void add(const void* bytes, std::size_t count) {
    const std::uint64_t length = count;
    XXH3_64bits_update(state_.get(), &length, sizeof length);
    XXH3_64bits_update(state_.get(), bytes, count);
  }

  void add_header(const std::string& name, const torch::Tensor& tensor) {
    add(name.data(), name.size());
    const auto dtype = static_cast<std::int32_t>(tensor.scalar_type());
    add(&dtype, sizeof dtype);
    add(tensor.sizes().data(), tensor.sizes().size() * sizeof(std::int64_t));
  }

  void add(const std::string& name, const torch::Tensor& tensor) {
    add_header(name, tensor);
    const auto runtime = runtime::Runtime::current();
    std::optional<runtime::Pin> pin;
    const torch::NoGradGuard no_grad;
    const torch::Tensor here = tensor.device().is_cpu() ? tensor : tensor.cpu();
    const torch::Tensor dense = here.is_contiguous() ? here : here.contiguous();
    if (runtime) pin.emplace(runtime->shared_residency(), std::vector<torch::Tensor>{dense}, evict::Access::kRead);
    add(dense.const_data_ptr(), dense.nbytes());
  }

  std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, FreeState> state_;
};

}  // namespace

namespace {

// `data` may be null.
void add_module(Hasher& hasher, const torch::nn::Module& module, const runtime::ModelData* data) {
  for (const auto& item : module.named_parameters()) {
    const torch::Tensor& tensor = item.value();
    if (!tensor.defined()) continue;
    const auto* record = data ? data->find(tensor) : nullptr;
    const auto add_table = [&](const std::byte* bytes) {
      hasher.add_header(item.key(), tensor);
      hasher.add(bytes, tensor.nbytes());
    };
    if (!record || !data->visit_table(*record, add_table)) hasher.add(item.key(), tensor);
  }
  for (const auto& item : module.named_buffers())
    if (item.value().defined()) hasher.add(item.key(), item.value());
}

}  // namespace

std::uint64_t fingerprint(const torch::nn::Module& module) {
  Hasher hasher;
  add_module(hasher, module, nullptr);
  return hasher.value();
}

std::uint64_t fingerprint(const torch::nn::Module& module, const runtime::ModelData& data) {
  Hasher hasher;
  add_module(hasher, module, &data);
  for (const auto& record : data.parameters())
    data.visit_master(record, [&](const float* master) {
      if (master) hasher.add(master, static_cast<std::size_t>(record.tensor.numel()) * sizeof(float));
    });
  return hasher.value();
}

}  // namespace asterias
