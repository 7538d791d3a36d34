/*
 * CUDA kernels of grace-beam: C functions on raw device pointers, called from Java through java.lang.foreign.
 *
 * `stream` is a cudaStream_t; calls only enqueue work on it and return. A call checks sizes and alignment first: with a negative
 * GKC_E* code it has enqueued nothing, except GKC_ELAUNCH, behind which the outputs are undefined. Unless stated otherwise
 * pointers are device memory, aligned to 16 bytes; matrices are row-major; bfloat16 numbers are raw 16-bit words.
 */
#ifndef GRACE_CUDA_H
#define GRACE_CUDA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GKC_VERSION 1

#define GKC_ESIZE (-1)   /* a size that does not fit the others, or is out of range */
#define GKC_EALIGN (-2)  /* a pointer that is null or not aligned */
#define GKC_EFORMAT (-3) /* not a weight of this version, or one whose fields contradict each other */
#define GKC_ESPACE (-4)  /* scratch space that is too small */
#define GKC_EMEMORY (-6) /* the device refused memory */
#define GKC_ELAUNCH (-7) /* the device refused a kernel, or an earlier one failed */

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/* Version of this interface; the caller compares it with its own. */
int32_t gkc_version(void);

/* 1 for kernels on a GPU, 0 for the tests' emulation on the processor, where device memory is plain memory. */
int32_t gkc_on_device(void);

/* ---- weights and products ---- */

/*
 * A weight [rows, cols] in the layout of the products. The struct itself is host memory.
 *
 * Rows are taken 16 at a time and columns 64 at a time; of such a chunk each lane of a warp holds 32 values, which are what it
 * feeds to the tensor cores as they lie there: 16, 32 or 64 bytes of 4, 8 or 16 bits. What pads rows and columns is zero.
 * Scales follow in the same order of rows, so that a lane takes both of its scales with one load.
 */
typedef struct {
  int32_t version;     /* GKC_VERSION */
  int32_t bits;        /* of a stored value: 4, 8 or 16 (bfloat16, without scales) */
  int32_t rows;
  int32_t cols;        /* a multiple of 32 */
  int32_t group;       /* consecutive elements of a row with one scale: a multiple of 32 that divides cols; cols with 16 bits */
  int32_t wide_scales; /* 0: bfloat16 scales, 1: float32 */
  const void *codes;
  const void *scales;
  int64_t code_bytes;
  int64_t scale_bytes;
} gkc_weight;

/*
 * Fills in all fields but the two pointers for codes of 2 to 8 bits (2 to 4 are stored as 4, 5 to 8 as 8) or for 16 bits. The
 * caller then reserves code_bytes and scale_bytes and sets the pointers.
 */
int32_t gkc_weight_describe(int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t wide_scales, gkc_weight *out);

/*
 * Writes codes and scales of a described weight.
 *
 * words: [rows, ceil(cols * bits / 32)], code + 2^(bits-1) of element i in bits [i * bits, (i + 1) * bits), lowest first
 * (compressed-tensors' pack-quantized). scales: float32 [rows, cols / group]; bfloat16 scales are rounded from them.
 */
int32_t gkc_pack(const int32_t *words, const float *scales, int32_t bits, const gkc_weight *weight, void *stream);

/* Writes the values of a described weight of 16 bits from bfloat16 numbers [rows, cols]. */
int32_t gkc_pack_bf16(const void *values, const gkc_weight *weight, void *stream);

/* out[i] = the bfloat16 number nearest to x[i], for n float32 numbers. */
int32_t gkc_round_bf16(const float *x, int64_t n, void *out, void *stream);

/*
 * y[i, r] = sum over c of x[i, c] * weight[r, c], for bfloat16 x [m, cols] and float32 y [m, rows]; with `add` not 0 the sum is
 * added to what y holds. Products are exact, sums float32: one for each group, multiplied by its scale once. Up to 16 inputs the
 * columns are split among the warps of a block; the result of an input does not depend on m within 1 to 16, nor above.
 */
int32_t gkc_matmul(const gkc_weight *weight, const void *x, int32_t m, float *y, int32_t add, void *stream);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
