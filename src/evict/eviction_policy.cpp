#include "evict/eviction_policy.hpp"

#include <algorithm>
#include <array>
#include <tuple>

namespace asterias::evict {
namespace {

class Lru final : public EvictionPolicy {
 public:
  std::string_view name() const override { return "lru"; }
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(),
              [](const auto& a, const auto& b) { return std::tie(a.last_use, a.id) < std::tie(b.last_use, b.id); });
  }
};

class Fifo final : public EvictionPolicy {
 public:
  std::string_view name() const override { return "fifo"; }
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(),
              [](const auto& a, const auto& b) { return std::tie(a.arrival, a.id) < std::tie(b.arrival, b.id); });
  }
};

class Static final : public EvictionPolicy {
 public:
  std::string_view name() const override { return "static"; }
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  }
};

class NextUse final : public EvictionPolicy {
 public:
  std::string_view name() const override { return "next_use"; }
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
      if (a.next_use != b.next_use) return a.next_use > b.next_use;
      if (a.clean != b.clean) return a.clean;
      return std::tie(a.last_use, a.id) < std::tie(b.last_use, b.id);
    });
  }
};

constexpr std::array kMakers{make_next_use_policy, make_lru_policy, make_fifo_policy, make_static_policy};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru_policy() { return std::make_unique<Lru>(); }
std::unique_ptr<EvictionPolicy> make_fifo_policy() { return std::make_unique<Fifo>(); }
std::unique_ptr<EvictionPolicy> make_static_policy() { return std::make_unique<Static>(); }
std::unique_ptr<EvictionPolicy> make_next_use_policy() { return std::make_unique<NextUse>(); }

std::unique_ptr<EvictionPolicy> make_policy(std::string_view name) {
  for (const auto make : kMakers)
    if (auto policy = make(); policy->name() == name) return policy;
  return nullptr;
}

std::vector<std::string_view> policy_names() {
  std::vector<std::string_view> names;
  for (const auto make : kMakers) names.push_back(make()->name());
  return names;
}

}  // namespace asterias::evict
