/*
 * Native kernels of grace-beam: C functions on raw pointers, called from Java through java.lang.foreign.
 *
 * Every function that can fail returns a negative GK_E* code and has then touched nothing. Pointers to packed
 * weights and scratch space must be aligned to 64 bytes.
 */
#ifndef GRACE_KERNELS_H
#define GRACE_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GK_VERSION 1

#define GK_ESIZE (-1)  /* a size that does not fit the others, or is out of range */
#define GK_EALIGN (-2) /* a pointer that is null or not aligned to 64 bytes */
#define GK_EFORMAT (-3) /* not a packed weight of this version, or one whose header contradicts its length */
#define GK_ESPACE (-4) /* a buffer that is too small */
#define GK_EISA (-5)   /* an instruction set that this processor lacks */
#define GK_EMEMORY (-6) /* the system refused memory */

/* Instruction sets, worst to best. All of them give the same bits. */
#define GK_SCALAR 0
#define GK_AVX2 1
#define GK_VNNI 2
#define GK_AMX 3

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/* Version of this interface; the caller compares it with its own. */
int32_t gk_version(void);

/* The best instruction set of this processor. */
int32_t gk_best_isa(void);

/* Threads that work together, the caller among them; each but the caller is bound to a processor of its own. */
typedef struct gk_pool gk_pool;

/* Makes a pool of 1 to 256 threads; null if the size is wrong or the system refuses. */
gk_pool *gk_pool_new(int32_t threads);

/* Ends the threads. No call may be under way. */
void gk_pool_free(gk_pool *pool);

/* Zeroed memory aligned to 64 bytes, in huge pages where the system gives them; null if it refuses. */
void *gk_reserve(int64_t bytes);

/* Gives back what gk_reserve gave. */
void gk_release(void *memory, int64_t bytes);

/*
 * Bytes of a packed weight [rows, cols] of 2 to 8, 16 or 32 bits, one scale for each `group` consecutive elements of a row.
 * `wide_scales` is 0 if every scale is a bfloat16 number (2 bytes each), else 1 (4 bytes each).
 */
int64_t gk_weight_bytes(int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t wide_scales);

/*
 * Packs codes for gk_matmul: tiles of 16 rows by 8 columns.
 *
 * words: [rows, ceil(cols * bits / 32)], code + 2^(bits-1) of element i in bits [i * bits, (i + 1) * bits), lowest first
 * (compressed-tensors' pack-quantized). scales: [rows, cols / group].
 */
int32_t gk_pack(const int32_t *words, const float *scales, int32_t bits, int32_t rows, int32_t cols, int32_t group,
                int32_t wide_scales, void *out, int64_t out_bytes);

/* Packs bfloat16 (16 bits) or float32 (32 bits) numbers [rows, cols] for gk_matmul, which then multiplies them with float32 inputs as
 * they are; gk_weight_bytes of such a weight are those with one group per row. */
int32_t gk_pack_dense(const void *values, int32_t bits, int32_t rows, int32_t cols, void *out, int64_t out_bytes);

/* Bytes of scratch space that gk_matmul needs for `m` inputs. */
int64_t gk_matmul_scratch(const void *weight, int64_t weight_bytes, int32_t m);

/*
 * y[i, r] = sum over c of x[i, c] * weight[r, c], for finite x [m, cols]; y [m, rows].
 *
 * Each run of at most 128 inputs that share their scale is rounded to 16-bit integers with a scale of its own, absmax / 32639;
 * products and sums of such a run are exact integers, runs are added in float32 in ascending order with one rounding each
 * (fused multiply-add). So the result depends neither on the instruction set nor on threads nor on m.
 */
int32_t gk_matmul(gk_pool *pool, int32_t isa, const void *weight, int64_t weight_bytes, const float *x, int32_t m, float *y,
                  void *scratch, int64_t scratch_bytes);

/*
 * A decoder of LLaMA's kind on packed weights: RMSNorm, rotary positions (half-split), grouped queries, SwiGLU.
 */
typedef struct {
  int32_t layers;
  int32_t width;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;      /* even */
  int32_t mlp;
  int32_t vocab;
  int32_t slots;         /* sequences with a key/value cache of their own */
  int32_t max_positions; /* of each */
  int32_t max_rows;      /* positions of one gk_forward */
  int32_t kv_bits;       /* 16 (bfloat16) or 8 (integers, one float32 scale for each head and position) */
  float eps;
} gk_config;

typedef struct gk_decoder gk_decoder;

/*
 * Makes a decoder; tensors must outlive it. In this order: for each layer norm [width], qkv (packed, [(heads + 2 kv_heads) head_dim,
 * width]), its bias or null, out (packed, [width, heads head_dim]), norm [width], gate and up (packed, [2 mlp, width]), down (packed,
 * [width, mlp]); then the last norm [width] and the head (packed, [vocab, width]). Norms and biases are float32; `bytes` are the
 * tensors' lengths. On failure *out is null.
 */
int32_t gk_decoder_new(gk_pool *pool, int32_t isa, const gk_config *config, const void *const *tensors, const int64_t *bytes,
                       int32_t count, gk_decoder **out);

void gk_decoder_free(gk_decoder *decoder);

/* Bytes that a decoder takes beside its weights: caches and scratch space, all of it reserved when it is made. */
int64_t gk_decoder_bytes(const gk_decoder *decoder);

/*
 * Runs rows through all layers: row i continues sequence slots[i] at positions[i] and sees that sequence's positions up to its own,
 * those of this call included. Earlier positions must have been written before.
 *
 * rope: [rows, 2, head_dim / 2], cosines and sines. x: [rows, width], token or image embeddings; becomes the states behind the last layer.
 */
int32_t gk_forward(gk_decoder *decoder, int32_t rows, const int32_t *slots, const int32_t *positions, const float *rope, float *x);

/* Last norm and head of states [rows, width]: logits [rows, vocab]. */
int32_t gk_logits(gk_decoder *decoder, int32_t rows, const float *x, float *logits);

/* ---- for benchmarks ---- */

/* A packed weight (2 to 8 or 16 bits, bfloat16 scales) of random codes with deviation about 1 / sqrt(cols). */
int32_t gk_random_weight(int32_t bits, int32_t rows, int32_t cols, int32_t group, uint64_t seed, void *out, int64_t out_bytes);

/* Reads bytes (a multiple of 64 for each thread's share is used) as fast as the memory gives them; the result is a checksum. */
int64_t gk_read(gk_pool *pool, const void *memory, int64_t bytes);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
