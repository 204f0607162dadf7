#include "device/copy_stream.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sys/prctl.h>
#include <thread>
#include <utility>

#include "base/byte_size.hpp"
#include "base/node_pool.hpp"
#include "device/awaited_first.hpp"
#include "device/work_queue.hpp"

namespace asterias::device {
namespace {

using Clock = std::chrono::steady_clock;

// What is waited for waits at most for one piece of what nobody waits for; smaller ones cost wake-ups.
constexpr std::uint64_t kPiecesPerSecond = 1000;
constexpr std::size_t kLeastPieceBytes = 256 * kKiB;

std::size_t piece_bytes_at(std::uint64_t bytes_per_second) {
  return std::max<std::size_t>(kLeastPieceBytes, round_up(bytes_per_second / kPiecesPerSecond, kKiB));
}

}  // namespace

// Fields in the second half change under the queue's lock only.
class CopyStream::Copy final : public Ticket::Queued {
 public:
  using Queue = WorkQueue<AwaitedFirst<Copy>>;

  void hurry() noexcept override;

  std::shared_ptr<Queue> queue;  // a ticket may be hurried when the stream is about to go
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::size_t bytes = 0;
  Clock::time_point submitted_at;
  Ticket::Promise promise;

  std::size_t started_bytes = 0;
  AwaitedFirst<Copy>::Place place;
};

void CopyStream::Copy::hurry() noexcept {
  queue->exclude([&](auto& copies) { copies.hurry(*this); });
}

struct CopyStream::State {
  explicit State(std::uint64_t rate) : bytes_per_second(rate), worker([this] { work(); }) {}
  ~State() {
    queue->close();
    worker.join();
  }

  struct Piece {
    std::shared_ptr<Copy> copy;
    std::size_t offset = 0, bytes = 0;

    bool is_last() const { return offset + bytes == copy->bytes; }
  };

  Piece take_first(AwaitedFirst<Copy>& copies) const;
  Clock::time_point next_deadline(const Piece& piece);
  void work();

  const std::uint64_t bytes_per_second;
  const std::size_t piece_bytes = piece_bytes_at(bytes_per_second);
  const std::shared_ptr<Copy::Queue> queue = std::make_shared<Copy::Queue>();
  Clock::time_point last_deadline{};  // the worker's
  std::thread worker;                 // the last member: it starts when the others are there
};

CopyStream::State::Piece CopyStream::State::take_first(AwaitedFirst<Copy>& copies) const {
  const auto copy = copies.front();
  const std::size_t left = copy->bytes - copy->started_bytes;
  const Piece piece{copy, copy->started_bytes, bytes_per_second > 0 ? std::min(piece_bytes, left) : left};
  copy->started_bytes += piece.bytes;
  if (piece.is_last()) copies.erase(*copy);
  return piece;
}

// Counted from the moment of submission, not of the memcpy: the worker's own wake-ups must not slow the declared link
// down.
Clock::time_point CopyStream::State::next_deadline(const Piece& piece) {
  if (bytes_per_second == 0) return {};
  const std::chrono::duration<double> on_the_link(static_cast<double>(piece.bytes) /
                                                  static_cast<double>(bytes_per_second));
  last_deadline =
      std::max(piece.copy->submitted_at, last_deadline) + std::chrono::duration_cast<Clock::duration>(on_the_link);
  return last_deadline;
}

void CopyStream::State::work() {
  prctl(PR_SET_TIMERSLACK, 1000UL);  // ns; the default of 50 us is the whole time of a 1 MiB copy at 20 GB/s
  Piece piece;
  while (queue->take([&](auto& copies) { piece = take_first(copies); })) {
    Copy& copy = *piece.copy;
    const auto deadline = next_deadline(piece);
    if (piece.offset == 0) copy.promise.begin();
    if (piece.bytes > 0) std::memcpy(copy.to + piece.offset, copy.from + piece.offset, piece.bytes);
    std::this_thread::sleep_until(deadline);
    if (piece.is_last()) copy.promise.complete();
    piece.copy.reset();
  }
}

CopyStream::CopyStream(std::uint64_t bytes_per_second) : state_(std::make_unique<State>(bytes_per_second)) {}

CopyStream::~CopyStream() = default;

Ticket CopyStream::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  const auto copy = make_shared_pooled<Copy>();
  copy->queue = state_->queue;
  copy->to = to;
  copy->from = from;
  copy->bytes = bytes;
  copy->promise.tell_when_awaited(copy);
  Ticket ticket = copy->promise.ticket();
  state_->queue->push([&] {
    copy->submitted_at = Clock::now();
    return copy;
  });
  return ticket;
}

}  // namespace asterias::device
