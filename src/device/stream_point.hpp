// A point in the work of one stream of an accelerator: reached when all that was enqueued before it has ended.
//
// What lets streams wait for each other while the host goes on: Stream::wait_for(point). A null SharedPoint has been
// reached already; a simulated accelerator, whose kernels end before their call returns, has no other.
//
// Threading: immutable and thread-safe; whoever holds one keeps it alive.
#pragma once

#include <memory>

namespace asterias::device {

class StreamPoint {
 public:
  StreamPoint() = default;
  StreamPoint(const StreamPoint&) = delete;
  StreamPoint& operator=(const StreamPoint&) = delete;
  virtual ~StreamPoint() = default;

  // Says whether the point has been reached. Never blocks. Throws CudaError when it never will be.
  virtual bool reached() const = 0;

  // Blocks the calling thread, asleep, until it is reached. Throws CudaError when it never will be.
  virtual void wait() const = 0;
};

using SharedPoint = std::shared_ptr<const StreamPoint>;

}  // namespace asterias::device
