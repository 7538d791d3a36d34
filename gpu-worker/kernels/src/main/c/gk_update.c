/* Gradient of the quantizer, and the optimizer's step. */
#include "gk_train.h"

/* ---- gradient ---- */

typedef struct {
  gk_quantizer q;
  const float *w;
  const float *scales;
  const float *d;
  float *dw;
  double *d_scale;
  float *d_theta;
  double *squares;
} gk_gradient;

/* Where the straight-through estimator lets the gradient pass; *code becomes the clipped code and *ratio w / s. */
GK_ALWAYS gk_ints gk_mask(const gk_quantizer *q, gk_floats w, float scale, gk_floats *code, gk_floats *ratio) {
  *ratio = w / scale;
  const gk_floats rounded = gk_nearest(gk_clip(*ratio, q->low - 1.0f, q->high + 1.0f));
  *code = gk_clip(rounded, q->low, q->high);
  return rounded == *code;
}

/*
 * One group; adds the squares to lanes, and to poison 0 times each number, which is NaN for one that is not finite. Returns the gradient
 * of the scale. Products are exact in double precision.
 */
GK_ALWAYS double gk_group_gradient(const gk_gradient *g, int64_t at, int64_t group, float scale, double *squares, float *poison) {
  double lanes[GK_LANES] = {0};
  for (int64_t i = 0; i < group; i += GK_LANES) {
    gk_floats code;
    gk_floats ratio;
    const gk_floats d = gk_load_some(g->d + at + i, group - i);
    const gk_ints in = gk_mask(&g->q, gk_load_some(g->w + at + i, group - i), scale, &code, &ratio);
    const gk_floats passed = (gk_floats)(in & (gk_ints)d);
    const gk_floats slope = (gk_floats)((in & (gk_ints)(code - ratio)) | (~in & (gk_ints)code));
    float ds[GK_LANES];
    float ps[GK_LANES];
    float slopes[GK_LANES];
    gk_store(ds, d);
    gk_store(ps, passed);
    gk_store(slopes, slope);
    for (int l = 0; l < GK_LANES; l++) {
      lanes[l] += (double)ds[l] * (double)slopes[l];
      squares[l] += (double)ps[l] * (double)ps[l];
      poison[l] += ds[l] * 0.0f;
    }
    if (g->dw != NULL) {
      gk_store_some(g->dw + at + i, passed, group - i);
    }
  }
  return gk_fold_lanes(lanes);
}

GK_ALWAYS void gk_gradient_part(void *context, int32_t part, int32_t parts) {
  const gk_gradient g = *(const gk_gradient *)context;
  const gk_grouping shape = *g.q.shape;
  const int64_t end = gk_first(shape.rows, part + 1, parts);
  for (int64_t row = gk_first(shape.rows, part, parts); row < end; row++) {
    double squares[GK_LANES] = {0};
    float poison[GK_LANES] = {0};
    for (int64_t k = 0; k < g.q.groups; k++) {
      const float scale = gk_scale_of(&g.q, g.scales, row, k);
      const double d = gk_group_gradient(&g, row * shape.cols + k * shape.group, shape.group, scale, squares, poison);
      if (g.d_scale != NULL) {
        g.d_scale[row * g.q.groups + k] = d;
      }
      if (g.d_theta != NULL) {
        g.d_theta[row * g.q.groups + k] = (float)((double)scale * d);
      }
    }
    if (g.squares != NULL) {
      for (int l = 0; l < GK_LANES; l++) {
        squares[l] += poison[l];
      }
      g.squares[row] = gk_fold_lanes(squares);
    }
  }
}
GK_VERSIONS(gk_gradient_part)

int32_t gk_quantizer_gradient(gk_pool *pool, int32_t isa, const gk_grouping *shape, const float *w, const float *scales, const float *d,
                              float *dw, double *d_scale, float *d_theta, double *squares) {
  const int32_t error = gk_check_grouping(isa, shape);
  if (error != 0) {
    return error;
  }
  if (w == NULL || scales == NULL || d == NULL) {
    return GK_EALIGN;
  }
  gk_gradient g = {.q = gk_quantizer_of(shape), .w = w, .scales = scales, .d = d, .dw = dw};
  g.d_scale = d_scale;
  g.d_theta = d_theta;
  g.squares = squares;
  gk_run(gk_worth(pool, (int64_t)shape->rows * shape->cols), gk_gradient_part_versions[isa], &g);
  return 0;
}

/* ---- norm ---- */

typedef struct {
  const float *v;
  int64_t n;
  double *sums;
} gk_norm;

GK_ALWAYS void gk_squares_part(void *context, int32_t part, int32_t parts) {
  const gk_norm *s = context;
  const int64_t chunks = (s->n + GK_SQUARES - 1) / GK_SQUARES;
  const int64_t end = gk_first(chunks, part + 1, parts);
  for (int64_t c = gk_first(chunks, part, parts); c < end; c++) {
    const int64_t to = (c + 1) * GK_SQUARES < s->n ? (c + 1) * GK_SQUARES : s->n;
    double lanes[GK_LANES] = {0};
    for (int64_t i = c * GK_SQUARES; i < to; i += GK_LANES) {
      float v[GK_LANES];
      gk_store(v, gk_load_some(s->v + i, to - i));
      for (int l = 0; l < GK_LANES; l++) {
        lanes[l] += (double)v[l] * (double)v[l];
      }
    }
    s->sums[c] = gk_fold_lanes(lanes);
  }
}
GK_VERSIONS(gk_squares_part)

int32_t gk_squares(gk_pool *pool, int32_t isa, const float *v, int64_t n, double *sums) {
  if (n < 0 || n > (int64_t)GK_MAX_SIZE * GK_MAX_SIZE) {
    return GK_ESIZE;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (n == 0) {
    return 0;
  }
  if (v == NULL || sums == NULL) {
    return GK_EALIGN;
  }
  gk_norm s = {.v = v, .n = n, .sums = sums};
  gk_run(gk_worth(pool, n), gk_squares_part_versions[isa], &s);
  return 0;
}

/* ---- step ---- */

/* Where the values go that the model computes with: nowhere, or to float32 or bfloat16 numbers. */
typedef struct {
  void *numbers;
  int32_t half;
} gk_copy;

typedef struct {
  gk_quantizer q; /* unused by a plain step */
  const gk_adamw *step;
  int64_t n; /* of a plain step */
  float *p;
  const float *g;
  float *m;
  float *v;
  const float *before;
  const float *after;
  gk_copy out;
} gk_update;

GK_ALWAYS void gk_put(gk_copy out, int64_t at, gk_floats v, int64_t n) {
  if (out.numbers == NULL) {
    return;
  }
  if (out.half) {
    gk_store_some_bf16((uint16_t *)out.numbers + at, v, n);
  } else {
    gk_store_some((float *)out.numbers + at, v, n);
  }
}

/* AdamW of sixteen weights, whose moments become the new ones. */
GK_ALWAYS gk_floats gk_move(gk_adamw s, gk_floats p, gk_floats g, gk_floats *m, gk_floats *v) {
  g = g * s.scale;
  *m = *m * s.b1 + g * s.rest1;
  *v = *v * s.b2 + g * g * s.rest2;
  float roots[GK_LANES];
  gk_store(roots, *v);
  for (int l = 0; l < GK_LANES; l++) {
    roots[l] = sqrtf(roots[l]);
  }
  return p * s.keep - *m * s.rate / (gk_load(roots) * s.root + s.eps);
}

GK_ALWAYS void gk_plain_part(void *context, int32_t part, int32_t parts) {
  const gk_update u = *(const gk_update *)context;
  const gk_adamw step = *u.step;
  const int64_t steps = (u.n + GK_LANES - 1) / GK_LANES;
  const int64_t end = gk_first(steps, part + 1, parts);
  for (int64_t i = gk_first(steps, part, parts); i < end; i++) {
    const int64_t at = i * GK_LANES;
    const int64_t n = u.n - at;
    gk_floats m = gk_load_some(u.m + at, n);
    gk_floats v = gk_load_some(u.v + at, n);
    const gk_floats p = gk_move(step, gk_load_some(u.p + at, n), gk_load_some(u.g + at, n), &m, &v);
    gk_store_some(u.p + at, p, n);
    gk_store_some(u.m + at, m, n);
    gk_store_some(u.v + at, v, n);
    gk_put(u.out, at, p, n);
  }
}
GK_VERSIONS(gk_plain_part)

/* Asks for what a step will read some iterations later; beyond an array's end that does nothing. */
GK_ALWAYS void gk_ask(const float *p) { __builtin_prefetch((const void *)((uintptr_t)p + 32 * GK_LANES * sizeof(float))); }

/* Mask, step and new value of up to sixteen weights of a group from `at` on. */
GK_ALWAYS void gk_quantized_weights(const gk_update *u, gk_adamw step, int64_t at, int64_t n, float before, float after) {
  gk_floats code;
  gk_floats ratio;
  gk_floats p = gk_load_some(u->p + at, n);
  gk_floats m = gk_load_some(u->m + at, n);
  gk_floats v = gk_load_some(u->v + at, n);
  const gk_floats g = gk_load_some(u->g + at, n);
  gk_ask(u->p + at);
  gk_ask(u->g + at);
  gk_ask(u->m + at);
  gk_ask(u->v + at);
  const gk_ints in = gk_mask(&u->q, p, before, &code, &ratio);
  p = gk_move(step, p, (gk_floats)(in & (gk_ints)g), &m, &v);
  gk_store_some(u->p + at, p, n);
  gk_store_some(u->m + at, m, n);
  gk_store_some(u->v + at, v, n);
  gk_put(u->out, at, gk_codes(&u->q, p, after) * after, n);
}

GK_ALWAYS void gk_quantized_part(void *context, int32_t part, int32_t parts) {
  const gk_update u = *(const gk_update *)context;
  const gk_adamw step = *u.step;
  const gk_grouping shape = *u.q.shape;
  const int64_t whole = shape.group / GK_LANES * GK_LANES;
  const int64_t end = gk_first(shape.rows, part + 1, parts);
  for (int64_t row = gk_first(shape.rows, part, parts); row < end; row++) {
    for (int64_t k = 0; k < u.q.groups; k++) {
      const float before = gk_scale_of(&u.q, u.before, row, k);
      const float after = gk_scale_of(&u.q, u.after, row, k);
      const int64_t at = row * shape.cols + k * shape.group;
      for (int64_t i = 0; i < whole; i += GK_LANES) {
        gk_quantized_weights(&u, step, at + i, GK_LANES, before, after);
      }
      if (whole < shape.group) {
        gk_quantized_weights(&u, step, at + whole, shape.group - whole, before, after);
      }
    }
  }
}
GK_VERSIONS(gk_quantized_part)

int32_t gk_adamw_step(gk_pool *pool, int32_t isa, const gk_adamw *step, int64_t n, float *p, const float *g, float *m, float *v, void *out,
                      int32_t half) {
  if (n < 0 || n > (int64_t)GK_MAX_SIZE * GK_MAX_SIZE) {
    return GK_ESIZE;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (n == 0) {
    return 0;
  }
  if (step == NULL || p == NULL || g == NULL || m == NULL || v == NULL) {
    return GK_EALIGN;
  }
  gk_update u = {.step = step, .n = n, .p = p, .g = g, .m = m, .v = v, .out = {out, half}};
  gk_run(gk_worth(pool, n), gk_plain_part_versions[isa], &u);
  return 0;
}

int32_t gk_quantized_step(gk_pool *pool, int32_t isa, const gk_grouping *shape, const gk_adamw *step, float *w, const float *g, float *m,
                          float *v, const float *scales_before, const float *scales_after, void *out, int32_t half) {
  const int32_t error = gk_check_grouping(isa, shape);
  if (error != 0) {
    return error;
  }
  if (step == NULL || w == NULL || g == NULL || m == NULL || v == NULL || scales_before == NULL || scales_after == NULL || out == NULL) {
    return GK_EALIGN;
  }
  gk_update u = {.q = gk_quantizer_of(shape), .step = step, .p = w, .g = g, .m = m, .v = v, .out = {out, half}};
  u.before = scales_before;
  u.after = scales_after;
  gk_run(gk_worth(pool, (int64_t)shape->rows * shape->cols), gk_quantized_part_versions[isa], &u);
  return 0;
}
