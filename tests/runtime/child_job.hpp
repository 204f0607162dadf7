// Jobs that run in a process of their own, because a peak of memory belongs to a process: the test program starts
// itself with its hidden case "child", which does the job and reports.
//
// Jobs and reports are JSON objects; a report gets "exit", the child's status as std::system gives it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/process_memory.hpp"

namespace asterias::test {

using Json = nlohmann::json;

// Runs this program's hidden case on `job` and returns what it reports.
inline Json run_child(const Json& job) {
  static int number = 0;
  const auto result =
      std::filesystem::current_path() / ("child_job." + std::to_string(::getpid()) + "." + std::to_string(number++));
  const std::string command = "ASTERIAS_JOB='" + job.dump() + "' ASTERIAS_RESULT='" + result.string() + "' /proc/" +
                              std::to_string(::getpid()) + "/exe '[.child]' > /dev/null";
  const int status = std::system(command.c_str());
  Json report = Json::object();
  if (std::FILE* file = std::fopen(result.c_str(), "r")) {
    report = Json::parse(file, nullptr, false);
    std::fclose(file);
    std::filesystem::remove(result);
  }
  report["exit"] = status;
  return report;
}

// Does `work(job, report)`, and reports what ended it early, with the budgets that a refusal names, and the peak.
template <class Work>
Json report_of(const Work& work, const Json& job) {
  Json report;
  try {
    work(job, report);
  } catch (const BudgetError& error) {
    report["refused"] = error.what();
    for (const auto& budget : error.smallest()) report["smallest"][std::string(tier_name(budget.tier))] = budget.bytes;
  } catch (const std::exception& error) {
    report["error"] = error.what();
  }
  report["peak"] = peak_resident_set_bytes();
  return report;
}

// The hidden case's whole body: does nothing unless run_child() has started this process.
template <class Work>
void serve_child(const Work& work) {
  const char* job = std::getenv("ASTERIAS_JOB");
  const char* result = std::getenv("ASTERIAS_RESULT");
  if (!job || !result) return;
  at::set_num_threads(2);
  const std::string report = report_of(work, Json::parse(job)).dump();
  std::FILE* file = std::fopen(result, "w");
  CATCH_REQUIRE(file != nullptr);
  std::fputs(report.c_str(), file);
  std::fclose(file);
}

}  // namespace asterias::test
