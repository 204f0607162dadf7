#include "evict/move_rates.hpp"

#include <cmath>

namespace asterias::evict {

std::uint64_t transfer_ns(const EdgeRate& rate, std::uint64_t bytes) {
  if (rate.bytes_per_second <= 0) return 0;
  return static_cast<std::uint64_t>(std::llround(static_cast<double>(bytes) / rate.bytes_per_second * 1e9));
}

}  // namespace asterias::evict
