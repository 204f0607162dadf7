// Every tree is made up: limits of the machine that runs the tests prove nothing.
#include "base/cgroup_memory.hpp"

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "tests/base/temporary_folder.hpp"

namespace asterias {
namespace {

using tests::TemporaryFolder;

constexpr const char* kV1Mount = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
constexpr const char* kV2Mount = "31 25 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

void add_process(const TemporaryFolder& root, const std::string& groups, const std::string& mounts) {
  root.add("proc/self/cgroup", groups);
  root.add("proc/self/mountinfo", "20 1 254:0 / / rw - ext4 /dev/vda rw\n" + mounts);
}

void add_v2_group(const TemporaryFolder& root, const std::string& path, const std::string& limit, std::uint64_t used) {
  root.add("sys/fs/cgroup" + path + "/memory.max", limit + "\n");
  root.add("sys/fs/cgroup" + path + "/memory.current", std::to_string(used) + "\n");
}

CATCH_TEST_CASE("without cgroup files there is no limit", "[base]") {
  const TemporaryFolder root;
  CATCH_CHECK_FALSE(read_cgroup_memory(root.path()).limit_bytes.has_value());
  add_process(root, "0::/a/b\n3:memory:/c\n", std::string(kV2Mount) + kV1Mount);
  CATCH_CHECK_FALSE(read_cgroup_memory(root.path()).limit_bytes.has_value());
  add_process(root, "no colons\n:\n0::\n", "three words only\n - \n");
  CATCH_CHECK_FALSE(read_cgroup_memory(root.path()).available_bytes.has_value());
}

CATCH_TEST_CASE("v2: the smallest limit of the nested groups holds", "[base]") {
  const TemporaryFolder root;
  add_process(root, "0::/jobs/ours/step\n", kV2Mount);
  add_v2_group(root, "/jobs", std::to_string(8 * kGiB), 7 * kGiB);
  add_v2_group(root, "/jobs/ours", std::to_string(2 * kGiB), kGiB);
  add_v2_group(root, "/jobs/ours/step", "max", kGiB);
  const CgroupMemory memory = read_cgroup_memory(root.path());
  CATCH_CHECK(memory.limit_bytes == 2 * kGiB);
  CATCH_CHECK(memory.available_bytes == kGiB);
  root.add("sys/fs/cgroup/jobs/memory.current", std::to_string(8 * kGiB - kMiB));
  CATCH_CHECK(read_cgroup_memory(root.path()).available_bytes == kMiB);  // other jobs of the outer group took it
}

CATCH_TEST_CASE("v2: page cache counts as free and memory.high as a limit", "[base]") {
  const TemporaryFolder root;
  add_process(root, "0::/job\n", kV2Mount);
  add_v2_group(root, "/job", std::to_string(4 * kGiB), 4 * kGiB);
  root.add("sys/fs/cgroup/job/memory.stat",
           "anon 123\nfile 99999999\ninactive_file 1048576\nactive_file 2097152\nunevictable 5\n");
  CATCH_CHECK(read_cgroup_memory(root.path()).available_bytes == 3 * kMiB);
  root.add("sys/fs/cgroup/job/memory.high", std::to_string(3 * kGiB));
  CATCH_CHECK(read_cgroup_memory(root.path()).limit_bytes == 3 * kGiB);
  CATCH_CHECK(read_cgroup_memory(root.path()).available_bytes == 0);
}

CATCH_TEST_CASE("v1: the largest page multiple means none and nested limits hold", "[base]") {
  const TemporaryFolder root;
  add_process(root, "9:cpu,cpuacct:/x\n4:memory:/outer/inner\n0::/\n", kV1Mount);
  const std::string groups = "sys/fs/cgroup/memory";
  root.add(groups + "/memory.limit_in_bytes", "9223372036854771712\n");
  root.add(groups + "/outer/inner/memory.limit_in_bytes", "9223372036854771712\n");
  CATCH_CHECK_FALSE(read_cgroup_memory(root.path()).limit_bytes.has_value());
  root.add(groups + "/outer/memory.limit_in_bytes", std::to_string(kGiB));
  root.add(groups + "/outer/memory.usage_in_bytes", std::to_string(kGiB / 2));
  root.add(groups + "/outer/memory.stat", "inactive_file 7\ntotal_inactive_file 1048576\ntotal_active_file 0\n");
  CATCH_CHECK(read_cgroup_memory(root.path()).limit_bytes == kGiB);
  CATCH_CHECK(read_cgroup_memory(root.path()).available_bytes == kGiB / 2 + kMiB);
}

// Docker without a cgroup namespace: the path is the host's, and the container's own group is mounted as if it were the
// root.
CATCH_TEST_CASE("a group that is the mount's root is found", "[base]") {
  const TemporaryFolder root;
  add_process(root, "4:memory:/docker/abc/sub\n",
              "30 25 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  root.add("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(2 * kGiB));
  CATCH_CHECK(read_cgroup_memory(root.path()).limit_bytes == 2 * kGiB);
  root.add("sys/fs/cgroup/memory/sub/memory.limit_in_bytes", std::to_string(kGiB));
  CATCH_CHECK(read_cgroup_memory(root.path()).limit_bytes == kGiB);
  add_process(root, "4:memory:/../elsewhere\n", kV1Mount);
  CATCH_CHECK(read_cgroup_memory(root.path()).limit_bytes == 2 * kGiB);
}

}  // namespace
}  // namespace asterias
