/*
 * What the kernels need of the processor beyond CUDA C++: PTX on a GPU, plain C++ under the tests' emulation. Everything else in
 * this folder compiles as either.
 *
 * bfloat16 numbers are raw bits (gkc_bf16), two of them in a word with the first one low.
 */
#ifndef GKC_DEVICE_CUH
#define GKC_DEVICE_CUH

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define GKC_DEVICE __device__ __forceinline__
#else
#include "emulated_cuda.h"
#define GKC_DEVICE inline
#endif

typedef uint16_t gkc_bf16;

constexpr int kGkcWarp = 32;

#ifdef __CUDACC__

/* The block's dynamic shared memory, aligned to 128 bytes. */
GKC_DEVICE unsigned char *gkc_shared() {
  extern __shared__ __align__(128) unsigned char gkc_shared_memory[];
  return gkc_shared_memory;
}

/* Nearest bfloat16, ties to even. */
GKC_DEVICE gkc_bf16 gkc_round(float x) {
  gkc_bf16 out;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out) : "f"(x));
  return out;
}

GKC_DEVICE uint32_t gkc_round2(float first, float second) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(second), "f"(first));
  return out;
}

/* (bits & mask) | set, in one instruction. */
GKC_DEVICE uint32_t gkc_select_bits(uint32_t bits, uint32_t mask, uint32_t set) {
  uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(out) : "r"(bits), "r"(mask), "r"(set));
  return out;
}

/* Byte i of the result is byte (selector >> 4 i) & 7 of the eight bytes b:a. */
GKC_DEVICE uint32_t gkc_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(selector));
  return out;
}

/* Adds a bfloat16 number to both of a word; each sum is rounded once. */
GKC_DEVICE uint32_t gkc_add2(uint32_t a, uint32_t b) {
  uint32_t out;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(0x3f803f80u), "r"(b));
  return out;
}

/*
 * d += a b for a [16, 16] and b [16, 8], bfloat16 products summed in float32. With g = lane / 4 and t = lane % 4 a lane holds
 * a[0]: row g, columns 2t and 2t+1; a[1]: the same of row g+8; a[2], a[3]: 8 columns on; b[0]: rows 2t and 2t+1 of column g;
 * b[1]: 8 rows on; d[0], d[1]: row g, columns 2t and 2t+1; d[2], d[3]: the same of row g+8.
 */
GKC_DEVICE void gkc_mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* 16 bytes that this launch reads once: past the first cache, first to leave the second. */
GKC_DEVICE uint4 gkc_load_once(const uint4 *from) {
  uint4 v;
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(from), "l"(policy));
  return v;
}

/* Starts a copy of 16 bytes to shared memory; only the first `bytes` are read, the others become zero. */
GKC_DEVICE void gkc_copy_async(void *to, const void *from, int bytes) {
  const uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(at), "l"(from), "r"(bytes) : "memory");
}

/* Ends a group of copies. */
GKC_DEVICE void gkc_copy_commit() { asm volatile("cp.async.commit_group;" : : : "memory"); }

/* Waits for this thread's copies, all groups but the last kButLast; others' copies are seen behind the next barrier. */
template <int kButLast>
GKC_DEVICE void gkc_copy_wait() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kButLast) : "memory");
}

#else

GKC_DEVICE unsigned char *gkc_shared() { return emulated::shared; }

GKC_DEVICE gkc_bf16 gkc_round(float x) {
  const uint32_t bits = __float_as_uint(x);
  if (x != x) {
    return 0x7fff;
  }
  return (gkc_bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

GKC_DEVICE uint32_t gkc_round2(float first, float second) {
  return (uint32_t)gkc_round(first) | (uint32_t)gkc_round(second) << 16;
}

GKC_DEVICE uint32_t gkc_select_bits(uint32_t bits, uint32_t mask, uint32_t set) { return (bits & mask) | set; }

GKC_DEVICE uint32_t gkc_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t all = (uint64_t)b << 32 | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; i++) {
    out |= (uint32_t)(all >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  }
  return out;
}

GKC_DEVICE uint32_t gkc_add2(uint32_t a, uint32_t b) {
  return gkc_round2(__uint_as_float(a << 16) + __uint_as_float(b << 16),
                    __uint_as_float(a & 0xffff0000u) + __uint_as_float(b & 0xffff0000u));
}

struct gkc_mma_part {
  uint32_t a[4];
  uint32_t b[2];
  float d[4];
};

inline float gkc_half_of(uint32_t word, int second) { return __uint_as_float(second ? word & 0xffff0000u : word << 16); }

inline void gkc_mma_step(const unsigned char *in, unsigned char *out) {
  float a[16][16];
  float b[16][8];
  for (int lane = 0; lane < kGkcWarp; lane++) {
    const gkc_mma_part *p = emulated::lane_of<gkc_mma_part>(in, lane);
    const int g = lane / 4;
    const int t = lane % 4;
    for (int i = 0; i < 2; i++) {
      for (int r = 0; r < 4; r++) {
        a[g + r % 2 * 8][2 * t + i + r / 2 * 8] = gkc_half_of(p->a[r], i);
      }
      b[2 * t + i][g] = gkc_half_of(p->b[0], i);
      b[2 * t + i + 8][g] = gkc_half_of(p->b[1], i);
    }
  }
  for (int lane = 0; lane < kGkcWarp; lane++) {
    for (int i = 0; i < 4; i++) {
      const int row = lane / 4 + i / 2 * 8;
      const int col = lane % 4 * 2 + i % 2;
      float sum = emulated::lane_of<gkc_mma_part>(in, lane)->d[i];
      for (int k = 0; k < 16; k++) {
        sum += a[row][k] * b[k][col];
      }
      emulated::lane_of<float>(out, lane)[i] = sum;
    }
  }
}

inline void gkc_mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const gkc_mma_part in = {{a[0], a[1], a[2], a[3]}, {b0, b1}, {d[0], d[1], d[2], d[3]}};
  emulated::meet_warp(gkc_mma_step, &in, sizeof in, d, sizeof d);
}

GKC_DEVICE uint4 gkc_load_once(const uint4 *from) { return *from; }

GKC_DEVICE void gkc_copy_async(void *to, const void *from, int bytes) { emulated::copy_later(to, from, bytes); }

GKC_DEVICE void gkc_copy_commit() { emulated::close_copies(); }

template <int kButLast>
GKC_DEVICE void gkc_copy_wait() {
  emulated::wait_for_copies(kButLast);
}

#endif

GKC_DEVICE float gkc_first(uint32_t word) { return __uint_as_float(word << 16); }

GKC_DEVICE float gkc_second(uint32_t word) { return __uint_as_float(word & 0xffff0000u); }

GKC_DEVICE float gkc_wide(gkc_bf16 x) { return __uint_as_float((uint32_t)x << 16); }

/* Shuffles of a whole warp. */
template <class T>
GKC_DEVICE T gkc_swap(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

template <class T>
GKC_DEVICE T gkc_from(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}

/* Sum over a warp, the same bits in every lane. */
template <class T>
GKC_DEVICE T gkc_warp_sum(T value) {
#pragma unroll
  for (int mask = kGkcWarp / 2; mask > 0; mask /= 2) {
    value += gkc_swap(value, mask);
  }
  return value;
}

template <class T>
GKC_DEVICE T gkc_warp_max(T value) {
#pragma unroll
  for (int mask = kGkcWarp / 2; mask > 0; mask /= 2) {
    const T other = gkc_swap(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

/*
 * Reduces over a block of whole warps; `scratch` is shared memory for 33 values. Every thread gets the same bits. Barriers before
 * and behind make the scratch space free again.
 */
template <class T, class Join>
GKC_DEVICE T gkc_block_join(T value, T *scratch, Join join) {
  const int lane = (int)(threadIdx.x % kGkcWarp);
  const int warps = (int)(blockDim.x / kGkcWarp);
#pragma unroll
  for (int mask = kGkcWarp / 2; mask > 0; mask /= 2) {
    value = join(value, gkc_swap(value, mask));
  }
  __syncthreads();
  if (lane == 0) {
    scratch[threadIdx.x / kGkcWarp] = value;
  }
  __syncthreads();
  value = scratch[0];
  for (int i = 1; i < warps; i++) {
    value = join(value, scratch[i]);
  }
  __syncthreads();
  return value;
}

template <class T>
GKC_DEVICE T gkc_block_sum(T value, T *scratch) {
  return gkc_block_join(value, scratch, [](T a, T b) { return a + b; });
}

template <class T>
GKC_DEVICE T gkc_block_max(T value, T *scratch) {
  return gkc_block_join(value, scratch, [](T a, T b) { return b > a ? b : a; });
}

#endif
