/* Memory and time: thin covers of the CUDA runtime, plain memory under emulation. */
#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <new>

#include "gkc_weight.cuh"

namespace {

constexpr int kThreads = 256;

/* Mixes a counter into random bits (splitmix64, Steele et al. 2014). */
__host__ __device__ inline uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}

/* Random words, or random bfloat16 numbers of one exponent. */
__global__ void __launch_bounds__(kThreads) random_codes(uint32_t *codes, int64_t n, uint64_t seed, int bits, uint32_t exponent) {
  for (int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x; i < n; i += (int64_t)gridDim.x * kThreads) {
    const uint32_t random = (uint32_t)mix(seed + (uint64_t)i);
    codes[i] = bits == 16 ? (random & 0x807f807fu) | exponent * 0x00800080u : random;
  }
}

__global__ void __launch_bounds__(kThreads) equal_scales(void *scales, int64_t n, int wide, float value) {
  for (int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x; i < n; i += (int64_t)gridDim.x * kThreads) {
    if (wide) {
      ((float *)scales)[i] = value;
    } else {
      ((gkc_bf16 *)scales)[i] = gkc_round(value);
    }
  }
}

dim3 some_blocks(int64_t n) {
  const int64_t blocks = gkc_ceil(n, kThreads);
  return dim3((unsigned)(blocks < 16384 ? blocks : 16384));
}

#ifdef __CUDACC__
int32_t answer(cudaError_t error) {
  if (error == cudaSuccess) {
    return 0;
  }
  cudaGetLastError();
  switch (error) {
    case cudaErrorMemoryAllocation:
      return GKC_EMEMORY;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInitializationError:
    case cudaErrorSystemDriverMismatch:
      return GKC_EDEVICE;
    default:
      return GKC_ELAUNCH;
  }
}
#endif

bool copies(const void *to, const void *from, int64_t bytes) { return to != nullptr && from != nullptr && bytes > 0; }

}  // namespace

#ifdef __CUDACC__

struct gkc_clock {
  cudaEvent_t from, to;
};

int32_t gkc_reserve(int64_t bytes, void **out) {
  if (out == nullptr) {
    return GKC_EALIGN;
  }
  *out = nullptr;
  return bytes < 1 ? GKC_ESIZE : answer(cudaMalloc(out, (size_t)bytes));
}

int32_t gkc_release(void *memory) { return answer(cudaFree(memory)); }

int32_t gkc_write(void *device, const void *host, int64_t bytes) {
  return copies(device, host, bytes) && gkc_wait() == 0 ? answer(cudaMemcpy(device, host, (size_t)bytes, cudaMemcpyHostToDevice))
                                                        : GKC_ELAUNCH;
}

int32_t gkc_read(void *host, const void *device, int64_t bytes) {
  return copies(device, host, bytes) && gkc_wait() == 0 ? answer(cudaMemcpy(host, device, (size_t)bytes, cudaMemcpyDeviceToHost))
                                                        : GKC_ELAUNCH;
}

int32_t gkc_copy(void *to, const void *from, int64_t bytes, void *stream) {
  return copies(to, from, bytes)
             ? answer(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDeviceToDevice, (cudaStream_t)stream))
             : GKC_EALIGN;
}

int32_t gkc_wait(void) { return answer(cudaDeviceSynchronize()); }

int32_t gkc_stream_new(void **out) {
  return out == nullptr ? GKC_EALIGN : answer(cudaStreamCreateWithFlags((cudaStream_t *)out, cudaStreamNonBlocking));
}

int32_t gkc_stream_free(void *stream) { return answer(cudaStreamDestroy((cudaStream_t)stream)); }

int32_t gkc_clock_new(gkc_clock **out) {
  if (out == nullptr) {
    return GKC_EALIGN;
  }
  *out = new (std::nothrow) gkc_clock();
  if (*out == nullptr) {
    return GKC_EMEMORY;
  }
  const int32_t first = answer(cudaEventCreate(&(*out)->from));
  const int32_t second = answer(cudaEventCreate(&(*out)->to));
  return first != 0 ? first : second;
}

void gkc_clock_free(gkc_clock *clock) {
  if (clock != nullptr) {
    cudaEventDestroy(clock->from);
    cudaEventDestroy(clock->to);
    delete clock;
  }
}

int32_t gkc_clock_start(gkc_clock *clock, void *stream) {
  return clock == nullptr ? GKC_EALIGN : answer(cudaEventRecord(clock->from, (cudaStream_t)stream));
}

int32_t gkc_clock_stop(gkc_clock *clock, void *stream, float *milliseconds) {
  if (clock == nullptr || milliseconds == nullptr) {
    return GKC_EALIGN;
  }
  int32_t error = answer(cudaEventRecord(clock->to, (cudaStream_t)stream));
  error = error != 0 ? error : answer(cudaEventSynchronize(clock->to));
  return error != 0 ? error : answer(cudaEventElapsedTime(milliseconds, clock->from, clock->to));
}

int32_t gkc_device_name(char *out, int32_t bytes) {
  int device = 0;
  cudaDeviceProp properties;
  if (out == nullptr || bytes < 1) {
    return GKC_EALIGN;
  }
  int32_t error = answer(cudaGetDevice(&device));
  error = error != 0 ? error : answer(cudaGetDeviceProperties(&properties, device));
  if (error == 0) {
    strncpy(out, properties.name, (size_t)bytes - 1);
    out[bytes - 1] = 0;
  }
  return error;
}

#else

struct gkc_clock {
  std::chrono::steady_clock::time_point from;
};

int32_t gkc_reserve(int64_t bytes, void **out) {
  if (out == nullptr) {
    return GKC_EALIGN;
  }
  *out = nullptr;
  if (bytes < 1) {
    return GKC_ESIZE;
  }
  *out = aligned_alloc(256, (size_t)gkc_slot(bytes));
  if (*out == nullptr) {
    return GKC_EMEMORY;
  }
  memset(*out, 0xff, (size_t)bytes); /* what nobody wrote is NaN */
  return 0;
}

int32_t gkc_release(void *memory) {
  free(memory);
  return 0;
}

int32_t gkc_write(void *device, const void *host, int64_t bytes) { return gkc_copy(device, host, bytes, nullptr); }

int32_t gkc_read(void *host, const void *device, int64_t bytes) { return gkc_copy(host, device, bytes, nullptr); }

int32_t gkc_copy(void *to, const void *from, int64_t bytes, void *) {
  if (!copies(to, from, bytes)) {
    return GKC_EALIGN;
  }
  memmove(to, from, (size_t)bytes);
  return 0;
}

int32_t gkc_wait(void) { return 0; }

int32_t gkc_stream_new(void **out) {
  if (out == nullptr) {
    return GKC_EALIGN;
  }
  *out = nullptr;
  return 0;
}

int32_t gkc_stream_free(void *) { return 0; }

int32_t gkc_clock_new(gkc_clock **out) {
  if (out == nullptr) {
    return GKC_EALIGN;
  }
  *out = new (std::nothrow) gkc_clock();
  return *out == nullptr ? GKC_EMEMORY : 0;
}

void gkc_clock_free(gkc_clock *clock) { delete clock; }

int32_t gkc_clock_start(gkc_clock *clock, void *) {
  if (clock == nullptr) {
    return GKC_EALIGN;
  }
  clock->from = std::chrono::steady_clock::now();
  return 0;
}

int32_t gkc_clock_stop(gkc_clock *clock, void *, float *milliseconds) {
  if (clock == nullptr || milliseconds == nullptr) {
    return GKC_EALIGN;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - clock->from).count();
  return 0;
}

int32_t gkc_device_name(char *out, int32_t bytes) {
  if (out == nullptr || bytes < 1) {
    return GKC_EALIGN;
  }
  strncpy(out, "emulated", (size_t)bytes - 1);
  out[bytes - 1] = 0;
  return 0;
}

#endif

int32_t gkc_random_weight(const gkc_weight *weight, uint64_t seed, void *stream) {
  GkcMatrix w;
  int32_t error = gkc_open(weight, &w);
  if (error != 0) {
    return error;
  }
  if (w.zeros != nullptr) {
    return GKC_EFORMAT;
  }
  const float root = sqrtf((float)weight->cols);
  const uint32_t exponent = (uint32_t)(127 - (int)lrintf(log2f(root)));
  uint32_t *codes = static_cast<uint32_t *>(const_cast<void *>(weight->codes));
  const int64_t n = weight->code_bytes / 4;
  error = gkc_launch(random_codes, some_blocks(n), kThreads, 0, stream, codes, n, mix(seed), (int)weight->bits, exponent);
  if (error != 0 || weight->bits == 16) {
    return error;
  }
  /* Uniform codes deviate by 0.29 * 2^bits. */
  const float scale = 1.0f / (root * 0.29f * (float)(1 << weight->bits));
  const int64_t scales = weight->scale_bytes / (w.wide_scales ? 4 : 2);
  return gkc_launch(equal_scales, some_blocks(scales), kThreads, 0, stream, const_cast<void *>(weight->scales), scales,
                    w.wide_scales, scale);
}
