#include "tests/plans/random_plan.hpp"

#include <cerrno>

#include "base/byte_size.hpp"
#include "tests/runtime/budgets.hpp"

namespace asterias::plans {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kPairElements = 5'000'000;
// Streams of the generator, so that plan 3 and pair 3 of a seed have nothing in common.
constexpr std::uint64_t kPairStream = std::uint64_t{1} << 32;

void draw_optimizer(Draw& draw, EngineConfig& config) {
  auto& optimizer = config.optimizer;
  optimizer.type = draw.one_of({OptimizerType::kAdam, OptimizerType::kAdamW, OptimizerType::kSgd});
  optimizer.params.lr = draw.one_of({1e-3, 1e-2});
  if (draw.chance(50)) optimizer.params.weight_decay = 0.01;
  if (optimizer.type == OptimizerType::kSgd) {
    optimizer.params.momentum = draw.one_of({0.0, 0.9});
    optimizer.params.nesterov = *optimizer.params.momentum > 0 && draw.chance(50);
  } else if (draw.chance(30)) {
    optimizer.params.betas = {0.8, 0.95};
  }
  const bool has_state = optimizer.type != OptimizerType::kSgd || *optimizer.params.momentum > 0;
  if (has_state) optimizer.params.state_dtype = draw.one_of({StateDtype::kFp32, StateDtype::kBf16, StateDtype::k8Bit});
  if (draw.chance(50)) config.gradient_clipping = draw.one_of({0.05, 1.0, 100.0});
}

void draw_swap(Draw& draw, EngineConfig& config) {
  config.tiers.nvme.paths = {test::swap_folder()};
  if (draw.chance(25)) config.tiers.nvme.paths.push_back(test::swap_folder("swap2"));
  config.io.queue_depth = draw.one_of({1, 2, 8, 32});
  config.io.block_bytes = std::uint64_t{4096} << draw.between(0, 12);
  config.io.direct = draw.chance(70);
}

// A card's link is as fast as it is.
void draw_device(Draw& draw, EngineConfig& config, const std::string& card = "") {
  config.device = card.empty() ? draw.one_of({"cpu", "simulated"}) : card;
  if (config.device != "simulated" || draw.chance(50)) return;
  config.tiers.gpu.link.h2d_bytes_per_second =
      static_cast<std::uint64_t>(draw.of_any_size(200'000'000, 20'000'000'000));
  config.tiers.gpu.link.d2h_bytes_per_second =
      static_cast<std::uint64_t>(draw.of_any_size(200'000'000, 20'000'000'000));
}

void draw_placement(Draw& draw, EngineConfig& config) {
  config.placement.eviction =
      draw.one_of({Eviction::kNextUse, Eviction::kNextUse, Eviction::kLru, Eviction::kFifo, Eviction::kStatic});
  config.placement.activations = draw.one_of({ActivationPlacement::kAuto, ActivationPlacement::kAuto,
                                              ActivationPlacement::kKeep, ActivationPlacement::kOffload});
  config.prefetch = draw.one_of({0, 1, 2, 3, 8, 64});
  config.cpu.threads = static_cast<int>(draw.between(1, 4));
  if (draw.chance(70)) config.default_chunk_elements = static_cast<std::uint64_t>(draw.of_any_size(128, 64 << 20));
}

// Offloading is refused where nothing lies below, so it is not asked for there.
void keep_possible(EngineConfig& config) {
  if (config.device == "cpu" && config.tiers.nvme.paths.empty())
    config.placement.activations = ActivationPlacement::kAuto;
}

void draw_schedule(Draw& draw, Job& job) {
  job.num_torch_threads = static_cast<int>(draw.between(1, 2));
  job.num_passes = draw.one_of({1, 1, 2, 3});
  job.lengths.assign(static_cast<std::size_t>(draw.between(2, 4)), 1.0);
  if (draw.chance(40))
    for (std::size_t i = 1; i < job.lengths.size(); ++i) job.lengths[i] = 0.3 + 0.7 * draw.share();
  job.evaluates = draw.chance(40);
}

// Norms, where there are some, stay in fp32: a batch norm needs it. A card's layer norm takes one dtype only.
void draw_precision(Draw& draw, Job& job) {
  auto& config = job.config;
  config.bf16.enabled = draw.chance(30);
  config.fp16.enabled = !config.bf16.enabled && draw.chance(35);
  config.fp16.initial_scale_power = static_cast<int>(draw.one_of({0, 8, 16}));
  config.fp16.loss_scale_window = static_cast<int>(draw.between(1, 3));
  if (!config.bf16.enabled && !config.fp16.enabled) return;
  if (job.model.has_batch_norms || (job.model.has_layer_norms && !job.is_on_card()))
    config.precision.keep_fp32 = {"*norm*"};
  if (draw.chance(25)) config.data_types.grad_accum_dtype = GradAccumDtype::kFp32;
  const bool reuses = draw.chance(60) && job.num_passes == 1 && !config.data_types.grad_accum_dtype;
  if (reuses) config.placement.grad_mode = GradMode::kReuse;
}

void draw_faults(Draw& draw, tests::FaultOrders& faults) {
  faults.short_transfers = draw.chance(15);
  faults.interrupted = draw.chance(20);
  if (draw.chance(40)) faults.io_delay_us = static_cast<int>(draw.of_any_size(10, 3000));
  if (draw.chance(40)) faults.copy_delay_us = static_cast<int>(draw.of_any_size(10, 1000));
}

// Who reads and writes swap files. Drawn last, so that a seed's plans are otherwise those they were before.
void draw_engine(Draw& draw, Job& job) {
  job.config.io.engine = draw.one_of({IoEngine::kAuto, IoEngine::kAuto, IoEngine::kThreads});
  job.faults.ring_full = draw.chance(10);
  if (draw.chance(10)) job.faults.refuse_ring = draw.one_of({EPERM, ENOMEM});
}

// Where every operator writes all to the drive and reads it back, a transfer must not take many calls as well.
void draw_debug(Draw& draw, Job& job) {
  auto& debug = job.config.debug;
  debug.poison = draw.chance(40);
  debug.audit = draw.chance(5) && !job.is_on_card();  // the CPU cannot read a card's bytes
  debug.evict_always = draw.chance(8);
  if (!debug.evict_always) return;
  job.config.io.block_bytes = 4 * kMiB;
  job.faults = {};
}

// Whether the accelerator's memory is one piece, as a card's is, and how much of the host's is pinned for it. Drawn
// last, too.
void draw_memory(Draw& draw, Job& job) {
  auto& config = job.config;
  config.debug.one_piece = draw.chance(40) && config.device == "simulated";
  if ((config.debug.one_piece || job.is_on_card()) && draw.chance(50))
    config.tiers.cpu.pinned_limit.bytes = static_cast<std::uint64_t>(draw.of_any_size(1, 64 * kMiB));
}

// Which chunks are updated on the accelerator. Drawn last, too.
void draw_updates(Draw& draw, EngineConfig& config) {
  config.optimizer.use_hybrid_adam = draw.chance(85);
  config.debug.update_on_gpu =
      draw.one_of({UpdateOnGpu::kPlanned, UpdateOnGpu::kPlanned, UpdateOnGpu::kAll, UpdateOnGpu::kEverySecond});
}

// Where embedding tables are looked up. Drawn last, too.
void draw_tables(Draw& draw, EngineConfig& config) { config.use_cpu_embedding = draw.chance(25); }

// A simulated accelerator is tight to a page, a card to 2 MiB; DRAM leaves the libraries some MiB that a small model
// would fill.
std::int64_t draw_plan_elements(Draw& draw, const Job& job) {
  if (job.config.device == "cpu") return draw.of_any_size(500'000, 5'000'000);
  return draw.of_any_size(job.is_on_card() ? 300'000 : 20'000, job.is_on_card() ? 4'000'000 : 2'000'000);
}

std::optional<double> draw_share(Draw& draw, int percent_limited) {
  if (!draw.chance(percent_limited)) return std::nullopt;
  return draw.chance(40) ? 0.0 : draw.share();
}

// From far too small to more than enough.
std::uint64_t draw_limit(Draw& draw, std::uint64_t low, std::uint64_t high) {
  if (draw.chance(12)) return static_cast<std::uint64_t>(draw.of_any_size(1, kMiB));
  return static_cast<std::uint64_t>(draw.of_any_size(static_cast<std::int64_t>(low), static_cast<std::int64_t>(high)));
}

Json fault_words(const tests::FaultOrders& faults) {
  return {{"short", faults.short_transfers},   {"interrupted", faults.interrupted},
          {"io_delay_us", faults.io_delay_us}, {"copy_delay_us", faults.copy_delay_us},
          {"refuse_ring", faults.refuse_ring}, {"ring_full", faults.ring_full}};
}

}  // namespace

test::Case Job::as_case() const {
  const auto train = [*this](test::Step& step) {
    for (int pass = 0; pass < num_passes; ++pass) {
      const auto loss = step.forward([&] {
        return model.loss(step.module, step.iteration * num_passes + pass, lengths[step.iteration]) / num_passes;
      });
      step.backward(loss, false, false);
      step.observed.push_back(loss.item<double>());
    }
    step.observed.push_back(torch::rand({1}).item<double>());  // the generator is where it would have been
  };
  const auto evaluate = [*this](test::Step& step) {
    const torch::NoGradGuard no_grad;
    step.module.eval();
    const auto loss = step.forward([&] { return model.loss(step.module, 10'000 + step.iteration, 1.0); });
    step.observed.push_back(loss.item<double>());
    step.module.train();
  };
  const auto whole_step = [train, evaluate, evaluates = evaluates](test::Step& step) {
    if (evaluates && step.iteration > 0) evaluate(step);
    train(step);
  };
  return {model.words.at("kind").get<std::string>(), model.make, whole_step};
}

Json Job::words() const {
  return {{"model", model.words},
          {"passes", num_passes},
          {"lengths", lengths},
          {"evaluates", evaluates},
          {"torch_threads", num_torch_threads},
          {"faults", fault_words(faults)},
          {"config", Json::parse(config.to_json())}};
}

RandomPlan draw_plan(std::uint64_t seed, std::uint64_t number, const std::string& card) {
  Draw draw(seed, number);
  RandomPlan plan;
  auto& config = plan.job.config;
  draw_device(draw, config, card);
  plan.job.model = draw_model(draw, draw_plan_elements(draw, plan.job));
  draw_optimizer(draw, config);
  if (draw.chance(85)) draw_swap(draw, config);
  draw_placement(draw, config);
  keep_possible(config);
  draw_schedule(draw, plan.job);
  draw_faults(draw, plan.job.faults);
  draw_debug(draw, plan.job);
  if (config.device != "cpu") plan.shares[static_cast<int>(Tier::kGpu)] = draw_share(draw, 100);
  plan.shares[static_cast<int>(Tier::kCpu)] = draw_share(draw, config.device == "cpu" ? 85 : 50);
  if (!config.tiers.nvme.paths.empty()) plan.shares[static_cast<int>(Tier::kNvme)] = draw_share(draw, 40);
  draw_precision(draw, plan.job);
  draw_engine(draw, plan.job);
  draw_memory(draw, plan.job);
  draw_updates(draw, config);
  draw_tables(draw, config);
  return plan;
}

Job draw_pair(std::uint64_t seed, std::uint64_t number) {
  Draw draw(seed, kPairStream + number);
  Job job;
  job.model = draw_model(draw, draw.of_any_size(20'000, kPairElements));
  auto& tiers = job.config.tiers;
  draw_optimizer(draw, job.config);
  draw_device(draw, job.config);
  draw_placement(draw, job.config);
  draw_schedule(draw, job);
  if (draw.chance(80)) draw_swap(draw, job.config);
  keep_possible(job.config);
  job.config.io.block_bytes = std::max(job.config.io.block_bytes, 64 * kKiB);
  if (job.config.device == "simulated") tiers.gpu.limit.bytes = draw_limit(draw, 64 * kKiB, 128 * kMiB);
  if (draw.chance(85)) tiers.cpu.limit.bytes = draw_limit(draw, 100 * kMiB, 500 * kMiB);
  if (!tiers.nvme.paths.empty() && draw.chance(60)) tiers.nvme.limit.bytes = draw_limit(draw, 64 * kKiB, 256 * kMiB);
  draw_precision(draw, job);
  draw_memory(draw, job);
  draw_updates(draw, job.config);
  draw_tables(draw, job.config);
  return job;
}

}  // namespace asterias::plans
