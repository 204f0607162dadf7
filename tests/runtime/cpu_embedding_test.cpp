// use_cpu_embedding: tables stay on the cpu tier, are looked up, summed and updated there, and nobody sees a difference
// but in moves.
#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "case_training.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

constexpr int kSteps = 4;
constexpr std::int64_t kRows = 2000, kWidth = 32;
constexpr std::uint64_t kTableBytes = kRows * kWidth * sizeof(float);

EngineConfig on_host(EngineConfig config) {
  config.use_cpu_embedding = true;
  config.default_chunk_elements = 4096;
  return config;
}

EngineConfig clipped(EngineConfig config) {
  config.gradient_clipping = 0.01;
  return config;
}

// Ids to rows to a few layers.
struct LookUpImpl : torch::nn::Module {
  explicit LookUpImpl(torch::nn::EmbeddingOptions options = {kRows, kWidth}) {
    table = register_module("table", torch::nn::Embedding(options));
    for (int i = 0; i < 4; ++i)
      layers.push_back(register_module("layer" + std::to_string(i), torch::nn::Linear(kWidth, kWidth)));
  }
  torch::Tensor forward(const torch::Tensor& ids) {
    auto x = table(ids);
    if (is_looked_up_twice) x = x + table((ids + 1) % kRows);
    for (auto& layer : layers) x = torch::tanh(layer(x));
    return is_tied ? torch::matmul(x, table->weight.t()) : x;
  }

  torch::nn::Embedding table{nullptr};
  std::vector<torch::nn::Linear> layers;
  bool is_tied = false, is_looked_up_twice = false;
};
TORCH_MODULE(LookUp);

// Frequent rows come more than once: the order of their sums shows in the bits.
torch::Tensor ids_of(int seed, std::vector<std::int64_t> sizes = {8, 24}) {
  const auto generator = at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed));
  return torch::randint(kRows, sizes, generator) % (seed % 2 ? kRows : 40);
}

template <class Run>
void step_on(Run& run, const std::vector<torch::Tensor>& micro_batches) {
  run.optimizer.zero_grad();
  for (const auto& ids : micro_batches) {
    const auto loss = (run(ids) - 0.1).pow(2).mean();
    run.backward(loss);
    run.observe(loss.template item<double>());
  }
  run.optimizer.step();
}

const auto loop = [](auto& run) {
  for (int i = 0; i < kSteps; ++i) step_on(run, {ids_of(i)});
};

const auto make = [] { return LookUp(); };

CATCH_TEST_CASE("every case has the bits of plain libtorch with its tables on the cpu tier", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      auto config = adamw_config();
      if (test.name.size() % 2) config.gradient_clipping = 0.5;
      const auto plain = train_plain(test, config, kSteps);
      config.use_cpu_embedding = true;
      for (const bool one_piece : {false, true}) {
        config.debug.one_piece = one_piece;
        const auto unlimited = train_engine(test, simulated(config, 64 * kMiB), kSteps);
        CATCH_CHECK(difference(plain, unlimited.outcome) == "");
        const std::uint64_t need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
        for (const bool evicts_always : {false, true}) {
          auto tight = simulated(config, std::max(need, unlimited.plan.model_data_bytes / 2));
          tight.debug.evict_always = evicts_always;
          tight.debug.audit = evicts_always;
          tight.debug.update_on_gpu = evicts_always ? UpdateOnGpu::kAll : UpdateOnGpu::kPlanned;
          CATCH_CHECK(difference(plain, train_engine(test, tight, kSteps).outcome) == "");
        }
      }
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "tables on the cpu tier train with the same bits in every format",
                       "[cpu_embedding]") {
  for (const auto& format : {adamw_config(), bf16_config(), fp16_config()})
    for (const auto& config : {on_host(format), clipped(on_host(format))}) {
      CATCH_CAPTURE(config.bf16.enabled, config.fp16.enabled, config.gradient_clipping.has_value());
      check_same_bits(config, make, loop);
    }
  auto reuse = on_host(bf16_config());
  reuse.placement.grad_mode = GradMode::kReuse;
  check_same_bits(reuse, make, loop);
  auto above = on_host(adamw_config());
  above.debug.update_on_gpu = UpdateOnGpu::kAll;
  check_same_bits(above, make, loop);
}

CATCH_TEST_CASE_METHOD(OneThread, "what a loop may do with a table has the same bits on the cpu tier",
                       "[cpu_embedding]") {
  const auto config = clipped(on_host(adamw_config()));
  CATCH_SECTION("gradients of several passes") {
    check_same_bits(config, make, [](auto& run) {
      for (int i = 0; i < kSteps; ++i) step_on(run, {ids_of(i), ids_of(i + 7), ids_of(i + 9)});
    });
  }
  CATCH_SECTION("ids of any shape and stride, and none") {
    check_same_bits(config, make, [](auto& run) {
      step_on(run, {ids_of(1, {3, 5, 7}), ids_of(2, {40, 60}).t(), ids_of(3, {90}).slice(0, 1, 80, 3)});
      run.observe("nothing", run(torch::empty({0, 4}, torch::kLong)));
      step_on(run, {ids_of(4, {1})});
    });
  }
  CATCH_SECTION("padding, and gradients scaled by frequency") {
    const auto options = torch::nn::EmbeddingOptions(kRows, kWidth).padding_idx(3).scale_grad_by_freq(true);
    check_same_bits(
        config, [&] { return LookUp(options); }, loop);
  }
  CATCH_SECTION("a head tied to it") {
    check_same_bits(
        config,
        [] {
          LookUp module;
          module->is_tied = true;
          return module;
        },
        loop);
  }
  CATCH_SECTION("two look-ups, and a head tied to it besides") {
    for (const bool is_tied : {false, true})
      check_same_bits(
          config,
          [&] {
            LookUp module;
            module->is_looked_up_twice = true;
            module->is_tied = is_tied;
            return module;
          },
          loop);
  }
  CATCH_SECTION("a gradient that is used within the pass") {
    check_same_bits(config, make, [](auto& run) {
      for (int i = 0; i < kSteps; ++i) {
        run.optimizer.zero_grad();
        const auto weight = run.module->table->weight;
        const auto rows = torch::embedding(weight, ids_of(i));
        const auto grad = torch::autograd::grad({rows.pow(2).sum()}, {weight}, {}, true, true)[0];
        run.backward((grad + weight.detach()).pow(2).mean() + run(ids_of(i)).mean());
        run.optimizer.step();
      }
    });
  }
  CATCH_SECTION("a frozen table") {
    check_same_bits(
        config,
        [] {
          LookUp module;
          module->table->weight.requires_grad_(false);
          return module;
        },
        loop);
  }
  CATCH_SECTION("reads and writes of it") {
    check_same_bits(config, make, [](auto& run) {
      for (int i = 0; i < kSteps; ++i) {
        step_on(run, {ids_of(i)});
        const torch::NoGradGuard no_grad;
        run.observe("a row", run.module->table->weight[3].clone());
        run.observe("a column", run.module->table->weight.select(1, 2).clone());
        run.observe("all of it", run.module->table->weight.clone());
        run.observe("its gradient", run.module->table->weight.grad().clone());
        run.module->table->weight.copy_(normal({kRows, kWidth}, i));
        run.module->table->weight[5].fill_(0.5);
      }
    });
  }
  CATCH_SECTION("a pass between that trains nothing") {
    check_same_bits(config, make, [](auto& run) {
      for (int i = 0; i < kSteps; ++i) {
        step_on(run, {ids_of(i)});
        const torch::NoGradGuard no_grad;
        run.observe("rows", run(ids_of(i + 3)));
      }
    });
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a table on the cpu tier does not cross the link", "[cpu_embedding]") {
  auto config = clipped(adamw_config());
  config.default_chunk_elements = 4096;
  config.placement.early_update = false;
  const auto above = run_engine(simulated(config, kAmple), make, loop);
  CATCH_CHECK(tier_plan(above.plan, Tier::kGpu).working_set_bytes >= 2 * kTableBytes);  // its gradient is copied

  config.use_cpu_embedding = true;
  const std::uint64_t limit = round_up(kTableBytes, 4096);  // that of building it, as of any parameter
  const auto below = run_engine(simulated(config, limit), make, loop);
  CATCH_CHECK(difference(above.outcome, below.outcome) == "");
  CATCH_CHECK(below.stats.h2d_bytes < kTableBytes);
  CATCH_CHECK(below.stats.d2h_bytes < kTableBytes);
  CATCH_CHECK(below.stats.h2d_bytes > 0);  // its rows
  CATCH_CHECK(below.stats.h2d_bytes == below.plan.predicted_h2d_bytes);
  CATCH_CHECK(below.stats.d2h_bytes == below.plan.predicted_d2h_bytes);
}

CATCH_TEST_CASE_METHOD(OneThread, "the gradient of a table with a tied head is added up on the cpu tier",
                       "[cpu_embedding]") {
  auto config = on_host(adamw_config());
  const auto tied = [] {
    LookUp module;
    module->is_tied = true;
    return module;
  };
  const auto above = run_engine(simulated(config, kAmple), tied, loop);
  // The table goes up for its head, and the head's gradient comes down; their sum stays where it was made.
  CATCH_CHECK(above.stats.h2d_bytes >= kTableBytes);
  CATCH_CHECK(above.stats.h2d_bytes < 2 * kTableBytes);
  CATCH_CHECK(above.stats.d2h_bytes >= kTableBytes);
  CATCH_CHECK(above.stats.d2h_bytes < 2 * kTableBytes);
  config.placement.activations = ActivationPlacement::kKeep;
  check_same_bits(config, tied, loop);
}

CATCH_TEST_CASE_METHOD(OneThread, "a wrong id is torch's error on the cpu tier, too, and harms nothing",
                       "[cpu_embedding]") {
  const auto config = on_host(adamw_config());
  const auto wrong = [](auto& run) {
    step_on(run, {ids_of(1)});
    CATCH_CHECK_THROWS_WITH(run(torch::full({4}, kRows)), Catch::Contains("index out of range"));
    step_on(run, {ids_of(2)});
  };
  check_same_bits(config, make, wrong);
}

CATCH_TEST_CASE_METHOD(OneThread, "tables with sparse gradients are refused or trained as without the key",
                       "[cpu_embedding]") {
  for (const bool use_cpu_embedding : {false, true}) {
    auto config = simulated(adamw_config(), kAmple);
    config.use_cpu_embedding = use_cpu_embedding;
    const auto train = [&] {
      const auto options = torch::nn::EmbeddingOptions(kRows, kWidth).sparse(true);
      run_engine(
          config, [&] { return LookUp(options); }, loop);
    };
    CATCH_CHECK_THROWS_WITH(train(), Catch::Contains("sparse"));
  }
}

}  // namespace
}  // namespace asterias::test
