#include "tools/exit_code.hpp"

#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>

#include <c10/util/Exception.h>

#include "base/error.hpp"

namespace asterias::tools {
namespace {

ExitCode report(ExitCode code, const char* message) {
  std::fflush(stdout);
  std::fprintf(stderr, "asterias: %s\n", message);
  return code;
}

// What to do about a file that could not grow; "" where that is not the trouble.
std::string remedy(const IoError& error) {
  const bool is_swap = error.path().find(".swap") != std::string::npos;  // also one that is being made
  if (error.error_number() == EFBIG) return "\n  files may be no longer here (ulimit -f); raise that limit";
  if (error.error_number() != ENOSPC && error.error_number() != EDQUOT) return "";
  return is_swap ? "\n  free room there, name another --nvme-path, or lower what is needed" : "\n  free room there";
}

}  // namespace

ExitCode report_current_exception() {
  try {
    throw;
  } catch (const ConfigError& error) {
    return report(ExitCode::kUsage, error.what());
  } catch (const BudgetError& error) {
    return report(ExitCode::kBudget, error.what());
  } catch (const OutOfMemory& error) {
    return report(ExitCode::kBudget, error.what());
  } catch (const IoError& error) {
    return report(ExitCode::kIo, (error.what() + remedy(error)).c_str());
  } catch (const c10::Error& error) {
    return report(ExitCode::kOther, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return report(ExitCode::kOther, error.what());
  } catch (...) {
    return report(ExitCode::kOther, "ended by something that is no exception type of C++'s library");
  }
}

}  // namespace asterias::tools
