#include "device/cuda_link_queue.hpp"

#include <deque>
#include <exception>
#include <thread>
#include <utility>

#include "base/node_pool.hpp"
#include "device/work_queue.hpp"

namespace asterias::device {
namespace {

// A copy that has been enqueued, or an error instead.
struct Copy {
  Ticket::Promise promise;
  SharedPoint point;
  std::exception_ptr error;
};

std::exception_ptr wait_for_end(const Copy& copy) noexcept {
  if (copy.error) return copy.error;
  try {
    copy.point->wait();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

struct CudaLinkQueue::State {
  State(std::shared_ptr<const CudaDevice> of, std::shared_ptr<CudaEvents> events, const char* doing)
      : device(std::move(of)), what(doing), stream(std::move(events)), worker([this] { work(); }) {}
  ~State();

  SharedPoint enqueue(std::byte* to, const std::byte* from, std::size_t bytes);
  void work();

  const std::shared_ptr<const CudaDevice> device;
  const char* const what;
  CudaStream stream;
  WorkQueue<std::pmr::deque<Copy>> queue{
      std::pmr::deque<Copy>(node_pool())};  // whose lock also makes tickets stand in the stream's order
  std::thread worker;                       // the last member: it starts when the others are there
};

CudaLinkQueue::State::~State() {
  queue.close();
  worker.join();
}

SharedPoint CudaLinkQueue::State::enqueue(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes > 0) device->check(device->calls().copy(to, from, bytes, stream.handle()), what);
  return stream.point();
}

void CudaLinkQueue::State::work() {
  Copy copy;
  const auto take_first = [&](auto& copies) {
    copy = std::move(copies.front());
    copies.pop_front();
  };
  while (queue.take(take_first)) {
    copy.promise.begin();
    std::exception_ptr error = wait_for_end(copy);
    copy.point.reset();
    copy.promise.complete(std::move(error));
  }
}

CudaLinkQueue::CudaLinkQueue(std::shared_ptr<const CudaDevice> device, std::shared_ptr<CudaEvents> events,
                             const char* what)
    : state_(std::make_unique<State>(std::move(device), std::move(events), what)) {}

CudaLinkQueue::~CudaLinkQueue() = default;

Ticket CudaLinkQueue::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  Ticket ticket;
  state_->queue.push([&] {
    Copy copy;
    try {
      copy.point = state_->enqueue(to, from, bytes);
      copy.promise.set_point(copy.point);
    } catch (...) {
      copy.error = std::current_exception();
    }
    ticket = copy.promise.ticket();
    return copy;
  });
  return ticket;
}

void CudaLinkQueue::wait_for(const SharedPoint& point) {
  state_->queue.exclude([&](auto&) { state_->stream.wait_for(point); });
}

}  // namespace asterias::device
