// Trains a Case (zoo.hpp) for some steps: on plain libtorch, or under an engine. Equal Outcomes are what is promised.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include <asterias/asterias.h>

#include "plain_training.hpp"
#include "zoo.hpp"

namespace asterias::test {

inline constexpr int kCaseSeed = 5;

// What is compared of the module at the end: the fingerprint alone costs a budget nothing, copies are further content.
enum class KeepState : bool { kNo, kYes };

struct CaseRun {
  Outcome outcome;
  Plan plan;
  StepStats stats;                                    // of the last step
  std::uint64_t fingerprint = 0;                      // the engine's: masters included
  std::array<std::uint64_t, kNumTiers> peak_bytes{};  // over all steps, as what follows
  std::uint64_t moved_bytes = 0;
};

// torch's switches while it lives as an engine on a card sets them (src/runtime/runtime.cpp): without them plain
// libtorch may have other bits each time.
class RepeatableTorch {
 public:
  RepeatableTorch()
      : was_deterministic_(at::globalContext().deterministicAlgorithms()),
        filled_(at::globalContext().deterministicFillUninitializedMemory()) {
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowTF32CuDNN(false);
  }
  RepeatableTorch(const RepeatableTorch&) = delete;
  RepeatableTorch& operator=(const RepeatableTorch&) = delete;
  ~RepeatableTorch() {
    at::globalContext().setDeterministicAlgorithms(was_deterministic_, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(filled_);
  }

 private:
  const bool was_deterministic_, filled_;
};

inline void note_step(CaseRun& run, const StepStats& step) {
  for (int tier = 0; tier < kNumTiers; ++tier)
    run.peak_bytes[tier] = std::max(run.peak_bytes[tier], step.tiers[tier].peak_bytes);
  run.moved_bytes += step.h2d_bytes + step.d2h_bytes + step.nvme_read_bytes + step.nvme_write_bytes;
}

inline Outcome train_plain(const Case& test, const EngineConfig& config, int num_steps,
                           KeepState keep = KeepState::kYes) {
  Outcome outcome;
  std::optional<RepeatableTorch> on_card;
  if (case_device.is_cuda()) on_card.emplace();
  torch::manual_seed(kCaseSeed);
  auto module = test.make();
  module->to(case_device);
  const auto& wanted = config.optimizer;
  PlainOptimizer optimizer(trainable(*module), algorithm_of(wanted.type), hyper_of(wanted.type, wanted.params),
                           config.gradient_clipping.value_or(0));
  optimizer.use_precision(*module, config);
  optimizer.use_state(*module, config);
  for (int i = 0; i < num_steps; ++i) {
    optimizer.zero_grad();
    Step step{
        *module,
        i,
        [](const auto& forward) { return forward(); },
        [&](const torch::Tensor& loss, bool retain, bool create) { optimizer.backward(loss, {}, retain, create); },
        outcome.losses,
        half_of(config)};
    test.step(step);
    optimizer.step();
    outcome.losses.push_back(optimizer.loss_scale());
  }
  if (keep == KeepState::kYes)
    outcome.state =
        full_state(*module, [&](const std::string&, const auto& parameter) { return optimizer.value(parameter); });
  outcome.fingerprint = fingerprint(*module);
  return outcome;
}

inline CaseRun train_engine(const Case& test, const EngineConfig& config, int num_steps,
                            KeepState keep = KeepState::kYes) {
  CaseRun run;
  torch::manual_seed(kCaseSeed);
  auto [engine, optimizer] = initialize_engine(test.make, config);
  auto& held = engine;
  for (int i = 0; i < num_steps; ++i) {
    optimizer.zero_grad();
    Step step{*engine.module(),
              i,
              [&held](const auto& forward) { return held.run(forward); },
              [&held](const torch::Tensor& loss, bool retain, bool create) { held.backward(loss, {}, retain, create); },
              run.outcome.losses,
              half_of(config)};
    test.step(step);
    optimizer.step();
    run.outcome.losses.push_back(engine.loss_scale());
    note_step(run, engine.stats());
  }
  if (keep == KeepState::kYes)
    run.outcome.state =
        full_state(*engine.module(), [&held](const std::string& name, const auto&) { return held.parameter(name); });
  run.plan = engine.plan();
  run.stats = engine.stats();
  run.outcome.fingerprint = fingerprint(*engine.module());
  run.fingerprint = engine.fingerprint();
  return run;
}

}  // namespace asterias::test
