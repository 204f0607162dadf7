// A fixed number of threads that work on index ranges for one caller at a time.
//
// Made for the optimizer update: not torch's pool and not OpenMP, so OMP_NUM_THREADS=1 (torchrun sets it) does not
// serialise it. Not for I/O: those threads block (device/block_file.hpp has its own).
//
// Invariants
//   * parallel_for calls the function exactly once for each index, on the caller's thread and on at most size()-1
//     others.
//   * Nothing is allocated by a call to parallel_for.
//
// Threading: parallel_for from one thread at a time; thread-compatible otherwise.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace asterias {

class ThreadPool {
 public:
  // Starts `num_threads - 1` workers; 0 means one for each core in the affinity mask (default_num_threads()).
  explicit ThreadPool(int num_threads = 0);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  // Counts the threads that work in a parallel_for, the caller included.
  int size() const;

  // Runs body(0) ... body(count-1) and returns when all are done. Indices are taken in order from one counter, so
  // unequal work balances itself. Rethrows the first exception after every started index has ended. count 0 does
  // nothing.
  void parallel_for(std::size_t count, const std::function<void(std::size_t)>& body);

  // Counts the cores in this process's affinity mask divided by LOCAL_WORLD_SIZE, at least 1.
  static int default_num_threads();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace asterias
