// A training job drawn at random: model, placement, schedule and what goes wrong on the way.
//
// Same seed and number, same job: that pair is all that a failure needs to be repeated.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/tier.hpp"
#include "runtime/config.hpp"
#include "tests/faults/system_call_faults.hpp"
#include "tests/plans/drawn_model.hpp"
#include "tests/runtime/zoo.hpp"

namespace asterias::plans {

struct Job {
  DrawnModel model;
  EngineConfig config;
  int num_torch_threads = 1;
  int num_passes = 1;           // per step
  std::vector<double> lengths;  // one per step, the first is 1
  bool evaluates = false;       // between steps
  tests::FaultOrders faults;    // that a run must survive

  bool is_on_card() const { return config.device.starts_with("cuda"); }
  int num_steps() const { return static_cast<int>(lengths.size()); }
  // The job as the training loops of tests/runtime take it.
  test::Case as_case() const;
  nlohmann::ordered_json words() const;
};

// Where the limit of a tier lies between the smallest that suffices (0) and one for everything (1); none: no limit.
using BudgetShares = std::array<std::optional<double>, kNumTiers>;

struct RandomPlan {
  Job job;  // its config has no limits
  BudgetShares shares;
};

// On the CPU or a simulated accelerator, or on `card` ("cuda:N") where one is named.
RandomPlan draw_plan(std::uint64_t seed, std::uint64_t number, const std::string& card = "");

// A model and budgets of any size, also far too small ones.
Job draw_pair(std::uint64_t seed, std::uint64_t number);

}  // namespace asterias::plans
