// What every eviction policy must do. A policy's own test file calls each function once, in a case of its own.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

#include "evict/eviction_policy.hpp"

namespace asterias::evict::tests {

using MakePolicy = std::function<std::unique_ptr<EvictionPolicy>()>;

inline std::vector<Candidate> random_candidates(std::mt19937_64& random) {
  std::vector<Candidate> candidates(random() % 40);
  for (std::uint32_t i = 0; i < candidates.size(); ++i) {
    // Few values, so that there are ties; ids are unique.
    const Moment next_use = random() % 3 == 0 ? kNever : static_cast<Moment>(random() % 6);
    candidates[i] = {1000 + i, i, random() % 2 == 0, 4096 * (1 + random() % 4), random() % 6, next_use, random() % 6};
  }
  std::shuffle(candidates.begin(), candidates.end(), random);
  return candidates;
}

inline std::vector<std::uint64_t> ids_of(const std::vector<Candidate>& candidates) {
  std::vector<std::uint64_t> ids;
  for (const auto& candidate : candidates) ids.push_back(candidate.id);
  return ids;
}

inline bool same(const Candidate& a, const Candidate& b) {
  return a.id == b.id && a.index == b.index && a.clean == b.clean && a.bytes == b.bytes && a.last_use == b.last_use &&
         a.next_use == b.next_use && a.arrival == b.arrival;
}

inline void check_only_reorders(const MakePolicy& make) {
  std::mt19937_64 random(31);
  for (int round = 0; round < 200; ++round) {
    auto candidates = random_candidates(random);
    auto before = candidates;
    make()->rank(candidates);
    const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
    std::sort(candidates.begin(), candidates.end(), by_id);
    std::sort(before.begin(), before.end(), by_id);
    CATCH_REQUIRE(std::equal(before.begin(), before.end(), candidates.begin(), candidates.end(), same));
  }
}

inline void check_order_does_not_depend_on_the_order_given(const MakePolicy& make) {
  std::mt19937_64 random(32);
  const auto policy = make();
  for (int round = 0; round < 200; ++round) {
    auto candidates = random_candidates(random);
    auto others = candidates;
    std::shuffle(others.begin(), others.end(), random);
    policy->rank(candidates);
    make()->rank(others);
    CATCH_REQUIRE(ids_of(candidates) == ids_of(others));
  }
}

inline void check_ties_break_by_id(const MakePolicy& make) {
  std::vector<Candidate> candidates;
  for (std::uint32_t i = 0; i < 20; ++i) candidates.push_back({100 - i, i, true, 4096, 5, 9, 5});
  make()->rank(candidates);
  CATCH_CHECK(std::is_sorted(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.id < b.id; }));
}

// Not for a policy that knows neither age nor future.
inline void check_nothing_foretold_is_oldest_first(const MakePolicy& make) {
  std::vector<Candidate> candidates;
  for (std::uint32_t i = 0; i < 20; ++i) candidates.push_back({i, i, true, 4096, (i * 7) % 20, kNever, (i * 7) % 20});
  make()->rank(candidates);
  for (std::size_t i = 0; i < candidates.size(); ++i) CATCH_CHECK(candidates[i].last_use == i);
}

inline void check_few(const MakePolicy& make) {
  std::vector<Candidate> candidates;
  make()->rank(candidates);
  candidates.push_back({1, 0, true, 4096, 1, 1, 1});
  make()->rank(candidates);
  CATCH_CHECK(candidates.front().id == 1);
}

}  // namespace asterias::evict::tests
