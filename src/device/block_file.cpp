#include "device/block_file.hpp"

#include <utility>

#include "device/thread_block_file.hpp"

namespace asterias::device {

std::unique_ptr<BlockFile> create_swap_file(const std::string& directory, const BlockFileOptions& options,
                                            std::shared_ptr<FileCalls> calls) {
  return std::make_unique<ThreadBlockFile>(directory, options, std::move(calls));
}

}  // namespace asterias::device
