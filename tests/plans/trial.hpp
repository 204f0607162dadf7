// Trains a drawn job in this process and says whether it kept its promises.
#pragma once

#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/plans/random_plan.hpp"

namespace asterias::plans {

// Trains the plan plainly, with all the memory there is, and within its budgets; if those are refused, within what the
// refusal names. The report has "failure" (what was broken; absent if nothing was), "refused" (whether it was at
// first), "words" of the job with the limits it ended with, and what was moved.
nlohmann::ordered_json try_plan(const RandomPlan& plan);

// Limits by name of tier that replace those of a job.
using Limits = std::map<std::string, std::uint64_t>;

// Trains the pair once within its limits, then plainly for comparison. A process does this once: its peak counts. The
// report has one of "trained", "refused" (the smallest limits by tier) and "failure", and "words".
nlohmann::ordered_json try_pair(Job job, const Limits& limits);

}  // namespace asterias::plans
