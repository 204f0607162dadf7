// What happens to a run through no fault of its user's: drives that fail or fill up, files that vanish, runs that are
// killed. Each ends with the documented exit code and a message that says what and where, or recovers with equal bits.
//
// Faults come from tests/faults, put in front of the C library of the started program.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <linux/magic.h>
#include <string>
#include <sys/vfs.h>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/base/captured_stderr.hpp"
#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

// The environment in which the program meets `faults` (system_call_faults.hpp).
Environment with_faults(const std::string& faults) {
  const std::string library = std::string(std::getenv("ASTERIAS_BIN_DIR")) + "/libasterias_faults.so";
  return {{"LD_PRELOAD", library},
          {"ASTERIAS_FAULTS", faults},
          {"ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0"}};
}

// Every operator of such a run writes all it has to the drive and reads it back.
std::vector<std::string> swapping(const std::string& folder, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"--steps", "2", "--nvme-path", folder, "--set", "debug.evict_always=true"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return tiny_training(arguments);
}

std::string fingerprint_without_swap() { return train_tiny({"--steps", "2"}).last_line(); }

// One clear message, nothing that looks like a result, nothing left behind.
void check_io_error(const Run& run, const TemporaryFolder& swap, const std::string& what, int error_number) {
  CATCH_INFO(run.err);
  CATCH_CHECK(run.exit_code == 4);
  CATCH_CHECK(("\n" + run.err).find("\nasterias: " + what) != std::string::npos);  // a warning may stand before it
  CATCH_CHECK(run.says(swap.path() + "/asterias-"));
  CATCH_CHECK(run.says(" at offset "));
  CATCH_CHECK(run.says(std::string(": ") + std::strerror(error_number) + "\n"));
  CATCH_CHECK(run.says("free room there, name another --nvme-path") == (error_number == ENOSPC));
  CATCH_CHECK(run.out.find("fingerprint") == std::string::npos);
  CATCH_CHECK(swap.names().empty());
}

// Returns when `holds` does, or the process has ended, or after a minute: what is false then fails the test.
void wait_until(const StartedProcess& process, const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!holds() && std::chrono::steady_clock::now() < end)
    if (process.ends_within(std::chrono::milliseconds(5))) return;
}

bool has_swap_file(const TemporaryFolder& folder) {
  for (const auto& name : folder.names())
    if (name.ends_with(".swap")) return true;
  return false;
}

CATCH_TEST_CASE("short transfers, interruptions and late completions change no bit", "[fault]") {
  const std::string plain = fingerprint_without_swap();
  CATCH_REQUIRE(is_fingerprint(plain));
  const auto survives = [&](const std::string& faults, const std::string& setting) {
    const TemporaryFolder swap;
    const Run run = start_asterias(swapping(swap.path(), {"--set", setting}), with_faults(faults));
    CATCH_INFO(faults << ", " << setting << ": " << run.err);
    CATCH_CHECK(run.exit_code == 0);
    CATCH_CHECK(run.last_line() == plain);
    CATCH_CHECK(swap.names().empty());
  };
  for (const char* engine : {"io.engine=auto", "io.engine=threads"}) {
    survives("short=1", engine);
    survives("interrupted=1", engine);
    survives("io_delay_us=1000", engine);
  }
  survives("short=1 interrupted=1 io_delay_us=100", "io.direct=false");
  survives("ring_full=1 short=1", "io.engine=auto");  // io_uring where the system allows it
}

CATCH_TEST_CASE("without io_uring a run goes on with threads, says so in one line, and has the same bits", "[fault]") {
  const std::string plain = fingerprint_without_swap();
  const TemporaryFolder swap;
  for (const int error_number : {EPERM, ENOMEM}) {
    const std::string faults = "short=1 refuse_ring=" + std::to_string(error_number);
    const Run run = start_asterias(swapping(swap.path()), with_faults(faults));
    CATCH_INFO(run.err);
    CATCH_CHECK(run.exit_code == 0);
    CATCH_CHECK(run.last_line() == plain);
    CATCH_CHECK(count_of(run.err, "io_uring cannot be used") == 1);
    CATCH_CHECK(run.says(std::strerror(error_number)));
    const Run asked = start_asterias(swapping(swap.path(), {"--set", "io.engine=io_uring"}), with_faults(faults));
    CATCH_CHECK(asked.exit_code == 2);
    CATCH_CHECK(asked.says("io.engine: io_uring cannot be used"));
  }
}

CATCH_TEST_CASE("a drive that fails in the middle of a run ends it with what, where and why", "[fault]") {
  const TemporaryFolder swap;
  for (const char* engine : {"io.engine=auto", "io.engine=threads"})
    for (const char* nth : {"2", "40", "300"}) {
      const auto fails = [&](const std::string& faults) {
        return start_asterias(swapping(swap.path(), {"--set", engine}), with_faults(faults));
      };
      check_io_error(fails("error=5 fail_read=" + std::string(nth)), swap, "reading ", EIO);
      check_io_error(fails("error=5 fail_write=" + std::string(nth)), swap, "writing ", EIO);
      check_io_error(fails("error=28 fail_write=" + std::string(nth)), swap, "writing ", ENOSPC);
    }
}

CATCH_TEST_CASE("a drive that is full at the start, or later, ends the run", "[fault]") {
  const TemporaryFolder swap;
  const auto full_at = [&](const std::string& bytes) {
    return start_asterias(swapping(swap.path()), with_faults("drive_bytes=" + bytes));
  };
  check_io_error(start_asterias(swapping(swap.path()), with_faults("error=28 fail_write=1")), swap,
                 "writing the header of ", ENOSPC);
  check_io_error(full_at("4096"), swap, "growing to ", ENOSPC);
  check_io_error(full_at("500000"), swap, "growing to ", ENOSPC);
}

CATCH_TEST_CASE("a limit on the length of files ends the run as an I/O error that names it", "[fault]") {
  const TemporaryFolder swap;
  std::string command = "ulimit -f 256; exec " + asterias_program();
  for (const auto& argument : swapping(swap.path())) command += " '" + argument + "'";
  const Run run = StartedProcess("/bin/bash", {"-c", command}).wait();
  check_io_error(run, swap, "growing to ", EFBIG);
  CATCH_CHECK(run.says("ulimit -f"));
}

CATCH_TEST_CASE("a nearly full drive serves as long as what is needed fits", "[fault]") {
  const TemporaryFolder swap;
  const Run run = start_asterias(swapping(swap.path()), with_faults("drive_bytes=8000000"));  // files grow by 64 MiB
  CATCH_INFO(run.err);
  CATCH_CHECK(run.exit_code == 0);
  CATCH_CHECK(run.last_line() == fingerprint_without_swap());
}

CATCH_TEST_CASE("a folder that cannot hold swap files is a usage error", "[fault]") {
  const TemporaryFolder folder;
  const std::string file = folder.add("file", "x");
  const auto refused = [](const std::string& path, const std::string& words) {
    const Run run = start_asterias(swapping(path));
    CATCH_INFO(path << ": " << run.err);
    CATCH_CHECK(run.exit_code == 2);
    CATCH_CHECK(run.err.starts_with("asterias: configuration: tiers.nvme.path: "));
    CATCH_CHECK(run.says(path));
    CATCH_CHECK(run.says(words));
  };
  refused(file, "is not a folder");
  refused(file + "/below", "Not a directory");
  refused("/sys/kernel", "no file can be created");  // for root as well, whom permissions do not stop
  struct statfs drive {};
  if (statfs("/dev/shm", &drive) == 0 && static_cast<std::uint32_t>(drive.f_type) == TMPFS_MAGIC)
    refused("/dev/shm", "lies in memory (tmpfs)");
}

CATCH_TEST_CASE("a stranger's file with the name of a swap file stays, with a warning", "[fault]") {
  const TemporaryFolder swap;
  swap.add("asterias-vm-1-0.swap", "my notes");
  const Run run = start_asterias(swapping(swap.path()));
  CATCH_CHECK(run.exit_code == 0);
  CATCH_CHECK(run.says("asterias-vm-1-0.swap is named like a swap file of Asterias but is none; it is left alone"));
  CATCH_CHECK(run.last_line() == fingerprint_without_swap());
  CATCH_CHECK(swap.names() == std::vector<std::string>{"asterias-vm-1-0.swap"});
  CATCH_CHECK(read_file(swap.path() + "/asterias-vm-1-0.swap") == "my notes");
}

CATCH_TEST_CASE("what a killed run leaves is deleted by the next, which says so", "[fault]") {
  const TemporaryFolder swap;
  StartedProcess killed(asterias_program(), swapping(swap.path(), {"--steps", "10000"}));
  wait_until(killed, [&] { return has_swap_file(swap); });
  killed.signal(SIGKILL);
  CATCH_REQUIRE(killed.wait().exit_code == 128 + SIGKILL);
  const auto left = swap.names();
  CATCH_REQUIRE(left.size() == 1);
  const Run next = start_asterias(swapping(swap.path()));
  CATCH_INFO(next.err);
  CATCH_CHECK(next.exit_code == 0);
  CATCH_CHECK(next.says("deleted " + swap.path() + "/" + left.front() + " of a run that has ended"));
  CATCH_CHECK(next.last_line() == fingerprint_without_swap());
  CATCH_CHECK(swap.names().empty());
}

CATCH_TEST_CASE("two runs on one folder have a file each and do not disturb each other", "[fault]") {
  const TemporaryFolder swap;
  StartedProcess first(asterias_program(), swapping(swap.path()), with_faults("io_delay_us=20000"));
  wait_until(first, [&] { return has_swap_file(swap); });
  first.signal(SIGSTOP);
  const auto names = swap.names();
  CATCH_REQUIRE(names.size() == 1);
  const Run second = start_asterias(swapping(swap.path()));
  CATCH_INFO(second.err);
  CATCH_CHECK(second.exit_code == 0);
  CATCH_CHECK_FALSE(second.says("deleted"));
  CATCH_CHECK(swap.names() == names);
  first.signal(SIGCONT);
  const Run run = first.wait();
  CATCH_INFO(run.err);
  CATCH_CHECK(run.exit_code == 0);
  CATCH_CHECK(run.last_line() == fingerprint_without_swap());
  CATCH_CHECK(second.last_line() == run.last_line());
  CATCH_CHECK(swap.names().empty());
}

// ---- the text -------------------------------------------------------------------------------------------------------

// A run on a text of its own, past the point where it has opened it.
struct RunningOnText {
  explicit RunningOnText(const std::string& steps)
      : process(asterias_program(), swapping(swap.path(), {"--steps", steps, "--data", text})) {
    wait_until(process, [&] { return has_swap_file(swap); });
  }

  const TemporaryFolder folder, swap;
  const std::string text = folder.add("text", read_file(shipped_text()));
  StartedProcess process;
};

CATCH_TEST_CASE("a text that is removed in the middle of a run serves to its end", "[fault]") {
  RunningOnText running("2");
  std::filesystem::remove(running.text);
  const Run run = running.process.wait();
  CATCH_INFO(run.err);
  CATCH_CHECK(run.exit_code == 0);
  CATCH_CHECK(run.last_line() == fingerprint_without_swap());
}

CATCH_TEST_CASE("a text that is cut in the middle of a run ends it", "[fault]") {
  RunningOnText running("10000");
  std::filesystem::resize_file(running.text, 10);
  const Run run = running.process.wait();
  CATCH_INFO(run.err);
  CATCH_CHECK(run.exit_code == 4);
  CATCH_CHECK(run.says("reading " + running.text + " at offset "));
  CATCH_CHECK(run.out.find("fingerprint") == std::string::npos);
  CATCH_CHECK(running.swap.names().empty());
}

// ---- configurations with more than one mistake ----------------------------------------------------------------------

CATCH_TEST_CASE("all mistakes of a configuration are told at once, with the nearest known keys") {
  const TemporaryFolder folder;
  const std::string file = folder.add(
      "config.json",
      R"({"tiers": {"cpu": {"limmit": "1GiB"}}, "optimiser": {}, "io": {"queue_depth": 0}, "prefetch": "two"})");
  const Run run = train_tiny({"--config", file});
  CATCH_INFO(run.err);
  CATCH_CHECK(run.exit_code == 2);
  CATCH_CHECK(run.says("4 complaints"));
  CATCH_CHECK(run.says("tiers.cpu.limmit: unknown key; the nearest known one is tiers.cpu.limit"));
  CATCH_CHECK(run.says("optimiser: unknown key; the nearest known one is optimizer"));
  CATCH_CHECK(run.says("io.queue_depth"));
  CATCH_CHECK(run.says("prefetch"));
}

}  // namespace
}  // namespace asterias::tests
