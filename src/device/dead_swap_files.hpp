// Deletes the swap files that dead runs have left in a folder.
//
// Safe against runs that start, end and clean at the same time. The protocol, kept by swap_file.cpp as well:
//   * A file appears under its *.swap name only when its owner holds the lock (it is made under a temporary name), and
//     no rename
//     ever replaces an existing name.
//   * Only who holds a file's lock unlinks it. So a name whose locked file still has a link is that file's name.
//
// Threading: thread-safe, also between processes.
#pragma once

#include <string>
#include <string_view>

namespace asterias::device {

inline constexpr std::string_view kSwapFilePrefix = "asterias-";
inline constexpr std::string_view kSwapFileSuffix = ".swap";
inline constexpr std::string_view kNewSwapFileSuffix = ".swap.new";  // until it is locked and has its header

// Deletes, with one log line each, the files of `directory` with our name, our magic and no lock. Leaves alone: locked
// files; temporary ones younger than a minute (their owner may be about to lock them); files of other hosts on a
// network drive, where a lock may be invisible; and, with a warning, files with our name but not our magic. Never
// throws.
void clean_dead_swap_files(const std::string& directory);

}  // namespace asterias::device
