// Numbers as a reader wants them: "1.37 GiB", "245 ms", and the ticks of an axis at round values.
//
// Threading: pure functions. Units: those of Unit; bytes are divided by powers of 1024, counts by powers of 1000.
#pragma once

#include <string>
#include <vector>

namespace asterias::tools::report {

enum class Unit {
  kPlain,  // losses and rates: "4.46", "12.3 k"
  kCount,  // whole numbers: "12,000"; ticks never fall between them
  kBytes,
  kMilliseconds,
};

// Writes about three digits that matter. NaN and infinity are "unknown".
std::string quantity_text(double value, Unit unit);

struct Tick {
  double value;
  std::string label;
};

// Round values (1, 2 or 5 times a power of ten of one unit) from `from` or below to `to` or above, `about` many, never
// more than twice that. Bounds that are not finite or not ordered give the ticks of 0 to 1.
std::vector<Tick> nice_ticks(double from, double to, Unit unit, int about);

}  // namespace asterias::tools::report
