// `asterias report DIR`: writes the page of a run's logs.
//
// Threading: the program's first thread.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace asterias::tools {

struct ReportFlags {
  std::string folder;
  std::string out;  // empty: report.html in the folder

  void declare(CLI::App& command);
};

// Prints the path of the page. Throws ConfigError when the folder is no log folder, IoError when the page cannot be
// written.
void run_report(const ReportFlags& flags);

}  // namespace asterias::tools
