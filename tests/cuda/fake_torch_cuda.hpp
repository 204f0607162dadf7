// A card without a card: torch's CUDA device over host memory and threads, so that the runtime's way with "cuda:N" runs
// on any machine, with the bits of the CPU's operators.
//
// Tensors are CUDA tensors to torch, autograd and the runtime; their memory is FakeCudaCalls', which the runtime's link
// queues and compute stream move in the order of streams. An operator waits until the compute stream is past what was
// enqueued, no more: a missing order between streams shows as wrong bits. It replaces libtorch_cuda, so a process that
// links it has no real one.
//
// Threading: thread-safe.
#pragma once

#include "runtime/cuda_backend.hpp"
#include "tests/device/fake_cuda_calls.hpp"

namespace asterias::test {

// The device's calls: to hold streams, to lose it, to make it smaller. One for the process.
device::tests::FakeCudaCalls& fake_card();

// Has the runtime use it. Idempotent.
void install_fake_card();

// Whether operators are called on the stream that the runtime expects.
void set_on_stream(bool on);

}  // namespace asterias::test
