/*
 * Attention for training: a thread takes a head of a sequence, packs its keys and values as right matrices once and meets them
 * with 32 queries at a time. All scores of a query are computed before their softmax; the backward pass computes them again.
 */
#include <math.h>

#include "gk_train_block.h"
#include "gk_vector.h"

typedef struct {
  const gk_attention *a;
  const uint16_t *qkv;
  uint16_t *out; /* backward pass: the outputs of attention */
  float *sums;
  const uint16_t *d_out;
  uint16_t *d_qkv;
  float *d_kv; /* [batch, heads, 2, padded keys, padded dim] */
  uint8_t *own;
  int64_t own_bytes;
  gk_items *items;
} gk_attending;

/* Sizes padded to whole tiles. */
typedef struct {
  int32_t keys;
  int32_t dim;
  int64_t packed; /* bytes of keys or values, packed */
} gk_padded;

/* Scratch space of a thread: right matrices, and blocks of 32 rows. */
typedef struct {
  uint8_t *keys_by_dim;    /* columns are keys: for scores */
  uint8_t *values_by_dim;  /* columns are keys: for gradients of weights */
  uint8_t *keys_by_key;    /* columns are dimensions: for gradients of queries */
  uint8_t *values_by_key;  /* columns are dimensions: for outputs */
  uint8_t *rows_by_row;    /* the 32 rows of queries or gradients with dimensions as columns */
  uint8_t *transposed;         /* a pair of tiles of weights or their gradients, keys as lines */
  uint16_t *rows;          /* [32, dim] queries */
  uint16_t *d_rows;        /* [32, dim] gradients of outputs */
  uint16_t *weights;       /* [32, keys] */
  uint16_t *d_weights;     /* [32, keys] */
  float *scores;           /* [32, keys] */
  float *d_scores;         /* [32, keys] */
  float *sums;             /* [32, dim] */
} gk_head_space;

static gk_padded gk_pad(const gk_attention *a) {
  gk_padded p;
  p.keys = gk_parts(a->length, GK_SIDE) * GK_SIDE;
  p.dim = gk_parts(a->dim, GK_SIDE) * GK_SIDE;
  p.packed = (int64_t)p.keys * p.dim * 2;
  return p;
}

/* Lays a thread's memory out from `at` on; returns its end. */
static uint8_t *gk_lay(const gk_padded *p, uint8_t *at, int backward, gk_head_space *r) {
  const int64_t keys = (int64_t)GK_SIDE * p->keys;
  const int64_t dims = (int64_t)GK_SIDE * p->dim;
  r->keys_by_dim = at;
  r->values_by_key = r->keys_by_dim + p->packed;
  r->rows = (uint16_t *)(r->values_by_key + p->packed);
  r->weights = r->rows + dims;
  r->scores = (float *)(r->weights + keys);
  r->sums = r->scores + keys;
  at = (uint8_t *)(r->sums + dims);
  if (!backward) {
    return at;
  }
  r->values_by_dim = at;
  r->keys_by_key = r->values_by_dim + p->packed;
  r->rows_by_row = r->keys_by_key + p->packed;
  r->transposed = r->rows_by_row + dims * 2;
  r->d_rows = (uint16_t *)(r->transposed + 2 * GK_TILE_BYTES);
  r->d_weights = r->d_rows + dims;
  r->d_scores = (float *)(r->d_weights + keys);
  return (uint8_t *)(r->d_scores + keys);
}

static int64_t gk_head_space_bytes(const gk_padded *p, int backward) {
  gk_head_space r;
  uint8_t *const nothing = NULL;
  return (int64_t)((uintptr_t)gk_lay(p, nothing, backward, &r) - (uintptr_t)nothing);
}

int64_t gk_attention_scratch(const gk_attention *a, int32_t threads, int backward) {
  const gk_padded p = gk_pad(a);
  const int64_t d_kv = backward ? (int64_t)a->batch * a->heads * 2 * p.keys * p.dim * 4 : 0;
  return d_kv + threads * gk_head_space_bytes(&p, backward);
}

/* Where a head's numbers begin in the first row of a sequence: part 0 queries, 1 keys, 2 values. */
static int64_t gk_place(const gk_attention *a, int32_t sequence, int32_t head, int32_t part) {
  const int32_t kv = head / (a->heads / a->kv_heads);
  const int32_t before = part == 0 ? head : a->heads + (part - 1) * a->kv_heads + kv;
  return (int64_t)sequence * a->length * gk_qkv_row(a) + (int64_t)before * a->dim;
}

/* Packs a head's keys or values: columns are keys if `by_dim`, else dimensions. */
GK_TARGET(GK_TILE_ISA) static void gk_pack_head(const gk_attention *a, const uint16_t *p, const int by_dim, uint8_t *out) {
  const int64_t row = gk_qkv_row(a);
  const gk_side side = by_dim ? (gk_side){.p = p, .outer = row, .along = 1, .count = a->length}
                              : (gk_side){.p = p, .outer = 1, .along = row, .count = a->dim};
  const int32_t k = by_dim ? a->dim : a->length;
  for (int32_t o = 0; o < side.count; o += GK_SIDE) {
    for (int32_t at = 0; at < k; at += GK_DEPTH, out += 2 * GK_TILE_BYTES) {
      gk_pack_pair(&side, k, o, at, 0, out);
    }
  }
}

/* Copies `count` rows of numbers [count, dim] into [32, padded dim], zeros elsewhere. */
GK_TARGET(GK_TILE_ISA) static void gk_copy_rows(const uint16_t *from, int64_t row, int32_t count, int32_t dim, int32_t padded, uint16_t *to) {
  for (int32_t i = 0; i < GK_SIDE; i++, to += padded) {
    for (int32_t d = 0; d < padded; d += 32) {
      const __mmask32 mask = i < count ? gk_first_32(dim - d) : 0;
      _mm512_storeu_si512(to + d, _mm512_maskz_loadu_epi16(mask, from + i * row + d));
    }
  }
}

/* Keys that the query at a position sees. */
static int32_t gk_seen(const gk_attention *a, int32_t position) { return a->causal ? gk_least(a->length, (int64_t)position + 1) : a->length; }

/* sums [32, padded dim] = or += lines [32, keys] times a matrix packed by key, over the first `tiles` tiles of keys. */
GK_TARGET(GK_TILE_ISA)
GK_INLINE void gk_by_key(int32_t unit, const gk_padded *p, const uint16_t *lines, const uint8_t *packed, int32_t all, int32_t tiles, float *sums) {
  for (int32_t d = 0; d < p->dim / GK_SIDE; d++) {
    gk_tile_product(unit, lines, p->keys, packed + (int64_t)d * all * 2 * GK_TILE_BYTES, tiles, 0, sums + d * GK_SIDE, p->dim);
  }
}

/* scores [32, keys] = rows [32, padded dim] times a matrix packed by dimension, for the first `panels` panels of keys. */
GK_TARGET(GK_TILE_ISA)
GK_INLINE void gk_by_dim(int32_t unit, const gk_padded *p, const uint16_t *rows, const uint8_t *packed, int32_t panels, float *scores) {
  const int32_t tiles = p->dim / GK_DEPTH;
  for (int32_t k = 0; k < panels; k++) {
    gk_tile_product(unit, rows, p->dim, packed + (int64_t)k * tiles * 2 * GK_TILE_BYTES, tiles, 0, scores + k * GK_SIDE, p->keys);
  }
}

/* Softmax of the first n scores, times scale, into weights; zeros up to `end`. The logarithm of the sum of exponentials. */
GK_TARGET(GK_TILE_ISA) static float gk_row_softmax(float *scores, int32_t n, int32_t end, float scale, uint16_t *weights) {
  const __m512 low = _mm512_set1_ps(-INFINITY);
  __m512 most = low;
  for (int32_t i = 0; i < n; i += 16) {
    most = _mm512_max_ps(most, _mm512_mask_loadu_ps(low, gk_first_16(n - i), scores + i));
  }
  const float max = _mm512_reduce_max_ps(most) * scale;
  __m512 sum = _mm512_setzero_ps();
  for (int32_t i = 0; i < n; i += 16) {
    const __mmask16 mask = gk_first_16(n - i);
    const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(scores + i), _mm512_set1_ps(scale), _mm512_set1_ps(max));
    const __m512 e = _mm512_maskz_mov_ps(mask, (__m512)gk_exp((gk_floats)_mm512_maskz_mov_ps(mask, x)));
    _mm512_storeu_ps(scores + i, e);
    sum = _mm512_add_ps(sum, e);
  }
  const float total = _mm512_reduce_add_ps(sum);
  const __m512 inverse = _mm512_set1_ps(1 / total);
  for (int32_t i = 0; i < end; i += 16) {
    const __mmask16 mask = gk_first_16(n - i);
    gk_put(weights + i, 0xffff, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, scores + i), inverse));
  }
  return max + logf(total);
}

GK_TARGET(GK_TILE_ISA) static void gk_attend_head(const gk_attending *g, int32_t sequence, int32_t head, const gk_head_space *r) {
  const gk_attention *a = g->a;
  const gk_padded p = gk_pad(a);
  const int64_t row = gk_qkv_row(a);
  const float scale = 1 / sqrtf((float)a->dim);
  const int64_t out_row = (int64_t)a->heads * a->dim;
  const uint16_t *queries = g->qkv + gk_place(a, sequence, head, 0);
  uint16_t *out = g->out + (int64_t)sequence * a->length * out_row + (int64_t)head * a->dim;
  float *sums = g->sums + ((int64_t)sequence * a->heads + head) * a->length;
  gk_pack_head(a, g->qkv + gk_place(a, sequence, head, 1), 1, r->keys_by_dim);
  gk_pack_head(a, g->qkv + gk_place(a, sequence, head, 2), 0, r->values_by_key);
  for (int32_t q = 0; q < a->length; q += GK_SIDE) {
    const int32_t count = gk_least(GK_SIDE, a->length - q);
    const int32_t panels = gk_parts(gk_seen(a, q + count - 1), GK_SIDE);
    gk_copy_rows(queries + q * row, row, count, a->dim, p.dim, r->rows);
    GK_FENCE();
    gk_by_dim(a->unit, &p, r->rows, r->keys_by_dim, panels, r->scores);
    GK_FENCE();
    for (int32_t i = 0; i < GK_SIDE; i++) {
      const int32_t n = i < count ? gk_seen(a, q + i) : 0;
      if (n == 0) {
        memset(r->weights + (int64_t)i * p.keys, 0, (size_t)panels * GK_SIDE * 2);
      } else {
        sums[q + i] = gk_row_softmax(r->scores + (int64_t)i * p.keys, n, panels * GK_SIDE, scale, r->weights + (int64_t)i * p.keys);
      }
    }
    GK_FENCE();
    gk_by_key(a->unit, &p, r->weights, r->values_by_key, gk_parts(a->length, GK_DEPTH), panels, r->sums);
    GK_FENCE();
    for (int32_t i = 0; i < count; i++) {
      for (int32_t d = 0; d < a->dim; d += 16) {
        gk_put(out + (q + i) * out_row + d, gk_first_16(a->dim - d), _mm512_loadu_ps(r->sums + (int64_t)i * p.dim + d));
      }
    }
  }
}

/* Weights and gradients of scores of one query: d_scores come in as gradients with respect to the weights. */
GK_TARGET(GK_TILE_ISA)
static void gk_row_back(const float *scores, const float *d_scores, int32_t n, int32_t end, float scale, float sum, float delta,
                        uint16_t *weights, uint16_t *d_weights) {
  for (int32_t i = 0; i < end; i += 16) {
    const __mmask16 mask = gk_first_16(n - i);
    const __m512 x = _mm512_maskz_fmsub_ps(mask, _mm512_loadu_ps(scores + i), _mm512_set1_ps(scale), _mm512_set1_ps(sum));
    const __m512 w = _mm512_maskz_mov_ps(mask, (__m512)gk_exp((gk_floats)x));
    const __m512 d = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, d_scores + i), _mm512_set1_ps(delta));
    gk_put(weights + i, 0xffff, w);
    gk_put(d_weights + i, 0xffff, _mm512_mul_ps(_mm512_mul_ps(w, d), _mm512_set1_ps(scale)));
  }
}

/* sums [keys, padded dim] += transposed lines [32, keys] times rows [32, dim] for the first `panels` panels of keys. */
GK_TARGET(GK_TILE_ISA)
static void gk_add_transposed(int32_t unit, const gk_padded *p, const uint16_t *lines, const uint16_t *rows, int32_t panels, const gk_head_space *r, float *sums) {
  const gk_side columns = {.p = rows, .outer = 1, .along = p->dim, .count = p->dim};
  const gk_side transposed = {.p = lines, .outer = 1, .along = p->keys, .count = p->keys};
  for (int32_t d = 0; d < p->dim; d += GK_SIDE) {
    gk_pack_pair(&columns, GK_DEPTH, d, 0, 0, r->rows_by_row + (int64_t)d / GK_SIDE * 2 * GK_TILE_BYTES);
  }
  for (int32_t k = 0; k < panels * GK_SIDE; k += GK_SIDE) {
    gk_pack_pair(&transposed, GK_DEPTH, k, 0, 1, r->transposed);
    GK_FENCE();
    for (int32_t d = 0; d < p->dim; d += GK_SIDE) {
      gk_tile_product(unit, r->transposed, 0, r->rows_by_row + (int64_t)d / GK_SIDE * 2 * GK_TILE_BYTES, 1, 1, sums + (int64_t)k * p->dim + d, p->dim);
    }
    GK_FENCE();
  }
}

GK_TARGET(GK_TILE_ISA) static float gk_row_dot(const uint16_t *x, const uint16_t *y, int32_t n) {
  __m512 sum = _mm512_setzero_ps();
  for (int32_t i = 0; i < n; i += 16) {
    const __mmask16 mask = gk_first_16(n - i);
    sum = _mm512_fmadd_ps(gk_get(x + i, mask), gk_get(y + i, mask), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

GK_TARGET(GK_TILE_ISA) static void gk_attend_head_back(const gk_attending *g, int32_t sequence, int32_t head, const gk_head_space *r) {
  const gk_attention *a = g->a;
  const gk_padded p = gk_pad(a);
  const int64_t row = gk_qkv_row(a);
  const float scale = 1 / sqrtf((float)a->dim);
  const int64_t out_row = (int64_t)a->heads * a->dim;
  const int64_t at = (int64_t)sequence * a->length * out_row + (int64_t)head * a->dim;
  const uint16_t *queries = g->qkv + gk_place(a, sequence, head, 0);
  uint16_t *d_queries = g->d_qkv + gk_place(a, sequence, head, 0);
  const float *sums = g->sums + ((int64_t)sequence * a->heads + head) * a->length;
  float *d_keys = g->d_kv + ((int64_t)sequence * a->heads + head) * 2 * p.keys * p.dim;
  float *d_values = d_keys + (int64_t)p.keys * p.dim;
  memset(d_keys, 0, (size_t)p.keys * (size_t)p.dim * 2 * sizeof *d_keys);
  gk_pack_head(a, g->qkv + gk_place(a, sequence, head, 1), 1, r->keys_by_dim);
  gk_pack_head(a, g->qkv + gk_place(a, sequence, head, 1), 0, r->keys_by_key);
  gk_pack_head(a, g->qkv + gk_place(a, sequence, head, 2), 1, r->values_by_dim);
  for (int32_t q = 0; q < a->length; q += GK_SIDE) {
    const int32_t count = gk_least(GK_SIDE, a->length - q);
    const int32_t panels = gk_parts(gk_seen(a, q + count - 1), GK_SIDE);
    const uint16_t *d_out = g->d_out + at + q * out_row;
    gk_copy_rows(queries + q * row, row, count, a->dim, p.dim, r->rows);
    gk_copy_rows(d_out, out_row, count, a->dim, p.dim, r->d_rows);
    GK_FENCE();
    gk_by_dim(a->unit, &p, r->rows, r->keys_by_dim, panels, r->scores);
    gk_by_dim(a->unit, &p, r->d_rows, r->values_by_dim, panels, r->d_scores);
    GK_FENCE();
    for (int32_t i = 0; i < GK_SIDE; i++) {
      const int64_t line = (int64_t)i * p.keys;
      const int32_t n = i < count ? gk_seen(a, q + i) : 0;
      const float sum = n == 0 ? 0 : sums[q + i];
      const float delta = n == 0 ? 0 : gk_row_dot(d_out + i * out_row, g->out + at + (q + i) * out_row, a->dim);
      gk_row_back(r->scores + line, r->d_scores + line, n, panels * GK_SIDE, scale, sum, delta, r->weights + line, r->d_weights + line);
    }
    GK_FENCE();
    gk_by_key(a->unit, &p, r->d_weights, r->keys_by_key, gk_parts(a->length, GK_DEPTH), panels, r->sums);
    GK_FENCE();
    for (int32_t i = 0; i < count; i++) {
      for (int32_t d = 0; d < a->dim; d += 16) {
        gk_put(d_queries + (q + i) * row + d, gk_first_16(a->dim - d), _mm512_loadu_ps(r->sums + (int64_t)i * p.dim + d));
      }
    }
    gk_add_transposed(a->unit, &p, r->d_weights, r->rows, panels, r, d_keys);
    gk_add_transposed(a->unit, &p, r->weights, r->d_rows, panels, r, d_values);
  }
}

/* Gradients with respect to a head of keys or values: the sum over the heads of queries that share it, in their order. */
GK_TARGET(GK_TILE_ISA) static void gk_share_back(const gk_attending *g, int32_t sequence, int32_t kv, int32_t part) {
  const gk_attention *a = g->a;
  const gk_padded p = gk_pad(a);
  const int32_t group = a->heads / a->kv_heads;
  const int64_t next = 2 * (int64_t)p.keys * p.dim;
  const float *first = g->d_kv + ((int64_t)sequence * a->heads + (int64_t)kv * group) * next + (int64_t)part * p.keys * p.dim;
  uint16_t *to = g->d_qkv + gk_place(a, sequence, kv * group, 1 + part);
  for (int32_t i = 0; i < a->length; i++) {
    for (int32_t d = 0; d < a->dim; d += 16) {
      const float *from = first + (int64_t)i * p.dim + d;
      __m512 sum = _mm512_loadu_ps(from);
      for (int32_t h = 1; h < group; h++) {
        sum = _mm512_add_ps(sum, _mm512_loadu_ps(from + h * next));
      }
      gk_put(to + i * gk_qkv_row(a) + d, gk_first_16(a->dim - d), sum);
    }
  }
}

static int64_t gk_heads_in_all(const gk_attention *a) { return (int64_t)a->batch * a->heads; }

GK_TARGET(GK_TILE_ISA) static void gk_attend_part(void *context, int32_t part, int32_t parts) {
  const gk_attending *g = context;
  const gk_padded p = gk_pad(g->a);
  gk_head_space r;
  gk_lay(&p, g->own + part * g->own_bytes, g->d_qkv != NULL, &r);
  gk_tiles_begin(g->a->unit);
  int64_t item;
  for (int64_t end; (end = gk_claim(g->items, part, parts, 1, &item)) > item;) {
    const int32_t sequence = (int32_t)(item / g->a->heads);
    const int32_t head = (int32_t)(item % g->a->heads);
    if (g->d_qkv == NULL) {
      gk_attend_head(g, sequence, head, &r);
    } else {
      gk_attend_head_back(g, sequence, head, &r);
    }
  }
  gk_tiles_end(g->a->unit);
}

static void gk_share_part(void *context, int32_t part, int32_t parts) {
  const gk_attending *g = context;
  int64_t item;
  for (int64_t end; (end = gk_claim(g->items, part, parts, 1, &item)) > item;) {
    const int32_t heads = 2 * g->a->kv_heads;
    gk_share_back(g, (int32_t)(item / heads), (int32_t)(item % heads) / 2, (int32_t)(item % 2));
  }
}

void gk_attend(gk_pool *pool, const gk_attention *a, const uint16_t *qkv, uint16_t *out, float *sums, void *scratch) {
  const gk_padded p = gk_pad(a);
  gk_items items;
  gk_attending g = {.a = a, .qkv = qkv, .out = out, .sums = sums, .own = scratch, .own_bytes = gk_head_space_bytes(&p, 0), .items = &items};
  gk_split(&items, gk_heads_in_all(a), gk_pool_threads(pool));
  gk_run(pool, gk_attend_part, &g);
}

void gk_attend_back(gk_pool *pool, const gk_attention *a, const uint16_t *qkv, const uint16_t *out, const float *sums,
                    const uint16_t *d_out, uint16_t *d_qkv, void *scratch) {
  const gk_padded p = gk_pad(a);
  const int32_t threads = gk_pool_threads(pool);
  const int64_t own_bytes = gk_head_space_bytes(&p, 1);
  gk_items items;
  gk_attending g = {.a = a,
                    .qkv = qkv,
                    .out = (uint16_t *)(uintptr_t)out,
                    .sums = (float *)(uintptr_t)sums,
                    .d_out = d_out,
                    .d_qkv = d_qkv,
                    .own = scratch,
                    .own_bytes = own_bytes,
                    .items = &items};
  g.d_kv = (float *)(g.own + threads * own_bytes);
  gk_split(&items, gk_heads_in_all(a), threads);
  gk_run(pool, gk_attend_part, &g);
  gk_split(&items, (int64_t)a->batch * a->kv_heads * 2, threads);
  gk_run(pool, gk_share_part, &g);
}
