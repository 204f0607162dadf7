#include "base/error.hpp"

#include <cstring>
#include <sstream>

#include "base/byte_size.hpp"

namespace asterias {
namespace {

std::string join_complaints(const std::vector<std::string>& complaints) {
  if (complaints.size() == 1) return "configuration: " + complaints.front();
  std::string text = "configuration: " + std::to_string(complaints.size()) + " complaints";
  for (const auto& complaint : complaints) text += "\n  - " + complaint;
  return text;
}

std::string budget_message(Tier tier, std::uint64_t need, std::uint64_t have, const std::vector<TierBudget>& smallest,
                           const std::string& because) {
  std::ostringstream text;
  text << "the " << tier_name(tier) << " budget is too small: " << format_bytes(have) << " given, "
       << format_bytes(need) << " needed (" << because << ")";
  for (const auto& budget : smallest)
    text << "\n  set tiers." << tier_name(budget.tier) << ".limit to at least " << format_bytes(budget.bytes);
  return text.str();
}

std::string number(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

}  // namespace

ConfigError::ConfigError(std::vector<std::string> complaints)
    : Error(join_complaints(complaints)), complaints_(std::move(complaints)) {}

BudgetError::BudgetError(Tier tier, std::uint64_t need_bytes, std::uint64_t have_bytes,
                         std::vector<TierBudget> smallest, const std::string& because)
    : Error(budget_message(tier, need_bytes, have_bytes, smallest, because)),
      tier_(tier),
      need_bytes_(need_bytes),
      have_bytes_(have_bytes),
      smallest_(std::move(smallest)) {}

OutOfMemory::OutOfMemory(Tier tier, std::uint64_t need_bytes, std::uint64_t have_bytes, const std::string& because)
    : Error("out of memory on the " + std::string(tier_name(tier)) + " tier: " + format_bytes(need_bytes) +
            " needed at once, " + format_bytes(have_bytes) + " there (" + because + "); raise tiers." +
            std::string(tier_name(tier)) + ".limit or make the step smaller"),
      tier_(tier),
      need_bytes_(need_bytes),
      have_bytes_(have_bytes) {}

IoError::IoError(int error_number, std::string path, std::uint64_t offset, const std::string& what_was_done)
    : Error(what_was_done + " " + path + " at offset " + std::to_string(offset) + ": " + std::strerror(error_number)),
      error_number_(error_number),
      path_(std::move(path)),
      offset_(offset) {}

LossScaleError::LossScaleError(std::string parameter, double loss_scale)
    : Error("fp16: the gradient of '" + parameter + "' overflows at the smallest loss scale, " + number(loss_scale) +
            " (fp16.min_loss_scale); the training has diverged, or needs bf16, a smaller learning rate or a smaller "
            "fp16.min_loss_scale"),
      parameter_(std::move(parameter)),
      loss_scale_(loss_scale) {}

StateError::StateError(Cause cause, const std::string& message)
    : Error(cause == Cause::kMisuse ? message : message + " (this is a bug in Asterias; please report it)"),
      cause_(cause) {}

}  // namespace asterias
