/* Forward and backward pass of a transformer block: products, and one pass over the rows between them. */
#include "gk_train_block.h"

#define GK_MOST_SIZE (1 << 20)
#define GK_MOST_ROWS (1 << 24)

/* What the forward pass keeps for the backward pass. */
typedef struct {
  float *statistics1; /* [rows, 2] */
  float *statistics2;
  float *sums;      /* [batch, heads, length] */
  uint16_t *norm1;  /* [rows, width] */
  uint16_t *qkv;    /* [rows, (heads + 2 kv_heads) head_dim], rotated */
  uint16_t *mixed;  /* [rows, heads head_dim] */
  uint16_t *middle; /* [rows, width], behind attention */
  uint16_t *norm2;  /* [rows, width] */
  uint16_t *gates;  /* [rows, mlp or 2 mlp], before the activation */
} gk_saved;

typedef struct {
  uint16_t *inner;   /* [rows, mlp] */
  uint16_t *d_gates; /* [rows, mlp or 2 mlp] */
  uint16_t *d_qkv;
  uint16_t *d_mixed;
  uint16_t *d_middle;               /* [rows, width] */
  uint16_t *d_norm[GK_ADDENDS];     /* [rows, width] */
  float *columns;
  void *attention;
  void *product;
  int64_t product_bytes;
} gk_space;

typedef struct {
  gk_pool *pool;
  const gk_train_shape *s;
  int64_t rows;
  gk_attention attention;
  const uint16_t *const *weights;
  const float *rope;
  gk_saved saved;
  gk_space space;
  int32_t error; /* of a product; none can fail once sizes are checked */
} gk_training;

static int gk_gated_mlp(const gk_train_shape *s) { return s->kind == GK_LLAMA; }

static int64_t gk_gate_row(const gk_train_shape *s) { return (int64_t)s->mlp * (gk_gated_mlp(s) ? 2 : 1); }

static gk_attention gk_attention_of(const gk_train_shape *s) {
  return (gk_attention){.batch = s->batch,
                        .length = s->length,
                        .heads = s->heads,
                        .kv_heads = s->kv_heads,
                        .dim = s->head_dim,
                        .causal = s->kind == GK_LLAMA,
                        .unit = s->plain ? GK_PAIRS : gk_unit()};
}

static int gk_size(int32_t n) { return n >= 1 && n <= GK_MOST_SIZE; }

static int32_t gk_train_check(const gk_train_shape *s) {
  if (s == NULL) {
    return GK_EALIGN;
  }
  const int sizes = gk_size(s->batch) && gk_size(s->length) && gk_size(s->width) && gk_size(s->heads) && gk_size(s->kv_heads) &&
                    gk_size(s->head_dim) && gk_size(s->mlp) && (s->kind == GK_LLAMA || s->kind == GK_CLIP) && (s->plain == 0 || s->plain == 1);
  if (!sizes || s->heads % s->kv_heads != 0 || (s->kind == GK_LLAMA && s->head_dim % 2 != 0) || !(s->eps >= 0 && s->eps <= 1)) {
    return GK_ESIZE;
  }
  const int64_t heads = ((int64_t)s->heads + 2 * (int64_t)s->kv_heads) * s->head_dim;
  return (int64_t)s->batch * s->length > GK_MOST_ROWS || heads > GK_MOST_ROWS ? GK_ESIZE : 0;
}

/* The next bytes from *at on, aligned. */
static void *gk_take(uint8_t **at, int64_t bytes) {
  uint8_t *const out = *at;
  *at = out + (bytes + 63) / 64 * 64;
  return out;
}

static int64_t gk_lay_saved(const gk_train_shape *s, uint8_t *from, gk_saved *out) {
  const int64_t rows = (int64_t)s->batch * s->length;
  const gk_attention a = gk_attention_of(s);
  uint8_t *at = from;
  out->statistics1 = gk_take(&at, rows * 8);
  out->statistics2 = gk_take(&at, rows * 8);
  out->sums = gk_take(&at, rows * s->heads * 4);
  out->norm1 = gk_take(&at, rows * s->width * 2);
  out->qkv = gk_take(&at, rows * gk_qkv_row(&a) * 2);
  out->mixed = gk_take(&at, rows * s->heads * s->head_dim * 2);
  out->middle = gk_take(&at, rows * s->width * 2);
  out->norm2 = gk_take(&at, rows * s->width * 2);
  out->gates = gk_take(&at, rows * gk_gate_row(s) * 2);
  return (int64_t)((uintptr_t)at - (uintptr_t)from);
}

/* The most scratch space that a product of x [rows, in] with a weight [out, in], or its backward pass, needs. */
static int64_t gk_most_product(const gk_pool *pool, int32_t rows, int32_t in, int32_t out, int64_t most) {
  const gk_gemm_shape shapes[3] = {
      {.m = rows, .n = out, .k = in, .a_row = in, .a_col = 1, .b_row = 1, .b_col = in, .c_row = out},
      {.m = rows, .n = in, .k = out, .a_row = out, .a_col = 1, .b_row = in, .b_col = 1, .c_row = in},
      {.m = out, .n = in, .k = rows, .a_row = 1, .a_col = out, .b_row = in, .b_col = 1, .c_row = in, .add = 1},
  };
  for (int i = 0; i < 3; i++) {
    const int64_t bytes = gk_gemm_scratch(pool, &shapes[i]);
    most = bytes > most ? bytes : most;
  }
  return most;
}

static int64_t gk_lay_space(const gk_pool *pool, const gk_train_shape *s, uint8_t *from, gk_space *out) {
  const int64_t rows = (int64_t)s->batch * s->length;
  const gk_attention a = gk_attention_of(s);
  const int32_t heads = s->heads * s->head_dim;
  const int32_t kv = s->kv_heads * s->head_dim;
  const int64_t most_columns = gk_qkv_row(&a) > s->mlp ? gk_qkv_row(&a) : s->mlp;
  const int64_t columns = most_columns > s->width ? most_columns : s->width;
  int64_t product = gk_most_product(pool, (int32_t)rows, s->width, heads, 0);
  product = gk_most_product(pool, (int32_t)rows, s->width, kv, product);
  product = gk_most_product(pool, (int32_t)rows, heads, s->width, product);
  product = gk_most_product(pool, (int32_t)rows, s->width, s->mlp, product);
  product = gk_most_product(pool, (int32_t)rows, s->mlp, s->width, product);
  uint8_t *at = from;
  out->inner = gk_take(&at, rows * s->mlp * 2);
  out->d_gates = gk_take(&at, rows * gk_gate_row(s) * 2);
  out->d_qkv = gk_take(&at, rows * gk_qkv_row(&a) * 2);
  out->d_mixed = gk_take(&at, rows * heads * 2);
  out->d_middle = gk_take(&at, rows * s->width * 2);
  for (int i = 0; i < GK_ADDENDS; i++) {
    out->d_norm[i] = gk_take(&at, rows * s->width * 2);
  }
  out->columns = gk_take(&at, gk_column_scratch(rows, columns) * 4);
  out->attention = gk_take(&at, gk_attention_scratch(&a, gk_pool_threads(pool), 1));
  out->product = gk_take(&at, product);
  out->product_bytes = product;
  return (int64_t)((uintptr_t)at - (uintptr_t)from);
}

int64_t gk_train_saved(const gk_train_shape *shape) {
  const int32_t error = gk_train_check(shape);
  gk_saved saved;
  return error != 0 ? error : gk_lay_saved(shape, NULL, &saved);
}

int64_t gk_train_scratch(const gk_pool *pool, const gk_train_shape *shape) {
  const int32_t error = gk_train_check(shape);
  gk_space space;
  return error != 0 ? error : gk_lay_space(pool, shape, NULL, &space);
}

/* ---- products ---- */

static void gk_multiply(gk_training *t, gk_gemm_shape shape, const void *a, const void *b, void *c) {
  shape.plain = t->s->plain;
  const int32_t error = gk_gemm_bf16(t->pool, &shape, a, b, c, t->space.product, t->space.product_bytes);
  t->error = t->error != 0 ? t->error : error;
}

/* y [rows, out] = x [rows, in] times the weight [out, in] transposed. */
static void gk_apply(gk_training *t, const uint16_t *x, int32_t in, int parameter, int32_t out, gk_lines y) {
  const gk_gemm_shape shape = {
      .m = (int32_t)t->rows, .n = out, .k = in, .a_row = in, .a_col = 1, .b_row = 1, .b_col = in, .c_row = y.row};
  gk_multiply(t, shape, x, t->weights[parameter], y.p);
}

/* d_x [rows, in] = d_y [rows, out] times the weight; the weight's gradient += d_y transposed times x, unless there is none wanted. */
static void gk_apply_back(gk_training *t, const uint16_t *x, int32_t in, int parameter, int32_t out, gk_lines d_y, uint16_t *d_x,
                          float *const *gradients) {
  const gk_gemm_shape by_x = {
      .m = (int32_t)t->rows, .n = in, .k = out, .a_row = d_y.row, .a_col = 1, .b_row = in, .b_col = 1, .c_row = in};
  gk_multiply(t, by_x, d_y.p, t->weights[parameter], d_x);
  if (gradients[parameter] != NULL) {
    const gk_gemm_shape by_weight = {
        .m = out, .n = in, .k = (int32_t)t->rows, .a_row = 1, .a_col = d_y.row, .b_row = in, .b_col = 1, .c_row = in, .add = 1};
    gk_multiply(t, by_weight, d_y.p, x, gradients[parameter]);
  }
}

/* ---- the block ---- */

static gk_norm gk_norm_of(const gk_training *t, int parameter) {
  return (gk_norm){.rows = t->rows,
                   .cols = t->s->width,
                   .centered = t->s->kind == GK_CLIP,
                   .eps = t->s->eps,
                   .weight = t->weights[parameter],
                   .bias = t->weights[parameter + 1]};
}

/* Queries, keys and values: their parameter, width, and place in a row. */
typedef struct {
  int parameter;
  int32_t out;
  int64_t place;
} gk_third;

static gk_third gk_third_of(const gk_train_shape *s, int part) {
  const int32_t heads = s->heads * s->head_dim;
  const int32_t kv = s->kv_heads * s->head_dim;
  return (gk_third){.parameter = GK_QUERY + 2 * part, .out = part == 0 ? heads : kv, .place = part == 0 ? 0 : heads + (part - 1) * kv};
}

static void gk_block_there(gk_training *t, const uint16_t *x, uint16_t *y) {
  const gk_train_shape *s = t->s;
  const gk_saved *v = &t->saved;
  const int64_t row = gk_qkv_row(&t->attention);
  const int32_t heads = s->heads * s->head_dim;
  uint16_t *const product = t->space.d_norm[0];
  const gk_norm norm1 = gk_norm_of(t, GK_NORM1);
  gk_normalize(t->pool, &norm1, x, v->statistics1, v->norm1);
  const uint16_t *biases[3];
  for (int part = 0; part < 3; part++) {
    const gk_third third = gk_third_of(s, part);
    gk_apply(t, v->norm1, s->width, third.parameter, third.out, (gk_lines){v->qkv + third.place, row});
    biases[part] = t->weights[third.parameter + 1];
  }
  gk_place_heads(t->pool, &t->attention, v->qkv, biases, t->rope, 0);
  gk_attend(t->pool, &t->attention, v->qkv, v->mixed, v->sums, t->space.attention);
  gk_apply(t, v->mixed, heads, GK_OUT, s->width, (gk_lines){product, s->width});
  gk_add_residual(t->pool, t->rows, s->width, x, product, t->weights[GK_OUT_BIAS], v->middle);
  const gk_norm norm2 = gk_norm_of(t, GK_NORM2);
  gk_normalize(t->pool, &norm2, v->middle, v->statistics2, v->norm2);
  const int64_t gates = gk_gate_row(s);
  if (gk_gated_mlp(s)) {
    gk_apply(t, v->norm2, s->width, GK_GATE, s->mlp, (gk_lines){v->gates, gates});
  }
  gk_apply(t, v->norm2, s->width, GK_UP, s->mlp, (gk_lines){v->gates + (gates - s->mlp), gates});
  gk_activate(t->pool, gk_gated_mlp(s), t->rows, s->mlp, v->gates, t->weights[GK_UP_BIAS], t->space.inner);
  gk_apply(t, t->space.inner, s->mlp, GK_DOWN, s->width, (gk_lines){product, s->width});
  gk_add_residual(t->pool, t->rows, s->width, v->middle, product, t->weights[GK_DOWN_BIAS], y);
}

static void gk_block_back(gk_training *t, const uint16_t *x, uint16_t *d_y, uint16_t *d_x, float *const *gradients) {
  const gk_train_shape *s = t->s;
  const gk_saved *v = &t->saved;
  const gk_space *w = &t->space;
  const int64_t gates = gk_gate_row(s);
  const int64_t row = gk_qkv_row(&t->attention);
  const int32_t heads = s->heads * s->head_dim;
  const gk_lines d_out = {d_y, s->width};
  /* The MLP: the gradient with respect to the input of `down` comes before that of its weight, which needs the input. */
  const gk_gemm_shape by_inner = {
      .m = (int32_t)t->rows, .n = s->mlp, .k = s->width, .a_row = s->width, .a_col = 1, .b_row = s->mlp, .b_col = 1, .c_row = s->mlp};
  gk_multiply(t, by_inner, d_y, t->weights[GK_DOWN], w->inner);
  gk_activate_back(t->pool, gk_gated_mlp(s), t->rows, s->mlp, v->gates, w->inner, w->d_gates);
  if (gradients[GK_DOWN] != NULL) {
    const gk_gemm_shape by_down = {
        .m = s->width, .n = s->mlp, .k = (int32_t)t->rows, .a_row = 1, .a_col = s->width, .b_row = s->mlp, .b_col = 1, .c_row = s->mlp, .add = 1};
    gk_multiply(t, by_down, d_y, w->inner, gradients[GK_DOWN]);
  }
  gk_column_sums(t->pool, d_out, t->rows, s->width, gradients[GK_DOWN_BIAS], w->columns);
  const gk_lines d_up = {w->d_gates + (gates - s->mlp), gates};
  gk_apply_back(t, v->norm2, s->width, GK_UP, s->mlp, d_up, w->d_norm[0], gradients);
  gk_column_sums(t->pool, d_up, t->rows, s->mlp, gradients[GK_UP_BIAS], w->columns);
  if (gk_gated_mlp(s)) {
    gk_apply_back(t, v->norm2, s->width, GK_GATE, s->mlp, (gk_lines){w->d_gates, gates}, w->d_norm[1], gradients);
  }
  const gk_norm norm2 = gk_norm_of(t, GK_NORM2);
  gk_normalize_back(t->pool, &norm2, v->middle, v->statistics2, (const uint16_t *const *)w->d_norm, gk_gated_mlp(s) ? 2 : 1, d_y, w->d_middle,
                    gradients[GK_NORM2], gradients[GK_NORM2_BIAS], w->columns);
  /* Attention. */
  const gk_lines d_middle = {w->d_middle, s->width};
  gk_apply_back(t, v->mixed, heads, GK_OUT, s->width, d_middle, w->d_mixed, gradients);
  gk_column_sums(t->pool, d_middle, t->rows, s->width, gradients[GK_OUT_BIAS], w->columns);
  gk_attend_back(t->pool, &t->attention, v->qkv, v->mixed, v->sums, w->d_mixed, w->d_qkv, w->attention);
  gk_place_heads(t->pool, &t->attention, w->d_qkv, NULL, t->rope, 1);
  for (int part = 0; part < 3; part++) {
    const gk_third third = gk_third_of(s, part);
    const gk_lines d = {w->d_qkv + third.place, row};
    gk_apply_back(t, v->norm1, s->width, third.parameter, third.out, d, w->d_norm[part], gradients);
    gk_column_sums(t->pool, d, t->rows, third.out, gradients[third.parameter + 1], w->columns);
  }
  const gk_norm norm1 = gk_norm_of(t, GK_NORM1);
  gk_normalize_back(t->pool, &norm1, x, v->statistics1, (const uint16_t *const *)w->d_norm, 3, w->d_middle, d_x, gradients[GK_NORM1],
                    gradients[GK_NORM1_BIAS], w->columns);
}

/* ---- entry ---- */

static int gk_unaligned(const void *p) { return p == NULL || (uintptr_t)p % 64 != 0; }

/* Checks what both ways take, and lays the memory out. */
static int32_t gk_train_open(gk_pool *pool, const gk_train_shape *shape, const void *const *weights, const float *rope, const void *x,
                             const void *saved, int64_t saved_bytes, void *scratch, int64_t scratch_bytes, gk_training *t) {
  const int32_t error = gk_train_check(shape);
  if (error != 0) {
    return error;
  }
  if (gk_unit() == GK_NO_UNIT) {
    return GK_EISA;
  }
  if (weights == NULL || x == NULL || (rope == NULL) == (shape->kind == GK_LLAMA) || gk_unaligned(saved) || gk_unaligned(scratch)) {
    return GK_EALIGN;
  }
  for (int i = 0; i < GK_PARAMETERS; i++) {
    const int bias = i == GK_NORM1_BIAS || i == GK_QUERY_BIAS || i == GK_KEY_BIAS || i == GK_VALUE_BIAS || i == GK_OUT_BIAS ||
                     i == GK_NORM2_BIAS || i == GK_UP_BIAS || i == GK_DOWN_BIAS;
    const int absent = i == GK_GATE ? !gk_gated_mlp(shape) : gk_gated_mlp(shape) && (i == GK_NORM1_BIAS || i == GK_NORM2_BIAS || i == GK_UP_BIAS);
    if ((weights[i] == NULL && !bias && !absent) || (weights[i] != NULL && absent)) {
      return GK_EALIGN;
    }
  }
  *t = (gk_training){.pool = pool,
                     .s = shape,
                     .rows = (int64_t)shape->batch * shape->length,
                     .attention = gk_attention_of(shape),
                     .weights = (const uint16_t *const *)weights,
                     .rope = rope};
  const int64_t left = gk_lay_saved(shape, (uint8_t *)(uintptr_t)saved, &t->saved);
  const int64_t needed = gk_lay_space(pool, shape, scratch, &t->space);
  return saved_bytes < left || scratch_bytes < needed ? GK_ESPACE : 0;
}

int32_t gk_train_forward(gk_pool *pool, const gk_train_shape *shape, const void *const *weights, const float *rope, const void *x, void *saved,
                         int64_t saved_bytes, void *y, void *scratch, int64_t scratch_bytes) {
  gk_training t;
  const int32_t error = gk_train_open(pool, shape, weights, rope, x, saved, saved_bytes, scratch, scratch_bytes, &t);
  if (error != 0) {
    return error;
  }
  if (y == NULL) {
    return GK_EALIGN;
  }
  gk_block_there(&t, x, y);
  return t.error;
}

int32_t gk_train_backward(gk_pool *pool, const gk_train_shape *shape, const void *const *weights, const float *rope, const void *x,
                          const void *saved, int64_t saved_bytes, const void *d_y, void *d_x, float *const *gradients, void *scratch,
                          int64_t scratch_bytes) {
  gk_training t;
  const int32_t error = gk_train_open(pool, shape, weights, rope, x, saved, saved_bytes, scratch, scratch_bytes, &t);
  if (error != 0) {
    return error;
  }
  if (d_y == NULL || d_x == NULL || gradients == NULL) {
    return GK_EALIGN;
  }
  gk_block_back(&t, x, (uint16_t *)(uintptr_t)d_y, d_x, gradients);
  return t.error;
}
