#include "tools/standard_output.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "base/error.hpp"

namespace asterias::tools {

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) < text.size() || std::fflush(stdout) != 0)
    throw IoError(errno, "the standard output", 0, "writing");
}

void fail_when_the_reader_goes() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace asterias::tools
