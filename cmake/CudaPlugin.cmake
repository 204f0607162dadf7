# ASTERIAS_CUDA and what the CUDA plugins are compiled with. The library and the program never link CUDA: they open
# libasterias_cuda.so, and libasterias_torch_cuda.so for torch's side of the card, at run time, where a driver answers
# (src/device/cuda_plugin.hpp, src/runtime/cuda_backend.hpp).
#
# Sets ASTERIAS_BUILD_CUDA and ASTERIAS_PLUGIN_INTERFACE, and enables the language CUDA where the plugin is built.
include_guard(GLOBAL)

set(ASTERIAS_CUDA AUTO CACHE STRING "The CUDA plugin: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE ASTERIAS_CUDA PROPERTY STRINGS AUTO ON OFF)
set(ASTERIAS_CUDA_ARCHITECTURES "80-real;90" CACHE STRING
  "What the plugin is compiled for, as CMAKE_CUDA_ARCHITECTURES; 'all' is every card from 8.0 to 12.0")
if(NOT ASTERIAS_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "ASTERIAS_CUDA is AUTO, ON or OFF, not '${ASTERIAS_CUDA}'")
endif()

# The headers that the plugin and the library must have compiled alike: a plugin of another build is refused by this text.
set(interface "")
foreach(header IN ITEMS device/cuda_calls.hpp device/stream_handle.hpp hybrid_adam/kernel_calls.hpp hybrid_adam/update_grid.hpp
    hybrid_adam/update_arrays.hpp hybrid_adam/update_constants.hpp hybrid_adam/number_arrays.hpp hybrid_adam/rounding_key.hpp
    runtime/torch_device.hpp)
  file(SHA256 "${PROJECT_SOURCE_DIR}/src/${header}" digest)
  string(APPEND interface "${digest}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${header}")
endforeach()
string(SHA256 interface "${interface}")
string(SUBSTRING "${interface}" 0 16 interface)
set(ASTERIAS_PLUGIN_INTERFACE "${PROJECT_VERSION}-${interface}")

set(ASTERIAS_BUILD_CUDA OFF)
if(ASTERIAS_SANITIZE AND ASTERIAS_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA plugin: not built with a sanitizer")
elseif(NOT ASTERIAS_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(ASTERIAS_CUDA_ARCHITECTURES STREQUAL "all")
      set(CMAKE_CUDA_ARCHITECTURES "80-real;86-real;89-real;90-real;100-real;120")
    else()
      set(CMAKE_CUDA_ARCHITECTURES "${ASTERIAS_CUDA_ARCHITECTURES}")
    endif()
    if(NOT CMAKE_CUDA_HOST_COMPILER)
      set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
    endif()
    if(ASTERIAS_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
      set(CMAKE_CUDA_COMPILER_LAUNCHER env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 "${ASTERIAS_CCACHE}")
    endif()
    set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)   # libtorch brings one; a process needs no second
    enable_language(CUDA)
    # CMake 3.25 does not know that nvcc knows C++20.
    foreach(kind IN ITEMS STANDARD EXTENSION)
      if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
        set(CMAKE_CUDA20_${kind}_COMPILE_OPTION -std=c++20)
      endif()
    endforeach()
    set(ASTERIAS_BUILD_CUDA ON)
    message(STATUS "CUDA plugin: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")
  elseif(ASTERIAS_CUDA STREQUAL "ON")
    message(FATAL_ERROR "ASTERIAS_CUDA=ON needs nvcc (CUDA 12.1 or newer): put it on PATH, set CMAKE_CUDA_COMPILER, or leave ASTERIAS_CUDA at AUTO.")
  else()
    message(STATUS "CUDA plugin: no nvcc, not built")
  endif()
endif()

# Makes libasterias_cuda.so, beside the programs, of the cuda/ folders below src/ that know no torch. It links nothing of
# ours.
function(asterias_cuda_plugin)
  set(sources "")
  foreach(folder IN ITEMS device hybrid_adam)
    file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${folder}/cuda/*.cu" "${PROJECT_SOURCE_DIR}/src/${folder}/cuda/*.cpp")
    list(APPEND sources ${found})
  endforeach()
  add_library(asterias_cuda MODULE ${sources})
  # The CUDA runtime that libtorch loads comes first: in a process with libtorch it is there already.
  file(GLOB runtime_folders LIST_DIRECTORIES true "${ASTERIAS_LIBTORCH}/../nvidia/cu*/lib")
  list(APPEND runtime_folders ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES})
  list(FILTER runtime_folders EXCLUDE REGEX "/stubs$|^/usr/lib|^/lib")
  target_include_directories(asterias_cuda PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_include_directories(asterias_cuda SYSTEM PRIVATE "${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}")
  target_compile_definitions(asterias_cuda PRIVATE "ASTERIAS_PLUGIN_INTERFACE=\"${ASTERIAS_PLUGIN_INTERFACE}\"")
  set_target_properties(asterias_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    CUDA_STANDARD 20
    CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON
    BUILD_RPATH "${runtime_folders}" INSTALL_RPATH "${runtime_folders}")
  # The same bits as the CPU: nothing is fused that is not written fused, denormals stay, divisions and roots are rounded
  # once.
  set(cuda_flags --expt-relaxed-constexpr -fmad=false -ftz=false -prec-div=true -prec-sqrt=true
    "-Xcompiler=-Wall,-Wextra,-ffp-contract=off")
  if(ASTERIAS_WERROR)
    list(APPEND cuda_flags "-Werror=all-warnings" "-Xcompiler=-Werror")
  endif()
  target_compile_options(asterias_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_flags}>"
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;$<$<BOOL:${ASTERIAS_WERROR}>:-Werror>>")
  target_link_options(asterias_cuda PRIVATE "LINKER:-z,defs" "LINKER:-z,now" "LINKER:--exclude-libs,ALL")
  install(TARGETS asterias_cuda LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" OPTIONAL)
endfunction()

# Makes libasterias_torch_cuda.so beside it, which alone links libtorch_cuda. libtorch's wheel brings that library and its headers
# also where those that it stands on in turn (cuBLAS, cuDNN, ...) are not installed: they are needed on a machine with a card only.
function(asterias_torch_cuda_plugin)
  add_library(asterias_torch_cuda MODULE "${PROJECT_SOURCE_DIR}/src/runtime/cuda/torch_cuda.cpp")
  target_include_directories(asterias_torch_cuda PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_include_directories(asterias_torch_cuda SYSTEM PRIVATE "${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}")
  target_compile_definitions(asterias_torch_cuda PRIVATE "ASTERIAS_PLUGIN_INTERFACE=\"${ASTERIAS_PLUGIN_INTERFACE}\"")
  target_link_libraries(asterias_torch_cuda PRIVATE libtorch::cpu
    "${ASTERIAS_LIBTORCH}/lib/libtorch_cuda.so" "${ASTERIAS_LIBTORCH}/lib/libc10_cuda.so")
  set_target_properties(asterias_torch_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    CXX_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON
    BUILD_RPATH "${ASTERIAS_LIBTORCH}/lib" INSTALL_RPATH "${ASTERIAS_LIBTORCH}/lib")
  target_compile_options(asterias_torch_cuda PRIVATE -Wall -Wextra $<$<BOOL:${ASTERIAS_WERROR}>:-Werror>)
  # The loader must take libtorch_cuda along though only its variables are named.
  target_link_options(asterias_torch_cuda PRIVATE "LINKER:--no-as-needed" "LINKER:-z,now" "LINKER:--allow-shlib-undefined")
  install(TARGETS asterias_torch_cuda LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" OPTIONAL)
endfunction()
