#include "base/library_pages.hpp"

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <vector>

#include <link.h>

namespace asterias {
namespace {

struct Range {
  std::uintptr_t begin, end;
};

// Lists the private mappings that nobody may write to and nobody has written to.
std::vector<Range> clean_mappings() {
  std::vector<Range> clean;
  Range range{}, next{};
  char access[5] = "";
  unsigned long written = 0;
  std::ifstream lines("/proc/self/smaps");
  for (std::string line; std::getline(lines, line);) {
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &next.begin, &next.end, access) == 3) range = next;
    const bool tells = std::sscanf(line.c_str(), "Anonymous: %lu kB", &written) == 1;
    if (tells && written == 0 && access[1] == '-' && access[3] == 'p') clean.push_back(range);
  }
  return clean;
}

// Called by the loader under its lock, so that no object goes away meanwhile.
int release_pages_of(dl_phdr_info* object, std::size_t, void* clean_ranges) {
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr, end = begin + segment.p_memsz;
    for (const Range& clean : *static_cast<std::vector<Range>*>(clean_ranges))
      if (clean.begin < end && clean.end > begin)
        ::madvise(reinterpret_cast<void*>(clean.begin), clean.end - clean.begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void release_library_pages() {
  std::vector<Range> clean = clean_mappings();
  ::dl_iterate_phdr(release_pages_of, &clean);
}

}  // namespace asterias
