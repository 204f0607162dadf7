# asterias_test_folder(): the Catch2 programs of one folder of tests/, each TEST_CASE registered with ctest.
#
# Catch's own catch_discover_tests() gives all cases of a program the same properties; here a tag becomes a label.
include_guard(GLOBAL)

add_library(asterias_catch INTERFACE)
find_path(ASTERIAS_CATCH_INCLUDE catch2/catch.hpp)
set(catch_major 2)
if(ASTERIAS_CATCH_INCLUDE)
  target_include_directories(asterias_catch SYSTEM INTERFACE "${ASTERIAS_CATCH_INCLUDE}")
else()
  # Catch2 v3 (Debian 13, Ubuntu 24.04): a header of the v2 name in front of it.
  find_package(Catch2 3 REQUIRED)
  set(catch_major 3)
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/catch_v2_name/catch2/catch.hpp"
    CONTENT "#pragma once\n#include <catch2/catch_all.hpp>\n")
  target_include_directories(asterias_catch SYSTEM INTERFACE "${PROJECT_BINARY_DIR}/catch_v2_name")
  target_link_libraries(asterias_catch INTERFACE Catch2::Catch2)
endif()
# c10 defines CHECK and silently replaces Catch's: tests write CATCH_CHECK, CATCH_TEST_CASE and so on.
target_compile_definitions(asterias_catch INTERFACE CATCH_CONFIG_PREFIX_ALL)

add_library(asterias_catch_main OBJECT "${PROJECT_SOURCE_DIR}/tests/catch_main.cpp")
target_link_libraries(asterias_catch_main PRIVATE asterias_catch)
target_compile_definitions(asterias_catch_main PRIVATE ASTERIAS_CATCH_MAJOR=${catch_major}
  "ASTERIAS_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\"" "ASTERIAS_BIN_DIR=\"${CMAKE_RUNTIME_OUTPUT_DIRECTORY}\"")

# Registers the cases of the program `target` as "<folder>/<case>" with `label`. The list is made when the program is linked.
function(asterias_register_cases target folder label leaks)
  set(list "${CMAKE_CURRENT_BINARY_DIR}/${target}_cases.cmake")
  set(work "${CMAKE_CURRENT_BINARY_DIR}/work")
  file(MAKE_DIRECTORY "${work}")
  add_custom_command(TARGET ${target} POST_BUILD BYPRODUCTS "${list}" VERBATIM
    COMMAND "${CMAKE_COMMAND}" -D "program=$<TARGET_FILE:${target}>" -D "folder=${folder}" -D "label=${label}"
            -D "work=${work}" -D "list=${list}" -D "catch_major=${catch_major}" -D "leaks=${leaks}"
            -P "${PROJECT_SOURCE_DIR}/cmake/ListCatchCases.cmake")
  set(include_file "${CMAKE_CURRENT_BINARY_DIR}/${target}_include.cmake")
  file(CONFIGURE OUTPUT "${include_file}" @ONLY CONTENT
"if(EXISTS \"@list@\")
  include(\"@list@\")
else()
  add_test(@target@_was_not_built @target@_was_not_built)
endif()
")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${include_file}")
endfunction()

# TORCH: the files include torch headers. PROGRAM: targets that the cases start, built before them.
function(asterias_test_folder folder)
  cmake_parse_arguments(ARG "TORCH" "LABEL" "LINK;PROGRAM" ${ARGN})
  file(GLOB own CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/process_*.cpp")
  file(GLOB shared CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp")
  if(own)
    list(REMOVE_ITEM shared ${own})
  endif()
  if(ASTERIAS_SANITIZE)
    set(own "")   # a sanitizer's shadow memory breaks every byte budget
  endif()
  set(torch "")
  set(leaks 1)
  if(ARG_TORCH)
    set(torch TORCH)
  endif()
  if(ASTERIAS_TORCH AND "${ARG_LINK}" MATCHES "asterias_runtime|asterias_models")
    set(leaks 0)   # libtorch keeps registries until the process ends
  endif()
  foreach(source IN LISTS own ITEMS "${shared}")
    if(source STREQUAL "")
      continue()
    endif()
    set(target test_${folder})
    set(sources "${shared}")
    if(source IN_LIST own)
      get_filename_component(target "${source}" NAME_WE)
      set(target test_${folder}_${target})
      set(sources "${source}")
    endif()
    asterias_program(${target} ${torch} SOURCES ${sources} $<TARGET_OBJECTS:asterias_catch_main>
      LINK ${ARG_LINK} asterias_catch)
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/src")
    if(ARG_PROGRAM)
      add_dependencies(${target} ${ARG_PROGRAM})
    endif()
    asterias_register_cases(${target} ${folder} ${ARG_LABEL} ${leaks})
  endforeach()
endfunction()
