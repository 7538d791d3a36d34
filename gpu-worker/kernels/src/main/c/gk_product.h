/* Products with packed weights inside the library. */
#ifndef GK_PRODUCT_H
#define GK_PRODUCT_H

#include "gk_pool.h"
#include "gk_weight.h"

#define GK_FETCH_FAR 12288 /* bytes that weights are fetched ahead into the second-level cache */
#define GK_FETCH_NEAR 4096 /* and then into the first */
#define GK_TOGETHER 8 /* most inputs that a body takes at once */
/* A loop that is unrolled, over arrays of a constant size: only such arrays live in registers. */
#define GK_EACH(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)
#define GK_TARGET(isa) __attribute__((target(isa)))
#define GK_INLINE static inline __attribute__((always_inline))
#define GK_AVX2_ISA "avx2,fma"
#define GK_VNNI_ISA "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
#define GK_AMX_ISA GK_VNNI_ISA ",amx-tile,amx-int8"

/* Calls body(..., form, bytes) with constants, so that each form of a weight has inner loops of its own; `zeros` is GK_ZEROS or 0. */
#define GK_EACH_FORM(w, zeros, body, ...)           \
  if ((w)->code_bits == 8) {                        \
    if ((w)->form & GK_WIDE) {                      \
      body(__VA_ARGS__, GK_WIDE | (zeros), 1);      \
    } else {                                        \
      body(__VA_ARGS__, (zeros), 1);                \
    }                                               \
  } else if ((w)->form & GK_WIDE) {                 \
    body(__VA_ARGS__, GK_WIDE | (zeros), 0);        \
  } else {                                          \
    body(__VA_ARGS__, (zeros), 0);                  \
  }
/* Weights with zero points have a function of their own: the compiler gives all loops of a function their registers together. */
#define GK_APART static __attribute__((noinline))

/* A checked weight: its header and what lies behind it. */
typedef struct {
  gk_weight head;
  const uint8_t *blocks;
} gk_matrix;

/*
 * Inputs, rounded run by run; what pads a run to whole tiles is zero. For GK_VNNI and GK_AMX a row is the high bytes of all columns, then
 * their low bytes (signed; value = 256 high + low). Otherwise it is 16-bit values, each tile's in the order 0 2, 4 6, 1 3, 5 7, in
 * which masks and shifts of 16-bit lanes bring out the weight's codes.
 */
typedef struct {
  int8_t *codes;   /* [m, 2, runs, run_steps, 8] or [m, runs, run_steps, 16] */
  float *scales;   /* [m, runs] */
  int32_t *center; /* [m, runs]: what the codes' offset adds to a sum, negated */
  float *values;   /* [m, cols padded to 4], for weights without codes alone: the input as it is */
} gk_input;

typedef struct {
  const gk_weight *w;
  const uint8_t *blocks; /* behind the weight's header */
  const float *x;
  int32_t m;
  float *y;
  gk_input input;
  int32_t isa;
  gk_items *items; /* the blocks */
} gk_product;

/*
 * Fetches what comes after `at`, in two steps: sums that wait for the second-level cache would fill the processor's scheduler, and no
 * further line of memory would be asked for meanwhile.
 */
GK_INLINE void gk_fetch(const uint8_t *at) {
  __builtin_prefetch(at + GK_FETCH_FAR, 0, 2);
  __builtin_prefetch(at + GK_FETCH_NEAR, 0, 3);
}

static inline int64_t gk_codes_per_row(const gk_weight *w) { return (int64_t)w->runs * w->run_steps * 16; }

static inline int64_t gk_padded_cols(const gk_weight *w) { return gk_round_up(w->cols, 4); }

/* The sum of a run's inputs, negated, from the number in `center`, of which it is a whole part. */
static inline int32_t gk_minus_sum(const gk_weight *w, int32_t center) { return center / (1 << (w->code_bits - 1)); }

/* Computes sixteen rows for all inputs. */
typedef void gk_block(const gk_product *p, int64_t block);

/* Weights of codes with AVX-512 VNNI: all inputs, and those from the given one on. */
gk_block gk_block_vnni;
void gk_rest_vnni(const gk_product *p, int64_t block, int32_t from);

/* Weights of codes with AMX; gk_amx_begin comes before a thread's first block, gk_amx_end after its last. */
gk_block gk_block_amx;
void gk_amx_begin(const gk_product *p);
void gk_amx_end(void);

/* Whether AMX fits the product; whether the processor has it and the system lets this process use it. */
int gk_amx_fits(const gk_product *p);
int gk_amx_allowed(void);

/* Weights of numbers. */
gk_block gk_dense_scalar;
gk_block gk_dense_avx2;
gk_block gk_dense_vnni;

/* Bytes of scratch space for m inputs. */
int64_t gk_product_scratch(const gk_weight *w, int64_t m);

/* gk_matmul without its checks. */
void gk_product_run(gk_pool *pool, int32_t isa, const gk_matrix *w, const float *x, int32_t m, float *y, void *scratch);

#endif
