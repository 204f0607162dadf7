// Numbers as people read them.
//
// Threading: pure functions. Units: in the names.
#pragma once

#include <cstdint>
#include <string>

namespace asterias::tools {

// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string printf_text(const char* format, ...);

// Three digits that matter: "13.0 MiB", "1.37 GiB".
std::string bytes_text(std::uint64_t bytes);

// A limit: "no limit", what people write themselves (whole MiB) as they wrote it, the rest as bytes_text.
std::string limit_text(std::uint64_t bytes);

// "842496", "45.2 million", "1.30 billion": what people call the size of a model.
std::string count_text(std::uint64_t count);

// "842 ms", "12.3 s"
std::string ms_text(double ms);

// "5.9008"; large ones, which only a diverging run has, as "1.234e+08", so that columns stand.
std::string loss_text(double loss);

// How long something will take: "8 s", "4 min 10 s", "3 h 20 min", "5 d 2 h".
std::string duration_text(double seconds);

}  // namespace asterias::tools
