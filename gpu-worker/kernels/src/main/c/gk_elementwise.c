/* The operations between the products of a transformer block, each in one pass over its rows. */
#include <math.h>

#include "gk_train_block.h"
#include "gk_vector.h"

#define GK_LINES 32 /* that a thread takes at a time, and whose column sums are one part */

/* Work on rows [from, end). */
typedef void gk_on_rows(const void *context, int64_t from, int64_t end);

typedef struct {
  gk_on_rows *body;
  const void *context;
  int64_t rows;
  gk_items items;
} gk_row_work;

static void gk_rows_part(void *context, int32_t part, int32_t parts) {
  gk_row_work *w = context;
  int64_t at;
  for (int64_t end; (end = gk_claim(&w->items, part, parts, 1, &at)) > at;) {
    const int64_t from = at * GK_LINES;
    w->body(w->context, from, from + GK_LINES < w->rows ? from + GK_LINES : w->rows);
  }
}

static void gk_run_rows(gk_pool *pool, gk_on_rows *body, const void *context, int64_t rows) {
  gk_row_work w = {.body = body, .context = context, .rows = rows};
  gk_split(&w.items, gk_parts(rows, GK_LINES), gk_pool_threads(pool));
  gk_run(pool, gk_rows_part, &w);
}

/* Sixteen numbers of a row of weights; ones or zeros where there is none. */
GK_TARGET(GK_TILE_ISA) GK_INLINE __m512 gk_get_or(const uint16_t *p, int64_t at, __mmask16 mask, float other) {
  return p == NULL ? _mm512_set1_ps(other) : gk_get(p + at, mask);
}

GK_TARGET(GK_TILE_ISA) GK_INLINE __m512 gk_exp_16(__m512 v) { return (__m512)gk_exp((gk_floats)v); }

GK_TARGET(GK_TILE_ISA) GK_INLINE __m512 gk_sigmoid(__m512 v) {
  const __m512 one = _mm512_set1_ps(1);
  return _mm512_div_ps(one, _mm512_add_ps(one, gk_exp_16(_mm512_sub_ps(_mm512_setzero_ps(), v))));
}

/* ---- normalization ---- */

typedef struct {
  const gk_norm *n;
  const uint16_t *x;
  float *statistics;
  uint16_t *y;
} gk_norm_work;

GK_TARGET(GK_TILE_ISA) static void gk_norm_rows(const void *context, int64_t from, int64_t end) {
  const gk_norm_work *w = context;
  const gk_norm *n = w->n;
  for (int64_t i = from; i < end; i++) {
    const uint16_t *x = w->x + i * n->cols;
    uint16_t *y = w->y + i * n->cols;
    __m512 sum = _mm512_setzero_ps();
    for (int32_t c = 0; n->centered && c < n->cols; c += 16) {
      sum = _mm512_add_ps(sum, gk_get(x + c, gk_first_16(n->cols - c)));
    }
    const float mean = _mm512_reduce_add_ps(sum) / (float)n->cols;
    const __m512 center = _mm512_set1_ps(mean);
    __m512 squares = _mm512_setzero_ps();
    for (int32_t c = 0; c < n->cols; c += 16) {
      const __mmask16 mask = gk_first_16(n->cols - c);
      const __m512 v = _mm512_maskz_sub_ps(mask, gk_get(x + c, mask), center);
      squares = _mm512_fmadd_ps(v, v, squares);
    }
    const float inverse = 1 / sqrtf(_mm512_reduce_add_ps(squares) / (float)n->cols + n->eps);
    w->statistics[2 * i] = mean;
    w->statistics[2 * i + 1] = inverse;
    for (int32_t c = 0; c < n->cols; c += 16) {
      const __mmask16 mask = gk_first_16(n->cols - c);
      const __m512 v = _mm512_mul_ps(_mm512_sub_ps(gk_get(x + c, mask), center), _mm512_set1_ps(inverse));
      gk_put(y + c, mask, _mm512_fmadd_ps(v, gk_get(n->weight + c, mask), gk_get_or(n->bias, c, mask, 0)));
    }
  }
}

void gk_normalize(gk_pool *pool, const gk_norm *n, const uint16_t *x, float *statistics, uint16_t *y) {
  const gk_norm_work w = {.n = n, .x = x, .statistics = statistics, .y = y};
  gk_run_rows(pool, gk_norm_rows, &w, n->rows);
}

typedef struct {
  const gk_norm *n;
  const uint16_t *x;
  const float *statistics;
  const uint16_t *const *d_y;
  int32_t count;
  const uint16_t *d_more;
  uint16_t *d_x;
  float *parts; /* [parts of rows, 2, cols]: of the weight, of the bias */
} gk_norm_back;

/* Sixteen of the sum of the gradients with respect to y. */
GK_TARGET(GK_TILE_ISA) GK_INLINE __m512 gk_d_y(const gk_norm_back *w, int64_t at, __mmask16 mask) {
  __m512 sum = gk_get(w->d_y[0] + at, mask);
  for (int32_t k = 1; k < w->count; k++) {
    sum = _mm512_add_ps(sum, gk_get(w->d_y[k] + at, mask));
  }
  return sum;
}

GK_TARGET(GK_TILE_ISA) static void gk_norm_back_rows(const void *context, int64_t from, int64_t end) {
  const gk_norm_back *w = context;
  const gk_norm *n = w->n;
  float *d_weight = w->parts + from / GK_LINES * 2 * n->cols;
  float *d_bias = d_weight + n->cols;
  memset(d_weight, 0, (size_t)n->cols * 2 * sizeof *d_weight);
  for (int64_t i = from; i < end; i++) {
    const int64_t row = i * n->cols;
    const __m512 center = _mm512_set1_ps(n->centered ? w->statistics[2 * i] : 0);
    const __m512 inverse = _mm512_set1_ps(w->statistics[2 * i + 1]);
    __m512 sum = _mm512_setzero_ps();
    __m512 along = _mm512_setzero_ps();
    for (int32_t c = 0; c < n->cols; c += 16) {
      const __mmask16 mask = gk_first_16(n->cols - c);
      const __m512 v = _mm512_maskz_mul_ps(mask, _mm512_sub_ps(gk_get(w->x + row + c, mask), center), inverse);
      const __m512 d = gk_d_y(w, row + c, mask);
      const __m512 scaled = _mm512_mul_ps(d, gk_get(n->weight + c, mask));
      sum = _mm512_add_ps(sum, scaled);
      along = _mm512_fmadd_ps(scaled, v, along);
      _mm512_mask_storeu_ps(d_weight + c, mask, _mm512_fmadd_ps(d, v, _mm512_maskz_loadu_ps(mask, d_weight + c)));
      _mm512_mask_storeu_ps(d_bias + c, mask, _mm512_add_ps(d, _mm512_maskz_loadu_ps(mask, d_bias + c)));
    }
    const __m512 mean = _mm512_set1_ps(n->centered ? _mm512_reduce_add_ps(sum) / (float)n->cols : 0);
    const __m512 mean_along = _mm512_set1_ps(_mm512_reduce_add_ps(along) / (float)n->cols);
    for (int32_t c = 0; c < n->cols; c += 16) {
      const __mmask16 mask = gk_first_16(n->cols - c);
      const __m512 v = _mm512_mul_ps(_mm512_sub_ps(gk_get(w->x + row + c, mask), center), inverse);
      const __m512 scaled = _mm512_mul_ps(gk_d_y(w, row + c, mask), gk_get(n->weight + c, mask));
      const __m512 d = _mm512_mul_ps(inverse, _mm512_sub_ps(_mm512_sub_ps(scaled, mean), _mm512_mul_ps(v, mean_along)));
      gk_put(w->d_x + row + c, mask, _mm512_add_ps(gk_get(w->d_more + row + c, mask), d));
    }
  }
}

int64_t gk_column_scratch(int64_t rows, int64_t cols) { return gk_parts(rows, GK_LINES) * 2 * cols; }

/* sums [cols] += parts of rows, one after another. */
static void gk_add_parts(const float *parts, int64_t count, int64_t row, int32_t cols, float *sums) {
  if (sums == NULL) {
    return;
  }
  for (int64_t k = 0; k < count; k++) {
    for (int32_t c = 0; c < cols; c++) {
      sums[c] += parts[k * row + c];
    }
  }
}

void gk_normalize_back(gk_pool *pool, const gk_norm *n, const uint16_t *x, const float *statistics, const uint16_t *const *d_y, int32_t count,
                       const uint16_t *d_more, uint16_t *d_x, float *d_weight, float *d_bias, float *scratch) {
  const gk_norm_back w = {
      .n = n, .x = x, .statistics = statistics, .d_y = d_y, .count = count, .d_more = d_more, .d_x = d_x, .parts = scratch};
  gk_run_rows(pool, gk_norm_back_rows, &w, n->rows);
  gk_add_parts(scratch, gk_parts(n->rows, GK_LINES), 2 * (int64_t)n->cols, n->cols, d_weight);
  gk_add_parts(scratch + n->cols, gk_parts(n->rows, GK_LINES), 2 * (int64_t)n->cols, n->cols, d_bias);
}

/* ---- sums ---- */

typedef struct {
  gk_lines x;
  int32_t cols;
  float *parts;
} gk_sum_work;

GK_TARGET(GK_TILE_ISA) static void gk_sum_rows(const void *context, int64_t from, int64_t end) {
  const gk_sum_work *w = context;
  float *part = w->parts + from / GK_LINES * w->cols;
  for (int32_t c = 0; c < w->cols; c += 16) {
    const __mmask16 mask = gk_first_16(w->cols - c);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = from; i < end; i++) {
      sum = _mm512_add_ps(sum, gk_get(w->x.p + i * w->x.row + c, mask));
    }
    _mm512_mask_storeu_ps(part + c, mask, sum);
  }
}

void gk_column_sums(gk_pool *pool, gk_lines x, int64_t rows, int32_t cols, float *sums, float *scratch) {
  if (sums == NULL) {
    return;
  }
  const gk_sum_work w = {.x = x, .cols = cols, .parts = scratch};
  gk_run_rows(pool, gk_sum_rows, &w, rows);
  gk_add_parts(scratch, gk_parts(rows, GK_LINES), cols, cols, sums);
}

typedef struct {
  int32_t cols;
  const uint16_t *x;
  const uint16_t *t;
  const uint16_t *bias;
  uint16_t *y;
} gk_residual;

GK_TARGET(GK_TILE_ISA) static void gk_residual_rows(const void *context, int64_t from, int64_t end) {
  const gk_residual *w = context;
  for (int64_t i = from; i < end; i++) {
    for (int32_t c = 0; c < w->cols; c += 16) {
      const int64_t at = i * w->cols + c;
      const __mmask16 mask = gk_first_16(w->cols - c);
      const __m512 t = _mm512_add_ps(gk_get(w->t + at, mask), gk_get_or(w->bias, c, mask, 0));
      gk_put(w->y + at, mask, _mm512_add_ps(gk_get(w->x + at, mask), t));
    }
  }
}

void gk_add_residual(gk_pool *pool, int64_t rows, int32_t cols, const uint16_t *x, const uint16_t *t, const uint16_t *bias, uint16_t *y) {
  const gk_residual w = {.cols = cols, .x = x, .t = t, .bias = bias, .y = y};
  gk_run_rows(pool, gk_residual_rows, &w, rows);
}

/* ---- heads ---- */

typedef struct {
  const gk_attention *a;
  uint16_t *qkv;
  const uint16_t *const *biases;
  const float *rope;
  float sign; /* of the sines */
} gk_heads;

GK_TARGET(GK_TILE_ISA) static void gk_turn_head(uint16_t *x, int32_t half, const uint16_t *bias, const float *rope, float sign) {
  for (int32_t d = 0; d < half; d += 16) {
    const __mmask16 mask = gk_first_16(half - d);
    const __m512 cosine = _mm512_maskz_loadu_ps(mask, rope + d);
    const __m512 sine = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, rope + half + d), _mm512_set1_ps(sign));
    const __m512 low = _mm512_add_ps(gk_get(x + d, mask), gk_get_or(bias, d, mask, 0));
    const __m512 high = _mm512_add_ps(gk_get(x + half + d, mask), gk_get_or(bias, half + d, mask, 0));
    gk_put(x + d, mask, _mm512_sub_ps(_mm512_mul_ps(low, cosine), _mm512_mul_ps(high, sine)));
    gk_put(x + half + d, mask, _mm512_add_ps(_mm512_mul_ps(high, cosine), _mm512_mul_ps(low, sine)));
  }
}

GK_TARGET(GK_TILE_ISA) static void gk_add_bias(uint16_t *x, int32_t n, const uint16_t *bias) {
  for (int32_t d = 0; bias != NULL && d < n; d += 16) {
    const __mmask16 mask = gk_first_16(n - d);
    gk_put(x + d, mask, _mm512_add_ps(gk_get(x + d, mask), gk_get(bias + d, mask)));
  }
}

GK_TARGET(GK_TILE_ISA) static void gk_heads_rows(const void *context, int64_t from, int64_t end) {
  const gk_heads *w = context;
  const gk_attention *a = w->a;
  for (int64_t i = from; i < end; i++) {
    uint16_t *x = w->qkv + i * gk_qkv_row(a);
    const float *rope = w->rope == NULL ? NULL : w->rope + i % a->length * a->dim;
    for (int32_t part = 0; part < 3; part++) {
      const int32_t heads = part == 0 ? a->heads : a->kv_heads;
      const uint16_t *bias = w->biases == NULL ? NULL : w->biases[part];
      if (rope == NULL || part == 2) {
        gk_add_bias(x, heads * a->dim, bias);
        x += heads * a->dim;
        continue;
      }
      for (int32_t h = 0; h < heads; h++, x += a->dim) {
        gk_turn_head(x, a->dim / 2, bias == NULL ? NULL : bias + h * a->dim, rope, w->sign);
      }
    }
  }
}

void gk_place_heads(gk_pool *pool, const gk_attention *a, uint16_t *qkv, const uint16_t *const *biases, const float *rope, int back) {
  if (rope == NULL && (biases == NULL || (biases[0] == NULL && biases[1] == NULL && biases[2] == NULL))) {
    return;
  }
  const gk_heads w = {.a = a, .qkv = qkv, .biases = biases, .rope = rope, .sign = back ? -1.0f : 1.0f};
  gk_run_rows(pool, gk_heads_rows, &w, (int64_t)a->batch * a->length);
}

/* ---- activations ---- */

typedef struct {
  int gated;
  int32_t cols;
  uint16_t *x;
  const uint16_t *bias;
  uint16_t *inner;
  uint16_t *d_x; /* null in the forward pass */
} gk_activation;

GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_gated(uint16_t *x, int32_t cols, uint16_t *inner, uint16_t *d_x) {
  const __m512 one = _mm512_set1_ps(1);
  for (int32_t c = 0; c < cols; c += 16) {
    const __mmask16 mask = gk_first_16(cols - c);
    const __m512 gate = gk_get(x + c, mask);
    const __m512 up = gk_get(x + cols + c, mask);
    const __m512 s = gk_sigmoid(gate);
    const __m512 silu = _mm512_mul_ps(gate, s);
    if (d_x != NULL) {
      const __m512 d = gk_get(inner + c, mask);
      const __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(gate, _mm512_sub_ps(one, s), one));
      gk_put(d_x + c, mask, _mm512_mul_ps(_mm512_mul_ps(d, up), slope));
      gk_put(d_x + cols + c, mask, _mm512_mul_ps(d, silu));
    }
    gk_put(inner + c, mask, _mm512_mul_ps(silu, up));
  }
}

GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_quick_gelu(uint16_t *x, int32_t cols, const uint16_t *bias, uint16_t *inner, uint16_t *d_x) {
  const __m512 one = _mm512_set1_ps(1);
  const __m512 factor = _mm512_set1_ps(1.702f);
  for (int32_t c = 0; c < cols; c += 16) {
    const __mmask16 mask = gk_first_16(cols - c);
    __m512 v = gk_get(x + c, mask);
    if (bias != NULL) {
      gk_put(x + c, mask, _mm512_add_ps(v, gk_get(bias + c, mask)));
      v = gk_get(x + c, mask); /* rounded, as the backward pass sees it */
    }
    const __m512 scaled = _mm512_mul_ps(v, factor);
    const __m512 s = gk_sigmoid(scaled);
    if (d_x != NULL) {
      const __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(scaled, _mm512_sub_ps(one, s), one));
      gk_put(d_x + c, mask, _mm512_mul_ps(gk_get(inner + c, mask), slope));
    }
    gk_put(inner + c, mask, _mm512_mul_ps(v, s));
  }
}

GK_TARGET(GK_TILE_ISA) static void gk_activation_rows(const void *context, int64_t from, int64_t end) {
  const gk_activation *w = context;
  const int64_t row = (int64_t)w->cols * (w->gated ? 2 : 1);
  for (int64_t i = from; i < end; i++) {
    uint16_t *d_x = w->d_x == NULL ? NULL : w->d_x + i * row;
    if (w->gated) {
      gk_gated(w->x + i * row, w->cols, w->inner + i * w->cols, d_x);
    } else {
      gk_quick_gelu(w->x + i * row, w->cols, w->bias, w->inner + i * w->cols, d_x);
    }
  }
}

void gk_activate(gk_pool *pool, int gated, int64_t rows, int32_t cols, uint16_t *x, const uint16_t *bias, uint16_t *inner) {
  const gk_activation w = {.gated = gated, .cols = cols, .x = x, .bias = bias, .inner = inner};
  gk_run_rows(pool, gk_activation_rows, &w, rows);
}

void gk_activate_back(gk_pool *pool, int gated, int64_t rows, int32_t cols, const uint16_t *x, uint16_t *d_inner, uint16_t *d_x) {
  const gk_activation w = {.gated = gated, .cols = cols, .x = (uint16_t *)(uintptr_t)x, .inner = d_inner, .d_x = d_x};
  gk_run_rows(pool, gk_activation_rows, &w, rows);
}
