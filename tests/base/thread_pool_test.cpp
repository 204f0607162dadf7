#include "base/thread_pool.hpp"

#include <atomic>
#include <cstdlib>
#include <latch>
#include <sched.h>
#include <stdexcept>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"

namespace asterias {
namespace {

CATCH_TEST_CASE("each index runs exactly once", "[base]") {
  const int num_threads = GENERATE(1, 2, 4);
  ThreadPool pool(num_threads);
  CATCH_CHECK(pool.size() == num_threads);
  for (const std::size_t count : {0, 1, 2, 3, 17, 1000}) {
    std::vector<std::atomic<int>> runs(count);
    pool.parallel_for(count, [&](std::size_t index) { ++runs[index]; });
    for (const auto& times : runs) CATCH_REQUIRE(times == 1);
  }
}

CATCH_TEST_CASE("many short rounds in a row lose nothing", "[base]") {
  ThreadPool pool(3);
  std::atomic<std::size_t> sum{0};
  for (int round = 0; round < 2000; ++round) pool.parallel_for(3, [&](std::size_t index) { sum += index + 1; });
  CATCH_CHECK(sum == 2000 * 6);
}

CATCH_TEST_CASE("the threads work at the same time", "[base]") {
  ThreadPool pool(3);
  std::latch all_there(3);  // would hang if fewer than three ran at once
  pool.parallel_for(3, [&](std::size_t) { all_there.arrive_and_wait(); });
  CATCH_CHECK(all_there.try_wait());
}

CATCH_TEST_CASE("an exception reaches the caller after the others have ended", "[base]") {
  ThreadPool pool(3);
  std::atomic<int> started{0}, ended{0};
  const auto body = [&](std::size_t index) {
    ++started;
    const bool fails = index == 5;
    ++ended;
    if (fails) throw std::runtime_error("at 5");
  };
  CATCH_CHECK_THROWS_WITH(pool.parallel_for(1000, body), "at 5");
  CATCH_CHECK(started == ended);
  std::atomic<int> runs{0};
  pool.parallel_for(10, [&](std::size_t) { ++runs; });
  CATCH_CHECK(runs == 10);
}

// Each throws only when all three are inside.
CATCH_TEST_CASE("all bodies that have started end before the exception is thrown on", "[base]") {
  ThreadPool pool(3);
  std::latch all_there(3);
  std::atomic<int> ended{0};
  const auto body = [&](std::size_t) {
    all_there.arrive_and_wait();
    ++ended;
    throw std::runtime_error("each");
  };
  CATCH_CHECK_THROWS_WITH(pool.parallel_for(3, body), "each");
  CATCH_CHECK(ended == 3);
}

CATCH_TEST_CASE("no index starts after an exception", "[base]") {
  ThreadPool pool(1);
  int runs = 0;
  const auto body = [&](std::size_t index) {
    ++runs;
    if (index == 5) throw std::runtime_error("at 5");
  };
  CATCH_CHECK_THROWS_WITH(pool.parallel_for(1000, body), "at 5");
  CATCH_CHECK(runs == 6);
}

CATCH_TEST_CASE("a call from inside a body is refused", "[base]") {
  ThreadPool pool(2);
  std::atomic<int> refused{0};
  pool.parallel_for(4, [&](std::size_t) {
    try {
      pool.parallel_for(1, [](std::size_t) {});
    } catch (const StateError& error) {
      refused += error.cause() == StateError::Cause::kBug ? 1 : 0;
    }
  });
  CATCH_CHECK(refused == 4);
  ThreadPool other(2);
  std::atomic<int> runs{0};
  pool.parallel_for(1, [&](std::size_t) { other.parallel_for(4, [&](std::size_t) { ++runs; }); });
  CATCH_CHECK(runs == 4);
}

CATCH_TEST_CASE("the default is the affinity mask divided by the local ranks", "[base]") {
  cpu_set_t mask;
  CATCH_REQUIRE(sched_getaffinity(0, sizeof mask, &mask) == 0);
  const char* ranks = std::getenv("LOCAL_WORLD_SIZE");
  const std::string saved = ranks == nullptr ? "" : ranks;
  unsetenv("LOCAL_WORLD_SIZE");
  CATCH_CHECK(ThreadPool::default_num_threads() == CPU_COUNT(&mask));
  setenv("LOCAL_WORLD_SIZE", "100000", 1);
  CATCH_CHECK(ThreadPool::default_num_threads() == 1);
  setenv("LOCAL_WORLD_SIZE", "nonsense", 1);
  CATCH_CHECK(ThreadPool::default_num_threads() == CPU_COUNT(&mask));
  if (ranks == nullptr)
    unsetenv("LOCAL_WORLD_SIZE");
  else
    setenv("LOCAL_WORLD_SIZE", saved.c_str(), 1);
}

}  // namespace
}  // namespace asterias
