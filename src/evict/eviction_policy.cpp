#include "evict/eviction_policy.hpp"

#include <algorithm>
#include <tuple>

namespace asterias::evict {
namespace {

class Lru final : public EvictionPolicy {
 public:
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(),
              [](const auto& a, const auto& b) { return std::tie(a.last_use, a.id) < std::tie(b.last_use, b.id); });
  }
};

class Fifo final : public EvictionPolicy {
 public:
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(),
              [](const auto& a, const auto& b) { return std::tie(a.arrival, a.id) < std::tie(b.arrival, b.id); });
  }
};

class Static final : public EvictionPolicy {
 public:
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  }
};

class NextUse final : public EvictionPolicy {
 public:
  void rank(std::span<Candidate> candidates) const override {
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
      if (a.next_use != b.next_use) return a.next_use > b.next_use;
      if (a.clean != b.clean) return a.clean;
      return std::tie(a.last_use, a.id) < std::tie(b.last_use, b.id);
    });
  }
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru_policy() { return std::make_unique<Lru>(); }
std::unique_ptr<EvictionPolicy> make_fifo_policy() { return std::make_unique<Fifo>(); }
std::unique_ptr<EvictionPolicy> make_static_policy() { return std::make_unique<Static>(); }
std::unique_ptr<EvictionPolicy> make_next_use_policy() { return std::make_unique<NextUse>(); }

}  // namespace asterias::evict
