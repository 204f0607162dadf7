// Limits Highway to the targets this folder uses. Included before any other Highway header, by this folder's .cpp files
// only.
//
// SSSE3 and SSE4 have no fma. AVX3_DL adds nothing that these kernels use. Highway always keeps a baseline target (its
// scalar one, or whatever -march implies); the kernels compile vector code for AVX2 and AVX3 alone.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)

#include <hwy/targets.h>
