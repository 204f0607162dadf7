// A drive in memory: transfers run on a thread of their own, and the capacity is hard.
//
// Not for faults: tests/device/faulty_file_calls.hpp injects those below a real file.
//
// Threading: thread-safe but for grow(). Units: bytes.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>

#include "base/error.hpp"
#include "device/block_file.hpp"
#include "device/copy_stream.hpp"
#include "device/page_block.hpp"

namespace asterias::chunk::tests {

class RamBlockFile final : public device::BlockFile {
 public:
  explicit RamBlockFile(std::uint64_t capacity_bytes) : memory_(capacity_bytes) {}

  device::Ticket read(std::uint64_t offset, std::span<std::byte> into) override {
    check(offset, into.data(), into.size());
    return stream_.copy(into.data(), memory_.data() + offset, into.size());
  }

  device::Ticket write(std::uint64_t offset, std::span<const std::byte> from) override {
    check(offset, from.data(), from.size());
    return stream_.copy(memory_.data() + offset, from.data(), from.size());
  }

  void grow(std::uint64_t bytes) override {
    if (bytes % device::kBlockFileAlignment != 0)
      throw StateError(StateError::Cause::kBug, "an odd size of " + std::to_string(bytes));
    if (bytes > memory_.bytes()) throw IoError(ENOSPC, path_, bytes_, "growing");
    bytes_ = std::max(bytes_, bytes);
  }

  const std::string& path() const override { return path_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  void check(std::uint64_t offset, const std::byte* memory, std::uint64_t bytes) const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    if ((offset | bytes | address) % device::kBlockFileAlignment != 0)
      throw StateError(StateError::Cause::kBug, "a transfer is not aligned");
    if (offset + bytes > bytes_) throw StateError(StateError::Cause::kBug, "a transfer past the end of the file");
  }

  const std::string path_ = "a drive in memory";
  device::PageBlock memory_;
  std::uint64_t bytes_ = 0;
  device::CopyStream stream_;
};

}  // namespace asterias::chunk::tests
