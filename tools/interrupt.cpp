#include "tools/interrupt.hpp"

#include <atomic>
#include <string_view>
#include <unistd.h>

#include "tools/exit_code.hpp"

namespace asterias::tools {
namespace {

std::atomic<int> num_signals{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may use no other");
bool is_terminal = false;

// Calls only what signal-safety(7) allows.
void on_signal(int) {
  const int number = ++num_signals;
  if (number > 1) _exit(static_cast<int>(ExitCode::kInterrupted));
  // On a terminal "^C" stands in the line being drawn.
  constexpr std::string_view kMessage =
      "\nasterias: interrupted; ends after this step, or at once if interrupted again\n";
  const auto message = is_terminal ? kMessage : kMessage.substr(1);
  const auto ignored = ::write(STDERR_FILENO, message.data(), message.size());
  static_cast<void>(ignored);
}

}  // namespace

InterruptHandler::InterruptHandler() {
  num_signals = 0;
  is_terminal = ::isatty(STDERR_FILENO) == 1;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &interrupt_before_);
  ::sigaction(SIGTERM, &action, &terminate_before_);
}

InterruptHandler::~InterruptHandler() {
  ::sigaction(SIGINT, &interrupt_before_, nullptr);
  ::sigaction(SIGTERM, &terminate_before_, nullptr);
}

bool InterruptHandler::requested() { return num_signals > 0; }

}  // namespace asterias::tools
