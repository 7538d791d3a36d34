/* Rows of logits: blocks, sums of exponentials, logarithms; private to the library. */
#ifndef GK_ROWS_H
#define GK_ROWS_H

#include <float.h>

#include "gk_train.h"

#define GK_BLOCK 128
#define GK_PIECE 8192
/* Larger distances to the largest logit count as this one, so that differences of two stay finite. */
#define GK_FAR 1e30f

/* ---- logarithms and exponentials in double precision ----
 *
 * Of our own, a few units in the last place from the truth: the C library's differ between its versions in their last bits.
 */

static inline double gk_exp64(double x) {
  static const double INVERSE[] = {1.0,      1.0 / 2,  1.0 / 3,  1.0 / 4,  1.0 / 5,  1.0 / 6,  1.0 / 7,
                                   1.0 / 8,  1.0 / 9,  1.0 / 10, 1.0 / 11, 1.0 / 12, 1.0 / 13, 1.0 / 14};
  if (!(x > -745.0)) {
    return x != x ? x : 0;
  }
  if (x > 709.7) {
    return INFINITY;
  }
  const double n = floor(x * 1.4426950408889634 + 0.5);
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  /* Taylor's series by Horner; |r| is at most 0.35, so the next term is below 1e-17. */
  double p = 1.0;
  for (int i = 13; i >= 0; i--) {
    p = 1.0 + p * r * INVERSE[i];
  }
  return ldexp(p, (int)n);
}

/* atanh of f, |f| at most 1/3, by its series. */
static inline double gk_atanh(double f) {
  const double s = f * f;
  double p = 0;
  for (int k = 35; k >= 1; k -= 2) {
    p = p * s + 1.0 / k;
  }
  return f * p;
}

/* Natural logarithm of a positive number; of 0 minus infinity. */
static inline double gk_log64(double x) {
  if (!(x > 0)) {
    return x == 0 ? -INFINITY : NAN;
  }
  int exponent;
  double m = frexp(x, &exponent);
  if (m < 0.70710678118654752) {
    m *= 2;
    exponent--;
  }
  return exponent * 0.693147180369123816490 + (exponent * 1.90821492927058770002e-10 + 2 * gk_atanh((m - 1) / (m + 1)));
}

/* ln(exp(a) + exp(b)). */
static inline double gk_log_add(double a, double b) {
  const double high = a > b ? a : b;
  const double low = a > b ? b : a;
  const double e = gk_exp64(low - high);
  return high + 2 * gk_atanh(e / (2 + e));
}

/* q (ln q - ln p), 0 at q = 0. */
static inline double gk_term(double q, double log_q, double log_p) { return q == 0 ? 0 : q * (log_q - log_p); }

/* ---- blocks ---- */

/* GK_BLOCK numbers of a row; minus infinity stands behind its end and at place `skip` (-1 for none). */
GK_ALWAYS const float *gk_block_of(const float *row, int64_t n, int64_t at, int64_t skip, float *copy) {
  if (at + GK_BLOCK <= n && (skip < at || skip >= at + GK_BLOCK)) {
    return row + at;
  }
  for (int64_t i = 0; i < GK_BLOCK; i++) {
    copy[i] = at + i < n && at + i != skip ? row[at + i] : -INFINITY;
  }
  return copy;
}

/* Whether all numbers are finite. */
GK_ALWAYS int gk_finite(const float *row, int64_t n) {
  uint32_t lanes[GK_LANES] = {0};
  int64_t i = 0;
  for (; i + GK_LANES <= n; i += GK_LANES) {
    uint32_t raw[GK_LANES];
    memcpy(raw, row + i, sizeof raw);
    for (int l = 0; l < GK_LANES; l++) {
      const uint32_t size = raw[l] & 0x7fffffffu;
      lanes[l] = size > lanes[l] ? size : lanes[l];
    }
  }
  uint32_t most = 0;
  for (int l = 0; l < GK_LANES; l++) {
    most = lanes[l] > most ? lanes[l] : most;
  }
  for (; i < n; i++) {
    uint32_t raw;
    memcpy(&raw, row + i, sizeof raw);
    most = (raw & 0x7fffffffu) > most ? raw & 0x7fffffffu : most;
  }
  return most < 0x7f800000u;
}

/* The largest number but that at `skip`. */
GK_ALWAYS float gk_row_max(const float *row, int64_t n, int64_t skip) {
  float lanes[GK_BLOCK];
  for (int i = 0; i < GK_BLOCK; i++) {
    lanes[i] = -INFINITY;
  }
  for (int64_t at = 0; at < n; at += GK_BLOCK) {
    float copy[GK_BLOCK];
    const float *z = gk_block_of(row, n, at, skip, copy);
    for (int i = 0; i < GK_BLOCK; i++) {
      lanes[i] = z[i] > lanes[i] ? z[i] : lanes[i];
    }
  }
  float max = -INFINITY;
  for (int i = 0; i < GK_BLOCK; i++) {
    max = lanes[i] > max ? lanes[i] : max;
  }
  return max;
}

/* The largest number but that at `skip`; NaN if some number is not finite. Goes over pieces that the first-level cache holds. */
GK_ALWAYS float gk_finite_max(const float *row, int64_t n, int64_t skip) {
  float max = -INFINITY;
  for (int64_t at = 0; at < n; at += GK_PIECE) {
    const int64_t length = n - at < GK_PIECE ? n - at : GK_PIECE;
    if (!gk_finite(row + at, length)) {
      return NAN;
    }
    const float most = gk_row_max(row + at, length, skip - at);
    max = most > max ? most : max;
  }
  return max;
}

GK_ALWAYS void gk_add_lanes(double *lanes, const float *v) {
  for (int i = 0; i < GK_BLOCK; i++) {
    lanes[i] += (double)v[i];
  }
}

/* How exp(x) follows from exp(x / T): it is the same, its square, or has to be computed. */
typedef enum { GK_SAME, GK_SQUARE, GK_OTHER } gk_power;

static inline gk_power gk_power_of(double temperature) {
  return temperature == 1 ? GK_SAME : temperature == 2 ? GK_SQUARE : GK_OTHER;
}

/* Sixteen of x / T's exponentials and, in *one, those of x; x at most 0. */
GK_ALWAYS gk_floats gk_both_exp(gk_floats x, float inverse, gk_power power, gk_floats *one) {
  const gk_floats e = gk_exp_low(x * inverse);
  *one = power == GK_SAME ? e : power == GK_SQUARE ? e * e : gk_exp_low(x);
  return e;
}

#endif
