// What autograd saves for backward moves between tiers like model data does: a GPT trains whose activations alone are
// several times the compute tier, with and without a drive below.
#include "base/byte_size.hpp"
#include "gpt_pass.hpp"

namespace asterias::test {
namespace {

constexpr std::int64_t kTokens = 128;
constexpr std::int64_t kBatch = 8;

models::Gpt make_gpt() {
  models::GptOptions options;
  options.vocabulary = 256;
  options.sequence = kTokens;
  options.layers = 6;
  options.hidden = 96;
  options.heads = 4;
  options.dropout = 0.1;
  return models::Gpt(options);
}

template <class Run>
void train_gpt(Run& run) {
  for (int i = 0; i < 3; ++i) {
    run.optimizer.zero_grad();
    gpt_pass(run, i, 256, kBatch, kTokens);
    run.optimizer.step();
  }
}

constexpr auto loop = [](auto& run) { train_gpt(run); };

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "a GPT whose activations are three times the compute tier keeps its bits",
                       "[activations]") {
  const auto plain = run_plain(adamw_config(), make_gpt, loop);
  const auto unlimited = run_engine(simulated(adamw_config(), kAmple), make_gpt, loop);
  CATCH_REQUIRE(difference(plain, unlimited.outcome) == "");
  // All four lists of model data are taken off, though the moments never come to the compute tier: at least this much
  // is activations.
  const std::uint64_t peak = unlimited.stats.tiers[0].peak_bytes;
  const std::uint64_t activations = peak - unlimited.plan.model_data_bytes;
  const std::uint64_t limit = std::max(tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes, activations / 8);
  CATCH_INFO("peak without limits " << format_bytes(peak) << ", model data "
                                    << format_bytes(unlimited.plan.model_data_bytes) << ", activations at least "
                                    << format_bytes(activations) << ", compute tier " << format_bytes(limit));
  CATCH_REQUIRE(peak > unlimited.plan.model_data_bytes);
  CATCH_REQUIRE(activations >= 3 * limit);

  auto config = simulated(adamw_config(), limit);
  config.tiers.nvme.paths.clear();
  const auto without_drive = run_engine(config, make_gpt, loop);
  CATCH_CHECK(difference(plain, without_drive.outcome) == "");
  CATCH_CHECK(without_drive.stats.tiers[0].peak_bytes <= limit);
  CATCH_CHECK(without_drive.stats.d2h_bytes >= activations - limit);

  config = simulated(adamw_config(), limit);
  const std::uint64_t cpu_limit = tier_plan(run_engine(config, make_gpt, loop).plan, Tier::kCpu).smallest_bytes;
  config.tiers.cpu.limit.bytes = cpu_limit;
  const auto with_drive = run_engine(config, make_gpt, loop);
  CATCH_INFO("DRAM limit " << format_bytes(cpu_limit) << ", written to the drive "
                           << format_bytes(with_drive.stats.nvme_write_bytes));
  CATCH_CHECK(difference(plain, with_drive.outcome) == "");
  CATCH_CHECK(with_drive.stats.tiers[0].peak_bytes <= limit);
  CATCH_CHECK(with_drive.stats.nvme_write_bytes > 0);
  CATCH_CHECK(with_drive.stats.nvme_read_bytes > 0);
}

}  // namespace asterias::test
