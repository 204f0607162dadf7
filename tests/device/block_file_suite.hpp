// What every implementation of BlockFile must do. An implementation's own test file calls each function once, in a case
// of its own.
//
// Threading: one suite at a time.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "device/block_file.hpp"
#include "device/page_block.hpp"
#include "tests/base/temporary_folder.hpp"
#include "tests/device/faulty_file_calls.hpp"

namespace asterias::device::tests {

using MakeBlockFile = std::function<std::unique_ptr<BlockFile>(
    const std::string& directory, const BlockFileOptions& options, std::shared_ptr<FileCalls> calls)>;

// A file in a folder of its own, with calls that can be made to fail.
struct BlockFileUnderTest {
  explicit BlockFileUnderTest(const MakeBlockFile& make, const BlockFileOptions& options = {},
                              std::uint64_t bytes = 8 * kMiB)
      : file(make(folder.path(), options, calls)) {
    file->grow(bytes);
  }

  asterias::tests::TemporaryFolder folder;
  std::shared_ptr<FaultyFileCalls> calls = std::make_shared<FaultyFileCalls>();
  std::unique_ptr<BlockFile> file;
};

inline std::span<std::byte> part_of(PageBlock& block, std::uint64_t offset, std::uint64_t bytes) {
  return {block.data() + offset, bytes};
}

inline void fill(std::span<std::byte> bytes, std::mt19937_64& random) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
}

// A file's bytes beside what they ought to be: rounds of reads and writes of random sizes, all of a round in flight at
// once.
class RandomTraffic {
 public:
  RandomTraffic(BlockFile& file, std::uint64_t bytes, unsigned seed)
      : file_(file), bytes_(bytes), random_(seed), memory_(bytes), reference_(bytes) {
    fill(part_of(reference_, 0, bytes), random_);
    file.write(0, part_of(reference_, 0, bytes)).wait();
  }

  // Cuts the whole range into disjoint pieces and reads, rewrites or skips each.
  void round() {
    std::vector<Piece> pieces = cut();
    std::shuffle(pieces.begin(), pieces.end(), random_);
    for (Piece& piece : pieces) start(piece);
    for (Piece& piece : pieces) piece.ticket.wait();
    for (const Piece& piece : pieces)
      if (piece.is_read) CATCH_REQUIRE(same(piece));
  }

 private:
  struct Piece {
    std::uint64_t offset;
    std::uint64_t bytes;
    bool is_read = false;
    Ticket ticket{};
  };

  std::vector<Piece> cut() {
    constexpr std::uint64_t kLargestPages = 80;
    std::vector<Piece> pieces;
    for (std::uint64_t offset = 0; offset < bytes_;) {
      const std::uint64_t wanted = (1 + random_() % kLargestPages) * kBlockFileAlignment;
      pieces.push_back({offset, std::min(wanted, bytes_ - offset)});
      offset += pieces.back().bytes;
    }
    return pieces;
  }

  void start(Piece& piece) {
    const auto memory = part_of(memory_, piece.offset, piece.bytes);
    const auto kind = random_() % 5;
    piece.is_read = kind < 2;
    fill(memory, random_);
    if (piece.is_read) piece.ticket = file_.read(piece.offset, memory);
    if (kind < 2 || kind == 4) return;
    std::memcpy(reference_.data() + piece.offset, memory.data(), memory.size());
    piece.ticket = file_.write(piece.offset, memory);
  }

  bool same(const Piece& piece) {
    return std::memcmp(memory_.data() + piece.offset, reference_.data() + piece.offset, piece.bytes) == 0;
  }

  BlockFile& file_;
  const std::uint64_t bytes_;
  std::mt19937_64 random_;
  PageBlock memory_;
  PageBlock reference_;
};

inline std::optional<IoError> io_error_of(Ticket& ticket) {
  try {
    ticket.wait();
  } catch (const IoError& error) {
    return error;
  }
  return std::nullopt;
}

inline void check_random_traffic(const MakeBlockFile& make) {
  for (const BlockFileOptions& options : {BlockFileOptions{}, BlockFileOptions{3, 64 * kKiB, true},
                                          BlockFileOptions{1, 4 * kKiB, true}, BlockFileOptions{8, kMiB, false}}) {
    BlockFileUnderTest test(make, options);
    RandomTraffic traffic(*test.file, 6 * kMiB, 1);
    for (int round = 0; round < 6; ++round) traffic.round();
  }
}

inline void check_short_transfers(const MakeBlockFile& make) {
  for (const bool direct : {true, false}) {
    BlockFileUnderTest test(make, {4, 32 * kKiB, direct});
    test.calls->short_transfers = true;
    test.calls->interrupted = true;
    RandomTraffic traffic(*test.file, kMiB, 2);
    traffic.round();
    traffic.round();
  }
}

inline void check_alignment(const MakeBlockFile& make) {
  BlockFileUnderTest test(make);
  PageBlock memory(2 * kBlockFileAlignment);
  const auto page = part_of(memory, 0, kBlockFileAlignment);
  CATCH_CHECK_THROWS_AS(test.file->read(512, page), StateError);
  CATCH_CHECK_THROWS_AS(test.file->read(0, page.first(512)), StateError);
  CATCH_CHECK_THROWS_AS(test.file->write(0, part_of(memory, 512, kBlockFileAlignment)), StateError);
  CATCH_CHECK_THROWS_AS(test.file->grow(5000), StateError);
  CATCH_CHECK(test.file->read(0, page.first(0)).done());
  CATCH_CHECK(test.file->write(0, page.first(0)).done());
}

inline void check_end_of_file(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {2, 4 * kMiB, true}, 16 * kKiB);
  PageBlock memory(64 * kKiB);
  Ticket inside = test.file->read(0, part_of(memory, 0, 16 * kKiB));
  Ticket across = test.file->read(0, part_of(memory, 16 * kKiB, 32 * kKiB));
  Ticket beyond = test.file->read(kMiB, part_of(memory, 48 * kKiB, 4 * kKiB));
  inside.wait();
  for (Ticket* ticket : {&across, &beyond}) {
    const auto error = io_error_of(*ticket);
    CATCH_REQUIRE(error.has_value());
    CATCH_CHECK(error->error_number() == EIO);
    CATCH_CHECK(error->path() == test.file->path());
  }
}

inline void check_grow(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {}, kMiB);
  PageBlock memory(kMiB);
  std::mt19937_64 random(3);
  fill(part_of(memory, 0, kMiB), random);
  test.file->write(0, part_of(memory, 0, kMiB)).wait();
  test.file->grow(4 * kMiB);
  test.file->grow(2 * kMiB);  // already there
  PageBlock back(kMiB);
  test.file->read(3 * kMiB, part_of(back, 0, kMiB)).wait();
  test.file->read(0, part_of(back, 0, kMiB)).wait();
  CATCH_CHECK(std::memcmp(back.data(), memory.data(), kMiB) == 0);
}

inline void check_full_drive(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {}, kMiB);
  test.calls->allocate_error = ENOSPC;
  try {
    test.file->grow(2 * kMiB);
    CATCH_FAIL("grow did not throw");
  } catch (const IoError& error) {
    CATCH_CHECK(error.error_number() == ENOSPC);
    CATCH_CHECK(error.path() == test.file->path());
  }
  CATCH_CHECK(std::filesystem::file_size(test.file->path()) == kMiB + 4096);
  test.calls->allocate_error = EOPNOTSUPP;  // the next best: a sparse file
  test.file->grow(2 * kMiB);
  CATCH_CHECK(std::filesystem::file_size(test.file->path()) == 2 * kMiB + 4096);
}

// One worker, so the nth call belongs to a known request; the others must not notice.
inline void check_errors_in_flight(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {1, 64 * kKiB, true});
  PageBlock memory(kMiB);
  test.calls->close_gate();
  test.calls->fail_transfer(3, EIO);
  Ticket before = test.file->write(0, part_of(memory, 0, 64 * kKiB));
  Ticket broken = test.file->write(kMiB, part_of(memory, 0, 256 * kKiB));
  Ticket after = test.file->read(0, part_of(memory, 256 * kKiB, 64 * kKiB));
  for (const Ticket* ticket : {&before, &broken, &after}) ticket->hurry();  // keeps the order, whoever is waited for
  test.calls->open_gate();
  before.wait();
  after.wait();
  const auto error = io_error_of(broken);
  CATCH_REQUIRE(error.has_value());
  CATCH_CHECK(error->error_number() == EIO);
  CATCH_CHECK(error->offset() == 4096 + kMiB + 64 * kKiB);  // its second block; the header comes first in the file
  CATCH_CHECK(io_error_of(broken).has_value());
  test.calls->fail_transfer(1, ENOSPC);
  Ticket full = test.file->write(0, part_of(memory, 0, 4 * kKiB));
  CATCH_CHECK(io_error_of(full)->error_number() == ENOSPC);
  test.file->write(0, part_of(memory, 0, 4 * kKiB)).wait();
}

// A request of many blocks completes only when its last block has ended, also when the first has failed.
inline void check_failed_request_waits_for_its_blocks(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {4, 4 * kKiB, true});
  PageBlock memory(64 * kKiB);
  test.calls->close_gate();
  test.calls->fail_transfer(1, EIO);
  Ticket ticket = test.file->read(0, part_of(memory, 0, 64 * kKiB));
  test.calls->wait_for_held(4);
  CATCH_CHECK_FALSE(ticket.done());
  test.calls->open_gate();
  CATCH_CHECK(io_error_of(ticket).has_value());
  const std::int64_t calls = test.calls->calls();
  test.file.reset();
  CATCH_CHECK(test.calls->calls() == calls);  // nothing touched the memory after the ticket was done
}

inline void check_destructor_waits(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {2, 64 * kKiB, true});
  PageBlock memory(4 * kMiB);
  test.calls->close_gate();
  std::vector<Ticket> tickets;
  for (std::uint64_t i = 0; i < 8; ++i) tickets.push_back(test.file->write(i * kMiB, part_of(memory, 0, kMiB)));
  std::thread opener([&] {
    test.calls->wait_for_held(2);
    test.calls->open_gate();
  });
  test.file.reset();
  for (const Ticket& ticket : tickets) CATCH_CHECK(ticket.done());
  for (Ticket& ticket : tickets) ticket.wait();
  opener.join();
}

inline void check_many_submitters(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {4, 64 * kKiB, true});
  const auto submit = [&](std::uint64_t start, unsigned seed) {
    std::mt19937_64 random(seed);
    PageBlock out(256 * kKiB), in(256 * kKiB);
    for (int i = 0; i < 10; ++i) {
      fill(part_of(out, 0, out.bytes()), random);
      test.file->write(start, part_of(out, 0, out.bytes())).wait();
      test.file->read(start, part_of(in, 0, in.bytes())).wait();
      if (std::memcmp(in.data(), out.data(), in.bytes()) != 0) throw std::runtime_error("other bytes came back");
    }
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < 8; ++i) others.emplace_back([&submit, i] { submit(i * kMiB, i); });
  submit(0, 0);
  for (auto& other : others) other.join();
}

// Far more requests than places in the queue, all there before the first ends.
inline void check_overflow(const MakeBlockFile& make) {
  constexpr std::uint64_t kRequests = 3000;
  BlockFileUnderTest test(make, {2, 4 * kKiB, true}, kRequests * 4 * kKiB);
  PageBlock out(kRequests * 4 * kKiB), in(kRequests * 4 * kKiB);
  std::mt19937_64 random(6);
  fill(part_of(out, 0, out.bytes()), random);
  const auto each_page = [](const auto& start) {
    std::vector<Ticket> tickets;
    for (std::uint64_t i = 0; i < kRequests; ++i) tickets.push_back(start(i * 4 * kKiB));
    for (Ticket& ticket : tickets) ticket.wait();
  };
  test.calls->close_gate();
  std::thread opener([&] {
    test.calls->wait_for_held(2);
    test.calls->open_gate();
  });
  each_page([&](std::uint64_t at) { return test.file->write(at, part_of(out, at, 4 * kKiB)); });
  opener.join();
  each_page([&](std::uint64_t at) { return test.file->read(at, part_of(in, at, 4 * kKiB)); });
  CATCH_CHECK(std::memcmp(in.data(), out.data(), in.bytes()) == 0);
}

// What is waited for goes before what is not, in the order in which the waiting began; a request that has begun goes on
// with what is left of it.
inline void check_priorities(const MakeBlockFile& make) {
  BlockFileUnderTest test(make, {1, 64 * kKiB, true});
  PageBlock memory(kMiB);
  const auto page = part_of(memory, 0, 64 * kKiB);
  test.calls->close_gate();
  std::vector<Ticket> tickets;
  tickets.push_back(test.file->write(0, part_of(memory, 0, 128 * kKiB)));  // its first block takes the only place
  test.calls->wait_for_held(1);
  for (std::uint64_t i = 1; i < 5; ++i) tickets.push_back(test.file->write(i * kMiB, page));
  tickets.push_back(test.file->read(5 * kMiB, page));
  tickets.push_back(test.file->write(6 * kMiB, part_of(memory, 0, 128 * kKiB)));
  tickets[5].hurry();
  tickets[6].hurry();
  tickets[2].hurry();
  tickets[5].hurry();  // is where it was
  test.calls->open_gate();
  for (Ticket& ticket : tickets) ticket.wait();
  std::vector<std::uint64_t> order = test.calls->started_offsets();
  order.erase(order.begin());  // the file's header
  for (std::uint64_t& offset : order) offset = (offset - 4096) / (64 * kKiB);
  CATCH_CHECK(order == std::vector<std::uint64_t>{0, 80, 96, 97, 32, 1, 16, 48, 64});
}

// Blocks of a request are alike: a rest would take the place of a whole one.
inline void check_even_blocks(const MakeBlockFile& make) {
  const auto starts_of = [&](std::uint64_t bytes) {
    BlockFileUnderTest test(make, {1, 64 * kKiB, true});
    PageBlock memory(bytes);
    test.file->write(0, part_of(memory, 0, bytes)).wait();
    std::vector<std::uint64_t> starts = test.calls->started_offsets();
    starts.erase(starts.begin());  // the file's header
    for (std::uint64_t& offset : starts) offset = (offset - 4096) / kKiB;
    return starts;
  };
  using Starts = std::vector<std::uint64_t>;
  CATCH_CHECK(starts_of(4 * kKiB) == Starts{0});
  CATCH_CHECK(starts_of(92 * kKiB) == Starts{0});
  CATCH_CHECK(starts_of(96 * kKiB) == Starts{0, 48});
  CATCH_CHECK(starts_of(132 * kKiB) == Starts{0, 68});
  CATCH_CHECK(starts_of(192 * kKiB) == Starts{0, 64, 128});
}

// A ticket may be hurried by one thread while its transfer ends and its file goes.
inline void check_hurry_at_the_end(const MakeBlockFile& make) {
  for (int round = 0; round < 20; ++round) {
    BlockFileUnderTest test(make, {2, 4 * kKiB, true}, kMiB);
    PageBlock memory(64 * kKiB);
    const Ticket ticket = test.file->write(0, part_of(memory, 0, 64 * kKiB));
    std::thread other([&ticket] {
      while (!ticket.done()) ticket.hurry();
    });
    test.file.reset();
    ticket.hurry();
    other.join();
  }
}

}  // namespace asterias::device::tests
