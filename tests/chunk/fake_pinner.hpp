// A pinner that keeps books: what is pinned lies apart and can be written to, is unpinned as a whole, and as often as a
// test allows.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>

#include <catch2/catch.hpp>

#include "device/host_pinner.hpp"

namespace asterias::chunk::tests {

class FakePinner final : public device::HostPinner {
 public:
  int num_pins = 0, num_refusals = 0, num_wrong = 0;
  int most_pins = 1'000'000'000;  // the next ones are refused

  bool pin(std::byte* memory, std::uint64_t bytes) override {
    if (num_pins >= most_pins) return ++num_refusals, false;
    CATCH_REQUIRE_FALSE(is_touched(memory, bytes));
    touch(memory, bytes);
    ranges_.emplace(memory, bytes);
    ++num_pins;
    return true;
  }
  // Throws nothing, so what is wrong is counted.
  void unpin(std::byte* memory, std::uint64_t bytes) noexcept override {
    const auto range = ranges_.find(memory);
    num_wrong += range == ranges_.end() || range->second != bytes;
    touch(memory, bytes);  // a fault if the pages are gone already
    ranges_.erase(memory);
  }

  std::uint64_t pinned_bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& range : ranges_) bytes += range.second;
    return bytes;
  }
  bool is_pinned(const std::byte* memory, std::uint64_t bytes) const {
    const auto range = ranges_.find(memory);
    return range != ranges_.end() && range->second == bytes;
  }
  bool is_touched(const std::byte* memory, std::uint64_t bytes) const {
    return std::any_of(ranges_.begin(), ranges_.end(), [&](const auto& range) {
      return range.first < memory + bytes && memory < range.first + range.second;
    });
  }

 private:
  static void touch(std::byte* memory, std::uint64_t bytes) {
    for (volatile std::byte* at = memory; at < memory + bytes; at += 4096) *at = std::byte{*at};
  }

  std::map<const std::byte*, std::uint64_t> ranges_;
};

}  // namespace asterias::chunk::tests
