// Memory for what is small and comes and goes with every operator and every move: nodes of maps and lists, short
// vectors, records. What dies is handed out again, so that a step that repeats asks the system for nothing.
//
// Not for tensors (chunk/tier_pool.hpp), nor for what only grows.
//
// Invariants
//   * It holds what lived at once, rounded up to its sizes, and gives nothing back: a bounded part of the resident set.
//   * Under AddressSanitizer it is the heap, so that what is used after its end is seen.
//
// Threading: thread-safe; a thread may free what another has taken.
#pragma once

#include <cstddef>
#include <memory>
#include <memory_resource>
#include <utility>

namespace asterias {

// For containers: std::pmr::map<K, V> nodes{node_pool()}. Lives as long as the process.
std::pmr::memory_resource* node_pool();

// For objects: a class that derives from it is made of that memory by new, and by std::make_unique.
struct Pooled {
  static void* operator new(std::size_t bytes) { return node_pool()->allocate(bytes); }
  static void operator delete(void* memory, std::size_t bytes) noexcept { node_pool()->deallocate(memory, bytes); }
};

// For what is shared.
template <class T, class... Arguments>
std::shared_ptr<T> make_shared_pooled(Arguments&&... arguments) {
  return std::allocate_shared<T>(std::pmr::polymorphic_allocator<T>(node_pool()),
                                 std::forward<Arguments>(arguments)...);
}

}  // namespace asterias
