// What the CUDA runtime calls an error.
//
// Threading: thread-safe; the text is valid until the thread's next call.
#pragma once

#include <cstdio>

#include <cuda_runtime_api.h>

namespace asterias::device {

inline const char* cuda_error_text(int error) {
  thread_local char text[256];
  const auto code = static_cast<cudaError_t>(error);
  std::snprintf(text, sizeof(text), "%s (%s)", cudaGetErrorName(code), cudaGetErrorString(code));
  return text;
}

}  // namespace asterias::device
