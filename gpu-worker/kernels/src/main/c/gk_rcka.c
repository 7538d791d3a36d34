/* Similarities between states and their relational loss; the formulas are those of Rcka.java. */
#include "gk_train.h"

#define GK_TINY 1e-12
#define GK_PACKED_SHARE 4 /* of the memory, for what is packed at a time */

/*
 * Memory is bounded, so matrices of [n, n] are never whole unless they fit: similarities are computed for some rows at a time, again in
 * each pass over them (means, sums, gradient), and what they are multiplied with is packed for some tokens or features at a time. An
 * element's sum and the order of all other sums do not depend on how many, so they change no bit. A product of two rows has the same bits
 * in either order: element (i, j) of the student's similarities is element (j, i).
 */
typedef struct {
  int32_t n;
  int32_t d;
  const float *v;
  const float *teacher; /* [n, n] */
  float *dv;
  double all_teacher; /* means of the means */
  double all;
  double ab;    /* product of the two norms */
  double slope; /* <a, b> / (ab <b, b>) */

  /* sizes of the parts */
  int32_t rows;
  int32_t tokens;
  int32_t features;

  /* scratch space */
  double *norms;        /* [n] */
  double *mean_teacher; /* [n] */
  double *mean;         /* [n] */
  double *sums;         /* [n, 3]: squares of a and b, their products */
  float *x;             /* [rows, d] rows of length 1 */
  float *a;             /* [rows, n] the teacher's, centered */
  float *b;             /* [rows, n] similarities; centered; the gradient with respect to them */
  float *y;             /* [rows, tokens or features] a part of a product */
  void *packed;
  void *scratch;

  /* at work */
  int32_t first; /* of the rows */
  int32_t count;
  const float *k; /* [count, n] whose means are wanted, and where they go */
  double *to;
  gk_matrix w; /* what is packed, from the token or feature on */
  int32_t from;
  float *out; /* [count, stride] what y is a part of */
  int64_t stride;
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

/* An element of a row of length 1. */
GK_ALWAYS float gk_unit(const gk_relation *r, int64_t i, int64_t j) {
  const double inverse = 1 / (r->norms[i] > GK_TINY ? r->norms[i] : GK_TINY);
  return (float)((double)r->v[i * r->d + j] * inverse);
}

GK_ALWAYS void gk_norm_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->n, part + 1, parts);
  for (int64_t i = gk_first(r->n, part, parts); i < end; i++) {
    const float *v = r->v + i * r->d;
    r->norms[i] = sqrt(gk_dot64(v, v, r->d));
  }
}
GK_VERSIONS(gk_norm_part)

GK_ALWAYS void gk_unit_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->count, part + 1, parts);
  for (int64_t i = gk_first(r->count, part, parts); i < end; i++) {
    for (int64_t j = 0; j < r->d; j++) {
      r->x[i * r->d + j] = gk_unit(r, r->first + i, j);
    }
  }
}
GK_VERSIONS(gk_unit_part)

/* Packs rows of length 1 as a weight [tokens, d], see gk_weight.h. */
GK_ALWAYS void gk_tokens_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const gk_weight *w = &r->w.head;
  const int64_t end = gk_first(gk_blocks(w), part + 1, parts);
  for (int64_t block = gk_first(gk_blocks(w), part, parts); block < end; block++) {
    float *tiles = (float *)(void *)((uint8_t *)r->packed + block * w->stride);
    memset(tiles, 0, (size_t)w->stride);
    for (int64_t i = 0; i < GK_ROWS && block * GK_ROWS + i < w->rows; i++) {
      for (int64_t j = 0; j < w->cols; j++) {
        tiles[j * GK_ROWS + i] = gk_unit(r, r->from + block * GK_ROWS + i, j);
      }
    }
  }
}
GK_VERSIONS(gk_tokens_part)

/* Packs the transposed rows of length 1 as a weight [features, n]. */
GK_ALWAYS void gk_features_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const gk_weight *w = &r->w.head;
  const int64_t end = gk_first(gk_blocks(w), part + 1, parts);
  for (int64_t block = gk_first(gk_blocks(w), part, parts); block < end; block++) {
    float *tiles = (float *)(void *)((uint8_t *)r->packed + block * w->stride);
    const int64_t left = w->rows - block * GK_ROWS;
    memset(tiles, 0, (size_t)w->stride);
    for (int64_t i = 0; i < w->cols; i++) {
      for (int64_t j = 0; j < GK_ROWS && j < left; j++) {
        tiles[i * GK_ROWS + j] = gk_unit(r, i, r->from + block * GK_ROWS + j);
      }
    }
  }
}
GK_VERSIONS(gk_features_part)

/* Puts a part of a product where it belongs. */
static void gk_place_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t width = r->w.head.rows;
  const int64_t end = gk_first(r->count, part + 1, parts);
  for (int64_t i = gk_first(r->count, part, parts); i < end; i++) {
    memcpy(r->out + i * r->stride + r->from, r->y + i * width, (size_t)width * sizeof(float));
  }
}

GK_ALWAYS void gk_mean_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->count, part + 1, parts);
  for (int64_t i = gk_first(r->count, part, parts); i < end; i++) {
    double lanes[GK_LANES] = {0};
    for (int64_t j = 0; j < r->n; j += GK_LANES) {
      float x[GK_LANES];
      gk_store(x, gk_load_some(r->k + i * r->n + j, r->n - j));
      for (int l = 0; l < GK_LANES; l++) {
        lanes[l] += (double)x[l];
      }
    }
    r->to[r->first + i] = gk_fold(lanes, GK_LANES) / r->n;
  }
}
GK_VERSIONS(gk_mean_part)

/* Less the lower row's mean and then the higher one's, so that the result is symmetric. */
GK_ALWAYS float gk_centered(float k, const double *mean, double all, int64_t i, int64_t j) {
  return (float)((double)k - mean[i < j ? i : j] - mean[i < j ? j : i] + all);
}

/* The student's similarities, where they lie. */
GK_ALWAYS void gk_center_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->count, part + 1, parts);
  for (int64_t i = gk_first(r->count, part, parts); i < end; i++) {
    for (int64_t j = 0; j < r->n; j++) {
      float *b = r->b + i * r->n + j;
      *b = gk_centered(*b, r->mean, r->all, r->first + i, j);
    }
  }
}
GK_VERSIONS(gk_center_part)

/* The teacher's, of which the upper triangle is read, so that they are symmetric as well. */
GK_ALWAYS void gk_teacher_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t n = r->n;
  const int64_t end = gk_first(r->count, part + 1, parts);
  for (int64_t own = gk_first(r->count, part, parts); own < end; own++) {
    const int64_t i = r->first + own;
    for (int64_t j = 0; j < n; j++) {
      const float k = r->teacher[i < j ? i * n + j : j * n + i];
      r->a[own * n + j] = gk_centered(k, r->mean_teacher, r->all_teacher, i, j);
    }
  }
}
GK_VERSIONS(gk_teacher_part)

GK_ALWAYS void gk_sums_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->count, part + 1, parts);
  for (int64_t i = gk_first(r->count, part, parts); i < end; i++) {
    const float *a = r->a + i * r->n;
    const float *b = r->b + i * r->n;
    double *sums = r->sums + 3 * (r->first + i);
    sums[0] = gk_dot64(a, a, r->n);
    sums[1] = gk_dot64(b, b, r->n);
    sums[2] = gk_dot64(a, b, r->n);
  }
}
GK_VERSIONS(gk_sums_part)

/* Gradient with respect to the similarities: -2 (a / ab - <a, b> b / (ab <b, b>)); centered a and b make centering it superfluous. */
GK_ALWAYS void gk_slope_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t all = (int64_t)r->count * r->n;
  const int64_t end = gk_first(all, part + 1, parts);
  for (int64_t i = gk_first(all, part, parts); i < end; i++) {
    r->b[i] = (float)(-2 * ((double)r->a[i] / r->ab - r->slope * (double)r->b[i]));
  }
}
GK_VERSIONS(gk_slope_part)

/* From the gradient with respect to the unit rows to the gradient with respect to the states. */
GK_ALWAYS void gk_project_part(void *context, int32_t part, int32_t parts) {
  const gk_relation *r = context;
  const int64_t end = gk_first(r->count, part + 1, parts);
  for (int64_t own = gk_first(r->count, part, parts); own < end; own++) {
    const double norm = r->norms[r->first + own];
    float *dv = r->dv + (r->first + own) * r->d;
    const float *unit = r->x + own * r->d;
    const double dot = gk_dot64(dv, unit, r->d);
    for (int64_t j = 0; j < r->d; j++) {
      dv[j] = norm < GK_TINY ? 0.0f : (float)(((double)dv[j] - dot * (double)unit[j]) / norm);
    }
  }
}
GK_VERSIONS(gk_project_part)

/* ---- memory ---- */

static int64_t gk_most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t gk_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Takes `bytes` from the space at `at`, which may be null to count alone. */
static void *gk_take(uint8_t *space, int64_t *at, int64_t bytes) {
  void *out = space == NULL ? NULL : space + *at;
  *at += gk_round_up(bytes, GK_ALIGN);
  return out;
}

/* Places everything for parts of those sizes; the bytes that it takes. */
static int64_t gk_place(gk_relation *r, int32_t rows, int32_t tokens, int32_t features, uint8_t *space) {
  const int64_t n = r->n;
  const int64_t d = r->d;
  const int64_t real = (int64_t)sizeof(float);
  const int64_t wide = (int64_t)sizeof(double);
  gk_weight by_token;
  gk_weight by_feature;
  (void)gk_describe_weight(&by_token, 32, tokens, r->d, r->d, 0);
  (void)gk_describe_weight(&by_feature, 32, features, r->n, r->n, 0);
  r->rows = rows;
  r->tokens = tokens;
  r->features = features;
  int64_t at = 0;
  r->norms = gk_take(space, &at, n * wide);
  r->mean_teacher = gk_take(space, &at, n * wide);
  r->mean = gk_take(space, &at, n * wide);
  r->sums = gk_take(space, &at, 3 * n * wide);
  r->x = gk_take(space, &at, rows * d * real);
  r->a = gk_take(space, &at, rows * n * real);
  r->b = gk_take(space, &at, rows * n * real);
  r->y = gk_take(space, &at, rows * gk_most(tokens < n ? tokens : 0, features < d ? features : 0) * real);
  r->packed = gk_take(space, &at, gk_most(gk_total_bytes(&by_token), gk_total_bytes(&by_feature)));
  r->scratch = gk_take(space, &at, gk_most(gk_product_scratch(&by_token, rows), gk_product_scratch(&by_feature, rows)));
  return at;
}

static int64_t gk_place_least(gk_relation *r) {
  return gk_place(r, 1, (int32_t)gk_least(r->n, GK_ROWS), (int32_t)gk_least(r->d, GK_ROWS), NULL);
}

/* So many of a weight's rows of that many columns, whole tiles, as fit. */
static int32_t gk_packed_rows(int64_t bytes, int64_t cols, int32_t all) {
  const int64_t fit = bytes / (gk_round_up(cols, 4) * (int64_t)sizeof(float)) / GK_ROWS * GK_ROWS;
  return (int32_t)gk_least(all, gk_most(fit, GK_ROWS));
}

/* The largest parts that fit, placed; an error if none do. */
static int32_t gk_plan(gk_relation *r, uint8_t *space, int64_t bytes) {
  if (gk_place(r, r->n, r->n, r->d, NULL) <= bytes) {
    (void)gk_place(r, r->n, r->n, r->d, space);
    return 0;
  }
  if (gk_place_least(r) > bytes) {
    return GK_ESPACE;
  }
  int32_t tokens = gk_packed_rows(bytes / GK_PACKED_SHARE, r->d, r->n);
  int32_t features = gk_packed_rows(bytes / GK_PACKED_SHARE, r->n, r->d);
  if (gk_place(r, 1, tokens, features, NULL) > bytes) {
    tokens = (int32_t)gk_least(r->n, GK_ROWS);
    features = (int32_t)gk_least(r->d, GK_ROWS);
  }
  int32_t rows = 1;
  for (int32_t most = r->n; rows < most;) {
    const int32_t middle = rows + (most - rows + 1) / 2;
    if (gk_place(r, middle, tokens, features, NULL) <= bytes) {
      rows = middle;
    } else {
      most = middle - 1;
    }
  }
  (void)gk_place(r, rows, tokens, features, space);
  return 0;
}

static int32_t gk_check_sizes(int32_t n, int32_t d) { return n < 1 || n > GK_MAX_SIZE || d < 1 || d > GK_MAX_SIZE ? GK_ESIZE : 0; }

int64_t gk_rcka_scratch(int32_t n, int32_t d) {
  gk_relation r = {.n = n, .d = d};
  const int32_t error = gk_check_sizes(n, d);
  return error != 0 ? error : gk_place(&r, n, n, d, NULL);
}

int64_t gk_rcka_least(int32_t n, int32_t d) {
  gk_relation r = {.n = n, .d = d};
  const int32_t error = gk_check_sizes(n, d);
  return error != 0 ? error : gk_place_least(&r);
}

/* ---- calls ---- */

typedef struct {
  gk_pool *pool;
  int32_t isa;
} gk_workers;

#define GK_DO(at, body, r) gk_run((at).pool, body##_versions[(at).isa], r)

/* out [count, rows] = x [count, cols] w^T, w [rows, cols] packed so many rows at a time. */
static void gk_times(gk_workers at, gk_relation *r, const float *x, gk_body *pack, int32_t rows, int32_t cols, int32_t step, float *out) {
  r->out = out;
  r->stride = rows;
  for (r->from = 0; r->from < rows; r->from += step) {
    const int32_t some = (int32_t)gk_least(step, rows - r->from);
    (void)gk_describe_weight(&r->w.head, 32, some, cols, cols, 0);
    r->w.blocks = r->packed;
    gk_run(at.pool, pack, r);
    gk_product_run(at.pool, at.isa, &r->w, x, r->count, some == rows ? out : r->y, r->scratch);
    if (some < rows) {
      gk_run(at.pool, gk_place_part, r);
    }
  }
}

static void gk_rows_from(gk_relation *r, int32_t first) {
  r->first = first;
  r->count = (int32_t)gk_least(r->rows, r->n - first);
}

/* Unit rows and their similarities to all. */
static void gk_similarities(gk_workers at, gk_relation *r) {
  GK_DO(at, gk_unit_part, r);
  gk_times(at, r, r->x, gk_tokens_part_versions[at.isa], r->n, r->d, r->tokens, r->b);
}

/* Means of the rows at work. */
static void gk_means(gk_workers at, gk_relation *r, const float *k, double *to) {
  r->k = k;
  r->to = to;
  GK_DO(at, gk_mean_part, r);
}

static double gk_mean_of(const gk_relation *r, const double *means) {
  double all = 0;
  for (int64_t i = 0; i < r->n; i++) {
    all += means[i] / r->n;
  }
  return all;
}

/* Both matrices' rows at work, centered; similarities that are there already stay. */
static void gk_center(gk_workers at, gk_relation *r) {
  if (r->rows < r->n) {
    gk_similarities(at, r);
  }
  GK_DO(at, gk_center_part, r);
  GK_DO(at, gk_teacher_part, r);
}

static int32_t gk_begin(gk_relation *r, int32_t isa, const void *out, void *scratch, int64_t scratch_bytes) {
  const int32_t error = gk_check_sizes(r->n, r->d);
  if (error != 0) {
    return error;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (r->v == NULL || out == NULL || !gk_aligned(scratch)) {
    return GK_EALIGN;
  }
  return gk_plan(r, scratch, scratch_bytes);
}

int32_t gk_gram(gk_pool *pool, int32_t isa, const float *v, int32_t n, int32_t d, float *out, void *scratch, int64_t scratch_bytes) {
  gk_relation r = {.n = n, .d = d, .v = v};
  const int32_t error = gk_begin(&r, isa, out, scratch, scratch_bytes);
  if (error != 0) {
    return error;
  }
  const gk_workers at = {.pool = gk_worth(pool, (int64_t)n * d), .isa = isa};
  GK_DO(at, gk_norm_part, &r);
  for (int32_t first = 0; first < n; first += r.rows) {
    gk_rows_from(&r, first);
    r.b = out + (int64_t)first * n;
    gk_similarities(at, &r);
    gk_means(at, &r, r.b, r.mean);
  }
  r.all = gk_mean_of(&r, r.mean);
  r.first = 0;
  r.count = n;
  r.b = out;
  GK_DO(at, gk_center_part, &r);
  return 0;
}

/* Sums of squares of both centered matrices and of their products; the rows of the last pass stay. */
static void gk_sums(gk_workers at, gk_relation *r, double *tt, double *ss, double *ts) {
  /* A matrix that was rounded for storage is no longer centered; centering again keeps the gradient exact. */
  r->first = 0;
  r->count = r->n;
  gk_means(at, r, r->teacher, r->mean_teacher);
  r->all_teacher = gk_mean_of(r, r->mean_teacher);
  GK_DO(at, gk_norm_part, r);
  for (int32_t first = 0; first < r->n; first += r->rows) {
    gk_rows_from(r, first);
    gk_similarities(at, r);
    gk_means(at, r, r->b, r->mean);
  }
  r->all = gk_mean_of(r, r->mean);
  for (int32_t first = 0; first < r->n; first += r->rows) {
    gk_rows_from(r, first);
    gk_center(at, r);
    GK_DO(at, gk_sums_part, r);
  }
  for (int64_t i = 0; i < r->n; i++) {
    *tt += r->sums[3 * i];
    *ss += r->sums[3 * i + 1];
    *ts += r->sums[3 * i + 2];
  }
}

int32_t gk_rcka(gk_pool *pool, int32_t isa, const float *teacher, const float *v, int32_t n, int32_t d, int32_t fewest, double least,
                double *cka, float *dv, void *scratch, int64_t scratch_bytes) {
  gk_relation r = {.n = n, .d = d, .v = v, .teacher = teacher, .dv = dv};
  const int32_t error = gk_begin(&r, isa, dv, scratch, scratch_bytes);
  if (error != 0 || teacher == NULL || cka == NULL) {
    return error != 0 ? error : GK_EALIGN;
  }
  const gk_workers at = {.pool = gk_worth(pool, (int64_t)n * d), .isa = isa};
  double tt = 0;
  double ss = 0;
  double ts = 0;
  if (n >= fewest) {
    gk_sums(at, &r, &tt, &ss, &ts);
  }
  if (n < fewest || tt < least || ss < least) {
    *cka = 1;
    memset(dv, 0, (size_t)n * (size_t)d * sizeof(float));
    return 1;
  }
  r.ab = sqrt(tt) * sqrt(ss);
  r.slope = ts / r.ab / ss;
  for (int32_t first = 0; first < n; first += r.rows) {
    gk_rows_from(&r, first);
    if (r.rows < n) {
      gk_center(at, &r);
    }
    GK_DO(at, gk_slope_part, &r);
    gk_times(at, &r, r.b, gk_features_part_versions[isa], d, n, r.features, dv + (int64_t)first * d);
    GK_DO(at, gk_project_part, &r);
  }
  const double similarity = ts / r.ab;
  *cka = similarity < 0 ? 0 : similarity > 1 ? 1 : similarity;
  return 0;
}
