// The named sizes have the parameters of their names.
#include "tools/model_presets.hpp"

#include <map>
#include <string>

#include <catch2/catch.hpp>

namespace asterias::tools {
namespace {

CATCH_TEST_CASE("each preset of a GPT is the size of its name to 2 percent", "[unit]") {
  const std::map<std::string, double> sizes{{"125m", 125e6},  {"350m", 356e6},  {"760m", 760e6}, {"1.3b", 1.315e9},
                                            {"2.7b", 2.65e9}, {"6.7b", 6.66e9}, {"13b", 12.85e9}};
  for (const auto& [name, size] : sizes) {
    CATCH_CAPTURE(name);
    const auto preset = find_preset(name);
    CATCH_REQUIRE(preset.has_value());
    CATCH_CHECK_FALSE(preset->is_llama());
    const auto count = static_cast<double>(preset->gpt().num_parameters());
    CATCH_CHECK(count > 0.98 * size);
    CATCH_CHECK(count < 1.02 * size);
    CATCH_CHECK(preset->hidden % preset->heads == 0);
    CATCH_CHECK(preset_names().find(name) != std::string::npos);
  }
}

CATCH_TEST_CASE("the smallest preset has exactly the parameters of GPT-2 small with shorter sequences", "[unit]") {
  auto preset = find_preset("125m").value();
  preset.sequence = 1024;
  CATCH_CHECK(preset.gpt().num_parameters() == 124'439'808);  // Radford et al.'s checkpoint
}

CATCH_TEST_CASE("each preset of a Llama has exactly the parameters of the published checkpoint", "[unit]") {
  const std::map<std::string, std::int64_t> counts{
      {"llama-7b", 6'738'415'616}, {"llama-13b", 13'015'864'320}, {"llama-3-8b", 8'030'261'248}};
  for (const auto& [name, count] : counts) {
    CATCH_CAPTURE(name);
    const auto preset = find_preset(name);
    CATCH_REQUIRE(preset.has_value());
    CATCH_CHECK(preset->is_llama());
    CATCH_CHECK(preset->llama().num_parameters() == count);
    CATCH_CHECK(preset->hidden / preset->heads == 128);
    CATCH_CHECK(preset_names().find(name) != std::string::npos);
  }
  CATCH_CHECK(find_preset("llama-3-8b")->rope_theta == 500000);
}

CATCH_TEST_CASE("other names are no preset", "[unit]") {
  CATCH_CHECK_FALSE(find_preset("").has_value());
  CATCH_CHECK_FALSE(find_preset("125M").has_value());
  CATCH_CHECK_FALSE(find_preset("1t").has_value());
}

}  // namespace
}  // namespace asterias::tools
