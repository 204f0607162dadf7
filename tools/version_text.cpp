#include "tools/version_text.hpp"

#include <torch/version.h>

#include "runtime/telemetry.hpp"

namespace asterias::tools {

std::string program_version() { return ASTERIAS_VERSION; }

std::string version_text() {
  std::string text = "asterias " + program_version() + " (" ASTERIAS_BUILD ")\n";
  text += "libtorch " TORCH_VERSION "\n";
  text += "SIMD     " + update_simd_target() + "\n";
  text += "devices  cpu, simulated";
  return text;
}

}  // namespace asterias::tools
