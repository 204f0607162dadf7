// The rates at which a simulated step moves its bytes: as a link declares them, else as they were measured.
//
// Threading: pure functions.
#pragma once

#include "runtime/telemetry.hpp"
#include "tools/run_totals.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

// Of a run: a drive, or a link without a declared speed, gave what its bytes took of its busy time.
MoveRates rates_of(const EngineConfig& config, const StepTotals& totals);

// From probes, in bytes per second; the drive's is of reads and writes together.
MoveRates rates_of(const EngineConfig& config, double copy_rate, double drive_rate);

}  // namespace asterias::tools
