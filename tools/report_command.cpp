#include "tools/report_command.hpp"

#include <cerrno>
#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "tools/number_text.hpp"
#include "tools/report/page.hpp"
#include "tools/standard_output.hpp"

namespace asterias::tools {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

void write_page(const std::string& path, const std::string& page) {
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "we"));
  if (!file) throw IoError(errno, path, 0, "opening");
  if (std::fwrite(page.data(), 1, page.size(), file.get()) != page.size() || std::fflush(file.get()) != 0)
    throw IoError(errno, path, 0, "writing");
}

}  // namespace

void ReportFlags::declare(CLI::App& command) {
  command.add_option("DIR", folder, "the log folder of a run (--log-dir)")->required()->type_name("");
  command.add_option("--out", out, "where to write the page; - for the standard output; unset: DIR/report.html")
      ->type_name("FILE");
}

void run_report(const ReportFlags& flags) {
  const std::string out = flags.out.empty() ? flags.folder + "/report.html" : flags.out;
  const std::string page = report::report_page(report::read_run_folder(flags.folder));
  if (out == "-") return print(page);
  write_page(out, page);
  print(out + ", " + bytes_text(page.size()) + "\n");
}

}  // namespace asterias::tools
