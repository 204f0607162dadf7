// The log folder of a run, read into plain values: the facts of run.json, the steps, the traced steps, the
// configuration.
//
// Any of the files may be missing, cut off or broken: then `notes` says so in a sentence for the reader, and the rest
// stands. Never writes.
//
// Threading: a plain value. Units: bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/report/step_table.hpp"
#include "tools/report/traced_step.hpp"

namespace asterias::tools::report {

struct PlannedTier {
  std::string name;
  double limit_bytes;                           // NaN: none
  double smallest_bytes, predicted_peak_bytes;  // NaN: the log does not say
};

struct RunFolder {
  std::string path;
  std::map<std::string, std::string> about;  // version, build, libtorch, simd, started
  std::map<std::string, std::string> facts;  // what the program noted: model, tokens_per_step, ...
  std::vector<PlannedTier> plan;
  std::map<std::string, double> plan_numbers;  // chunk_bytes, num_parameters, ...
  std::string how_it_ended;                    // empty: the log does not say, so it runs still or was killed
  std::string fingerprint;
  StepTable steps;
  std::vector<TracedStep> traced;
  std::string config;              // indented JSON
  std::vector<std::string> notes;  // what is not there, and why
};

// Throws ConfigError when `path` is no folder or holds none of a run's files.
RunFolder read_run_folder(const std::string& path);

}  // namespace asterias::tools::report
