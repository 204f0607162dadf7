// Looks for a plan that changes a bit, and for a budget whose refusal lies.
//
//   random_plans [--seed S] [--plans N]             models, budgets, placements and delays against unlimited memory
//   random_plans --budgets [--seed S] [--pairs N]   models and budgets of any size: trained within them, or refused
//   random_plans --seed S --plan K | --pair K       one of them again, with its configuration
//   random_plans --device cuda:0 [--plans N] ...    plans on that card against unlimited memory there, one at a time
//
// Each is a process of its own: a peak of memory belongs to a process, and so does a crash. The last line of the output
// counts failures, and so does the exit code (0: none).
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "tests/base/started_process.hpp"
#include "tests/plans/card.hpp"
#include "tests/plans/random_plan.hpp"
#include "tests/plans/trial.hpp"

namespace asterias::plans {
namespace {

using Json = nlohmann::ordered_json;

// A run under sanitizers on a busy machine takes a minute; one that hangs takes for ever.
constexpr std::chrono::minutes kPatience{10};

struct Flags {
  std::uint64_t seed = 1;
  bool budgets = false;
  std::uint64_t num_plans = 50, num_pairs = 200;
  std::string card;
  int num_seconds = 0;  // after which none begins; 0: all do
  std::optional<std::uint64_t> plan, pair;
  std::string limits;  // of the one pair that a child tries, as JSON
  int num_jobs = 1;
};

// ---- one ------------------------------------------------------------------------------------------------------------

// Runs this program with other arguments, and returns its report.
Json report_of_child(const std::vector<std::string>& arguments) {
  tests::StartedProcess child("/proc/self/exe", arguments);
  if (!child.ends_within(kPatience)) {
    child.signal(SIGKILL);
    return {{"failure", "did not end in " + std::to_string(kPatience.count()) + " minutes"}};
  }
  const tests::Run run = child.wait();
  Json report = Json::parse(run.last_line(), nullptr, /*allow_exceptions=*/false);
  if (!report.is_object()) report = {{"failure", "ended with " + std::to_string(run.exit_code) + ": " + run.err}};
  return report;
}

std::vector<std::string> arguments_of(const Flags& flags, const char* what, std::uint64_t number) {
  std::vector<std::string> arguments{"--seed", std::to_string(flags.seed), what, std::to_string(number)};
  if (!flags.card.empty()) arguments.insert(arguments.end(), {"--device", flags.card});
  return arguments;
}

std::string reproduction(const Flags& flags, const char* what, std::uint64_t number) {
  std::string line = program_invocation_short_name;
  for (const auto& argument : arguments_of(flags, what, number)) line += " " + argument;
  return line;
}

Json train_pair(const Flags& flags, std::uint64_t number, const Limits& limits) {
  return report_of_child(
      {"--seed", std::to_string(flags.seed), "--pair", std::to_string(number), "--limits", Json(limits).dump()});
}

// Where several tiers are named, all of them together work. One alone may do or be refused, and nothing else.
Json obey_refusal(const Flags& flags, std::uint64_t number, const Limits& named) {
  if (named.size() > 1) {
    const auto& one = *std::next(named.begin(), static_cast<std::ptrdiff_t>(number % named.size()));
    const Json alone = train_pair(flags, number, {one});
    if (alone.contains("failure")) return alone;
  }
  Json report = train_pair(flags, number, named);
  if (report.contains("refused")) report["failure"] = "refused with the budgets that the first refusal named";
  report["refused"] = named;
  return report;
}

Json whole_pair(const Flags& flags, std::uint64_t number) {
  const Json first = train_pair(flags, number, {});
  if (!first.contains("refused") || first.contains("failure")) return first;
  return obey_refusal(flags, number, first["refused"].get<Limits>());
}

// ---- many -----------------------------------------------------------------------------------------------------------

struct Tally {
  int tried = 0, refused = 0, moved = 0, failed = 0;
};

// What became of them, by kind of model.
class Tallies {
 public:
  void add(const Json& report, const std::string& again) {
    const std::lock_guard lock(mutex_);
    const std::string kind = report.contains("words") ? report["words"]["model"]["kind"] : "unknown";
    for (auto* tally : {&by_kind_[kind], &all_}) {
      ++tally->tried;
      tally->refused += report.contains("refused");
      tally->moved += report.value("moved_bytes", std::uint64_t{0}) > 0;
      tally->failed += report.contains("failure");
    }
    if (report.contains("failure"))
      std::printf("FAILED: %s\n  %s\n  %s\n", again.c_str(), report["failure"].get<std::string>().c_str(),
                  report.dump().c_str());
    std::fflush(stdout);
  }

  int print(const char* what) const {
    std::printf("  %-12s %6s %14s %12s %7s\n", "model", what, "refused first", "bytes moved", "failed");
    for (const auto& [kind, tally] : by_kind_) print_line(kind, tally);
    print_line("all", all_);
    return all_.failed;
  }

 private:
  static void print_line(const std::string& kind, const Tally& tally) {
    std::printf("  %-12s %6d %14d %12d %7d\n", kind.c_str(), tally.tried, tally.refused, tally.moved, tally.failed);
  }

  std::mutex mutex_;
  std::map<std::string, Tally> by_kind_;
  Tally all_;
};

// Tries all, `num_jobs` at a time.
void try_all(const std::vector<std::uint64_t>& numbers, const Flags& flags,
             const std::function<void(std::uint64_t)>& try_one) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(flags.num_seconds);
  const auto is_late = [&] { return flags.num_seconds > 0 && std::chrono::steady_clock::now() >= end; };
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < flags.num_jobs; ++i)
    threads.emplace_back([&] {
      for (std::size_t at = next++; at < numbers.size() && !is_late(); at = next++) try_one(numbers[at]);
    });
  for (auto& thread : threads) thread.join();
}

// The first `count` plans, of those on a card the ones that it has kernels for.
std::vector<std::uint64_t> plan_numbers(const Flags& flags) {
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t number = 0; numbers.size() < flags.num_plans; ++number)
    if (flags.card.empty() || card_runs(draw_plan(flags.seed, number, flags.card).job)) numbers.push_back(number);
  return numbers;
}

int search_plans(const Flags& flags) {
  Tallies tallies;
  if (!flags.card.empty()) open_card({});  // where there is none it is said once
  try_all(plan_numbers(flags), flags, [&](std::uint64_t number) {
    tallies.add(report_of_child(arguments_of(flags, "--plan", number)), reproduction(flags, "--plan", number));
  });
  std::printf("random plans of seed %llu%s against unlimited memory\n", static_cast<unsigned long long>(flags.seed),
              flags.card.empty() ? "" : (" on " + flags.card).c_str());
  return tallies.print("plans");
}

int search_pairs(const Flags& flags) {
  Tallies tallies;
  std::vector<std::uint64_t> numbers(flags.num_pairs);
  std::iota(numbers.begin(), numbers.end(), 0);
  try_all(numbers, flags,
          [&](std::uint64_t number) { tallies.add(whole_pair(flags, number), reproduction(flags, "--pair", number)); });
  std::printf("random models and budgets of seed %llu\n", static_cast<unsigned long long>(flags.seed));
  return tallies.print("pairs");
}

int print_report(const Json& report) {
  std::printf("%s\n", report.dump().c_str());
  return report.contains("failure") ? 1 : 0;
}

int run(const Flags& flags) {
  if (flags.plan) return print_report(try_plan(draw_plan(flags.seed, *flags.plan, flags.card)));
  if (flags.pair && !flags.limits.empty())
    return print_report(try_pair(draw_pair(flags.seed, *flags.pair), Json::parse(flags.limits).get<Limits>()));
  if (flags.pair) return print_report(whole_pair(flags, *flags.pair));
  return (flags.budgets ? search_pairs(flags) : search_plans(flags)) > 0 ? 1 : 0;
}

}  // namespace
}  // namespace asterias::plans

int main(int argc, char** argv) {
  asterias::plans::Flags flags;
  CLI::App app("Compares random plans with unlimited memory, and random budgets with what refusals say.",
               "random_plans");
  app.add_option("--seed", flags.seed, "of all draws")->capture_default_str();
  app.add_option("--plans", flags.num_plans, "how many plans")->capture_default_str();
  app.add_flag("--budgets", flags.budgets, "search budgets instead of plans");
  app.add_option("--pairs", flags.num_pairs, "how many pairs of model and budgets")->capture_default_str();
  app.add_option("--plan", flags.plan, "try this one alone, and print it");
  app.add_option("--pair", flags.pair, "try this one alone, and print it");
  app.add_option("--limits", flags.limits, "with --pair: train it once with these limits, as {\"cpu\": bytes}");
  app.add_option("--device", flags.card, "plans for this card, as cuda:N, instead of the CPU and simulated ones")
      ->check([](const std::string& name) { return std::string(name.starts_with("cuda:") ? "" : "is no cuda:N"); })
      ->excludes("--budgets", "--pair");
  app.add_option("--seconds", flags.num_seconds, "after which no other one begins; 0: all do")->capture_default_str();
  app.add_option("--jobs", flags.num_jobs, "how many at a time")->capture_default_str()->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    return asterias::plans::run(flags);
  } catch (const asterias::CudaError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
