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

#define GKC_VERSION 2

#define GKC_ESIZE (-1)   /* a size that does not fit the others, or is out of range */
#define GKC_EALIGN (-2)  /* a pointer that is null or not aligned */
#define GKC_EFORMAT (-3) /* not a weight of this version, or one whose fields contradict each other */
#define GKC_ESPACE (-4)  /* scratch space that is too small */
#define GKC_EMEMORY (-6) /* the device refused memory */
#define GKC_ELAUNCH (-7) /* the device refused a kernel, or an earlier one failed */
#define GKC_EDEVICE (-8) /* there is no GPU, or its driver is older than this library's CUDA */

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
 * Scales are in the same order of rows, so that a lane takes both of its scales with one load. Zero points follow behind them in that
 * order, as bfloat16 numbers: what is taken off a stored code.
 */
#define GKC_WIDE 1  /* float32 scales; else bfloat16 */
#define GKC_ZEROS 2 /* zero points */

typedef struct {
  int32_t version;     /* GKC_VERSION */
  int32_t bits;        /* of a stored value: 4, 8 or 16 (bfloat16, without scales) */
  int32_t rows;
  int32_t cols;        /* a multiple of 32 */
  int32_t group;       /* consecutive elements of a row with one scale: a multiple of 32 that divides cols; cols with 16 bits */
  int32_t form;        /* sum of GKC_WIDE and GKC_ZEROS; 0 with 16 bits */
  const void *codes;
  const void *scales;  /* and zero points */
  int64_t code_bytes;
  int64_t scale_bytes; /* of scales and zero points */
} gkc_weight;

/*
 * Fills in all fields but the two pointers for codes of 2 to 8 bits (2 to 4 are stored as 4, 5 to 8 as 8) or for 16 bits. The
 * caller then reserves code_bytes and scale_bytes and sets the pointers.
 */
int32_t gkc_weight_describe(int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t form, gkc_weight *out);

/*
 * Writes codes, scales and zero points of a described weight.
 *
 * words: [rows, ceil(cols * bits / 32)], code + 2^(bits-1) of element i in bits [i * bits, (i + 1) * bits), lowest first
 * (compressed-tensors' pack-quantized). scales: float32 [rows, cols / group]; bfloat16 scales are rounded from them. zeros, with
 * GKC_ZEROS, else null: the code that stands for 0, in the range of codes, [rows, cols / group].
 */
int32_t gkc_pack(const int32_t *words, const float *scales, const int8_t *zeros, int32_t bits, const gkc_weight *weight, void *stream);

/* Writes the values of a described weight of 16 bits from bfloat16 numbers [rows, cols]. */
int32_t gkc_pack_bf16(const void *values, const gkc_weight *weight, void *stream);

/* out[i] = the bfloat16 number nearest to x[i], for n float32 numbers. */
int32_t gkc_round_bf16(const float *x, int64_t n, void *out, void *stream);

/*
 * y[i, r] = sum over c of x[i, c] * weight[r, c], weight = scale * (code - zero point), for bfloat16 x [m, cols] and float32 y [m, rows]; with `add` not 0 the sum is
 * added to what y holds. Products are exact, sums float32: one for each group, multiplied by its scale once. Up to 16 inputs the
 * columns are split among the warps of a block; the result of an input does not depend on m within 1 to 16, nor above.
 */
int32_t gkc_matmul(const gkc_weight *weight, const void *x, int32_t m, float *y, int32_t add, void *stream);

/* ---- quantization; float32 weights [rows, cols], one log scale for each `group` consecutive elements of a row ---- */

/*
 * What the quantizer's functions share. Scales are s = exp(theta) within [1e-8, 1e4], codes clip(rint(w / s), -2^(bits-1),
 * 2^(bits-1) - 1), halves to even. This struct is host memory.
 */
typedef struct {
  int32_t bits; /* 2 to 8 */
  int32_t rows;
  int32_t cols;
  int32_t group; /* divides cols */
} gkc_quantizer;

/* theta[group] = ln of the scale with the least squared error over 20 ratios of 0.3 to 1.2 of max|w| / (2^(bits-1) - 1). */
int32_t gkc_scale_search(const gkc_quantizer *q, const float *w, float *theta, void *stream);

/* Codes as words [rows, ceil(cols * bits / 32)], see gkc_pack, and scales [rows, cols / group] for it. */
int32_t gkc_quantize(const gkc_quantizer *q, const float *w, const float *theta, int32_t *words, float *scales, void *stream);

/* out[i] = s * code, as float32 or, with `narrow` not 0, bfloat16. */
int32_t gkc_fake_quantize(const gkc_quantizer *q, const float *w, const float *theta, void *out, int32_t narrow, void *stream);

/* A step of quantization-aware training; host memory. */
typedef struct {
  double rate;         /* of the weights */
  double theta_rate;   /* of the log scales */
  double beta1;
  double beta2;
  double eps;
  double decay;        /* of the weights, decoupled */
  double theta_factor; /* of the log scales' gradient */
  float gradient_scale; /* for instance of clipping */
  int32_t number;      /* from 1 */
} gkc_step;

/*
 * One step in place, all in one pass: with r = rint(w / s) a code within its range passes the gradient of the quantized weight on
 * to w, and ds = sum over the group of gradient * (code - (w / s if within)), dtheta = theta_factor * s * ds (straight-through
 * estimator, LSQ in log scales); then AdamW for w and theta, and the new quantized weight, float32 or bfloat16.
 *
 * gradient: with respect to the quantized weight, [rows, cols]. m, v: of w. theta, theta_m, theta_v: [rows, cols / group]. narrow: of `quantized`.
 */
int32_t gkc_qat_step(const gkc_quantizer *q, const gkc_step *step, const float *gradient, float *w, float *m, float *v, float *theta,
                     float *theta_m, float *theta_v, void *quantized, int32_t narrow, void *stream);

/* out[0] = sum of squares of the gradients with respect to w and theta that gkc_qat_step would use, before its gradient_scale; for clipping.
 * parts: scratch space of gkc_gradient_norm_bytes(). */
int32_t gkc_gradient_norm(const gkc_quantizer *q, const float *gradient, const float *w, const float *theta, double theta_factor,
                          double *out, void *parts, int64_t bytes, void *stream);
int64_t gkc_gradient_norm_bytes(void);

/* ---- distillation; float32 logits [rows, vocab], targets int32 [rows] ---- */

/*
 * What is kept of a teacher's logits: the k largest (1 to 1024) in descending order, of equal ones the lower id first, and in
 * scalars [rows, 4] as double: entropy, log-probability of the target and ln sum exp(z), all at temperature 1, and ln of the sum
 * over the non-targets of exp(z / temperature); natural logarithms. A row with a number that is not finite has scalars that are
 * not; so has one whose target is not in the vocabulary.
 */
int32_t gkc_teacher_rows(const float *logits, const int32_t *targets, int32_t rows, int32_t vocab, int32_t k, double temperature,
                         int32_t *ids, float *values, double *scalars, void *stream);

/* A gated decoupled distillation loss (GRACE, arXiv 2601.22709, section 3); host memory. */
typedef struct {
  int32_t rows;
  int32_t vocab; /* 2 to 2^20 */
  int32_t k;     /* of the teacher's top-k form; 0 for all of its logits */
  int32_t decoupled; /* 0: temperature^2 KL(teacher | student), else temperature^2 (alpha TCKD + beta NCKD) */
  int32_t gated;     /* whether exp(-entropy / ln vocab) weighs positions */
  double temperature; /* 0.001 to 1000 */
  double alpha;
  double beta;
} gkc_distillation;

/*
 * The loss and its gradient in closed form. In the top-k form the ids that are neither listed nor the target are one bucket of
 * known mass.
 *
 * teacher: logits [rows, vocab], or values [rows, k] with distinct ids [rows, k] and scalars [rows, 4] as gkc_teacher_rows gives
 * them; ids and scalars are null otherwise. gradient [rows, vocab] may be `logits` itself. per_token and gates: [rows]. total: two
 * numbers, the gate-weighted mean of per_token, which `gradient` is the derivative of, and the sum of the gates. Ids and targets
 * that are not in the vocabulary make results NaN.
 */
int32_t gkc_gated_dkd(const gkc_distillation *options, const float *logits, const int32_t *targets, const float *teacher,
                      const int32_t *ids, const double *scalars, float *gradient, double *per_token, double *gates, double *total,
                      void *stream);

/* Bytes of scratch space of gkc_rcka. */
int64_t gkc_rcka_bytes(int32_t n, int32_t d);

/*
 * Relational loss 1 - CKA of states v [n, d] against the teacher's centered similarity matrix [n, n], symmetric (GRACE, section 3;
 * CKA, arXiv 1905.00414), and its gradient [n, d]. result: loss, CKA, and 1 if there are fewer than 4 tokens or no structure; the
 * loss and the gradient are zero then.
 */
int32_t gkc_rcka(const float *teacher, const float *v, int32_t n, int32_t d, float *gradient, double *result, void *scratch,
                 int64_t bytes, void *stream);

/* ---- steps of a decoder ---- */

/* out = x / sqrt(mean of x^2 + eps) * weight of each row, bfloat16; x float32 [rows, width]. */
int32_t gkc_rms_norm(const float *x, const float *weight, int32_t rows, int32_t width, float eps, void *out, void *stream);

/* out = silu(gate) * up, bfloat16 [rows, mlp]; gate_up float32 [rows, 2 mlp], gate before up. */
int32_t gkc_swiglu(const float *gate_up, int32_t rows, int32_t mlp, void *out, void *stream);

/* The key/value cache of one layer; the struct is host memory. */
typedef struct {
  int32_t heads;         /* of queries */
  int32_t kv_heads;      /* divides heads */
  int32_t head_dim;      /* a multiple of 8 up to 256 */
  int32_t slots;         /* sequences */
  int32_t max_positions; /* of each */
  int32_t kv_bits;       /* 16 (bfloat16) or 8 (integers, one float32 scale for each head and position) */
  void *keys;            /* [slots, kv_heads, max_positions, head_dim] */
  void *values;
  float *key_scales;     /* [slots, kv_heads, max_positions] with 8 bits, else null */
  float *value_scales;
} gkc_cache;

/*
 * Adds the bias (or null) to rows of queries, keys and values [rows, (heads + 2 kv_heads) head_dim], rotates queries and keys by
 * their position (halves (a, b) become (a cos - b sin, b cos + a sin)), divides queries by sqrt(head_dim) and writes them to
 * queries float32 [rows, heads, head_dim], keys and values into the cache: row i at positions[i] of sequence slots[i]. rope:
 * [rows, 2, head_dim / 2], cosines and sines. A row with a slot or position that does not exist writes nothing.
 */
int32_t gkc_rotate(const gkc_cache *cache, const float *qkv, const float *bias, const int32_t *slots, const int32_t *positions,
                   const float *rope, int32_t rows, float *queries, void *stream);

/* Bytes of scratch space of gkc_attention. */
int64_t gkc_attention_bytes(const gkc_cache *cache, int32_t rows);

/*
 * Softmax attention of each row's queries over positions 0 to positions[i] of its sequence: out bfloat16 [rows, heads, head_dim];
 * NaN for a row with a slot or position that does not exist. Positions are split among blocks, in a way that depends on them alone.
 */
int32_t gkc_attention(const gkc_cache *cache, const float *queries, const int32_t *slots, const int32_t *positions, int32_t rows,
                      void *out, void *scratch, int64_t bytes, void *stream);

/* ---- a decoder of LLaMA's kind on packed weights ---- */

/* Sizes, as in grace_kernels.h; width, mlp and heads * head_dim are multiples of 32. Host memory. */
typedef struct {
  int32_t layers;
  int32_t width;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;
  int32_t mlp;
  int32_t vocab;
  int32_t slots;
  int32_t max_positions;
  int32_t max_rows;
  int32_t kv_bits;
  float eps;
} gkc_config;

typedef struct gkc_decoder gkc_decoder;

/*
 * Makes a decoder and reserves all of its device memory; weights and vectors must outlive it.
 *
 * weights: for each layer qkv [(heads + 2 kv_heads) head_dim, width], out [width, heads head_dim], gate and up [2 mlp, width], down
 * [width, mlp]; then the head [vocab, width]. vectors: for each layer the norm [width], qkv's bias or null, the second norm; then the
 * last norm; float32. Both arrays are host memory. On failure *out is null.
 */
int32_t gkc_decoder_new(const gkc_config *config, const gkc_weight *weights, int32_t weight_count, const float *const *vectors,
                        int32_t vector_count, gkc_decoder **out);

void gkc_decoder_free(gkc_decoder *decoder);

/* Bytes of device memory that a decoder takes beside its weights. */
int64_t gkc_decoder_bytes(const gkc_decoder *decoder);

/*
 * Runs rows through all layers: row i continues sequence slots[i] at positions[i] and sees that sequence's positions up to its own,
 * those of this call included; earlier ones must have been written before. x: float32 [rows, width], embeddings; becomes the states
 * behind the last layer, NaN for a row with a slot or position that does not exist.
 */
int32_t gkc_forward(gkc_decoder *decoder, int32_t rows, const int32_t *slots, const int32_t *positions, const float *rope, float *x,
                    void *stream);

/* Last norm and head of states [rows, width]: logits float32 [rows, vocab]. */
int32_t gkc_logits(gkc_decoder *decoder, int32_t rows, const float *x, float *logits, void *stream);

/*
 * gkc_forward and gkc_logits in one CUDA graph. It is recorded at the first call with these arguments and replayed while they stay
 * the same, so one token costs one launch; what the arrays hold may change from call to call.
 */
int32_t gkc_token(gkc_decoder *decoder, int32_t rows, const int32_t *slots, const int32_t *positions, const float *rope, float *x,
                  float *logits, void *stream);

/* ---- memory and time, for callers that have no CUDA of their own ---- */

/* Device memory aligned to 256 bytes; *out is null on failure. */
int32_t gkc_reserve(int64_t bytes, void **out);
int32_t gkc_release(void *memory);

/* Copies between host and device memory; they wait for all earlier work and fail with GKC_ELAUNCH if a kernel of it did. */
int32_t gkc_write(void *device, const void *host, int64_t bytes);
int32_t gkc_read(void *host, const void *device, int64_t bytes);

/* Enqueues a copy within device memory. */
int32_t gkc_copy(void *to, const void *from, int64_t bytes, void *stream);

/* Waits for all work. */
int32_t gkc_wait(void);

/* A stream of its own, for gkc_* calls. */
int32_t gkc_stream_new(void **out);
int32_t gkc_stream_free(void *stream);

/* Stopwatch on a stream. Stopping waits for what was enqueued before; *milliseconds is host memory. */
typedef struct gkc_clock gkc_clock;
int32_t gkc_clock_new(gkc_clock **out);
void gkc_clock_free(gkc_clock *clock);
int32_t gkc_clock_start(gkc_clock *clock, void *stream);
int32_t gkc_clock_stop(gkc_clock *clock, void *stream, float *milliseconds);

/* Name of the device in use, cut to `bytes` with the final zero; host memory. */
int32_t gkc_device_name(char *out, int32_t bytes);

/* Fills a described weight with random codes of deviation about 1 / sqrt(cols); for benchmarks. */
int32_t gkc_random_weight(const gkc_weight *weight, uint64_t seed, void *stream);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
