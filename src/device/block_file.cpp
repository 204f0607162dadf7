#include "device/block_file.hpp"

#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "device/io_ring.hpp"
#include "device/ring_block_file.hpp"
#include "device/swap_file.hpp"
#include "device/thread_block_file.hpp"

namespace asterias::device {
namespace {

void check(const BlockFileOptions& options) {
  std::vector<std::string> complaints;
  if (options.queue_depth < 1 || options.queue_depth > 1024)
    complaints.push_back("io.queue_depth: " + std::to_string(options.queue_depth) + " is not between 1 and 1024");
  if (options.block_bytes == 0 || options.block_bytes % kBlockFileAlignment != 0)
    complaints.push_back("io.block_size: " + std::to_string(options.block_bytes) + " is not a multiple of 4096 bytes");
  if (!complaints.empty()) throw ConfigError(complaints);
}

// Says what the errno of a refusal usually comes from.
std::string reason_of(const std::system_error& refusal) {
  switch (refusal.code().value()) {
    case EPERM:
    case EACCES: return "a container's seccomp profile or the sysctl kernel.io_uring_disabled forbids it";
    case ENOSYS:
    case EOPNOTSUPP: return "it needs Linux 5.6 or newer";
    case ENOMEM: return "the limit of locked memory is too small; see ulimit -l";
    default: return "the system refuses";
  }
}

// Null: the file is for threads.
std::unique_ptr<IoRing> open_ring(const SwapFile& file, const BlockFileOptions& options, FileCalls& calls) {
  if (options.engine == IoEngine::kThreads) return nullptr;
  const bool must = options.engine == IoEngine::kIoUring;
  if (!file.direct()) {
    if (must) throw ConfigError("io.engine: io_uring needs O_DIRECT, which " + file.path() + " is without; set auto");
    return nullptr;
  }
  try {
    return calls.open_ring(options.queue_depth);
  } catch (const std::system_error& refusal) {
    const std::string message = std::string("io_uring cannot be used (") + refusal.what() + ": " + reason_of(refusal);
    if (must) throw ConfigError("io.engine: " + message + "); set auto or threads");
    log::warning(message + "); threads read and write " + file.path() + " (io.engine: threads says so at once)");
    return nullptr;
  }
}

}  // namespace

std::unique_ptr<BlockFile> create_swap_file(const std::string& directory, const BlockFileOptions& options,
                                            std::shared_ptr<FileCalls> calls) {
  check(options);
  auto file = std::make_unique<SwapFile>(directory, options.direct, *calls);
  if (auto ring = open_ring(*file, options, *calls))
    return std::make_unique<RingBlockFile>(std::move(file), std::move(ring), options, std::move(calls));
  return std::make_unique<ThreadBlockFile>(std::move(file), options, std::move(calls));
}

}  // namespace asterias::device
