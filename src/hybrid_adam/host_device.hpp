// Marks the functions that the CUDA kernels share with the CPU: what both compile has the same bits because it is the
// same text. Without nvcc the marks are empty.
//
// A marked function uses float and integer arithmetic, its arguments and other marked or constexpr functions; nothing
// of the standard library that is neither.
#pragma once

#if defined(__CUDACC__)
#define ASTERIAS_HD __host__ __device__
#define ASTERIAS_UNROLL _Pragma("unroll")
#else
#define ASTERIAS_HD
#define ASTERIAS_UNROLL _Pragma("GCC unroll 8")
#endif
