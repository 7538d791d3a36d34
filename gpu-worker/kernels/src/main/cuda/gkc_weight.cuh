/*
 * The layout of weights, see grace_cuda.h, and how a lane makes tensor core operands of it.
 *
 * The order of columns within a product is free as long as weights and inputs agree. Here lane (g, t) = (lane / 4, lane % 4) owns
 * columns 8t to 8t+7 of each 32 ("unit"): the first four of them are its part of one mma's 16 columns, the others of the next. So
 * its inputs are one 16-byte load too. A chunk has 2 units, 4 steps (mma) and 32 values of a lane; value 8 step + 2 r + h is half h
 * of operand register r.
 */
#ifndef GKC_WEIGHT_CUH
#define GKC_WEIGHT_CUH

#include "gkc_launch.cuh"

constexpr int kGkcRows = 16;  /* of a row block */
constexpr int kGkcChunk = 64; /* columns */
constexpr int kGkcUnit = 32;
constexpr int kGkcSteps = 4; /* of a chunk */

/* 16-byte loads of a lane for one chunk of a row block. */
__host__ __device__ constexpr int gkc_loads(int bits) { return bits / 4; }

/* What kernels know of a weight. */
struct GkcMatrix {
  const uint4 *codes;
  const void *scales;
  const uint32_t *zeros; /* of rows g and g + 8; null in a symmetric weight */
  int rows;
  int cols;
  int blocks; /* of 16 rows */
  int chunks; /* of 64 columns */
  int units;  /* of 32 columns, without padding */
  int group_units;
  int groups;
  int wide_scales;
};

/* Checks a weight with its pointers. */
int32_t gkc_open(const gkc_weight *weight, GkcMatrix *out);

/* Where a value of a lane lies: 16-byte load, 32-bit word of it, lowest bit. */
struct GkcPosition {
  int load, word, shift;
};

template <int kBits>
__host__ __device__ constexpr GkcPosition gkc_position(int step, int r, int half) {
  if (kBits == 4) {
    return {0, step, 4 * (r + 4 * half)};
  }
  if (kBits == 8) {
    return {step / 2, step % 2 * 2 + r / 2, 8 * (r % 2 * 2 + half)};
  }
  return {step, r, 16 * half};
}

/* Index of a lane's first 16-byte load of a chunk. */
template <int kBits>
GKC_DEVICE int64_t gkc_at(const GkcMatrix &w, int block, int chunk, int lane) {
  return (((int64_t)block * w.chunks + chunk) * gkc_loads(kBits)) * kGkcWarp + lane;
}

/*
 * What is added to stored values of rows g and g + 8 so that codes less their zero points are left: two bfloat16 numbers with 4 bits,
 * the bits of a float32 number with 8, nothing with 16.
 */
struct GkcOffsets {
  uint32_t lower, upper;
};

/* Those of a symmetric weight: constants. */
template <int kBits>
GKC_DEVICE GkcOffsets gkc_symmetric() {
  const uint32_t offset = kBits == 4 ? 0xc308c308u : 0xcb000080u; /* -136 twice, -(2^23 + 128) */
  return {offset, offset};
}

/* The operand of one step from the lane's loads of a chunk. */
template <int kBits>
GKC_DEVICE void gkc_operand(const uint4 (&loads)[gkc_loads(kBits)], int step, GkcOffsets offsets, uint32_t (&a)[4]);

GKC_DEVICE uint32_t gkc_word(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

/* A nibble u behind 0x43 is the bfloat16 number 128 + u; 136 less is the code, and what is left of it is exact. */
template <>
GKC_DEVICE void gkc_operand<4>(const uint4 (&loads)[1], int step, GkcOffsets offsets, uint32_t (&a)[4]) {
  const uint32_t word = gkc_word(loads[0], step);
#pragma unroll
  for (int r = 0; r < 4; r++) {
    a[r] = gkc_add2(gkc_select_bits(word >> 4 * r, 0x000f000fu, 0x43004300u), r % 2 == 0 ? offsets.lower : offsets.upper);
  }
}

/* A byte u below 0x4b0000 is the float32 number 2^23 + u; what is left of it is exact in bfloat16, so its upper half is all of it. */
template <>
GKC_DEVICE void gkc_operand<8>(const uint4 (&loads)[2], int step, GkcOffsets offsets, uint32_t (&a)[4]) {
#pragma unroll
  for (int r = 0; r < 4; r++) {
    const uint32_t word = gkc_word(loads[step / 2], step % 2 * 2 + r / 2);
    const uint32_t byte = (uint32_t)(r % 2 * 2);
    const float offset = __uint_as_float(r % 2 == 0 ? offsets.lower : offsets.upper);
    const float first = __uint_as_float(gkc_bytes(word, 0x4b000000u, 0x7650u + byte)) + offset;
    const float second = __uint_as_float(gkc_bytes(word, 0x4b000000u, 0x7651u + byte)) + offset;
    a[r] = gkc_bytes(__float_as_uint(first), __float_as_uint(second), 0x7632u);
  }
}

template <>
GKC_DEVICE void gkc_operand<16>(const uint4 (&loads)[4], int step, GkcOffsets, uint32_t (&a)[4]) {
#pragma unroll
  for (int r = 0; r < 4; r++) {
    a[r] = gkc_word(loads[step], r);
  }
}

/* Scales of rows g and g + 8 of a block; 1 with 16 bits. */
template <int kBits>
GKC_DEVICE float2 gkc_scales(const GkcMatrix &w, int block, int group, int g) {
  float2 out;
  if (kBits == 16) {
    out.x = 1.0f;
    out.y = 1.0f;
    return out;
  }
  const int64_t at = ((int64_t)block * w.groups + group) * (kGkcRows / 2) + g;
  if (w.wide_scales) {
    return ((const float2 *)w.scales)[at];
  }
  const uint32_t both = ((const uint32_t *)w.scales)[at];
  out.x = gkc_first(both);
  out.y = gkc_second(both);
  return out;
}

/* Offsets of rows g and g + 8 of a block that has zero points. */
template <int kBits>
GKC_DEVICE GkcOffsets gkc_offsets(const GkcMatrix &w, int block, int group, int g) {
  const uint32_t both = w.zeros[((int64_t)block * w.groups + group) * (kGkcRows / 2) + g];
  if (kBits == 4) {
    return {gkc_bytes(both, both, 0x1010u), gkc_bytes(both, both, 0x3232u)};
  }
  return {__float_as_uint(gkc_first(both) - 8388608.0f), __float_as_uint(gkc_second(both) - 8388608.0f)};
}

#endif
