/* What the products share. */
#ifndef GKC_PRODUCT_CUH
#define GKC_PRODUCT_CUH

#include "gkc_weight.cuh"

struct GkcProduct {
  GkcMatrix w;
  const gkc_bf16 *x; /* [m, cols] */
  float *y;          /* [m, rows] */
  int m;
  int add;
};

GKC_DEVICE void gkc_put(const GkcProduct &p, int input, int row, float sum) {
  if (input < p.m && row < p.w.rows) {
    float *to = p.y + (int64_t)input * p.w.rows + row;
    *to = p.add ? *to + sum : sum;
  }
}

/* Up to 16 inputs: bandwidth of the weights. */
int32_t gkc_few(const GkcProduct &p, int bits, void *stream);

/* Any number of inputs: tiles through shared memory. */
int32_t gkc_many(const GkcProduct &p, int bits, void *stream);

#endif
