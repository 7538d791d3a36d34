/* Similarities between states and their relational loss; the formulas are those of Rcka.java. */
#include "gk_train.h"

#define GK_TINY 1e-12

typedef struct {
  int32_t n;
  int32_t d;
  const float *v;
  const float *k; /* [n, n] what is centred */
  float *centred;
  double all;   /* mean of the means */
  double ab;    /* product of the two norms */
  double slope; /* <a, b> / (ab <b, b>) */
  float *dv;
  /* scratch space */
  double *norms; /* [n] */
  double *mean;  /* [n] */
  double *sums;  /* [n, 3]: squares of a and b, their products */
  float *unit;   /* [n, d] rows of length 1 */
  float *turned; /* [d, n] */
  float *raw;    /* [n, n] similarities, then the gradient by them */
  float *a;      /* [n, n] the teacher's, centred */
  float *b;      /* [n, n] the student's, centred */
  void *packed;
  int64_t packed_bytes;
  void *scratch;
  int64_t scratch_bytes;
} gk_relation;

/* Sum of products, exact in double precision each. */
GK_ALWAYS double gk_dot64(const float *a, const float *b, int64_t n) {
  double lanes[GK_LANES] = {0};
  for (int64_t i = 0; i < n; i += GK_LANES) {
    float x[GK_LANES];
    float y[GK_LANES];
    gk_store(x, gk_load_some(a + i, n - i));
    gk_store(y, gk_load_some(b + i, n - i));
    for (int l = 0; l < GK_LANES; l++) {
      lanes[l] += (double)x[l] * (double)y[l];
    }
  }
  return gk_fold(lanes, GK_LANES);
}

GK_ALWAYS void gk_unit_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->n, part + 1, parts);
  for (int64_t i = gk_first(r->n, part, parts); i < end; i++) {
    const float *v = r->v + i * r->d;
    r->norms[i] = sqrt(gk_dot64(v, v, r->d));
    const double inverse = 1 / (r->norms[i] > GK_TINY ? r->norms[i] : GK_TINY);
    for (int64_t j = 0; j < r->d; j++) {
      r->unit[i * r->d + j] = (float)((double)v[j] * inverse);
    }
  }
}
GK_VERSIONS(gk_unit_part)

GK_ALWAYS void gk_mean_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->n, part + 1, parts);
  for (int64_t i = gk_first(r->n, part, parts); i < end; i++) {
    double lanes[GK_LANES] = {0};
    for (int64_t j = 0; j < r->n; j += GK_LANES) {
      float x[GK_LANES];
      gk_store(x, gk_load_some(r->k + i * r->n + j, r->n - j));
      for (int l = 0; l < GK_LANES; l++) {
        lanes[l] += (double)x[l];
      }
    }
    r->mean[i] = gk_fold(lanes, GK_LANES) / r->n;
  }
}
GK_VERSIONS(gk_mean_part)

/* Element (i, j) comes from the upper triangle, so the result is symmetric. */
GK_ALWAYS void gk_centre_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t n = r->n;
  const int64_t end = gk_first(n, part + 1, parts);
  for (int64_t i = gk_first(n, part, parts); i < end; i++) {
    for (int64_t j = 0; j < n; j++) {
      const int64_t low = i < j ? i : j;
      const int64_t high = i < j ? j : i;
      r->centred[i * n + j] = (float)((double)r->k[low * n + high] - r->mean[low] - r->mean[high] + r->all);
    }
  }
}
GK_VERSIONS(gk_centre_part)

GK_ALWAYS void gk_sums_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->n, part + 1, parts);
  for (int64_t i = gk_first(r->n, part, parts); i < end; i++) {
    const float *a = r->a + i * r->n;
    const float *b = r->b + i * r->n;
    r->sums[3 * i] = gk_dot64(a, a, r->n);
    r->sums[3 * i + 1] = gk_dot64(b, b, r->n);
    r->sums[3 * i + 2] = gk_dot64(a, b, r->n);
  }
}
GK_VERSIONS(gk_sums_part)

/* Gradient by the similarities: -2 (a / ab - <a, b> b / (ab <b, b>)); centred a and b make centring it superfluous. */
GK_ALWAYS void gk_slope_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t all = (int64_t)r->n * r->n;
  const int64_t end = gk_first(all, part + 1, parts);
  for (int64_t i = gk_first(all, part, parts); i < end; i++) {
    r->raw[i] = (float)(-2 * ((double)r->a[i] / r->ab - r->slope * (double)r->b[i]));
  }
}
GK_VERSIONS(gk_slope_part)

GK_ALWAYS void gk_turn_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->d, part + 1, parts);
  for (int64_t j = gk_first(r->d, part, parts); j < end; j++) {
    for (int64_t i = 0; i < r->n; i++) {
      r->turned[j * r->n + i] = r->unit[i * r->d + j];
    }
  }
}
GK_VERSIONS(gk_turn_part)

/* From the gradient by the unit rows to that by the states. */
GK_ALWAYS void gk_project_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->n, part + 1, parts);
  for (int64_t i = gk_first(r->n, part, parts); i < end; i++) {
    float *dv = r->dv + i * r->d;
    const float *unit = r->unit + i * r->d;
    const double dot = gk_dot64(dv, unit, r->d);
    for (int64_t j = 0; j < r->d; j++) {
      dv[j] = r->norms[i] < GK_TINY ? 0.0f : (float)(((double)dv[j] - dot * (double)unit[j]) / r->norms[i]);
    }
  }
}
GK_VERSIONS(gk_project_part)

/* ---- memory ---- */

static int64_t gk_most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Takes `bytes` from the space at `at`, which may be null to count alone. */
static void *gk_take(uint8_t *space, int64_t *at, int64_t bytes) {
  void *out = space == NULL ? NULL : space + *at;
  *at += gk_round_up(bytes, GK_ALIGN);
  return out;
}

/* Places everything; the bytes that it takes, or an error. */
static int64_t gk_place(gk_relation *r, uint8_t *space) {
  const int64_t n = r->n;
  const int64_t d = r->d;
  const int64_t real = (int64_t)sizeof(float);
  gk_weight states;
  gk_weight turned;
  if (n < 1 || d < 1 || gk_describe_weight(&states, 32, r->n, r->d, r->d, 0) != 0 || gk_describe_weight(&turned, 32, r->d, r->n, r->n, 0)) {
    return GK_ESIZE;
  }
  int64_t at = 0;
  r->norms = gk_take(space, &at, n * (int64_t)sizeof(double));
  r->mean = gk_take(space, &at, n * (int64_t)sizeof(double));
  r->sums = gk_take(space, &at, 3 * n * (int64_t)sizeof(double));
  r->unit = gk_take(space, &at, n * d * real);
  r->turned = gk_take(space, &at, n * d * real);
  r->raw = gk_take(space, &at, n * n * real);
  r->a = gk_take(space, &at, n * n * real);
  r->b = gk_take(space, &at, n * n * real);
  r->packed_bytes = gk_most(gk_total_bytes(&states), gk_total_bytes(&turned));
  r->packed = gk_take(space, &at, r->packed_bytes);
  r->scratch_bytes = gk_most(gk_product_scratch(&states, n), gk_product_scratch(&turned, n));
  r->scratch = gk_take(space, &at, r->scratch_bytes);
  return at;
}

int64_t gk_rcka_scratch(int32_t n, int32_t d) {
  gk_relation r = {.n = n, .d = d};
  return gk_place(&r, NULL);
}

/* ---- calls ---- */

/* y [n, rows] = x [n, cols] w^T for w [rows, cols]. */
static int32_t gk_times(gk_pool *pool, int32_t isa, const gk_relation *r, const float *x, const float *w, int32_t rows, int32_t cols,
                        float *y) {
  const int64_t bytes = gk_weight_bytes(32, rows, cols, cols, 0);
  const int32_t error = gk_pack_dense(w, 32, rows, cols, r->packed, bytes);
  return error != 0 ? error : gk_matmul(pool, isa, r->packed, bytes, x, r->n, y, r->scratch, r->scratch_bytes);
}

static void gk_centre(gk_pool *pool, int32_t isa, gk_relation *r, const float *k, float *centred) {
  r->k = k;
  r->centred = centred;
  gk_run(pool, gk_mean_part_versions[isa], r);
  r->all = 0;
  for (int64_t i = 0; i < r->n; i++) {
    r->all += r->mean[i] / r->n;
  }
  gk_run(pool, gk_centre_part_versions[isa], r);
}

static int32_t gk_similarities(gk_pool *pool, int32_t isa, gk_relation *r, float *centred) {
  gk_run(pool, gk_unit_part_versions[isa], r);
  const int32_t error = gk_times(pool, isa, r, r->unit, r->unit, r->n, r->d, r->raw);
  if (error == 0) {
    gk_centre(pool, isa, r, r->raw, centred);
  }
  return error;
}

static int32_t gk_begin(gk_relation *r, int32_t isa, const void *out, void *scratch, int64_t scratch_bytes) {
  const int64_t bytes = gk_place(r, NULL);
  if (bytes < 0) {
    return (int32_t)bytes;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (r->v == NULL || out == NULL || !gk_aligned(scratch)) {
    return GK_EALIGN;
  }
  if (scratch_bytes < bytes) {
    return GK_ESPACE;
  }
  (void)gk_place(r, scratch);
  return 0;
}

int32_t gk_gram(gk_pool *pool, int32_t isa, const float *v, int32_t n, int32_t d, float *out, void *scratch, int64_t scratch_bytes) {
  gk_relation r = {.n = n, .d = d, .v = v};
  const int32_t error = gk_begin(&r, isa, out, scratch, scratch_bytes);
  return error != 0 ? error : gk_similarities(gk_worth(pool, (int64_t)n * d), isa, &r, out);
}

int32_t gk_rcka(gk_pool *pool, int32_t isa, const float *teacher, const float *v, int32_t n, int32_t d, int32_t fewest, double least,
                double *cka, float *dv, void *scratch, int64_t scratch_bytes) {
  gk_relation r = {.n = n, .d = d, .v = v, .dv = dv};
  int32_t error = gk_begin(&r, isa, dv, scratch, scratch_bytes);
  if (error != 0 || teacher == NULL || cka == NULL) {
    return error != 0 ? error : GK_EALIGN;
  }
  gk_pool *own = gk_worth(pool, (int64_t)n * d);
  double tt = 0;
  double ss = 0;
  double ts = 0;
  if (n >= fewest) {
    /* A matrix that was rounded for storage is no longer centred; centring again keeps the gradient exact. */
    gk_centre(own, isa, &r, teacher, r.a);
    error = gk_similarities(own, isa, &r, r.b);
    if (error != 0) {
      return error;
    }
    gk_run(own, gk_sums_part_versions[isa], &r);
    for (int64_t i = 0; i < n; i++) {
      tt += r.sums[3 * i];
      ss += r.sums[3 * i + 1];
      ts += r.sums[3 * i + 2];
    }
  }
  if (n < fewest || tt < least || ss < least) {
    *cka = 1;
    memset(dv, 0, (size_t)n * (size_t)d * sizeof(float));
    return 1;
  }
  r.ab = sqrt(tt) * sqrt(ss);
  r.slope = ts / r.ab / ss;
  gk_run(own, gk_slope_part_versions[isa], &r);
  gk_run(own, gk_turn_part_versions[isa], &r);
  error = gk_times(own, isa, &r, r.raw, r.turned, d, n, dv);
  if (error != 0) {
    return error;
  }
  gk_run(own, gk_project_part_versions[isa], &r);
  const double similarity = ts / r.ab;
  *cka = similarity < 0 ? 0 : similarity > 1 ? 1 : similarity;
  return 0;
}
