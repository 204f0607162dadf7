// The first 4096 bytes of a swap file: whose it is.
//
// Not a lock: that a file is in use is said by flock alone. The header tells our files from strangers' of a similar
// name, and tells people (`head -c 4096 FILE | strings`) which run a file belongs to.
//
// Threading: pure functions. Units: bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace asterias::device {

inline constexpr std::uint64_t kSwapFileHeaderBytes = 4096;

// As it lies on the drive, in the machine's own byte order: a swap file never travels.
struct SwapFileHeader {
  std::array<char, 16> magic;         // "ASTERIAS SWAP" and zeros
  std::uint32_t version;              // of this layout: 1
  std::uint32_t pid;                  // as the process itself sees it
  std::uint64_t process_start_ticks;  // field 22 of /proc/self/stat
  std::uint64_t created_unix_seconds;
  std::array<char, 256> host;  // zero-terminated
};
static_assert(sizeof(SwapFileHeader) <= kSwapFileHeaderBytes);

// Fills in the header of a file that this process creates now.
SwapFileHeader own_swap_file_header();

// Reads a header. Empty when the magic is not ours or `block` is shorter than a header.
std::optional<SwapFileHeader> parse_swap_file_header(std::span<const std::byte> block);

// Names this machine with the characters that may stand in a file name; others become '_'.
std::string host_in_file_names();

}  // namespace asterias::device
