// The steps of a run by column, as read from steps.jsonl.
//
// Takes any field: a number or a truth value becomes a column of its name, an object's fields become
// "<object>.<field>", all else is passed over. So a field that is new needs no change here.
//
// Invariants
//   * Every column has num_steps() values; NaN where a step says nothing, or says null.
//   * A line that is no JSON object changes nothing but num_bad_lines().
//
// Threading: a plain value. Units: those that the column's name says.
#pragma once

#include <cstddef>
#include <istream>
#include <map>
#include <string>
#include <vector>

namespace asterias::tools::report {

class StepTable {
 public:
  static constexpr std::size_t kMostColumns = 400;  // a file with more is not ours: further names are passed over

  // Reads to the end. Empty lines count for nothing.
  void read(std::istream& lines);

  std::size_t num_steps() const { return num_steps_; }
  std::size_t num_bad_lines() const { return num_bad_lines_; }
  bool has(const std::string& name) const { return columns_.contains(name); }
  std::vector<std::string> names() const;

  // NaN for every step if there is no such column.
  std::vector<double> column(const std::string& name) const;
  // The same, 0 instead of NaN.
  std::vector<double> column_or_zero(const std::string& name) const;

  // The number of each step as the file says, or its place in the file where it does not say.
  std::vector<double> step_numbers() const;

 private:
  void read_line(const std::string& line);
  void put(const std::string& name, double value);

  std::map<std::string, std::vector<double>> columns_;  // may be shorter than num_steps_: NaN from there on
  std::size_t num_steps_ = 0;
  std::size_t num_bad_lines_ = 0;
};

}  // namespace asterias::tools::report
