/*
 * CUDA's language for a plain C++17 compiler, for tests alone: the .cu files of src/main/cuda, unchanged, run on the processor.
 *
 * Blocks run in turn; the threads of a block are fibres that run until they meet a barrier or an operation of their warp. What
 * hides faults on a processor is made to fail: shared memory starts as NaN in every block and is guarded behind its end,
 * asynchronous copies happen no sooner than somebody waits for them, threads run in an order that tests can change
 * (emulated_order), and threads that wait for each other in vain, or lanes of a warp that meet in different operations, end the
 * launch with an error. Only one launch runs at a time.
 */
#ifndef EMULATED_CUDA_H
#define EMULATED_CUDA_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace emulated {

constexpr int kWarp = 32;
constexpr int kMostBytes = 128; /* of one lane's part in an operation of its warp */

struct Place {
  dim3 thread, block, block_size, grid_size;
};

/* Where the running thread is. */
extern Place place;

/* The block's dynamic shared memory. */
extern unsigned char *shared;

/* What a warp does in one step: reads `in` and writes `out`, [32, kMostBytes] each. */
using WarpStep = void (*)(const unsigned char *in, unsigned char *out);

/* Waits until all threads of the block are here. */
void meet_block();

/* Waits until all lanes of the warp are here with the same step, which is then done once; `out` gets this lane's result. */
void meet_warp(WarpStep step, const void *in, size_t in_bytes, void *out, size_t out_bytes);

/* An asynchronous copy of 16 bytes, of which the first `bytes` are read and the others become zero. */
void copy_later(void *to, const void *from, int bytes);
void close_copies();
void wait_for_copies(int but_last);

/* Runs `thread` for all threads of all blocks; 0, or -1 if they waited in vain or wrote behind the shared memory. */
int launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread);

template <class T>
T *lane_of(unsigned char *all, int lane) {
  return reinterpret_cast<T *>(all + lane * kMostBytes);
}

template <class T>
const T *lane_of(const unsigned char *all, int lane) {
  return reinterpret_cast<const T *>(all + lane * kMostBytes);
}

template <class T>
struct Moved {
  T value;
  int from;
};

template <class T>
void move(const unsigned char *in, unsigned char *out) {
  for (int i = 0; i < kWarp; i++) {
    *lane_of<T>(out, i) = lane_of<Moved<T>>(in, lane_of<Moved<T>>(in, i)->from)->value;
  }
}

template <class T>
T from_lane(T value, int from) {
  const int own = (int)(place.thread.x % kWarp);
  Moved<T> in = {value, from >= 0 && from < kWarp ? from : own};
  T out;
  meet_warp(move<T>, &in, sizeof in, &out, sizeof out);
  return out;
}

}  // namespace emulated

#define threadIdx (emulated::place.thread)
#define blockIdx (emulated::place.block)
#define blockDim (emulated::place.block_size)
#define gridDim (emulated::place.grid_size)

inline void __syncthreads() { emulated::meet_block(); }

inline void __syncwarp() {
  emulated::meet_warp([](const unsigned char *, unsigned char *) {}, nullptr, 0, nullptr, 0);
}

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulated::from_lane(value, lane);
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulated::from_lane(value, (int)(threadIdx.x % emulated::kWarp) ^ mask);
}

template <class T>
T __shfl_down_sync(unsigned, T value, int delta) {
  return emulated::from_lane(value, (int)(threadIdx.x % emulated::kWarp) + delta);
}

template <class T>
T atomicAdd(T *to, T value) {
  const T before = *to;
  *to = before + value;
  return before;
}

inline uint32_t atomicOr(uint32_t *to, uint32_t value) {
  const uint32_t before = *to;
  *to = before | value;
  return before;
}

/* Rounded on their own, never contracted; this header is compiled without contraction. */
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __expf(float x) { return expf(x); }
inline float __uint_as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

#endif
