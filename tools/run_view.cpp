#include "tools/run_view.hpp"

#include "base/log.hpp"
#include "tools/number_text.hpp"
#include "tools/standard_output.hpp"

namespace asterias::tools {
namespace {

class QuietView final : public RunView {
 public:
  void on_end(const RunEnd& end) override { print("fingerprint " + fingerprint_text(end.fingerprint) + "\n"); }
};

}  // namespace

void RunView::on_warning(const std::string& line) { log::warning(line); }

std::unique_ptr<RunView> make_quiet_view() { return std::make_unique<QuietView>(); }

std::unique_ptr<RunView> make_run_view(const TrainOptions& options) {
  switch (options.output) {
    case OutputKind::kJson: return make_json_view();
    case OutputKind::kQuiet: return make_quiet_view();
    case OutputKind::kText: break;
  }
  return make_text_view(options, look_at_standard_output());
}

std::string fingerprint_text(std::uint64_t fingerprint) {
  return printf_text("%016llx", static_cast<unsigned long long>(fingerprint));
}

}  // namespace asterias::tools
