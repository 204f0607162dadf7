# The two ways a target of this project comes to be: asterias_library() and asterias_program().
include_guard(GLOBAL)

# Sets our warnings on `target`; torch targets get the shared precompiled header, the others UBSan where ASan is on.
function(asterias_compile_flags target)
  cmake_parse_arguments(ARG "TORCH" "" "" ${ARGN})
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wnon-virtual-dtor -Woverloaded-virtual -Wextra-semi)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -Wshadow=local -Wduplicated-cond -Wlogical-op)
  else()
    target_compile_options(${target} PRIVATE -Wshadow)
  endif()
  if(ASTERIAS_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # These follow inlined library code into our lines and are often wrong there; they stay visible.
      target_compile_options(${target} PRIVATE -Wno-error=maybe-uninitialized -Wno-error=array-bounds
        -Wno-error=stringop-overflow -Wno-error=stringop-overread -Wno-error=free-nonheap-object -Wno-error=dangling-pointer)
    endif()
  endif()
  if(ARG_TORCH)
    target_link_libraries(${target} PRIVATE libtorch::cpu)
    target_precompile_headers(${target} REUSE_FROM asterias_torch_pch)
    set_target_properties(${target} PROPERTIES JOB_POOL_COMPILE asterias_torch)
  elseif(ASTERIAS_SANITIZE STREQUAL "address")
    target_compile_options(${target} PRIVATE -fsanitize=undefined -fno-sanitize-recover=undefined)
  endif()
endfunction()

# Makes asterias_<name> of the current folder's *.cpp. A folder that has headers only (or nothing yet) becomes INTERFACE.
#   INCLUDE         roots:  what its users put before "folder/file.hpp"
#   PUBLIC, PRIVATE what it links
#   TORCH           its files include torch headers
#   TORCH_FREE      files of a TORCH folder that include none: they compile without the precompiled header, in a second
function(asterias_library name)
  cmake_parse_arguments(ARG "TORCH" "" "INCLUDE;PUBLIC;PRIVATE;TORCH_FREE" ${ARGN})
  set(target asterias_${name})
  list(TRANSFORM ARG_INCLUDE REPLACE "(.+)" "$<BUILD_INTERFACE:\\1>")   # what is installed has headers of its own
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  if(NOT sources)
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE ${ARG_INCLUDE})
    target_link_libraries(${target} INTERFACE ${ARG_PUBLIC})
    return()
  endif()
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} PUBLIC ${ARG_INCLUDE})
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  if(ARG_TORCH)
    asterias_compile_flags(${target} TORCH)
    foreach(file IN LISTS ARG_TORCH_FREE)
      set_source_files_properties("${file}" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endforeach()
  else()
    asterias_compile_flags(${target})
  endif()
endfunction()

# Makes the program `name` of SOURCES, linked with LINK. TORCH as above.
function(asterias_program name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  if(ARG_TORCH)
    asterias_compile_flags(${name} TORCH)
  else()
    asterias_compile_flags(${name})
  endif()
endfunction()
