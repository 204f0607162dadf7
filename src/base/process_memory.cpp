#include "base/process_memory.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <string>
#include <unistd.h>

#include "base/cgroup_memory.hpp"

namespace asterias {
namespace {

// Reads the row "Name:   123 kB" of a /proc file.
std::optional<std::uint64_t> row_bytes(const char* file, const std::string& name) {
  std::ifstream rows(file);
  for (std::string row; std::getline(rows, row);)
    if (row.rfind(name + ":", 0) == 0) return std::stoull(row.substr(name.size() + 1)) * 1024;
  return std::nullopt;
}

std::uint64_t pages_in_bytes(int which) {
  const long pages = sysconf(which), page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes) : 0;
}

}  // namespace

// Asked for before pages are mapped: a stream would take a buffer from the heap each time.
std::uint64_t resident_set_bytes() {
  std::array<char, 256> text{};
  if (const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC); file >= 0) {
    [[maybe_unused]] const auto read_bytes = read(file, text.data(), text.size() - 1);
    close(file);
  }
  unsigned long long mapped_pages = 0, resident_pages = 0;
  std::sscanf(text.data(), "%llu %llu", &mapped_pages, &resident_pages);
  return resident_pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t peak_resident_set_bytes() { return row_bytes("/proc/self/status", "VmHWM").value_or(0); }

bool reset_peak_resident_set() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;  // proc(5): 5 resets the peak and nothing else
  return file.good();
}

std::uint64_t memory_limit_bytes() {
  const std::uint64_t machine = row_bytes("/proc/meminfo", "MemTotal").value_or(pages_in_bytes(_SC_PHYS_PAGES));
  return std::min(machine, read_cgroup_memory().limit_bytes.value_or(machine));
}

std::uint64_t memory_available_bytes() {
  const std::uint64_t machine = row_bytes("/proc/meminfo", "MemAvailable").value_or(pages_in_bytes(_SC_AVPHYS_PAGES));
  return std::min(machine, read_cgroup_memory().available_bytes.value_or(machine));
}

}  // namespace asterias
