#include "tools/report/step_table.hpp"

#include <cmath>
#include <limits>
#include <optional>

#include <nlohmann/json.hpp>

namespace asterias::tools::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::optional<double> number_of(const nlohmann::json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  return std::nullopt;
}

}  // namespace

void StepTable::read(std::istream& lines) {
  for (std::string line; std::getline(lines, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) read_line(line);
}

void StepTable::read_line(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    ++num_bad_lines_;
    return;
  }
  ++num_steps_;
  for (const auto& [name, value] : json.items()) {
    if (const auto number = number_of(value)) put(name, *number);
    if (!value.is_object()) continue;
    for (const auto& [inner, part] : value.items())
      if (const auto number = number_of(part)) put(name + "." + inner, *number);
  }
}

void StepTable::put(const std::string& name, double value) {
  if (columns_.size() >= kMostColumns && !columns_.contains(name)) return;
  auto& column = columns_[name];
  column.resize(num_steps_, kNaN);
  column.back() = value;
}

std::vector<std::string> StepTable::names() const {
  std::vector<std::string> all;
  for (const auto& [name, values] : columns_) all.push_back(name);
  return all;
}

std::vector<double> StepTable::column(const std::string& name) const {
  const auto found = columns_.find(name);
  auto values = found == columns_.end() ? std::vector<double>() : found->second;
  values.resize(num_steps_, kNaN);
  return values;
}

std::vector<double> StepTable::column_or_zero(const std::string& name) const {
  auto values = column(name);
  for (double& value : values)
    if (std::isnan(value)) value = 0;
  return values;
}

std::vector<double> StepTable::step_numbers() const {
  auto numbers = column("step");
  double before = 0;
  for (double& number : numbers) {
    // Ascending, whatever the file says: an axis needs it.
    if (!std::isfinite(number) || number <= before) number = before + 1;
    before = number;
  }
  return numbers;
}

}  // namespace asterias::tools::report
