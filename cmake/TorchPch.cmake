# One precompiled <torch/torch.h> for every target that includes it: 40 s once instead of 13 s for each file.
#
# gcc takes it only for files whose code generation flags are equal to its own; -Winvalid-pch (CMake sets it) tells when not.
include_guard(GLOBAL)

# Such a file takes up to 1.4 GB to compile: no more of them at once than the memory holds (Ninja).
cmake_host_system_information(RESULT memory_mib QUERY TOTAL_PHYSICAL_MEMORY)
math(EXPR jobs "${memory_mib} / 2048 + 1")
set_property(GLOBAL APPEND PROPERTY JOB_POOLS asterias_torch=${jobs})

file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/torch_pch.cpp" CONTENT "// Carries the precompiled header; holds no code.\n")
add_library(asterias_torch_pch OBJECT "${PROJECT_BINARY_DIR}/torch_pch.cpp")
target_link_libraries(asterias_torch_pch PRIVATE libtorch::cpu)
target_precompile_headers(asterias_torch_pch PRIVATE <torch/torch.h>)
set_target_properties(asterias_torch_pch PROPERTIES JOB_POOL_COMPILE asterias_torch)
