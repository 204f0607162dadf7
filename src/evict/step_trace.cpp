#include "evict/step_trace.hpp"

namespace asterias::evict {

std::string TracedResident::name() const {
  if (kind == ContentKind::kActivation) return "activation " + std::to_string(number) + " (" + made_by + ")";
  return "chunk " + std::to_string(number) + " " + std::string(content_kind_name(kind));
}

}  // namespace asterias::evict
