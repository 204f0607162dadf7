// docs/config.md against the reader's own table, both ways: a stale page is a failing test.
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "runtime/config.hpp"
#include "runtime/config_keys.hpp"

namespace asterias {
namespace {

struct Row {
  std::string wants, default_json, meaning;
};

std::ifstream open_page(const std::string& name = "config.md") {
  const char* root = std::getenv("ASTERIAS_SOURCE_DIR");
  CATCH_REQUIRE(root != nullptr);
  std::ifstream page(std::string(root) + "/docs/" + name);
  CATCH_REQUIRE(page);
  return page;
}

std::string without_backticks(const std::string& cell) {
  const bool is_code = cell.size() > 1 && cell.front() == '`' && cell.back() == '`';
  return is_code ? cell.substr(1, cell.size() - 2) : cell;
}

// Splits "| a | b |" into its cells.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  for (std::size_t at = 2, end; (end = line.find(" |", at)) != line.npos; at = end + 3)
    cells.push_back(line.substr(at, end - at));
  return cells;
}

// Reads every row whose first cell is code, of the page's tables that give defaults.
std::map<std::string, Row> rows_of_page() {
  auto page = open_page();
  std::map<std::string, Row> rows;
  bool has_defaults = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| Key |")) has_defaults = line.ends_with("| Default | Meaning |");
    if (!has_defaults || !line.starts_with("| `")) continue;
    const auto cells = cells_of(line);
    CATCH_CAPTURE(line);
    CATCH_REQUIRE(cells.size() == 4);
    const bool is_new =
        rows.emplace(without_backticks(cells[0]), Row{cells[1], without_backticks(cells[2]), cells[3]}).second;
    CATCH_CHECK(is_new);
  }
  return rows;
}

// Reads the JSON blocks of a page.
std::vector<std::string> examples_of(const std::string& name) {
  auto page = open_page(name);
  std::vector<std::string> blocks;
  for (std::string line; std::getline(page, line);) {
    if (line != "```json") continue;
    blocks.emplace_back();
    while (std::getline(page, line) && line != "```") blocks.back() += line + "\n";
  }
  return blocks;
}

}  // namespace

CATCH_TEST_CASE("every key is on the page with its type and default") {
  const auto rows = rows_of_page();
  for (const auto& known : config::known_keys()) {
    CATCH_CAPTURE(known.key);
    const auto row = rows.find(known.key);
    CATCH_REQUIRE(row != rows.end());
    CATCH_CHECK(row->second.wants == known.wants);
    CATCH_CHECK(row->second.default_json == known.default_json);
    CATCH_CHECK_FALSE(row->second.meaning.empty());
  }
}

CATCH_TEST_CASE("every key on the page is known") {
  std::set<std::string> known_keys;
  for (const auto& known : config::known_keys()) CATCH_CHECK(known_keys.insert(known.key).second);
  for (const auto& [key, row] : rows_of_page()) {
    CATCH_CAPTURE(key);
    CATCH_CHECK(known_keys.count(key) == 1);
  }
}

CATCH_TEST_CASE("every default on the page can be set") {
  for (const auto& [key, row] : rows_of_page()) {
    if (key.find("[]") != key.npos) continue;
    CATCH_CAPTURE(key, row.default_json);
    EngineConfig config;
    CATCH_CHECK_NOTHROW(config.set(key + "=" + row.default_json));
    CATCH_CHECK(config.to_json() == EngineConfig{}.to_json());
  }
}

CATCH_TEST_CASE("the configurations that the pages show are valid") {
  for (const char* name : {"config.md", "coming_from.md", "quickstart.md"}) {
    const auto examples = examples_of(name);
    CATCH_CHECK_FALSE(examples.empty());
    for (const auto& example : examples) {
      CATCH_CAPTURE(name, example);
      CATCH_CHECK_NOTHROW(EngineConfig::from_json(example).validate());
    }
  }
}

CATCH_TEST_CASE("PatrickStar's configuration is shown as published, in fp16") {
  const auto config = EngineConfig::from_json(examples_of("coming_from.md").back());
  CATCH_CHECK(config.optimizer.type == OptimizerType::kAdam);
  CATCH_CHECK(config.fp16.enabled);
  CATCH_CHECK(config.fp16.loss_scale == 0);
  CATCH_CHECK(config.fp16.initial_scale_power == 8);
  CATCH_CHECK(config.default_chunk_elements == 64 << 20);
}

}  // namespace asterias
