/* Host side: checks of arguments, and the one place where kernels are launched. */
#ifndef GKC_LAUNCH_CUH
#define GKC_LAUNCH_CUH

#include <stddef.h>
#include <stdint.h>

#include "gkc_device.cuh"
#include "grace_cuda.h"

constexpr int64_t kGkcMostSize = 1 << 27; /* of one dimension; eight times as many bits count in an int */
constexpr int64_t kGkcMostElements = (int64_t)1 << 40;

inline bool gkc_aligned(const void *p, size_t to) { return p != nullptr && (uintptr_t)p % to == 0; }

template <class... P>
bool gkc_all_aligned(size_t to, const P *...p) {
  return (gkc_aligned(p, to) && ...);
}

template <class... S>
bool gkc_sizes(S... sizes) {
  return ((sizes >= 1 && sizes <= kGkcMostSize) && ...);
}

constexpr int64_t gkc_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Bytes up to the next boundary of 256, as cudaMalloc gives them. */
constexpr int64_t gkc_slot(int64_t bytes) { return gkc_ceil(bytes, 256) * 256; }

/*
 * Starts kernel<<<grid, threads, shared_bytes, stream>>>(arguments...). A grid of no blocks does nothing.
 */
template <class... P, class... A>
int32_t gkc_launch(void (*kernel)(P...), dim3 grid, int threads, size_t shared_bytes, void *stream, A... arguments) {
#ifdef __CUDACC__
  if (shared_bytes > 48u << 10 &&
      cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes) != cudaSuccess) {
    cudaGetLastError();
    return GKC_ELAUNCH;
  }
  kernel<<<grid, threads, shared_bytes, (cudaStream_t)stream>>>(arguments...);
  return cudaGetLastError() == cudaSuccess ? 0 : GKC_ELAUNCH;
#else
  (void)stream;
  return emulated::launch(grid, dim3((unsigned)threads), shared_bytes, [=] { kernel(arguments...); }) == 0 ? 0 : GKC_ELAUNCH;
#endif
}

/* A grid of one dimension; GKC_ESIZE if it would be too large. */
inline int32_t gkc_grid(int64_t blocks, dim3 *out) {
  if (blocks < 1 || blocks > INT32_MAX) {
    return GKC_ESIZE;
  }
  *out = dim3((unsigned)blocks);
  return 0;
}

#endif
