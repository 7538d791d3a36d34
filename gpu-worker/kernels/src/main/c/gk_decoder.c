#include <math.h>
#include <stdlib.h>

#include "gk_product.h"
#include "gk_vector.h"

#define GK_LAYER_TENSORS 7
#define GK_MIXED 8 /* vectors of values that are summed at once */
#define GK_FLOAT ((int64_t)sizeof(float))

typedef struct {
  const float *norm;
  gk_matrix qkv;
  const float *bias;
  gk_matrix out;
  const float *mlp_norm;
  gk_matrix gate_up;
  gk_matrix down;
} gk_layer;

struct gk_decoder {
  gk_pool *pool;
  int32_t isa;
  gk_config c;
  int64_t dim; /* head_dim padded to the lanes; what pads is zero */
  gk_layer *layers;
  const float *norm;
  gk_matrix head;
  uint8_t *memory; /* everything below lies in it */
  int64_t memory_bytes;
  uint8_t *keys;   /* [layers, slots, kv_heads, max_positions, dim] of kv_bits */
  uint8_t *values;
  float *key_scales; /* [layers, slots, kv_heads, max_positions], with 8 bits alone */
  float *value_scales;
  float *normed;  /* [max_rows, width] */
  float *qkv;     /* [max_rows, (heads + 2 kv_heads) head_dim] */
  float *queries; /* [max_rows, heads, dim] */
  float *mixed;   /* [max_rows, heads head_dim] */
  float *added;   /* [max_rows, width] */
  float *gate_up; /* [max_rows, 2 mlp] */
  float *gated;   /* [max_rows, mlp] */
  float *scores;  /* [threads, max_positions] */
  void *scratch;
};

/* The rows of one gk_forward, at one layer. */
typedef struct {
  gk_decoder *d;
  const gk_layer *layer;
  int32_t index;
  int32_t rows;
  const int32_t *slots;
  const int32_t *positions;
  const float *rope;
  float *x;
  const float *add; /* what is added to x before it is normed; null for nothing */
  const float *norm;
} gk_pass;

/* ---- checks and memory ---- */

static int32_t gk_check_config(const gk_config *c) {
  const int32_t sizes[] = {c->layers, c->width, c->heads, c->kv_heads, c->head_dim, c->mlp, c->vocab, c->slots, c->max_positions,
                           c->max_rows};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    if (sizes[i] < 1 || sizes[i] > GK_MAX_SIZE) {
      return GK_ESIZE;
    }
  }
  const int64_t all = ((int64_t)c->heads + 2 * (int64_t)c->kv_heads) * c->head_dim;
  const int64_t cache = (int64_t)c->layers * c->slots * c->kv_heads;
  if (c->heads % c->kv_heads != 0 || c->head_dim % 2 != 0 || all > GK_MAX_SIZE || 2 * (int64_t)c->mlp > GK_MAX_SIZE ||
      c->layers > 4096 || cache > GK_MAX_SIZE || (double)cache * c->max_positions * (c->head_dim + 15.0) > 1e13 ||
      (c->kv_bits != 16 && c->kv_bits != 8) || !(c->eps > 0)) {
    return GK_ESIZE;
  }
  return 0;
}

static int32_t gk_open_matrix(const void *tensor, int64_t bytes, int64_t rows, int64_t cols, gk_matrix *out) {
  int32_t error = gk_open_weight(tensor, bytes, &out->head);
  if (error != 0) {
    return error;
  }
  out->blocks = (const uint8_t *)tensor + GK_ALIGN;
  return out->head.rows == rows && out->head.cols == cols ? 0 : GK_ESIZE;
}

static int32_t gk_open_vector(const void *tensor, int64_t bytes, int64_t n, const float **out) {
  *out = tensor;
  return tensor == NULL || (uintptr_t)tensor % sizeof(float) != 0 ? GK_EALIGN : bytes == n * GK_FLOAT ? 0 : GK_ESIZE;
}

static int32_t gk_open_layer(const gk_config *c, const void *const *t, const int64_t *bytes, gk_layer *out) {
  const int64_t qkv = ((int64_t)c->heads + 2 * c->kv_heads) * c->head_dim;
  int32_t error = gk_open_vector(t[0], bytes[0], c->width, &out->norm);
  error = error != 0 ? error : gk_open_matrix(t[1], bytes[1], qkv, c->width, &out->qkv);
  if (error == 0 && t[2] != NULL) {
    error = gk_open_vector(t[2], bytes[2], qkv, &out->bias);
  }
  error = error != 0 ? error : gk_open_matrix(t[3], bytes[3], c->width, (int64_t)c->heads * c->head_dim, &out->out);
  error = error != 0 ? error : gk_open_vector(t[4], bytes[4], c->width, &out->mlp_norm);
  error = error != 0 ? error : gk_open_matrix(t[5], bytes[5], 2 * (int64_t)c->mlp, c->width, &out->gate_up);
  return error != 0 ? error : gk_open_matrix(t[6], bytes[6], c->width, c->mlp, &out->down);
}

/* Opens all tensors; d->c must be checked and d->layers hold c.layers entries. */
static int32_t gk_open_tensors(gk_decoder *d, const void *const *tensors, const int64_t *bytes, int32_t count) {
  const int32_t layers = d->c.layers;
  if (tensors == NULL || bytes == NULL || count != layers * GK_LAYER_TENSORS + 2) {
    return GK_ESIZE;
  }
  for (int32_t i = 0; i < layers; i++) {
    int32_t error = gk_open_layer(&d->c, tensors + i * GK_LAYER_TENSORS, bytes + i * GK_LAYER_TENSORS, d->layers + i);
    if (error != 0) {
      return error;
    }
  }
  int32_t error = gk_open_vector(tensors[count - 2], bytes[count - 2], d->c.width, &d->norm);
  return error != 0 ? error : gk_open_matrix(tensors[count - 1], bytes[count - 1], d->c.vocab, d->c.width, &d->head);
}

static int64_t gk_most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Lays the memory out from base, which may be null; returns its length. */
static int64_t gk_plan(gk_decoder *d, uint8_t *base) {
  const gk_config *c = &d->c;
  const int64_t rows = c->max_rows;
  const int64_t heads = (int64_t)c->layers * c->slots * c->kv_heads * c->max_positions;
  int64_t scratch = gk_product_scratch(&d->head.head, rows);
  for (int32_t i = 0; i < c->layers; i++) {
    const gk_layer *l = d->layers + i;
    scratch = gk_most(scratch, gk_product_scratch(&l->qkv.head, rows));
    scratch = gk_most(scratch, gk_product_scratch(&l->out.head, rows));
    scratch = gk_most(scratch, gk_product_scratch(&l->gate_up.head, rows));
    scratch = gk_most(scratch, gk_product_scratch(&l->down.head, rows));
  }
  const int64_t scales = c->kv_bits == 8 ? heads * GK_FLOAT : 0;
  struct {
    void *where;
    int64_t bytes;
  } parts[] = {{&d->keys, heads * d->dim * c->kv_bits / 8},
               {&d->values, heads * d->dim * c->kv_bits / 8},
               {&d->key_scales, scales},
               {&d->value_scales, scales},
               {&d->normed, rows * c->width * GK_FLOAT},
               {&d->qkv, rows * (c->heads + 2 * (int64_t)c->kv_heads) * c->head_dim * GK_FLOAT},
               {&d->queries, rows * c->heads * d->dim * GK_FLOAT},
               {&d->mixed, rows * c->heads * c->head_dim * GK_FLOAT},
               {&d->added, rows * c->width * GK_FLOAT},
               {&d->gate_up, rows * 2 * c->mlp * GK_FLOAT},
               {&d->gated, rows * c->mlp * GK_FLOAT},
               {&d->scores, (int64_t)gk_pool_threads(d->pool) * gk_round_up(c->max_positions, GK_LANES) * GK_FLOAT},
               {&d->scratch, scratch}};
  int64_t at = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    uint8_t *p = base == NULL ? NULL : base + at;
    memcpy(parts[i].where, &p, sizeof p);
    at += gk_round_up(parts[i].bytes, GK_ALIGN);
  }
  return at;
}

int32_t gk_decoder_new(gk_pool *pool, int32_t isa, const gk_config *config, const void *const *tensors, const int64_t *bytes,
                       int32_t count, gk_decoder **out) {
  *out = NULL;
  int32_t error = gk_check_config(config);
  if (error != 0) {
    return error;
  }
  if (isa < GK_SCALAR || isa > gk_best_isa()) {
    return GK_EISA;
  }
  gk_decoder *d = calloc(1, sizeof *d);
  gk_layer *layers = calloc((size_t)config->layers, sizeof *layers);
  if (d == NULL || layers == NULL) {
    free(d);
    free(layers);
    return GK_EMEMORY;
  }
  d->pool = pool;
  d->isa = isa;
  d->c = *config;
  d->dim = gk_round_up(config->head_dim, GK_LANES);
  d->layers = layers;
  error = gk_open_tensors(d, tensors, bytes, count);
  if (error == 0) {
    d->memory_bytes = gk_plan(d, NULL);
    d->memory = gk_reserve(d->memory_bytes);
    if (d->memory == NULL) {
      error = GK_EMEMORY;
    } else {
      gk_plan(d, d->memory);
    }
  }
  if (error != 0) {
    gk_decoder_free(d);
    return error;
  }
  *out = d;
  return 0;
}

void gk_decoder_free(gk_decoder *d) {
  if (d != NULL) {
    gk_release(d->memory, d->memory_bytes);
    free(d->layers);
    free(d);
  }
}

int64_t gk_decoder_bytes(const gk_decoder *d) { return d->memory_bytes; }

/* ---- stages; a share of the rows, or of rows times heads ---- */

GK_CLONES static void gk_add_and_norm(void *context, int32_t part, int32_t parts) {
  const gk_pass *p = context;
  const int64_t width = p->d->c.width;
  const int64_t whole = width / GK_LANES * GK_LANES;
  const int64_t end = gk_first(p->rows, part + 1, parts);
  for (int64_t i = gk_first(p->rows, part, parts); i < end; i++) {
    float *x = p->x + i * width;
    if (p->add != NULL) {
      const float *add = p->add + i * width;
      for (int64_t k = 0; k < width; k++) {
        x[k] += add[k];
      }
    }
    if (p->norm == NULL) {
      continue;
    }
    gk_floats squares = gk_all(0);
    for (int64_t k = 0; k < whole; k += GK_LANES) {
      const gk_floats v = gk_load(x + k);
      squares += v * v;
    }
    float sum = gk_sum(squares);
    for (int64_t k = whole; k < width; k++) {
      sum += x[k] * x[k];
    }
    const float scale = 1.0f / sqrtf(sum / (float)width + p->d->c.eps);
    float *out = p->d->normed + i * width;
    for (int64_t k = 0; k < width; k++) {
      out[k] = x[k] * scale * p->norm[k];
    }
  }
}

/* Rotates a head: (a, b) halves become (a cos - b sin, b cos + a sin). */
GK_ALWAYS void gk_rotate(float *v, const float *rope, int64_t half) {
  for (int64_t k = 0; k < half; k++) {
    const float a = v[k];
    const float b = v[half + k];
    v[k] = a * rope[k] - b * rope[half + k];
    v[half + k] = b * rope[k] + a * rope[half + k];
  }
}

/* Where a head of a position is in the caches, in heads. */
static int64_t gk_cache_at(const gk_pass *p, int64_t row, int64_t kv_head, int64_t position) {
  const gk_config *c = &p->d->c;
  return (((int64_t)p->index * c->slots + p->slots[row]) * c->kv_heads + kv_head) * c->max_positions + position;
}

GK_ALWAYS void gk_put(const gk_decoder *d, uint8_t *cache, float *scales, int64_t at, const float *v) {
  const int64_t n = d->c.head_dim;
  if (d->c.kv_bits == 16) {
    uint16_t *to = (uint16_t *)cache + at * d->dim;
    for (int64_t k = 0; k < n; k++) {
      to[k] = gk_bf16(v[k]);
    }
    return;
  }
  float absmax = 0;
  for (int64_t k = 0; k < n; k++) {
    const float magnitude = fabsf(v[k]);
    absmax = magnitude > absmax ? magnitude : absmax;
  }
  int8_t *to = (int8_t *)cache + at * d->dim;
  const float inverse = absmax > 0x1p-100f ? 127.0f / absmax : 0.0f;
  scales[at] = absmax / 127.0f;
  for (int64_t k = 0; k < n; k++) {
    to[k] = (int8_t)((v[k] * inverse + 12582912.0f) - 12582912.0f);
  }
}

/* Bias and rotation; queries go to their padded rows, keys and values to the caches. */
GK_CLONES static void gk_turn(void *context, int32_t part, int32_t parts) {
  const gk_pass *p = context;
  gk_decoder *d = p->d;
  const int64_t n = d->c.head_dim;
  const int64_t heads = d->c.heads;
  const int64_t kv_heads = d->c.kv_heads;
  const int64_t all = heads + 2 * kv_heads;
  const float scale = 1.0f / sqrtf((float)n);
  const int64_t end = gk_first(p->rows * all, part + 1, parts);
  for (int64_t i = gk_first(p->rows * all, part, parts); i < end; i++) {
    const int64_t row = i / all;
    const int64_t head = i % all;
    float *v = d->qkv + i * n;
    if (p->layer->bias != NULL) {
      const float *bias = p->layer->bias + head * n;
      for (int64_t k = 0; k < n; k++) {
        v[k] += bias[k];
      }
    }
    if (head < heads + kv_heads) {
      gk_rotate(v, p->rope + row * n, n / 2);
    }
    if (head < heads) {
      float *to = d->queries + (row * heads + head) * d->dim;
      for (int64_t k = 0; k < n; k++) {
        to[k] = v[k] * scale;
      }
    } else if (head < heads + kv_heads) {
      gk_put(d, d->keys, d->key_scales, gk_cache_at(p, row, head - heads, p->positions[row]), v);
    } else {
      gk_put(d, d->values, d->value_scales, gk_cache_at(p, row, head - heads - kv_heads, p->positions[row]), v);
    }
  }
}

GK_ALWAYS gk_floats gk_cached(const uint8_t *cache, int64_t at, const int small) {
  return small ? gk_load_int8((const int8_t *)cache + at) : gk_load_bf16((const uint16_t *)cache + at);
}

/* out = the values from element k on of n positions, each times its weight; `wide` vectors, whose sums live in registers. */
GK_ALWAYS void gk_mix(const gk_decoder *d, int64_t first, int64_t n, int64_t k, const float *weights, float inverse, float *out,
                      const int wide, const int small) {
  gk_floats sums[GK_MIXED];
  GK_EACH(i, wide) {
    sums[i] = gk_all(0);
  }
  for (int64_t t = 0; t < n; t++) {
    const gk_floats weight = gk_all(small ? weights[t] * d->value_scales[first + t] : weights[t]);
    GK_EACH(i, wide) {
      sums[i] += weight * gk_cached(d->values, (first + t) * d->dim + k + i * GK_LANES, small);
    }
  }
  GK_EACH(i, wide) {
    gk_store(out + i * GK_LANES, sums[i] * inverse);
  }
}

GK_ALWAYS void gk_attend(const gk_pass *p, int64_t row, int64_t head, float *scores, const int small) {
  gk_decoder *d = p->d;
  const int64_t dim = d->dim;
  const int64_t n = (int64_t)p->positions[row] + 1;
  const int64_t first = gk_cache_at(p, row, head / (d->c.heads / d->c.kv_heads), 0);
  const float *q = d->queries + (row * d->c.heads + head) * dim;
  float most = -INFINITY;
  for (int64_t t = 0; t < n; t++) {
    gk_floats sum = gk_all(0);
    for (int64_t k = 0; k < dim; k += GK_LANES) {
      sum += gk_load(q + k) * gk_cached(d->keys, (first + t) * dim + k, small);
    }
    scores[t] = small ? gk_sum(sum) * d->key_scales[first + t] : gk_sum(sum);
    most = scores[t] > most ? scores[t] : most;
  }
  const int64_t padded = gk_round_up(n, GK_LANES);
  for (int64_t t = n; t < padded; t++) {
    scores[t] = -INFINITY;
  }
  gk_floats total = gk_all(0);
  for (int64_t t = 0; t < padded; t += GK_LANES) {
    const gk_floats e = gk_exp(gk_load(scores + t) - most);
    gk_store(scores + t, e);
    total += e;
  }
  const float inverse = 1.0f / gk_sum(total);
  float *mixed = d->mixed + (row * d->c.heads + head) * d->c.head_dim;
  float out[GK_MIXED * GK_LANES];
  for (int64_t k = 0; k < dim;) {
    const int64_t vectors = (dim - k) / GK_LANES;
    const int64_t wide = vectors >= GK_MIXED ? GK_MIXED : vectors >= GK_MIXED / 2 ? GK_MIXED / 2 : 1;
    if (wide == GK_MIXED) {
      gk_mix(d, first, n, k, scores, inverse, out, GK_MIXED, small);
    } else if (wide == GK_MIXED / 2) {
      gk_mix(d, first, n, k, scores, inverse, out, GK_MIXED / 2, small);
    } else {
      gk_mix(d, first, n, k, scores, inverse, out, 1, small);
    }
    const int64_t left = d->c.head_dim - k;
    memcpy(mixed + k, out, (size_t)(left < wide * GK_LANES ? left : wide * GK_LANES) * sizeof(float));
    k += wide * GK_LANES;
  }
}

GK_CLONES static void gk_attention(void *context, int32_t part, int32_t parts) {
  const gk_pass *p = context;
  const int64_t heads = p->d->c.heads;
  float *scores = p->d->scores + part * gk_round_up(p->d->c.max_positions, GK_LANES);
  const int64_t end = gk_first(p->rows * heads, part + 1, parts);
  for (int64_t i = gk_first(p->rows * heads, part, parts); i < end; i++) {
    if (p->d->c.kv_bits == 8) {
      gk_attend(p, i / heads, i % heads, scores, 1);
    } else {
      gk_attend(p, i / heads, i % heads, scores, 0);
    }
  }
}

/* silu(gate) * up. */
GK_CLONES static void gk_gate(void *context, int32_t part, int32_t parts) {
  const gk_pass *p = context;
  const int64_t mlp = p->d->c.mlp;
  const int64_t chunks = (mlp + GK_LANES - 1) / GK_LANES;
  const int64_t end = gk_first(p->rows * chunks, part + 1, parts);
  for (int64_t i = gk_first(p->rows * chunks, part, parts); i < end; i++) {
    const int64_t at = i % chunks * GK_LANES;
    const int64_t n = mlp - at < GK_LANES ? mlp - at : GK_LANES;
    const float *gate = p->d->gate_up + i / chunks * 2 * mlp + at;
    float g[GK_LANES] = {0};
    float u[GK_LANES] = {0};
    memcpy(g, gate, (size_t)n * sizeof(float));
    memcpy(u, gate + mlp, (size_t)n * sizeof(float));
    const gk_floats v = gk_load(g);
    gk_store(g, v / (1.0f + gk_exp(-v)) * gk_load(u));
    memcpy(p->d->gated + i / chunks * mlp + at, g, (size_t)n * sizeof(float));
  }
}

/* ---- calls ---- */

static int32_t gk_check_rows(const gk_decoder *d, int32_t rows, const int32_t *slots, const int32_t *positions) {
  if (rows < 1 || rows > d->c.max_rows) {
    return GK_ESIZE;
  }
  for (int32_t i = 0; i < rows; i++) {
    if (slots[i] < 0 || slots[i] >= d->c.slots || positions[i] < 0 || positions[i] >= d->c.max_positions) {
      return GK_ESIZE;
    }
  }
  return 0;
}

int32_t gk_forward(gk_decoder *d, int32_t rows, const int32_t *slots, const int32_t *positions, const float *rope, float *x) {
  if (d == NULL || slots == NULL || positions == NULL || rope == NULL || x == NULL) {
    return GK_EALIGN;
  }
  int32_t error = gk_check_rows(d, rows, slots, positions);
  if (error != 0) {
    return error;
  }
  gk_pass p = {.d = d, .rows = rows, .slots = slots, .positions = positions, .rope = rope, .x = x};
  gk_pool *few = rows > 1 ? d->pool : NULL; /* threads for what a single row is too little for */
  for (int32_t i = 0; i < d->c.layers; i++) {
    const gk_layer *l = d->layers + i;
    p.layer = l;
    p.index = i;
    p.norm = l->norm;
    gk_run(few, gk_add_and_norm, &p);
    gk_product_run(d->pool, d->isa, &l->qkv, d->normed, rows, d->qkv, d->scratch);
    gk_run(few, gk_turn, &p);
    gk_run(d->pool, gk_attention, &p);
    gk_product_run(d->pool, d->isa, &l->out, d->mixed, rows, d->added, d->scratch);
    p.add = d->added;
    p.norm = l->mlp_norm;
    gk_run(few, gk_add_and_norm, &p);
    gk_product_run(d->pool, d->isa, &l->gate_up, d->normed, rows, d->gate_up, d->scratch);
    gk_run(d->pool, gk_gate, &p);
    gk_product_run(d->pool, d->isa, &l->down, d->gated, rows, d->added, d->scratch);
  }
  p.norm = NULL;
  gk_run(few, gk_add_and_norm, &p);
  return 0;
}

int32_t gk_logits(gk_decoder *d, int32_t rows, const float *x, float *logits) {
  if (d == NULL || x == NULL || logits == NULL) {
    return GK_EALIGN;
  }
  if (rows < 1 || rows > d->c.max_rows) {
    return GK_ESIZE;
  }
  memcpy(d->added, x, (size_t)rows * (size_t)d->c.width * sizeof(float));
  gk_pass p = {.d = d, .rows = rows, .x = d->added, .norm = d->norm};
  gk_run(rows > 1 ? d->pool : NULL, gk_add_and_norm, &p);
  gk_product_run(d->pool, d->isa, &d->head, d->normed, rows, logits, d->scratch);
  return 0;
}
