#include "tools/exit_code.hpp"

#include <cstdio>
#include <exception>

#include <c10/util/Exception.h>

#include "base/error.hpp"

namespace asterias::tools {
namespace {

ExitCode report(ExitCode code, const char* message) {
  std::fflush(stdout);
  std::fprintf(stderr, "asterias: %s\n", message);
  return code;
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
    return report(ExitCode::kIo, error.what());
  } catch (const c10::Error& error) {
    return report(ExitCode::kOther, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return report(ExitCode::kOther, error.what());
  } catch (...) {
    return report(ExitCode::kOther, "ended by something that is no exception type of C++'s library");
  }
}

}  // namespace asterias::tools
