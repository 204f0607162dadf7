// A stream of an accelerator, as its driver names it: what a kernel is launched into.
//
// A name only: device::Accelerator owns the streams. Null is the driver's default stream, which is
// torch's, too.
//
// Threading: immutable value.
#pragma once

namespace asterias::device {

struct StreamHandle {
  void* driver_stream = nullptr;
};

}  // namespace asterias::device
