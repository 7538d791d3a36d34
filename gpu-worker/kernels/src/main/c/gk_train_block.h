/* Parts of a transformer block in training; private to the library. */
#ifndef GK_TRAIN_BLOCK_H
#define GK_TRAIN_BLOCK_H

#include "gk_tile.h"

/* Attention over `batch` sequences of `length`, whose queries, keys and values [batch * length, row] of all heads lie in one matrix. */
typedef struct {
  int32_t batch;
  int32_t length;
  int32_t heads;
  int32_t kv_heads;
  int32_t dim;    /* of a head */
  int32_t causal;
  int32_t unit;   /* GK_PAIRS or GK_TILES */
} gk_attention;

/* Numbers in a row of queries, keys and values. */
static inline int64_t gk_qkv_row(const gk_attention *a) { return (int64_t)(a->heads + 2 * a->kv_heads) * a->dim; }

/* Bytes of scratch space, aligned to 64. */
int64_t gk_attention_scratch(const gk_attention *a, int32_t threads, int backward);

/*
 * out [batch * length, heads * dim] = softmax(q k^T / sqrt(dim)) v, and the logarithm of each row's sum of exponentials in
 * sums [batch, heads, length].
 */
void gk_attend(gk_pool *pool, const gk_attention *a, const uint16_t *qkv, uint16_t *out, float *sums, void *scratch);

/* Gradients d_qkv by qkv from those by out. */
void gk_attend_back(gk_pool *pool, const gk_attention *a, const uint16_t *qkv, const uint16_t *out, const float *sums,
                    const uint16_t *d_out, uint16_t *d_qkv, void *scratch);

/* A matrix [rows, cols] of bfloat16 numbers, `row` numbers from row to row. */
typedef struct {
  uint16_t *p;
  int64_t row;
} gk_lines;

#define GK_ADDENDS 3 /* most matrices that a sum is made of */

/* Layer normalization (RMS if not `centered`) over rows of x [rows, cols] with weight and bias [cols]; the latter may be null. */
typedef struct {
  int64_t rows;
  int32_t cols;
  int32_t centered;
  float eps;
  const uint16_t *weight;
  const uint16_t *bias;
} gk_norm;

/* y = norm(x); statistics [rows, 2] become mean and 1 / deviation. */
void gk_normalize(gk_pool *pool, const gk_norm *n, const uint16_t *x, float *statistics, uint16_t *y);

/* Numbers of scratch space of gk_normalize_back and gk_column_sums. */
int64_t gk_column_scratch(int64_t rows, int64_t cols);

/*
 * d_x = d_more + gradient with respect to x, where the gradient with respect to y is the sum of `count` matrices [rows, cols]; weight and bias gradients [cols] are
 * added to unless null. d_x may be d_more.
 */
void gk_normalize_back(gk_pool *pool, const gk_norm *n, const uint16_t *x, const float *statistics, const uint16_t *const *d_y, int32_t count,
                       const uint16_t *d_more, uint16_t *d_x, float *d_weight, float *d_bias, float *scratch);

/* sums [cols] += the columns of x [rows, cols], `row` numbers from row to row. */
void gk_column_sums(gk_pool *pool, gk_lines x, int64_t rows, int32_t cols, float *sums, float *scratch);

/* Adds biases (or null) to queries, keys and values in place and, with a table [length, 2, dim / 2] of cosines and sines, turns the first
 * two; back turns gradients the other way. */
void gk_place_heads(gk_pool *pool, const gk_attention *a, uint16_t *qkv, const uint16_t *const *biases, const float *rope, int back);

/* y = x + t + bias, [rows, cols]; the bias [cols] or null. */
void gk_add_residual(gk_pool *pool, int64_t rows, int32_t cols, const uint16_t *x, const uint16_t *t, const uint16_t *bias, uint16_t *y);

/*
 * The operation between the two products of an MLP: inner = silu(gate) * up for x = [gate, up] of [rows, 2 cols]; or, not gated, x += bias and
 * inner = x sigmoid(1.702 x) for x [rows, cols].
 */
void gk_activate(gk_pool *pool, int gated, int64_t rows, int32_t cols, uint16_t *x, const uint16_t *bias, uint16_t *inner);

/* Its backward pass: from the gradient with respect to inner, which becomes inner again, to the gradient with respect to x. */
void gk_activate_back(gk_pool *pool, int gated, int64_t rows, int32_t cols, const uint16_t *x, uint16_t *d_inner, uint16_t *d_x);

#endif
