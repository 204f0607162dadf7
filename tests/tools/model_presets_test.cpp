// The named sizes have the parameters of their names.
#include "tools/model_presets.hpp"

#include <map>
#include <string>

#include <catch2/catch.hpp>

namespace asterias::tools {
namespace {

CATCH_TEST_CASE("each preset is the size of its name to 2 percent", "[unit]") {
  const std::map<std::string, double> sizes{{"125m", 125e6},  {"350m", 356e6},  {"760m", 760e6}, {"1.3b", 1.315e9},
                                            {"2.7b", 2.65e9}, {"6.7b", 6.66e9}, {"13b", 12.85e9}};
  for (const auto& [name, size] : sizes) {
    CATCH_CAPTURE(name);
    const auto preset = find_preset(name);
    CATCH_REQUIRE(preset.has_value());
    const auto count = static_cast<double>(preset->num_parameters());
    CATCH_CHECK(count > 0.98 * size);
    CATCH_CHECK(count < 1.02 * size);
    CATCH_CHECK(preset->hidden % preset->heads == 0);
    CATCH_CHECK(preset_names().find(name) != std::string::npos);
  }
}

CATCH_TEST_CASE("the smallest preset has exactly the parameters of GPT-2 small with shorter sequences", "[unit]") {
  auto preset = find_preset("125m").value();
  preset.sequence = 1024;
  CATCH_CHECK(preset.num_parameters() == 124'439'808);  // Radford et al.'s checkpoint
}

CATCH_TEST_CASE("other names are no preset", "[unit]") {
  CATCH_CHECK_FALSE(find_preset("").has_value());
  CATCH_CHECK_FALSE(find_preset("125M").has_value());
  CATCH_CHECK_FALSE(find_preset("1t").has_value());
}

}  // namespace
}  // namespace asterias::tools
