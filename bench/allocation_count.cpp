#include "bench/allocation_count.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace asterias::bench {
namespace {

std::atomic<std::uint64_t> counter{0};
thread_local std::vector<Stack>* recording = nullptr;

// noinline: the frames to leave out are counted.
[[gnu::noinline]] void note() {
  constexpr int kOwnFrames = 3;  // take, this, the operator
  counter.fetch_add(1, std::memory_order_relaxed);
  auto* const stacks = recording;
  if (!stacks || stacks->size() == stacks->capacity()) return;
  recording = nullptr;
  stacks->push_back(Stack::take(kOwnFrames));
  recording = stacks;
}

}  // namespace

std::uint64_t num_allocations() { return counter.load(std::memory_order_relaxed); }

AllocationStacks::AllocationStacks(std::size_t most) {
  Stack::prepare();
  stacks_.reserve(most);
  recording = &stacks_;
}

AllocationStacks::~AllocationStacks() { recording = nullptr; }

const std::vector<Stack>& AllocationStacks::stop() {
  recording = nullptr;
  return stacks_;
}

}  // namespace asterias::bench

void* operator new(std::size_t bytes) {
  asterias::bench::note();
  if (void* const memory = std::malloc(std::max<std::size_t>(bytes, 1))) return memory;
  throw std::bad_alloc();
}

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  asterias::bench::note();
  const auto unit = static_cast<std::size_t>(alignment);
  if (void* const memory = std::aligned_alloc(unit, (std::max<std::size_t>(bytes, 1) + unit - 1) / unit * unit))
    return memory;
  throw std::bad_alloc();
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
