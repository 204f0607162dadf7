// Sizes as people write and read them.
//
// Units: bytes. "GiB", "MiB", "KiB" (and G, M, K) are powers of 1024; "GB", "MB", "KB" powers of 1000.
// Threading: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace asterias {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

// Rounds `bytes` up to a multiple of `step` (> 0).
constexpr std::uint64_t round_up(std::uint64_t bytes, std::uint64_t step) { return (bytes + step - 1) / step * step; }

// Reads "8GiB", "1.5 GB", "4096", "512M". Empty when it is not a size, is negative or overflows 64 bits.
std::optional<std::uint64_t> parse_bytes(std::string_view text);

// Writes exact multiples exactly ("3 MiB", "1.5 GiB", "512 B") and everything else with two decimals ("1.37 GiB").
std::string format_bytes(std::uint64_t bytes);

}  // namespace asterias
