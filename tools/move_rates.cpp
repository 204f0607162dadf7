#include "tools/move_rates.hpp"

#include "runtime/link_rates.hpp"

namespace asterias::tools {
namespace {

double measured(std::uint64_t bytes, double busy_ms) {
  return busy_ms > 0 ? static_cast<double>(bytes) / busy_ms * 1e3 : 0;
}

MoveRates joined(const LinkConfig& link, double h2d, double d2h, double drive) {
  MoveRates rates = runtime::declared_rates(link);
  if (link.h2d_bytes_per_second == 0) rates.of(evict::Edge::kH2d).bytes_per_second = h2d;
  if (link.d2h_bytes_per_second == 0) rates.of(evict::Edge::kD2h).bytes_per_second = d2h;
  rates.of(evict::Edge::kNvmeRead).bytes_per_second = drive;
  rates.of(evict::Edge::kNvmeWrite).bytes_per_second = drive;
  return rates;
}

}  // namespace

MoveRates rates_of(const EngineConfig& config, const StepTotals& totals) {
  return joined(config.tiers.gpu.link, measured(totals.h2d_bytes, totals.busy_h2d_ms),
                measured(totals.d2h_bytes, totals.busy_d2h_ms), measured(totals.nvme_bytes, totals.busy_nvme_ms));
}

MoveRates rates_of(const EngineConfig& config, double copy_rate, double drive_rate) {
  return joined(config.tiers.gpu.link, copy_rate, copy_rate, drive_rate);
}

}  // namespace asterias::tools
