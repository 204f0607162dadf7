// The life of swap files in a folder: names, locks, headers, and what dead runs leave behind.
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "device/file_descriptor.hpp"
#include "device/swap_file_header.hpp"
#include "tests/base/captured_stderr.hpp"
#include "tests/device/block_file_suite.hpp"

namespace asterias::device::tests {
namespace {

using asterias::tests::CapturedStderr;
using asterias::tests::count_of;
using asterias::tests::TemporaryFolder;

std::string header_text(SwapFileHeader header = own_swap_file_header()) {
  std::string text(kSwapFileHeaderBytes, '\0');
  std::memcpy(text.data(), &header, sizeof header);
  return text;
}

std::string name_of(const BlockFile& file) { return std::filesystem::path(file.path()).filename().string(); }

void make_older_than_a_minute(const std::string& path) {
  const std::array<timespec, 2> long_ago{};
  CATCH_REQUIRE(utimensat(AT_FDCWD, path.c_str(), long_ago.data(), 0) == 0);
}

CATCH_TEST_CASE("a swap file is named, headed, private and deleted", "[device]") {
  const TemporaryFolder folder;
  {
    const auto file = create_swap_file(folder.path(), {});
    CATCH_CHECK(name_of(*file).rfind("asterias-" + host_in_file_names() + "-" + std::to_string(getpid()) + "-", 0) ==
                0);
    CATCH_CHECK(name_of(*file).ends_with(".swap"));
    CATCH_CHECK(folder.names().size() == 1);
    std::array<std::byte, kSwapFileHeaderBytes> block{};
    std::ifstream(file->path(), std::ios::binary).read(reinterpret_cast<char*>(block.data()), block.size());
    const auto header = parse_swap_file_header(block);
    CATCH_REQUIRE(header.has_value());
    CATCH_CHECK(header->pid == static_cast<std::uint32_t>(getpid()));
    CATCH_CHECK(header->process_start_ticks > 0);
    struct stat status {};
    CATCH_REQUIRE(stat(file->path().c_str(), &status) == 0);
    CATCH_CHECK((status.st_mode & 0777) == 0600);
  }
  CATCH_CHECK(folder.names().empty());
}

CATCH_TEST_CASE("two live swap files share a folder", "[device]") {
  const TemporaryFolder folder;
  const auto first = create_swap_file(folder.path(), {});
  const auto second = create_swap_file(folder.path(), {});
  CATCH_CHECK(first->path() != second->path());
  CATCH_CHECK(folder.names().size() == 2);
}

CATCH_TEST_CASE("dead files go and strangers stay", "[device]") {
  const TemporaryFolder folder;
  folder.add("asterias-there-1-0.swap", header_text());
  make_older_than_a_minute(folder.add("asterias-there-1-1.swap.new", ""));
  folder.add("asterias-there-1-2.swap.new", "");  // may be about to be locked
  folder.add("asterias-notes.swap", "my notes on asterias");
  folder.add("other.swap", header_text());
  std::filesystem::create_directory(folder.path() + "/asterias-folder.swap");
  CATCH_REQUIRE(mkfifo((folder.path() + "/asterias-pipe.swap").c_str(), 0600) == 0);
  const CapturedStderr captured;
  const auto file = create_swap_file(folder.path(), {});
  auto names = folder.names();
  std::sort(names.begin(), names.end());
  std::vector<std::string> expected{"asterias-there-1-2.swap.new", "asterias-notes.swap", "other.swap",
                                    "asterias-folder.swap",        "asterias-pipe.swap",  name_of(*file)};
  std::sort(expected.begin(), expected.end());
  CATCH_CHECK(names == expected);
  CATCH_CHECK(count_of(captured.text(), "of a run that has ended") == 2);
  CATCH_CHECK(count_of(captured.text(), "asterias-notes.swap is named like") == 1);
}

CATCH_TEST_CASE("a locked file is left alone", "[device]") {
  const TemporaryFolder folder;
  const std::string path = folder.add("asterias-there-1-0.swap", header_text());
  FileDescriptor owner(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  CATCH_REQUIRE(flock(owner.get(), LOCK_EX | LOCK_NB) == 0);
  create_swap_file(folder.path(), {});
  CATCH_CHECK(std::filesystem::exists(path));
  owner = FileDescriptor();
  create_swap_file(folder.path(), {});
  CATCH_CHECK_FALSE(std::filesystem::exists(path));
}

// Many runs that start, clean and end at once: each sees its own file under its own name all the time.
CATCH_TEST_CASE("starting runs do not delete one another's files", "[device]") {
  const TemporaryFolder folder;
  std::atomic<int> lost{0};
  const auto live = [&] {
    for (int i = 0; i < 25; ++i) {
      const auto file = create_swap_file(folder.path(), {1, 4096, false});
      lost += std::filesystem::exists(file->path()) ? 0 : 1;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(live);
  for (auto& thread : threads) thread.join();
  CATCH_CHECK(lost == 0);
  CATCH_CHECK(folder.names().empty());
}

// The run that the next case kills: it has a swap file, says so, and waits.
CATCH_TEST_CASE("a run with a swap file", "[.child]") {
  const char* folder = std::getenv("ASTERIAS_TEST_FOLDER");
  if (folder == nullptr) return;  // Catch2 runs hidden cases too when it is only told what to leave out
  const auto file = create_swap_file(folder, {});
  file->grow(kMiB);
  if (write(std::atoi(std::getenv("ASTERIAS_TEST_PIPE")), "r", 1) == 1) pause();
}

pid_t start_run(const std::string& folder, int pipe_end) {
  const std::string pipe = std::to_string(pipe_end);
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a failed test leaves nobody behind
  setenv("ASTERIAS_TEST_FOLDER", folder.c_str(), 1);
  setenv("ASTERIAS_TEST_PIPE", pipe.c_str(), 1);
  execl("/proc/self/exe", "child", "a run with a swap file", nullptr);
  _exit(127);
}

CATCH_TEST_CASE("the file of a run that was killed is cleaned by the next", "[device][fault]") {
  const TemporaryFolder folder;
  std::array<int, 2> ends{};
  CATCH_REQUIRE(pipe(ends.data()) == 0);
  const pid_t child = start_run(folder.path(), ends[1]);
  close(ends[1]);
  char ready = 0;
  CATCH_REQUIRE(read(ends[0], &ready, 1) == 1);
  close(ends[0]);
  create_swap_file(folder.path(), {});
  CATCH_CHECK(folder.names().size() == 1);  // the child's: it lives
  CATCH_REQUIRE(kill(child, SIGKILL) == 0);
  CATCH_REQUIRE(waitpid(child, nullptr, 0) == child);
  CATCH_CHECK(folder.names().size() == 1);
  create_swap_file(folder.path(), {});
  CATCH_CHECK(folder.names().empty());
}

CATCH_TEST_CASE("a folder that cannot serve is a configuration error", "[device]") {
  const TemporaryFolder folder;
  CATCH_CHECK_THROWS_AS(create_swap_file(folder.path() + "/absent", {}), ConfigError);
  CATCH_CHECK_THROWS_AS(create_swap_file(folder.add("a_file", ""), {}), ConfigError);
  CATCH_CHECK_THROWS_AS(create_swap_file("/proc/self", {}), Error);
}

CATCH_TEST_CASE("a folder in memory is refused", "[device]") {
  struct statfs drive {};
  if (statfs("/dev/shm", &drive) != 0 || static_cast<std::uint32_t>(drive.f_type) != TMPFS_MAGIC) {
    CATCH_WARN("/dev/shm is no tmpfs here");
    return;
  }
  CATCH_CHECK_THROWS_WITH(create_swap_file("/dev/shm", {}), Catch::Contains("tmpfs"));
}

CATCH_TEST_CASE("where O_DIRECT is refused the file is buffered with one log line", "[device][fault]") {
  const TemporaryFolder folder;
  const auto calls = std::make_shared<FaultyFileCalls>();
  calls->refuse_direct = true;
  const CapturedStderr captured;
  const auto file = create_swap_file(folder.path(), {}, calls);
  file->grow(2 * kMiB);
  RandomTraffic traffic(*file, 2 * kMiB, 7);
  traffic.round();
  CATCH_CHECK(count_of(captured.text(), "O_DIRECT is refused") == 1);
}

CATCH_TEST_CASE("a header is written whole by a drive that takes it in parts and is interrupted", "[device][fault]") {
  const TemporaryFolder folder;
  const auto calls = std::make_shared<FaultyFileCalls>();
  calls->short_transfers = true;
  calls->interrupted = true;
  const auto file = create_swap_file(folder.path(), {}, calls);
  CATCH_CHECK(calls->calls() > 2);
  std::array<std::byte, kSwapFileHeaderBytes> block{};
  std::ifstream(file->path(), std::ios::binary).read(reinterpret_cast<char*>(block.data()), block.size());
  CATCH_CHECK(parse_swap_file_header(block).has_value());
}

CATCH_TEST_CASE("a file whose header cannot be written does not stay", "[device][fault]") {
  const TemporaryFolder folder;
  const auto calls = std::make_shared<FaultyFileCalls>();
  calls->fail_transfer(1, ENOSPC);
  CATCH_CHECK_THROWS_AS(create_swap_file(folder.path(), {}, calls), IoError);
  CATCH_CHECK(folder.names().empty());
}

}  // namespace
}  // namespace asterias::device::tests
