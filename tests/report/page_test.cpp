// Whole pages: of a full folder, and of folders that lack things or hold rubbish.
#include "tools/report/page.hpp"

#include <cmath>
#include <cstdlib>
#include <sstream>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "tests/report/sample_logs.hpp"
#include "tests/report/xml_check.hpp"
#include "tools/report/palette.hpp"

namespace asterias::tools::report {
namespace {

using tests::TemporaryFolder;

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The page of a folder, checked to be well-formed.
std::string page_of(const TemporaryFolder& folder) {
  const std::string page = report_page(read_run_folder(folder.path()));
  CATCH_CHECK(tests::XmlCheck::complaint(page) == "");
  return page;
}

CATCH_TEST_CASE("a full log folder becomes a page with every picture", "[report]") {
  const TemporaryFolder folder;
  tests::add_sample_logs(folder, 10);
  const std::string page = page_of(folder);
  for (const char* words :
       {"Asterias run: done", "659b4b4445340888", "GPT, 2 layers", "1,234,567", "10.0 at first, 1.0000 at last",
        ">90.0 ms<", ">711<", "Loss over steps", "Time of each step by phase", "Memory of cpu at the end of each step",
        "Bytes over each edge by step", "Timeline of step 2", "Memory of cpu over step 2",
        "Where each chunk lay over step 2", "NVMe read chunk 12 exp_avg, 4 KiB, 2.50 ms at 5.00 ms", "no limit"})
    CATCH_CHECK(holds(page, words));
  CATCH_CHECK_FALSE(holds(page, "class=\"notes\""));
}

CATCH_TEST_CASE("means are of steps after warm-up without validations, and the rate is of all their tokens",
                "[report]") {
  const TemporaryFolder folder;
  folder.add("run.json", R"({"notes":{"tokens_per_step":100,"steps":9}})");
  const std::string warm_up = R"({"step":1,"warm_up":true,"wall_ms":900,"tokens_per_second":100})";
  folder.add("steps.jsonl", warm_up + "\n");
  CATCH_CHECK_FALSE(holds(page_of(folder), "mean step"));
  folder.add("steps.jsonl", warm_up + "\n" + R"({"step":2,"wall_ms":9000,"tokens_per_second":1000})" + "\n" +
                                R"({"step":3,"wall_ms":300,"tokens_per_second":500})" + "\n");
  const std::string page = page_of(folder);
  CATCH_CHECK(holds(page, "<dt>mean step after warm-up</dt><dd>150 ms</dd>"));
  CATCH_CHECK(holds(page, "<dt>mean tokens/s after warm-up</dt><dd>667</dd>"));
  CATCH_CHECK(holds(page, "<dt>planned steps</dt><dd>9</dd>"));
}

CATCH_TEST_CASE("a failed run has a short heading, and its error below", "[report]") {
  const TemporaryFolder folder;
  folder.add("run.json", R"({"end":{"how":"failed: the cpu budget is too small: 1 MiB\n  set tiers.cpu.limit"}})");
  const std::string page = page_of(folder);
  CATCH_CHECK(holds(page, "<h1>Asterias run: failed</h1>"));
  CATCH_CHECK(holds(page, "<p class=\"failure\">the cpu budget is too small: 1 MiB\n  set tiers.cpu.limit</p>"));
}

CATCH_TEST_CASE("skipped steps are counted and marked at the loss, with the last loss scale", "[report]") {
  const TemporaryFolder folder;
  const auto steps = [](const char* scales_and_skips[], int count) {
    std::string lines;
    for (int i = 0; i < count; ++i)
      lines += R"({"step":)" + std::to_string(i + 1) + R"(,"loss":2,"loss_scale":)" + scales_and_skips[i] + "}\n";
    return lines;
  };
  const char* skipping[] = {R"(65536,"skipped":true)", R"(32768,"skipped":true)", R"(16384,"skipped":false)"};
  folder.add("steps.jsonl", steps(skipping, 3));
  std::string page = page_of(folder);
  CATCH_CHECK(holds(page, "<dt>loss scale</dt><dd>16,384 at last; 2 steps skipped for an overflow</dd>"));
  CATCH_CHECK(holds(page, "class=\"fill-limit\"><title>step 1: skipped for an overflow</title>"));
  CATCH_CHECK(holds(page, "<title>step 2: skipped for an overflow</title>"));
  CATCH_CHECK_FALSE(holds(page, "step 3: skipped"));
  CATCH_CHECK(holds(page, "class=\"fill-limit\"/></svg>skipped for an overflow</li>"));

  const char* scaled[] = {R"(0.5,"skipped":false)"};
  folder.add("steps.jsonl", steps(scaled, 1));
  page = page_of(folder);
  CATCH_CHECK(holds(page, "<dd>0.5000 at last; 0 steps skipped for an overflow</dd>"));
  CATCH_CHECK_FALSE(holds(page, "fill-limit\"/>"));

  const char* unscaled[] = {R"(1,"skipped":false)"};
  folder.add("steps.jsonl", steps(unscaled, 1));
  CATCH_CHECK_FALSE(holds(page_of(folder), "loss scale"));
}

CATCH_TEST_CASE("edges that carried nothing have no picture", "[report]") {
  const TemporaryFolder folder;
  tests::add_sample_logs(folder, 3);
  CATCH_CHECK_FALSE(holds(page_of(folder), "D2H</text>"));
  CATCH_CHECK(holds(page_of(folder), "NVMe read</text>"));
  CATCH_CHECK_FALSE(holds(page_of(folder), "gpu (compute tier)"));
  folder.add("steps.jsonl", R"({"step":1,"wall_ms":9,"stall_h2d_ms":0,"h2d_bytes":0,"evictions_clean":0,"fetches":0})"
                            "\n");
  const std::string page = page_of(folder);
  CATCH_CHECK(holds(page, "No byte moved between tiers."));
  CATCH_CHECK(holds(page, "No step waited for a byte."));
  CATCH_CHECK_FALSE(holds(page, "Evictions by step"));
}

CATCH_TEST_CASE("a tier holds what it held until the next sample", "[report]") {
  const TemporaryFolder folder;
  folder.add("trace.json",
             R"({"traceEvents":[],"otherData":{"residency":[{"step":1,"start_us":0,"end_us":9,"moments":100}],
    "memory":[{"step":1,"tier":"nvme","moments":[10,90],"kinds":{"grad":[1048576,2097152]}}]}})");
  const std::string page = page_of(folder);
  CATCH_CHECK(holds(page, "<title>moment 9: 0 B</title>"));
  CATCH_CHECK(holds(page, "<title>moment 10: 1 MiB\ngrad 1 MiB</title>"));
  CATCH_CHECK(holds(page, "<title>moment 89: 1 MiB\ngrad 1 MiB</title>"));
  CATCH_CHECK(holds(page, "<title>moment 99: 2 MiB\ngrad 2 MiB</title>"));
}

CATCH_TEST_CASE("transfers on threads of their own are in the lane of their edge", "[report]") {
  const TemporaryFolder folder;
  folder.add("trace.json",
             R"({"traceEvents":[{"ph":"X","tid":501,"ts":1000,"dur":3000,"name":"over","args":{"bytes":4096}},
    {"ph":"X","tid":8,"ts":1000,"dur":3000,"name":"unknown"},{"ph":"X","tid":5,"ts":99000,"dur":1,"name":"after"}],
    "otherData":{"residency":[{"step":1,"start_us":0,"end_us":9000,"moments":3}]}})");
  const std::string page = page_of(folder);
  CATCH_CHECK(holds(page, "class=\"fill-nvme_read\"><title>over, 4 KiB, 3.00 ms at 1.00 ms<"));
  CATCH_CHECK_FALSE(holds(page, "unknown"));
  CATCH_CHECK_FALSE(holds(page, "after"));
}

CATCH_TEST_CASE("a page asks nobody for anything and runs nothing", "[report]") {
  const TemporaryFolder folder;
  tests::add_sample_logs(folder, 3);
  const std::string page = page_of(folder);
  for (const char* word : {"<script", "src=", "href=", "@import", "url(http", "onload"})
    CATCH_CHECK_FALSE(holds(page, word));
  CATCH_CHECK(holds(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;quoted&quot;.txt"));
}

CATCH_TEST_CASE("every colour of a page is one of the palette", "[report]") {
  const TemporaryFolder folder;
  tests::add_sample_logs(folder, 3);
  folder.add("trace.json",
             R"({"traceEvents":[{"ph":"X","tid":0,"ts":1,"dur":2,"name":"mine\" x"}],"otherData":{"residency":
    [{"step":1,"start_us":0,"end_us":9,"moments":3,"rows":[{"name":"a","list":"b","spans":[[0,3,"tape"]]}]}]}})");
  const std::string page = page_of(folder), css = palette_css();
  for (std::size_t at = 0; (at = page.find("\"fill-", at)) != std::string::npos; ++at) {
    const std::string name = page.substr(at + 1, page.find('"', at + 1) - at - 1);
    CATCH_INFO(name);
    CATCH_CHECK(holds(css, "." + name + "{"));
  }
}

CATCH_TEST_CASE("a run of one step, and of none, has a page", "[report]") {
  const TemporaryFolder one, none;
  tests::add_sample_logs(one, 1);
  CATCH_CHECK(holds(page_of(one), "Loss over steps"));
  tests::add_sample_logs(none, 0);
  CATCH_CHECK(holds(page_of(none), "steps.jsonl holds no step yet"));
}

CATCH_TEST_CASE("each missing file is told, and the rest is shown", "[report]") {
  for (const char* missing : {"run.json", "steps.jsonl", "trace.json", "config.resolved.json"}) {
    const TemporaryFolder folder;
    tests::add_sample_logs(folder, 3);
    std::filesystem::remove(folder.path() + "/" + missing);
    CATCH_CHECK(holds(page_of(folder), "<li>" + std::string(missing) + " is not there: "));
  }
}

CATCH_TEST_CASE("a folder that is none of a run's is refused", "[report]") {
  const TemporaryFolder folder;
  const std::string file = folder.add("notes.txt", "x");
  CATCH_CHECK_THROWS_AS(read_run_folder(folder.path()), ConfigError);
  CATCH_CHECK_THROWS_AS(read_run_folder(file), ConfigError);
  CATCH_CHECK_THROWS_AS(read_run_folder(folder.path() + "/nowhere"), ConfigError);
}

CATCH_TEST_CASE("the activations of each tier have a picture where the logs know them", "[report]") {
  const TemporaryFolder folder;
  folder.add("steps.jsonl", tests::sample_steps(2));
  CATCH_CHECK_FALSE(holds(page_of(folder), "Most activations of each step by tier"));
  folder.add("steps.jsonl", R"({"step":1,"cpu_used_bytes":9,"cpu_peak_activation_bytes":4096})"
                            "\n");
  CATCH_CHECK(holds(page_of(folder), "Most activations of each step by tier"));
}

CATCH_TEST_CASE("a broken or unfinished line of steps.jsonl is left out, and told", "[report]") {
  const TemporaryFolder folder;
  folder.add("steps.jsonl", tests::sample_steps(2) + "not json\n[1,2]\n\n" + R"({"step":3,"loss":1)");
  const std::string page = page_of(folder);
  CATCH_CHECK(holds(page, "steps.jsonl: 3 lines are no JSON object and left out"));
  CATCH_CHECK(holds(page, "<dt>steps</dt><dd>2</dd>"));
}

CATCH_TEST_CASE("files cut off anywhere never break the page", "[report]") {
  const std::string run = tests::sample_run(), trace = tests::sample_trace(), steps = tests::sample_steps(2);
  const TemporaryFolder folder;
  for (int cut = 0; cut < 40; ++cut) {
    const auto part = [&](const std::string& text) {
      return text.substr(0, text.size() * static_cast<std::size_t>(cut) / 40);
    };
    folder.add("run.json", part(run));
    folder.add("trace.json", part(trace));
    folder.add("steps.jsonl", part(steps));
    CATCH_CHECK(holds(page_of(folder), "trace.json is cut off, or is not JSON"));
  }
}

CATCH_TEST_CASE("values of any size and type never break the page", "[report]") {
  const char* values[] = {"null",
                          "true",
                          "-1",
                          "0",
                          "1e308",
                          "-1e308",
                          "1e-308",
                          "18446744073709551615",
                          "\"text\"",
                          "[1]",
                          "{\"param\":-1e308,\"activations\":1e308}"};
  for (const char* value : values) {
    const TemporaryFolder folder;
    std::string lines, fields;
    for (const char* name :
         {"step", "loss", "lr", "grad_norm", "warm_up", "forward_ms", "update_ms", "wall_ms", "stall_forward_ms",
          "cpu_used_bytes", "cpu_peak_bytes", "cpu_limit_bytes", "cpu_by_kind", "cpu_peak_activation_bytes",
          "h2d_bytes", "evictions_dirty", "fetches", "loss_scale", "skipped"})
      fields += std::string(fields.empty() ? "{\"" : ",\"") + name + "\":" + value;
    folder.add("steps.jsonl", fields + "}\n" + tests::sample_steps(2) + fields + "}\n");
    const std::string v = value;
    folder.add("run.json", "{\"notes\":" + v + ",\"plan\":{\"tiers\":[{\"tier\":" + v + ",\"limit_bytes\":" + v + "}," +
                               v + "]},\"end\":{\"how\":" + v + ",\"fingerprint\":" + v + "}}");
    folder.add("trace.json", "{\"traceEvents\":[" + v + ",{\"ph\":\"X\",\"tid\":" + v + ",\"ts\":" + v +
                                 ",\"dur\":" + v + "}],\"otherData\":{\"residency\":[" + v + ",{\"step\":" + v +
                                 ",\"start_us\":0,\"end_us\":10,\"moments\":" + v + ",\"rows\":[" + v +
                                 ",{\"spans\":[[" + v + ",2,\"cpu\"]," + v + "]}]}],\"memory\":[" + v +
                                 ",{\"step\":" + v + ",\"tier\":\"cpu\",\"moments\":[" + v + "," + v +
                                 "],\"kinds\":{\"x\":[" + v + "]}}]}}");
    folder.add("config.resolved.json", v);
    page_of(folder);
  }
}

CATCH_TEST_CASE("bytes that are no text never break the page", "[report]") {
  const TemporaryFolder folder;
  std::string noise;
  for (int i = 0; i < 4096; ++i) noise += static_cast<char>(i * 167 + i / 256);
  for (const char* name : {"run.json", "trace.json", "steps.jsonl", "config.resolved.json"}) folder.add(name, noise);
  page_of(folder);
}

CATCH_TEST_CASE("the steps of a table keep their columns apart", "[report]") {
  StepTable table;
  std::istringstream lines(
      "{\"step\":5,\"a\":1}\n{\"step\":6,\"b\":2,\"cpu_by_kind\":{\"param\":7}}\n{\"step\":6,\"a\":null}\n");
  table.read(lines);
  CATCH_CHECK(table.num_steps() == 3);
  CATCH_CHECK(table.step_numbers() == std::vector<double>{5, 6, 7});
  CATCH_CHECK(table.column_or_zero("a") == std::vector<double>{1, 0, 0});
  CATCH_CHECK(table.column_or_zero("cpu_by_kind.param") == std::vector<double>{0, 7, 0});
  CATCH_CHECK(std::isnan(table.column("a")[2]));
  CATCH_CHECK(std::isnan(table.column("nothing")[0]));
}

}  // namespace
}  // namespace asterias::tools::report
