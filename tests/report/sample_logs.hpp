// A small log folder of a run, as asterias writes it.
#pragma once

#include <string>

#include "tests/base/temporary_folder.hpp"

namespace asterias::tests {

// Steps 1 to `num_steps` with a loss of 10 / step, 100 ms each, of which 10 ms were a stall.
inline std::string sample_steps(int num_steps) {
  std::string lines;
  for (int step = 1; step <= num_steps; ++step)
    lines +=
        R"({"step":)" + std::to_string(step) + R"(,"loss":)" + std::to_string(10. / step) + R"(,"warm_up":)" +
        (step == 1 ? "true" : "false") +
        R"(,"forward_ms":20,"backward_ms":40,"update_ms":30,"wall_ms":100,"stall_nvme_read_ms":10,)"
        R"("cpu_used_bytes":1048576,"cpu_peak_bytes":2097152,"cpu_limit_bytes":4194304,)"
        R"("cpu_by_kind":{"param":524288,"libraries":262144},"nvme_read_bytes":4096,"fetches":3,"prefetch_hits":2})"
        "\n";
  return lines;
}

inline std::string sample_run() {
  return R"({"version":"0.1.0","build":"Release","started":"2026-11-21T08:30:00Z",
    "notes":{"model":"GPT, 2 layers","tokens_per_step":64,"data":"<script>alert('x')</script>&\"quoted\".txt"},
    "plan":{"num_parameters":1234567,"tiers":[{"tier":"cpu","limit_bytes":4194304,"smallest_bytes":3145728,
      "predicted_peak_bytes":2097152},{"tier":"nvme","limit_bytes":18446744073709551615}]},
    "end":{"how":"done","fingerprint":"659b4b4445340888"}})";
}

// One step of 10 ms with an operator, a read and a stall, a tier of two kinds, and one chunk.
inline std::string sample_trace() {
  return R"({"traceEvents":[
    {"ph":"M","pid":1,"tid":1,"name":"thread_name","args":{"name":"compute"}},
    {"ph":"X","pid":1,"tid":0,"name":"forward","ts":1000,"dur":5000},
    {"ph":"X","pid":1,"tid":1,"name":"aten::addmm","ts":1000,"dur":5000},
    {"ph":"X","pid":1,"tid":5,"name":"NVMe read","ts":6000,"dur":2500,"args":{"what":"chunk 12 exp_avg","bytes":4096}},
    {"ph":"X","pid":1,"tid":7,"name":"NVMe read","ts":6000,"dur":1000}],
    "otherData":{"steps":[2],
      "residency":[{"step":2,"start_us":1000,"end_us":11000,"moments":10,"rows":[
        {"name":"chunk 0 param","list":"param","bytes":4096,"spans":[[0,4,"cpu"],[4,10,"nvme"]]}]}],
      "memory":[{"step":2,"tier":"cpu","limit":4194304,"moments":[0,5,10],
        "kinds":{"param":[1048576,2097152,1048576],"libraries":[1048576,1048576,1048576]}}]}})";
}

inline void add_sample_logs(const TemporaryFolder& folder, int num_steps) {
  folder.add("run.json", sample_run());
  folder.add("steps.jsonl", sample_steps(num_steps));
  folder.add("trace.json", sample_trace());
  folder.add("config.resolved.json", R"({"device":"cpu"})");
}

}  // namespace asterias::tests
