// The plan's table and bars.
#include "tools/placement_text.hpp"

#include <string>

#include <catch2/catch.hpp>

#include "tools/progress_text.hpp"

namespace asterias::tools {
namespace {

ContentBytes bytes_of(std::uint64_t param, std::uint64_t grad, std::uint64_t libraries) {
  ContentBytes bytes{};
  bytes[static_cast<std::size_t>(ContentKind::kParam)] = param;
  bytes[static_cast<std::size_t>(ContentKind::kGrad)] = grad;
  bytes[static_cast<std::size_t>(ContentKind::kLibraries)] = libraries;
  return bytes;
}

Terminal ascii(int columns) { return {false, false, false, columns}; }

CATCH_TEST_CASE("a bar's cells are in proportion to the bytes and what is free stays empty", "[unit]") {
  CATCH_CHECK(content_bar(bytes_of(50, 25, 0), 100, 8, ascii(80)) == "PPPPGG  ");
  CATCH_CHECK(content_bar(bytes_of(50, 25, 25), 100, 8, ascii(80)) == "PPPPGGLL");
  CATCH_CHECK(content_bar(bytes_of(0, 0, 0), 100, 4, ascii(80)) == "    ");
  CATCH_CHECK(content_bar(bytes_of(0, 0, 0), 0, 4, ascii(80)) == "    ");
}

CATCH_TEST_CASE("a bar is never longer than it should be", "[unit]") {
  CATCH_CHECK(content_bar(bytes_of(50, 25, 40), 100, 8, ascii(80)) == "PPPPGGLL");
  CATCH_CHECK(columns_of(content_bar(bytes_of(1, 1, 1), 3, 10, {true, true, true, 80})) == 10);
}

Plan two_tier_plan() {
  Plan plan;
  plan.is_measured = true;
  plan.tiers.push_back(
      {Tier::kCpu, 256 << 20, 16 << 20, "aten::gelu", 200 << 20, 128 << 20, bytes_of(64 << 20, 0, 64 << 20)});
  plan.tiers.push_back({Tier::kNvme, UINT64_MAX, 0, "", 0, 512 << 20, bytes_of(256 << 20, 256 << 20, 0)});
  return plan;
}

CATCH_TEST_CASE("the plan has a row and a bar for each tier and a legend of what lies there", "[unit]") {
  const std::string text = placement_text(two_tier_plan(), ascii(54));
  CATCH_INFO(text);
  CATCH_CHECK(text.find("256 MiB       128 MiB      16.0 MiB   in aten::gelu") != std::string::npos);
  CATCH_CHECK(text.find("no limit       512 MiB") != std::string::npos);
  CATCH_CHECK(text.find("cpu       [PPPPPPPPPPLLLLLLLLLL                    ]\n") != std::string::npos);
  CATCH_CHECK(text.find("nvme      [PPPPPPPPPPPPPPPPPPPPGGGGGGGGGGGGGGGGGGGG]\n") != std::string::npos);
  CATCH_CHECK(text.find("P param  G grad  L libraries") != std::string::npos);
  CATCH_CHECK(text.find("exp_avg") == std::string::npos);
}

CATCH_TEST_CASE("every line of the plan fits the terminal from 80 columns on", "[unit]") {
  for (const int columns : {80, 140}) {
    const std::string text = placement_text(two_tier_plan(), {true, true, true, columns});
    for (std::size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1)
      CATCH_CHECK(columns_of(text.substr(at, end - at)) <= columns);
  }
}

CATCH_TEST_CASE("the live line says step, phase, loss, speed, time left and the use of each tier", "[unit]") {
  StepStats stats;
  stats.loss = 3.25;
  stats.tiers[static_cast<std::size_t>(Tier::kCpu)] = {true, 192 << 20, 0, 256 << 20};
  stats.tiers[static_cast<std::size_t>(Tier::kNvme)] = {true, 3 << 20, 0, UINT64_MAX};
  CATCH_CHECK(live_text({7, 90, "update", &stats, 131.4, 130}, ascii(80)) ==
              "step 7/90 update    loss 3.2500  131 tokens/s  2 min 10 s left  cpu 75%  nvme 3.00 MiB");
  CATCH_CHECK(live_text({1, 90, "forward", nullptr, 0, 0}, ascii(80)) == "step 1/90 forward   warm-up");
  CATCH_CHECK(live_text({7, 90, "", &stats, 1, 0}, {true, false, true, 80}).find("cpu ██████░░ 75%") !=
              std::string::npos);
}

}  // namespace
}  // namespace asterias::tools
