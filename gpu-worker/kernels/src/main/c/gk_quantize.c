/* Scales, codes and packing. */
#include <stdatomic.h>

#include "gk_train.h"

#define GK_RATIOS 20

/* ---- scale search ---- */

typedef struct {
  const float *w;
  int64_t groups;
  int64_t group;
  int32_t bits;
  const double *ratios;
  float least;
  float most;
  float *scales;
} gk_search;

GK_ALWAYS float gk_absmax(const float *w, int64_t n) {
  float lanes[GK_LANES] = {0};
  for (int64_t i = 0; i < n; i += GK_LANES) {
    float v[GK_LANES];
    gk_store(v, gk_load_some(w + i, n - i));
    for (int l = 0; l < GK_LANES; l++) {
      const float size = fabsf(v[l]);
      lanes[l] = size > lanes[l] ? size : lanes[l];
    }
  }
  float max = 0;
  for (int l = 0; l < GK_LANES; l++) {
    max = lanes[l] > max ? lanes[l] : max;
  }
  return max;
}

/* The candidates are the lanes, so each error is summed in the order of the weights. */
GK_ALWAYS float gk_best_scale(const gk_search *s, const float *w) {
  const float high = (float)((1 << (s->bits - 1)) - 1);
  const float low = -high - 1.0f;
  const float max = gk_absmax(w, s->group);
  if (max == 0) {
    return s->least;
  }
  float scale[GK_RATIOS];
  double error[GK_RATIOS] = {0};
  for (int k = 0; k < GK_RATIOS; k++) {
    const float own = (float)(s->ratios[k] * (double)max / (double)high);
    scale[k] = own < s->least ? s->least : own > s->most ? s->most : own;
  }
  for (int64_t i = 0; i < s->group; i++) {
    for (int k = 0; k < GK_RATIOS; k++) {
      float u = w[i] / scale[k];
      u = u < high ? u : high;
      u = u > low ? u : low;
      const float rounded = (u + 12582912.0f) - 12582912.0f;
      const double d = (double)(w[i] - scale[k] * rounded);
      error[k] += d * d;
    }
  }
  int best = 0;
  for (int k = 1; k < GK_RATIOS; k++) {
    best = error[k] < error[best] ? k : best;
  }
  return scale[best];
}

GK_ALWAYS void gk_search_part(void *context, int32_t part, int32_t parts) {
  const gk_search *s = context;
  const int64_t end = gk_first(s->groups, part + 1, parts);
  for (int64_t i = gk_first(s->groups, part, parts); i < end; i++) {
    s->scales[i] = gk_best_scale(s, s->w + i * s->group);
  }
}
GK_VERSIONS(gk_search_part)

int32_t gk_search_scales(gk_pool *pool, int32_t isa, const float *w, int64_t groups, int64_t group, int32_t bits, const double *ratios,
                         float least, float most, float *scales) {
  if (bits < 2 || bits > 8 || groups < 0 || groups > INT32_MAX || group < 1 || group > INT32_MAX || !(least > 0) || !(most >= least)) {
    return GK_ESIZE;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (groups == 0) {
    return 0;
  }
  if (w == NULL || ratios == NULL || scales == NULL) {
    return GK_EALIGN;
  }
  gk_search s = {w, groups, group, bits, ratios, least, most, scales};
  gk_run(groups * group < 1 << 10 ? NULL : pool, gk_search_part_versions[isa], &s);
  return 0;
}

/* ---- scales of log-scales ---- */

typedef struct {
  const float *theta;
  int64_t n;
  float least;
  float most;
  float *scales;
  atomic_int bad;
} gk_exponentials;

/* e^x within some units in the last place for |x| of at most 700: range reduction by ln 2 in two parts and a Taylor polynomial. */
GK_ALWAYS double gk_exp_wide(double x) {
  const double shifted = x * 1.4426950408889634 + 0x1.8p52;
  const double k = shifted - 0x1.8p52;
  const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
  double p = 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  uint64_t power;
  uint64_t bits;
  memcpy(&power, &shifted, sizeof power);
  memcpy(&bits, &p, sizeof bits);
  bits += power << 52; /* the low bits of the shifted number are k */
  memcpy(&p, &bits, sizeof p);
  return p;
}

GK_ALWAYS void gk_exponentials_part(void *context, int32_t part, int32_t parts) {
  gk_exponentials *e = context;
  const int64_t steps = (e->n + GK_LANES - 1) / GK_LANES;
  const int64_t end = gk_first(steps, part + 1, parts);
  const float least = e->least;
  const float most = e->most;
  float poison[GK_LANES] = {0}; /* a number that is not finite times 0 is NaN */
  for (int64_t i = gk_first(steps, part, parts); i < end; i++) {
    const int64_t n = e->n - i * GK_LANES;
    const gk_floats theta = gk_load_some(e->theta + i * GK_LANES, n);
    float x[GK_LANES];
    float out[GK_LANES];
    gk_store(x, theta * 0.0f);
    for (int l = 0; l < GK_LANES; l++) {
      poison[l] += x[l];
    }
    gk_store(x, gk_max(gk_min(theta, 700.0f), -700.0f));
    for (int l = 0; l < GK_LANES; l++) {
      out[l] = (float)gk_exp_wide(x[l]);
    }
    gk_store_some(e->scales + i * GK_LANES, gk_min(gk_max(gk_load(out), least), most), n);
  }
  for (int l = 0; l < GK_LANES; l++) {
    if (poison[l] != 0.0f) {
      e->bad = 1;
    }
  }
}
GK_VERSIONS(gk_exponentials_part)

int32_t gk_scales(gk_pool *pool, int32_t isa, const float *theta, int64_t n, float least, float most, float *scales) {
  if (n < 0 || n > INT32_MAX || !(least > 0) || !(most >= least)) {
    return GK_ESIZE;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (n == 0) {
    return 0;
  }
  if (theta == NULL || scales == NULL) {
    return GK_EALIGN;
  }
  gk_exponentials e = {.theta = theta, .n = n, .least = least, .most = most, .scales = scales};
  gk_run(n < 1 << 11 ? NULL : pool, gk_exponentials_part_versions[isa], &e);
  return e.bad ? GK_EVALUE : 0;
}

/* ---- rounding ---- */

typedef struct {
  gk_quantizer q;
  const float *w;
  const float *scales;
  int32_t *words;
  float *out;
} gk_rounding;

GK_ALWAYS void gk_pack_row(const gk_rounding *r, int64_t row) {
  const gk_grouping *g = r->q.shape;
  const int64_t per_row = ((int64_t)g->cols * g->bits + 31) / 32;
  const uint32_t mask = (1u << g->bits) - 1u;
  int32_t *out = r->words + row * per_row;
  uint64_t pending = 0;
  int32_t filled = 0;
  for (int64_t k = 0; k < r->q.groups; k++) {
    const float *w = r->w + row * g->cols + k * g->group;
    const float scale = gk_scale_of(&r->q, r->scales, row, k);
    for (int64_t i = 0; i < g->group; i += GK_LANES) {
      const gk_ints codes = __builtin_convertvector(gk_codes(&r->q, gk_load_some(w + i, g->group - i), scale) - r->q.low, gk_ints);
      uint32_t code[GK_LANES];
      memcpy(code, &codes, sizeof code);
      for (int64_t l = 0; l < GK_LANES && i + l < g->group; l++) {
        pending |= (uint64_t)(code[l] & mask) << filled;
        filled += g->bits;
        if (filled >= 32) {
          *out++ = (int32_t)(uint32_t)pending;
          pending >>= 32;
          filled -= 32;
        }
      }
    }
  }
  if (filled > 0) {
    *out = (int32_t)(uint32_t)pending;
  }
}

GK_ALWAYS void gk_pack_part(void *context, int32_t part, int32_t parts) {
  const gk_rounding *r = context;
  const int64_t end = gk_first(r->q.shape->rows, part + 1, parts);
  for (int64_t row = gk_first(r->q.shape->rows, part, parts); row < end; row++) {
    gk_pack_row(r, row);
  }
}
GK_VERSIONS(gk_pack_part)

GK_ALWAYS void gk_fake_part(void *context, int32_t part, int32_t parts) {
  const gk_rounding *r = context;
  const gk_grouping *g = r->q.shape;
  const int64_t end = gk_first(g->rows, part + 1, parts);
  for (int64_t row = gk_first(g->rows, part, parts); row < end; row++) {
    for (int64_t k = 0; k < r->q.groups; k++) {
      const int64_t at = row * g->cols + k * g->group;
      const float scale = gk_scale_of(&r->q, r->scales, row, k);
      for (int64_t i = 0; i < g->group; i += GK_LANES) {
        const int64_t n = g->group - i;
        gk_store_some(r->out + at + i, gk_codes(&r->q, gk_load_some(r->w + at + i, n), scale) * scale, n);
      }
    }
  }
}
GK_VERSIONS(gk_fake_part)

int32_t gk_quantize(gk_pool *pool, int32_t isa, const gk_grouping *shape, const float *w, const float *scales, int32_t *words) {
  const int32_t error = gk_check_grouping(isa, shape);
  if (error != 0) {
    return error;
  }
  if (w == NULL || scales == NULL || words == NULL) {
    return GK_EALIGN;
  }
  gk_rounding r = {.q = gk_quantizer_of(shape), .w = w, .scales = scales, .words = words};
  gk_run(gk_worth(pool, (int64_t)shape->rows * shape->cols), gk_pack_part_versions[isa], &r);
  return 0;
}

int32_t gk_fake_quantize(gk_pool *pool, int32_t isa, const gk_grouping *shape, const float *w, const float *scales, float *out) {
  const int32_t error = gk_check_grouping(isa, shape);
  if (error != 0) {
    return error;
  }
  if (w == NULL || scales == NULL || out == NULL) {
    return GK_EALIGN;
  }
  gk_rounding r = {.q = gk_quantizer_of(shape), .w = w, .scales = scales, .out = out};
  gk_run(gk_worth(pool, (int64_t)shape->rows * shape->cols), gk_fake_part_versions[isa], &r);
  return 0;
}
