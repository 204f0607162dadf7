#include "base/node_pool.hpp"

namespace asterias {

std::pmr::memory_resource* node_pool() {
#ifdef __SANITIZE_ADDRESS__
  return std::pmr::new_delete_resource();
#else
  static auto* const kPool = new std::pmr::synchronized_pool_resource(std::pmr::new_delete_resource());
  return kPool;  // outlives whatever dies with the process
#endif
}

}  // namespace asterias
