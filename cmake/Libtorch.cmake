# Imported target libtorch::cpu, without find_package(Torch).
#
# TorchConfig.cmake of a CUDA build insists on nvcc and links libtorch_cuda with everything behind it; a program that only
# needs the CPU half cannot ask for less. So this file looks at the folder itself: the pip wheel and the official archive
# have the same layout, <root>/include and <root>/lib.
#
# First hit wins: ASTERIAS_TORCH_ROOT (cache, then environment), Torch_DIR, CMAKE_PREFIX_PATH, what scripts/setup fetched.
include_guard(GLOBAL)
set(ASTERIAS_TORCH_ROOT "" CACHE PATH "Folder that holds libtorch's include/ and lib/")
set(ASTERIAS_CUDA OFF CACHE STRING "CUDA plugin; only OFF exists so far")
if(ASTERIAS_CUDA)
  message(FATAL_ERROR "ASTERIAS_CUDA=${ASTERIAS_CUDA}: this version has no CUDA part yet; leave it OFF.")
endif()

set(asked "")   # folders the user named
foreach(root IN ITEMS "${ASTERIAS_TORCH_ROOT}" "$ENV{ASTERIAS_TORCH_ROOT}")
  if(root)
    list(APPEND asked "${root}")
  endif()
endforeach()
set(asked_by_name "${asked}")
foreach(dir IN ITEMS "${Torch_DIR}" "$ENV{Torch_DIR}")
  if(dir)
    list(APPEND asked "${dir}/../../..")   # <root>/share/cmake/Torch
  endif()
endforeach()
string(REPLACE ":" ";" prefixes "$ENV{CMAKE_PREFIX_PATH}")
foreach(dir IN LISTS CMAKE_PREFIX_PATH prefixes)
  list(APPEND asked "${dir}" "${dir}/../.." "${dir}/torch")   # root, share/cmake, site-packages
endforeach()
file(GLOB fetched "${PROJECT_SOURCE_DIR}/.deps/torch-venv/lib/python3*/site-packages/torch")

set(root "")
foreach(dir IN LISTS asked fetched)
  if(EXISTS "${dir}/lib/libtorch_cpu.so" AND EXISTS "${dir}/include/ATen/core/Tensor.h")
    get_filename_component(root "${dir}" ABSOLUTE)
    break()
  elseif(dir IN_LIST asked_by_name)
    message(FATAL_ERROR "ASTERIAS_TORCH_ROOT=${dir} holds no lib/libtorch_cpu.so with include/ATen/core/Tensor.h.")
  endif()
endforeach()
if(NOT root)
  message(FATAL_ERROR "libtorch was not found. Run scripts/setup, or pass -DASTERIAS_TORCH_ROOT=<libtorch folder>.")
endif()

set(version_lines "")
foreach(header IN ITEMS torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(EXISTS "${root}/include/${header}" AND NOT version_lines)
    file(STRINGS "${root}/include/${header}" version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  endif()
endforeach()
string(REGEX MATCHALL "[0-9]+" ASTERIAS_TORCH_VERSION "${version_lines}")
list(JOIN ASTERIAS_TORCH_VERSION "." ASTERIAS_TORCH_VERSION)
message(STATUS "libtorch ${ASTERIAS_TORCH_VERSION}: ${root}")
if(NOT ASTERIAS_TORCH_VERSION VERSION_EQUAL 2.11.0)
  message(WARNING "Asterias is written against libtorch 2.11.0; with ${ASTERIAS_TORCH_VERSION} nothing was tried.")
endif()

# libtorch.so is never linked: it pulls libtorch_cuda and 3 GB behind it.
add_library(libtorch::c10 SHARED IMPORTED GLOBAL)
set_target_properties(libtorch::c10 PROPERTIES IMPORTED_LOCATION "${root}/lib/libc10.so")
add_library(libtorch::cpu SHARED IMPORTED GLOBAL)
set_target_properties(libtorch::cpu PROPERTIES
  IMPORTED_LOCATION "${root}/lib/libtorch_cpu.so"
  INTERFACE_LINK_LIBRARIES libtorch::c10
  INTERFACE_COMPILE_DEFINITIONS "USE_DISTRIBUTED;USE_C10D_GLOO"
  INTERFACE_INCLUDE_DIRECTORIES "${root}/include;${root}/include/torch/csrc/api/include"
  # libtorch_cpu of a CUDA build names libcudart and libcupti, which ld need not see.
  INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
