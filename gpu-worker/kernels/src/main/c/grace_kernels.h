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

#define GK_VERSION 5

#define GK_ESIZE (-1)  /* a size that does not fit the others, or is out of range */
#define GK_EALIGN (-2) /* a pointer that is null or not aligned to 64 bytes */
#define GK_EFORMAT (-3) /* not a packed weight of this version, or one whose header contradicts its length */
#define GK_ESPACE (-4) /* a buffer that is too small */
#define GK_EISA (-5)   /* an instruction set that this processor lacks */
#define GK_EMEMORY (-6) /* the system refused memory */
#define GK_EVALUE (-7)  /* a number that is not finite among the inputs; what has been written meanwhile is said at the function */

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

/* What libgomp calls GOMP_parallel, omp_get_thread_num and omp_get_num_threads. */
typedef struct {
  void (*parallel)(void (*body)(void *), void *data, uint32_t threads, uint32_t flags);
  int32_t (*thread)(void);
  int32_t (*threads)(void);
} gk_openmp;

/*
 * A pool without threads of its own, which works on those of an OpenMP run time that other code of the process uses in turn: two sets of
 * threads would wait for each other's processors. Null if an argument is wrong or the system refuses.
 */
gk_pool *gk_pool_borrow(const gk_openmp *openmp, int32_t threads);

/* Ends the threads. No call may be running. */
void gk_pool_free(gk_pool *pool);

/* Zeroed memory aligned to 64 bytes, in huge pages where the system gives them; null if it refuses. */
void *gk_reserve(int64_t bytes);

/* Gives back what gk_reserve gave. */
void gk_release(void *memory, int64_t bytes);

/*
 * Bytes of a packed weight [rows, cols] of 2 to 8, 16 or 32 bits, one scale for each `group` consecutive elements of a row. `form` is a
 * sum of GK_WIDE, where some scale is no bfloat16 number (4 bytes for each then, else 2), and GK_ZEROS, where groups have zero points.
 */
#define GK_WIDE 1
#define GK_ZEROS 2
int64_t gk_weight_bytes(int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t form);

/*
 * Packs codes for gk_matmul: tiles of 16 rows by 8 columns.
 *
 * words: [rows, ceil(cols * bits / 32)], code + 2^(bits-1) of element i in bits [i * bits, (i + 1) * bits), lowest first
 * (compressed-tensors' pack-quantized). scales: [rows, cols / group]. zeros, with GK_ZEROS, else null: the code that stands for 0, in
 * the range of codes, [rows, cols / group]; the weight is scale * (code - zero).
 */
int32_t gk_pack(const int32_t *words, const float *scales, const int8_t *zeros, int32_t bits, int32_t rows, int32_t cols, int32_t group,
                int32_t form, void *out, int64_t out_bytes);

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
 * (fused multiply-add). A zero point z is taken off the integer sum, as z times the sum of the run's inputs. So the result depends neither on the instruction set nor on threads nor on m.
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

/* ---- quantization ----
 *
 * No pointer needs to be aligned. Numbers are the caller's care: one that is not finite, or a scale of 0, gives a useless result, never a
 * fault.
 */

/*
 * A weight [rows, cols] in which `group` consecutive elements of a row share a scale: code = clip(round(w / s), -2^(bits-1),
 * 2^(bits-1) - 1), halves to even. Sizes are at most 2^24.
 */
typedef struct {
  int32_t bits; /* 2 to 8 */
  int32_t rows;
  int32_t cols;
  int32_t group;     /* divides cols */
  int32_t one_scale; /* 0: scales are [rows, cols / group]; 1: there is one, and group is cols */
} gk_grouping;

/*
 * For each of `groups` runs of `group` weights the scale, out of ratio[k] * max|w| / (2^(bits-1) - 1) for k below 20, that has the least
 * sum of squared errors, the first of equal ones; scales lie in [least, most], a run of zeros has the scale `least`.
 */
int32_t gk_search_scales(gk_pool *pool, int32_t isa, const float *w, int64_t groups, int64_t group, int32_t bits, const double *ratios,
                         float least, float most, float *scales);

/*
 * scales[i] = e^theta[i] in float32, the nearest one for all theta but a few in a billion, within [least, most].
 * GK_EVALUE: a theta is not finite; scales are useless then.
 */
int32_t gk_scales(gk_pool *pool, int32_t isa, const float *theta, int64_t n, float least, float most, float *scales);

/* Codes as packed words [rows, ceil(cols * bits / 32)] in gk_pack's order. */
int32_t gk_quantize(gk_pool *pool, int32_t isa, const gk_grouping *shape, const float *w, const float *scales, int32_t *words);

/* out [rows, cols] = code * s; out may be w. */
int32_t gk_fake_quantize(gk_pool *pool, int32_t isa, const gk_grouping *shape, const float *w, const float *scales, float *out);

/* ---- training ----
 *
 * Sums are taken in a fixed order that depends on the shape alone, so results depend neither on the instruction set nor on threads.
 * No pointer needs to be aligned.
 */

/*
 * Straight-through gradient of a log-scale quantizer, see LsqGradient.java: with r = round(w / s) and the mask -2^(bits-1) <= r < 2^(bits-1),
 * d_scale [rows, cols / group] = sum over the group of d * (code - (w / s) mask) for the gradient d with respect to code * s, d_theta = s * d_scale,
 * and dw = d mask. dw may be d. squares [rows] becomes the sum of the row's (d mask)^2; NaN if some d is not finite. Results that are
 * not wanted are null.
 */
int32_t gk_quantizer_gradient(gk_pool *pool, int32_t isa, const gk_grouping *shape, const float *w, const float *scales, const float *d,
                              float *dw, double *d_scale, float *d_theta, double *squares);

#define GK_SQUARES (1 << 16)

/* sums [ceil(n / GK_SQUARES)] becomes the sum of squares of each GK_SQUARES consecutive numbers. */
int32_t gk_squares(gk_pool *pool, int32_t isa, const float *v, int64_t n, double *sums);

/* AdamW (decoupled decay) with all factors of one step; see AdamW.java. */
typedef struct {
  float keep;  /* 1 - rate * decay */
  float rate;  /* rate / (1 - b1^t) */
  float root;  /* 1 / sqrt(1 - b2^t) */
  float b1;
  float b2;
  float rest1; /* 1 - b1 */
  float rest2; /* 1 - b2 */
  float eps;
  float scale; /* of the gradient: the clip factor */
} gk_adamw;

/*
 * One step in place of p, m and v [n] with the gradient g: g *= scale; m = b1 m + rest1 g; v = b2 v + rest2 g^2;
 * p = keep p - rate m / (root sqrt(v) + eps). out [n] (or null) becomes the new p: as it is, or where half is not 0 as the nearest
 * bfloat16, ties to even.
 */
int32_t gk_adamw_step(gk_pool *pool, int32_t isa, const gk_adamw *step, int64_t n, float *p, const float *g, float *m, float *v, void *out,
                      int32_t half);

/*
 * A step of a quantized weight in one pass: g is masked as in gk_quantizer_gradient with the scales before the step, and out becomes
 * the new weight quantized with the scales after it, which may be the same array. As float32, out may be g.
 */
int32_t gk_quantized_step(gk_pool *pool, int32_t isa, const gk_grouping *shape, const gk_adamw *step, float *w, const float *g, float *m,
                          float *v, const float *scales_before, const float *scales_after, void *out, int32_t half);

#define GK_KD 0
#define GK_DKD 1

typedef struct {
  int32_t rows;
  int32_t vocab;      /* at least 2 */
  int32_t k;          /* teacher logits of a row: 0 without a teacher, vocab for all, else those of the ids listed */
  int32_t listed;     /* 1 if ids are given, else 0 */
  int32_t mode;       /* GK_KD or GK_DKD */
  int32_t reserved;   /* 0 */
  double temperature; /* 0.001 to 1000 */
  double alpha;       /* of the target's part, at least 0; GK_DKD only, as beta */
  double beta;        /* of the others' part */
  double ce_weight;   /* of each row's cross-entropy; finite */
} gk_losses;

/*
 * Cross-entropy and (decoupled) distillation of student logits [rows, vocab] and their common gradient in closed form; formulas in
 * GatedDkd.java. Rows are independent: a caller may cut them into chunks, and each chunk is one pass over its rows. Memory beside the
 * arguments: 24 k bytes for each thread with a list, else none.
 *
 * targets [rows] in [0, vocab). teacher [rows, k]; ids [rows, k], distinct in a row, or null; known [rows, 3], with ids only: the
 * target's log-probability and ln sum exp(z) at temperature 1, and ln of the others' sum of exp(z / temperature). weights [rows] of the
 * distillation: gate / sum of gates. losses [rows, 2] becomes the cross-entropy and the distillation loss of each row before its weights.
 * d [rows, vocab] becomes the gradient of sum over rows of ce_weight * losses[i, 0] + weights[i] * losses[i, 1]; d may be logits.
 *
 * GK_EVALUE: rows with a logit that is not finite have losses of NaN and their part of d is as it was; other rows are computed.
 */
int32_t gk_token_losses(gk_pool *pool, int32_t isa, const gk_losses *shape, const float *logits, const int32_t *targets,
                        const float *teacher, const int32_t *ids, const double *known, const double *weights, double *losses, float *d);

/*
 * What rows of logits [rows, vocab] say, see TeacherStatistics.java: out [rows, 6] becomes entropy, ln sum exp(z), log-probability of the
 * target, ln of the others' sum of exp(z / temperature), id of the largest logit (the lowest of equal ones) and its probability.
 *
 * GK_EVALUE: rows with a logit that is not finite are all NaN; other rows are computed.
 */
int32_t gk_statistics(gk_pool *pool, int32_t isa, const float *logits, int32_t rows, int32_t vocab, const int32_t *targets,
                      double temperature, double *out);

/* The k largest of each row of logits [rows, vocab], descending, of equal ones the lower id first: ids and values [rows, k]. Logits are
 * finite; one that is NaN may or may not be chosen. */
int32_t gk_top_k(gk_pool *pool, int32_t isa, const float *logits, int32_t rows, int32_t vocab, int32_t k, int32_t *ids, float *values);

/*
 * Bytes of scratch space, aligned to 64, for gk_gram and gk_rcka of n states of width d: as many as are of use, and as many as there must
 * be. With less than the first they compute a part of the rows at a time, some of it again; results have the same bits.
 */
int64_t gk_rcka_scratch(int32_t n, int32_t d);
int64_t gk_rcka_least(int32_t n, int32_t d);

/* Centered matrix of similarities [n, n] of states v [n, d], see Rcka.java. */
int32_t gk_gram(gk_pool *pool, int32_t isa, const float *v, int32_t n, int32_t d, float *out, void *scratch, int64_t scratch_bytes);

/*
 * 1 - CKA of states v [n, d] against the teacher's centered similarities [n, n], and its gradient dv [n, d], see Rcka.java.
 * cka becomes the similarity. The result is 1, the similarity 1 and the gradient zero if there are fewer than `fewest` states or a
 * centered matrix has a sum of squares below `least`; else 0 or an error.
 */
int32_t gk_rcka(gk_pool *pool, int32_t isa, const float *teacher, const float *v, int32_t n, int32_t d, int32_t fewest, double least,
                double *cka, float *dv, void *scratch, int64_t scratch_bytes);

/* ---- products of bfloat16 matrices ---- */

/* Sizes up to 2^24, strides in numbers. One stride of a and one of b is 1; of a vector both may be. */
typedef struct {
  int32_t m;
  int32_t n;
  int32_t k;
  int32_t add;      /* 1: c is float32 and the product is added to it; 0: c is bfloat16 and becomes the product */
  int32_t plain;    /* 1: without AMX even where it is */
  int32_t reserved; /* 0 */
  int64_t a_row;    /* from a[i, .] to a[i + 1, .] */
  int64_t a_col;    /* from a[., i] to a[., i + 1] */
  int64_t b_row;
  int64_t b_col;
  int64_t c_row; /* at least n; columns of c follow each other */
} gk_gemm_shape;

/* What this processor has for gk_gemm_bf16: 0 nothing, 1 AVX-512 for bfloat16, 2 AMX for bfloat16 as well. */
int32_t gk_gemm_present(void);

/* Bytes of scratch space, aligned to 64, for gk_gemm_bf16. */
int64_t gk_gemm_scratch(const gk_pool *pool, const gk_gemm_shape *shape);

/*
 * c [m, n] = or += a [m, k] times b [k, n] of bfloat16. Sums are float32, in an order of the processor's own that does not depend on the threads;
 * each is rounded once. Numbers below 2^-126 in magnitude count as zero.
 */
int32_t gk_gemm_bf16(gk_pool *pool, const gk_gemm_shape *shape, const void *a, const void *b, void *c, void *scratch,
                     int64_t scratch_bytes);

/* ---- transformer blocks in training ----
 *
 * Forward and backward pass of one block, with gradients in closed form: bfloat16 numbers, float32 sums, no graph. All of it needs that
 * gk_gemm_present is not 0. Results do not depend on the threads, but on what gk_gemm_present says.
 */

#define GK_LLAMA 0 /* RMSNorm, rotary positions (half-split), causal attention, SwiGLU */
#define GK_CLIP 1  /* LayerNorm, attention over all positions, x sigmoid(1.702 x) */

/* Parameters of a block, in this order. Each bias may be null; GK_LLAMA's norms have none; GK_CLIP has no gate. */
enum {
  GK_NORM1, GK_NORM1_BIAS,                   /* [width] */
  GK_QUERY, GK_QUERY_BIAS,                   /* [heads * head_dim, width] */
  GK_KEY, GK_KEY_BIAS,                       /* [kv_heads * head_dim, width] */
  GK_VALUE, GK_VALUE_BIAS,                   /* [kv_heads * head_dim, width] */
  GK_OUT, GK_OUT_BIAS,                       /* [width, heads * head_dim] */
  GK_NORM2, GK_NORM2_BIAS,                   /* [width] */
  GK_GATE,                                   /* [mlp, width] */
  GK_UP, GK_UP_BIAS,                         /* [mlp, width] */
  GK_DOWN, GK_DOWN_BIAS,                     /* [width, mlp] */
  GK_PARAMETERS
};

/* Sizes are at most 2^20, batch * length at most 2^24. */
typedef struct {
  int32_t kind;
  int32_t batch;
  int32_t length;
  int32_t width;
  int32_t heads;
  int32_t kv_heads; /* divides heads */
  int32_t head_dim; /* even for GK_LLAMA */
  int32_t mlp;
  float eps;
  int32_t plain; /* 1: without AMX even where it is */
} gk_train_shape;

/* Bytes, to be aligned to 64, of what gk_train_forward leaves for gk_train_backward. */
int64_t gk_train_saved(const gk_train_shape *shape);

/* Bytes of scratch space, aligned to 64, for either. */
int64_t gk_train_scratch(const gk_pool *pool, const gk_train_shape *shape);

/*
 * y [batch, length, width] = block(x), bfloat16. weights [GK_PARAMETERS]: addresses of bfloat16 numbers. rope [length, 2, head_dim / 2]:
 * cosines and sines, for GK_LLAMA alone.
 */
int32_t gk_train_forward(gk_pool *pool, const gk_train_shape *shape, const void *const *weights, const float *rope, const void *x, void *saved,
                         int64_t saved_bytes, void *y, void *scratch, int64_t scratch_bytes);

/*
 * d_x = gradient with respect to x of a loss whose gradient with respect to y is d_y, both bfloat16; those with respect to the
 * parameters are added to gradients
 * [GK_PARAMETERS], float32, where they are not null. The saved state does not change.
 */
int32_t gk_train_backward(gk_pool *pool, const gk_train_shape *shape, const void *const *weights, const float *rope, const void *x,
                          const void *saved, int64_t saved_bytes, const void *d_y, void *d_x, float *const *gradients, void *scratch,
                          int64_t scratch_bytes);

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
