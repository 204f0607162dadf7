#include "bench/stack_sampler.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <memory>
#include <sys/time.h>

#include <ucontext.h>

namespace asterias::bench {
namespace {

constexpr int kPeriodUs = 1000;

std::unique_ptr<Stack[]> samples;
std::size_t room = 0;
std::atomic<std::size_t> next_sample{0};

// Where this thread goes on when the unwinder reads where nothing is: libtorch has functions that unwind wrongly.
thread_local sigjmp_buf unwinding_failed;
thread_local volatile bool is_unwinding = false;

void leave_unwinder(int signal) {
  if (is_unwinding) siglongjmp(unwinding_failed, 1);
  std::signal(signal, SIG_DFL);  // not ours: happens again, and ends the program
}

void* interrupted_at([[maybe_unused]] void* context) {
#if defined(__x86_64__)
  return reinterpret_cast<void*>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return reinterpret_cast<void*>(static_cast<ucontext_t*>(context)->uc_mcontext.pc);
#else
  return nullptr;
#endif
}

// Above what was interrupted lie take(), this function and the kernel's way into it.
void take_sample(int, siginfo_t*, void* context) {
  constexpr int kOwnFrames = 3;
  const int error_number = errno;
  const std::size_t at = next_sample.fetch_add(1);
  if (at < room) {
    samples[at].frames[0] = interrupted_at(context);
    samples[at].depth = 1;
    if (sigsetjmp(unwinding_failed, 1) == 0) {
      is_unwinding = true;
      samples[at] = Stack::take(kOwnFrames);
    }
    is_unwinding = false;
  }
  errno = error_number;
}

void handle(int signal, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  sigaction(signal, &action, nullptr);
}

void set_timer(int period_us) {
  const itimerval timer{{0, period_us}, {0, period_us}};
  setitimer(ITIMER_PROF, &timer, nullptr);
}

}  // namespace

StackSampler::StackSampler(std::size_t most) {
  Stack::prepare();
  samples = std::make_unique<Stack[]>(most);
  room = most;
  next_sample = 0;
  handle(SIGPROF, &take_sample);
  std::signal(SIGSEGV, &leave_unwinder);
  set_timer(kPeriodUs);
}

StackSampler::~StackSampler() { stop(); }

std::vector<Stack> StackSampler::stop() {
  set_timer(0);
  std::signal(SIGPROF, SIG_IGN);
  std::signal(SIGSEGV, SIG_DFL);
  const std::size_t count = std::min(next_sample.load(), room);
  return {samples.get(), samples.get() + count};
}

}  // namespace asterias::bench
