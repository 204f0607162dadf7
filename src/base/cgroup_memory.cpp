#include "base/cgroup_memory.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace asterias {
namespace {

// v1 writes "no limit" as the largest multiple of a page below 2^63; nobody owns 2^60 bytes.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;

// The files of one version that matter. v2's memory.high does not kill, but above it the kernel throttles a process to
// a standstill.
struct Dialect {
  std::vector<std::string> limits;
  std::string usage;
  std::vector<std::string_view> reclaimable;  // rows of memory.stat
};

const Dialect kV1{{"memory.limit_in_bytes"}, "memory.usage_in_bytes", {"total_inactive_file", "total_active_file"}};
const Dialect kV2{
    {"memory.max", "memory.high"}, "memory.current", {"inactive_file", "active_file", "slab_reclaimable"}};

// A mounted hierarchy and this process's path in it.
struct Hierarchy {
  std::string mount_point;
  std::string path;  // below mount_point; empty: the mount point is the group
};

std::optional<std::uint64_t> read_number(const std::string& file) {
  std::uint64_t number = 0;
  if (!(std::ifstream(file) >> number)) return std::nullopt;  // absent, or "max"
  return number;
}

std::optional<std::uint64_t> smaller(std::optional<std::uint64_t> a, std::optional<std::uint64_t> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

bool names(const std::string& comma_list, const std::string& word) {
  return ("," + comma_list + ",").find("," + word + ",") != std::string::npos;
}

// A line of /proc/self/cgroup is "id:controllers:path"; v2's is "0::path".
std::optional<std::string> group_path(const std::string& root, bool v2) {
  std::ifstream lines(root + "/proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (v2 ? controllers.empty() : names(controllers, "memory")) return line.substr(second + 1);
  }
  return std::nullopt;
}

// A container without a cgroup namespace sees the host's path, but only its own part is mounted (mount_root): what is
// above cannot be read. A path outside of the mount ("/../x", or another root) leaves the mount point as the best that
// is known.
std::string path_below_mount(const std::string& path, const std::string& mount_root) {
  if (path.find("/..") != std::string::npos) return "";
  if (mount_root == "/") return path == "/" ? "" : path;
  const bool inside =
      path.rfind(mount_root, 0) == 0 && (path.size() == mount_root.size() || path[mount_root.size()] == '/');
  return inside ? path.substr(mount_root.size()) : "";
}

// proc(5): "id parent major:minor root mount_point options [optional]... - type source super_options".
std::optional<Hierarchy> find_hierarchy(const std::string& root, bool v2) {
  const auto path = group_path(root, v2);
  if (!path) return std::nullopt;
  std::ifstream lines(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(lines, line);) {
    const auto dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream front(line.substr(0, dash)), back(line.substr(dash + 3));
    std::string skipped, mount_root, mount_point, type, source, options;
    front >> skipped >> skipped >> skipped >> mount_root >> mount_point;
    back >> type >> source >> options;
    if (v2 ? type == "cgroup2" : type == "cgroup" && names(options, "memory"))
      return Hierarchy{root + mount_point, path_below_mount(*path, mount_root)};
  }
  return std::nullopt;
}

std::optional<std::uint64_t> group_limit(const std::string& folder, const Dialect& dialect) {
  std::optional<std::uint64_t> limit;
  for (const auto& file : dialect.limits) limit = smaller(limit, read_number(folder + "/" + file));
  return limit && *limit < kNoLimit ? limit : std::nullopt;
}

std::uint64_t reclaimable_bytes(const std::string& folder, const Dialect& dialect) {
  std::ifstream rows(folder + "/memory.stat");
  std::uint64_t sum = 0, bytes = 0;
  for (std::string name; rows >> name >> bytes;)
    if (std::find(dialect.reclaimable.begin(), dialect.reclaimable.end(), name) != dialect.reclaimable.end())
      sum += bytes;
  return sum;
}

CgroupMemory read_group(const std::string& folder, const Dialect& dialect) {
  const auto limit = group_limit(folder, dialect);
  if (!limit) return {};
  const std::uint64_t usage = read_number(folder + "/" + dialect.usage).value_or(0);
  const std::uint64_t held = usage - std::min(usage, reclaimable_bytes(folder, dialect));
  return {limit, *limit - std::min(*limit, held)};
}

CgroupMemory read_hierarchy(const Hierarchy& hierarchy, const Dialect& dialect) {
  CgroupMemory all;
  for (std::string path = hierarchy.path;; path.erase(path.rfind('/'))) {
    const CgroupMemory group = read_group(hierarchy.mount_point + path, dialect);
    all.limit_bytes = smaller(all.limit_bytes, group.limit_bytes);
    all.available_bytes = smaller(all.available_bytes, group.available_bytes);
    if (path.rfind('/') == std::string::npos) return all;
  }
}

}  // namespace

CgroupMemory read_cgroup_memory(const std::string& root) {
  CgroupMemory all;
  for (const bool v2 : {false, true}) {
    const auto hierarchy = find_hierarchy(root, v2);
    if (!hierarchy) continue;
    const CgroupMemory part = read_hierarchy(*hierarchy, v2 ? kV2 : kV1);
    all.limit_bytes = smaller(all.limit_bytes, part.limit_bytes);
    all.available_bytes = smaller(all.available_bytes, part.available_bytes);
  }
  return all;
}

}  // namespace asterias
