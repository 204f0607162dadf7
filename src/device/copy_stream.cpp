#include "device/copy_stream.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <sys/prctl.h>
#include <thread>
#include <utility>

#include "base/byte_size.hpp"
#include "base/node_pool.hpp"
#include "device/awaited_first.hpp"

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

// Fields in the second half change under the line's mutex only.
class CopyStream::Copy final : public Ticket::Queued {
 public:
  void hurry() noexcept override;

  std::shared_ptr<Line> line;  // a ticket may be hurried when the stream is about to go
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::size_t bytes = 0;
  Clock::time_point submitted_at;
  Ticket::Promise promise;

  std::size_t started_bytes = 0;
  AwaitedFirst<Copy>::Place place;
};

class CopyStream::Line {
 public:
  struct Piece {
    std::shared_ptr<Copy> copy;
    std::size_t offset = 0, bytes = 0;
    Clock::time_point deadline;

    bool is_last() const { return offset + bytes == copy->bytes; }
  };

  explicit Line(std::uint64_t rate) : bytes_per_second_(rate), piece_bytes_(piece_bytes_at(rate)) {}

  void push(const std::shared_ptr<Copy>& copy) {
    const std::lock_guard lock(mutex_);
    copy->submitted_at = Clock::now();
    copies_.push(copy);
    changed_.notify_one();
  }

  void hurry(Copy& copy) noexcept {
    const std::lock_guard lock(mutex_);
    copies_.hurry(copy);
  }

  // Waits for the next piece. False: nothing is left, and nothing will come.
  bool take(Piece& piece) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_closed_ || !copies_.empty(); });
    if (copies_.empty()) return false;
    piece.copy = copies_.front();
    Copy& copy = *piece.copy;
    piece.offset = copy.started_bytes;
    piece.bytes = bytes_per_second_ > 0 ? std::min(piece_bytes_, copy.bytes - copy.started_bytes) : copy.bytes;
    piece.deadline = next_deadline(copy, piece.bytes);
    copy.started_bytes += piece.bytes;
    if (piece.is_last()) copies_.erase(copy);
    return true;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }

 private:
  // Counted from the moment of submission, not of the memcpy: the worker's own wake-ups must not slow the declared link
  // down.
  Clock::time_point next_deadline(const Copy& copy, std::size_t bytes) {
    if (bytes_per_second_ == 0) return {};
    const std::chrono::duration<double> on_the_link(static_cast<double>(bytes) /
                                                    static_cast<double>(bytes_per_second_));
    last_deadline_ =
        std::max(copy.submitted_at, last_deadline_) + std::chrono::duration_cast<Clock::duration>(on_the_link);
    return last_deadline_;
  }

  const std::uint64_t bytes_per_second_;
  const std::size_t piece_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  AwaitedFirst<Copy> copies_;
  Clock::time_point last_deadline_{};
  bool is_closed_ = false;
};

void CopyStream::Copy::hurry() noexcept { line->hurry(*this); }

struct CopyStream::State {
  explicit State(std::uint64_t rate) : line(std::make_shared<Line>(rate)), worker([this] { work(); }) {}
  ~State() {
    line->close();
    worker.join();
  }

  void work();

  const std::shared_ptr<Line> line;
  std::thread worker;  // the last member: it starts when the others are there
};

void CopyStream::State::work() {
  prctl(PR_SET_TIMERSLACK, 1000UL);  // ns; the default of 50 us is the whole time of a 1 MiB copy at 20 GB/s
  for (Line::Piece piece; line->take(piece);) {
    Copy& copy = *piece.copy;
    if (piece.offset == 0) copy.promise.begin();
    if (piece.bytes > 0) std::memcpy(copy.to + piece.offset, copy.from + piece.offset, piece.bytes);
    std::this_thread::sleep_until(piece.deadline);
    if (piece.is_last()) copy.promise.complete();
    piece.copy.reset();
  }
}

CopyStream::CopyStream(std::uint64_t bytes_per_second) : state_(std::make_unique<State>(bytes_per_second)) {}

CopyStream::~CopyStream() = default;

Ticket CopyStream::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  const auto copy = make_shared_pooled<Copy>();
  copy->line = state_->line;
  copy->to = to;
  copy->from = from;
  copy->bytes = bytes;
  copy->promise.tell_when_awaited(copy);
  Ticket ticket = copy->promise.ticket();
  state_->line->push(copy);
  return ticket;
}

}  // namespace asterias::device
