/* What the training kernels share; private to the library. */
#ifndef GK_TRAIN_H
#define GK_TRAIN_H

#include <math.h>
#include <stddef.h>

#include "gk_pool.h"
#include "gk_product.h"
#include "gk_vector.h"

/*
 * The versions of an always-inline body, by instruction set. The bodies use plain loops and the compiler's own vectors, without
 * contraction, so all versions give the same bits. Sums are kept in arrays of lanes: vectors wider than a register would be carried
 * from step to step through general registers.
 */
#define GK_VERSIONS(body)                                                                                                  \
  static void body##_scalar(void *context, int32_t part, int32_t parts) { body(context, part, parts); }                    \
  GK_TARGET(GK_AVX2_ISA) static void body##_avx2(void *context, int32_t part, int32_t parts) {          \
    body(context, part, parts);                                                                                            \
  }                                                                                                                        \
  GK_TARGET(GK_VNNI_ISA) static void body##_avx512(void *context, int32_t part, int32_t parts) {        \
    body(context, part, parts);                                                                                            \
  }                                                                                                                        \
  static gk_body *const body##_versions[] = {body##_scalar, body##_avx2, body##_avx512, body##_avx512};

/* Whether this processor has the instruction set. */
static inline int gk_isa_fits(int32_t isa) { return isa >= GK_SCALAR && isa <= gk_best_isa(); }

/* The smaller one; the bound if v is NaN. */
GK_ALWAYS gk_floats gk_min(gk_floats v, float bound) {
  const gk_ints less = v < gk_all(bound);
  return (gk_floats)((less & (gk_ints)v) | (~less & (gk_ints)gk_all(bound)));
}

/* The larger one; the bound if v is NaN. */
GK_ALWAYS gk_floats gk_max(gk_floats v, float bound) {
  const gk_ints more = v > gk_all(bound);
  return (gk_floats)((more & (gk_ints)v) | (~more & (gk_ints)gk_all(bound)));
}

/* v, or the bound that it is beyond; the upper one if v is NaN. */
GK_ALWAYS gk_floats gk_clip(gk_floats v, gk_floats low, gk_floats high) {
  const gk_ints less = v < high;
  v = (gk_floats)((less & (gk_ints)v) | (~less & (gk_ints)high));
  const gk_ints more = v > low;
  return (gk_floats)((more & (gk_ints)v) | (~more & (gk_ints)low));
}

/* The nearest integers, ties to even, of numbers below 2^22 in magnitude: the sum with 1.5 * 2^23 has no place for a fraction. */
GK_ALWAYS gk_floats gk_nearest(gk_floats v) { return (v + 12582912.0f) - 12582912.0f; }

/* Sixteen numbers, or n and zeros. */
GK_ALWAYS gk_floats gk_load_some(const float *p, int64_t n) {
  if (n >= GK_LANES) {
    return gk_load(p);
  }
  gk_floats v = {0};
  memcpy(&v, p, (size_t)n * sizeof(float));
  return v;
}

GK_ALWAYS void gk_store_some(float *p, gk_floats v, int64_t n) {
  memcpy(p, &v, (n >= GK_LANES ? GK_LANES : (size_t)n) * sizeof(float));
}

GK_ALWAYS void gk_store_some_bf16(uint16_t *p, gk_floats v, int64_t n) {
  const gk_halves halves = gk_to_bf16(v);
  memcpy(p, &halves, (n >= GK_LANES ? GK_LANES : (size_t)n) * sizeof(uint16_t));
}

/* Sum of n lanes, a power of two: halves onto each other. */
GK_ALWAYS double gk_fold(double *lanes, int n) {
  for (int width = n / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) {
      lanes[i] += lanes[i + width];
    }
  }
  return lanes[0];
}

/* gk_fold of GK_LANES lanes, in registers. */
GK_ALWAYS double gk_fold_lanes(const double *lanes) {
  gk_doubles a;
  gk_doubles b;
  memcpy(&a, lanes, sizeof a);
  memcpy(&b, lanes + GK_LANES / 2, sizeof b);
  a += b;
  a += __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3);
  a += __builtin_shufflevector(a, a, 2, 3, 0, 1, 0, 1, 2, 3);
  return a[0] + a[1];
}

/* ---- quantizer ---- */

typedef struct {
  const gk_grouping *shape;
  int64_t groups; /* of a row */
  gk_floats low;  /* least code, in all lanes: the compiler does not see that they stay the same */
  gk_floats high;
} gk_quantizer;

static inline gk_quantizer gk_quantizer_of(const gk_grouping *g) {
  const float high = (float)((1 << (g->bits - 1)) - 1);
  return (gk_quantizer){.shape = g, .groups = g->cols / g->group, .low = gk_all(-high - 1.0f), .high = gk_all(high)};
}

static inline int32_t gk_check_grouping(int32_t isa, const gk_grouping *g) {
  if (g == NULL) {
    return GK_EALIGN;
  }
  if (g->bits < 2 || g->bits > 8 || g->rows < 1 || g->rows > GK_MAX_SIZE || g->cols < 1 || g->cols > GK_MAX_SIZE || g->group < 1 ||
      g->cols % g->group != 0 || (g->one_scale != 0 && (g->one_scale != 1 || g->group != g->cols))) {
    return GK_ESIZE;
  }
  return gk_isa_fits(isa) ? 0 : GK_EISA;
}

/* The pool, or null where the work is too small for it. */
static inline gk_pool *gk_worth(gk_pool *pool, int64_t numbers) { return numbers < 1 << 14 ? NULL : pool; }

GK_ALWAYS float gk_scale_of(const gk_quantizer *q, const float *scales, int64_t row, int64_t group) {
  return scales[q->shape->one_scale ? 0 : row * q->groups + group];
}

/* Codes as floats. Clipping to integers first is the same as rounding first. */
GK_ALWAYS gk_floats gk_codes(const gk_quantizer *q, gk_floats w, float scale) {
  return gk_nearest(gk_clip(w / scale, q->low, q->high));
}

#endif
