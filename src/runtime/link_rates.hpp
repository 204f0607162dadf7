// The rates that a simulated accelerator's links declare, as the simulator takes them.
//
// Threading: a pure function. Units: bytes per second.
#pragma once

#include "evict/move_rates.hpp"
#include "runtime/config.hpp"

namespace asterias::runtime {

// 0, as everywhere, is a link as fast as memcpy; of the drive nothing is declared.
inline evict::MoveRates declared_rates(const LinkConfig& link) {
  evict::MoveRates rates;
  rates.of(evict::Edge::kH2d).bytes_per_second = static_cast<double>(link.h2d_bytes_per_second);
  rates.of(evict::Edge::kD2h).bytes_per_second = static_cast<double>(link.d2h_bytes_per_second);
  return rates;
}

}  // namespace asterias::runtime
