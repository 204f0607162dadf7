# asterias::asterias, what a user links: the library with its public headers and nothing else of src/; and how it is installed.
#
# Targets of this project link asterias_runtime instead and include from src/. No target may link both: each header would be there
# under two names.
include_guard(GLOBAL)
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(headers "${PROJECT_BINARY_DIR}/public_headers")
file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/*.h" "${PROJECT_SOURCE_DIR}/src/*.hpp")
add_custom_command(OUTPUT "${headers}.stamp" VERBATIM
  DEPENDS ${sources} "${PROJECT_SOURCE_DIR}/cmake/WritePublicHeaders.cmake"
  COMMAND "${CMAKE_COMMAND}" -D "SOURCE=${PROJECT_SOURCE_DIR}" -D "DESTINATION=${headers}"
          -P "${PROJECT_SOURCE_DIR}/cmake/WritePublicHeaders.cmake"
  COMMAND "${CMAKE_COMMAND}" -E touch "${headers}.stamp"
  COMMENT "Writing the public headers")
add_custom_target(asterias_public_headers ALL DEPENDS "${headers}.stamp")

add_library(asterias_public INTERFACE)
add_library(asterias::asterias ALIAS asterias_public)
add_dependencies(asterias_public asterias_public_headers)
set_target_properties(asterias_public PROPERTIES EXPORT_NAME asterias)
target_compile_features(asterias_public INTERFACE cxx_std_20)
target_include_directories(asterias_public INTERFACE
  "$<BUILD_INTERFACE:${headers}>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_link_libraries(asterias_public INTERFACE "$<LINK_ONLY:asterias_runtime>" libtorch::cpu)

# Compiles a program of this build again when a public header was written anew: ninja looks at what objects include before they are.
function(asterias_compile_after_public_headers target)
  get_target_property(files ${target} SOURCES)
  get_target_property(folder ${target} SOURCE_DIR)
  foreach(file IN LISTS files)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${folder}")
    set_property(SOURCE "${file}" TARGET_DIRECTORY ${target} APPEND PROPERTY OBJECT_DEPENDS "${PROJECT_BINARY_DIR}/public_headers.stamp")
  endforeach()
endfunction()

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/asterias")
install(TARGETS asterias_public asterias_runtime asterias_hybrid_adam asterias_evict asterias_chunk asterias_device asterias_base
  EXPORT asteriasTargets)
install(EXPORT asteriasTargets NAMESPACE asterias:: DESTINATION "${package}")
install(DIRECTORY "${headers}/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
set_target_properties(asterias PROPERTIES INSTALL_RPATH "${ASTERIAS_LIBTORCH}/lib")
install(TARGETS asterias)
add_dependencies(asterias asterias_public_headers)   # so that what installs is there once the program is

configure_package_config_file(cmake/asteriasConfig.cmake.in "${PROJECT_BINARY_DIR}/asteriasConfig.cmake"
  INSTALL_DESTINATION "${package}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/asteriasConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/asteriasConfig.cmake" "${PROJECT_BINARY_DIR}/asteriasConfigVersion.cmake" cmake/Libtorch.cmake
  DESTINATION "${package}")
