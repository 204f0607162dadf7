# Finds libtorch and makes the imported target libtorch::cpu, without find_package(Torch). Installed beside asteriasConfig.cmake, so
# that a user's project finds it the same way.
#
# TorchConfig.cmake of a CUDA build insists on nvcc and links libtorch_cuda with everything behind it; a program that only
# needs the CPU half cannot ask for less. So this file looks at the folder itself: the pip wheel and the official archive
# have the same layout, <root>/include and <root>/lib.
include_guard(GLOBAL)

# Sets `root` to libtorch's folder, or `error` to what to do about it. First hit wins: ASTERIAS_TORCH_ROOT (variable, then
# environment), Torch_DIR, CMAKE_PREFIX_PATH, then the folders in ARGN.
function(asterias_find_libtorch root error)
  set(asked "")   # folders the user named
  foreach(dir IN ITEMS "${ASTERIAS_TORCH_ROOT}" "$ENV{ASTERIAS_TORCH_ROOT}")
    if(dir)
      list(APPEND asked "${dir}")
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

  set(${error} "" PARENT_SCOPE)
  foreach(dir IN LISTS asked ARGN)
    if(EXISTS "${dir}/lib/libtorch_cpu.so" AND EXISTS "${dir}/include/ATen/core/Tensor.h")
      get_filename_component(dir "${dir}" ABSOLUTE)
      set(${root} "${dir}" PARENT_SCOPE)
      return()
    elseif(dir IN_LIST asked_by_name)
      set(${error} "ASTERIAS_TORCH_ROOT=${dir} holds no lib/libtorch_cpu.so with include/ATen/core/Tensor.h." PARENT_SCOPE)
      return()
    endif()
  endforeach()
  set(${error} "libtorch was not found; pass -DASTERIAS_TORCH_ROOT=<libtorch folder>." PARENT_SCOPE)
endfunction()

# Sets `version` to the one that the headers in the folder `root` state.
function(asterias_libtorch_version root version)
  set(lines "")
  foreach(header IN ITEMS torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
    if(EXISTS "${root}/include/${header}" AND NOT lines)
      file(STRINGS "${root}/include/${header}" lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    endif()
  endforeach()
  string(REGEX MATCHALL "[0-9]+" numbers "${lines}")
  list(JOIN numbers "." numbers)
  set(${version} "${numbers}" PARENT_SCOPE)
endfunction()

# Makes libtorch::cpu of the folder `root`. libtorch.so is never linked: it pulls libtorch_cuda and 3 GB behind it.
function(asterias_import_libtorch root)
  if(TARGET libtorch::cpu)
    return()
  endif()
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
endfunction()
