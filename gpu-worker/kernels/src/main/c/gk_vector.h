/*
 * Sixteen floats at a time, in the compiler's own vectors: the same operations in the same order on any processor, so the same bits.
 */
#ifndef GK_VECTOR_H
#define GK_VECTOR_H

#include <stdint.h>
#include <string.h>

#define GK_LANES 16

typedef float gk_floats __attribute__((vector_size(64)));
typedef double gk_doubles __attribute__((vector_size(64))); /* eight */
typedef int32_t gk_ints __attribute__((vector_size(64)));
typedef uint32_t gk_words __attribute__((vector_size(64)));
typedef uint16_t gk_halves __attribute__((vector_size(32)));
typedef int16_t gk_shorts __attribute__((vector_size(32)));
typedef int8_t gk_bytes __attribute__((vector_size(16)));

#define GK_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define GK_ALWAYS static inline __attribute__((always_inline))

GK_ALWAYS gk_floats gk_load(const float *p) {
  gk_floats v;
  memcpy(&v, p, sizeof v);
  return v;
}

GK_ALWAYS void gk_store(float *p, gk_floats v) { memcpy(p, &v, sizeof v); }

GK_ALWAYS gk_floats gk_all(float v) { return (gk_floats){0} + v; }

GK_ALWAYS gk_floats gk_load_bf16(const uint16_t *p) {
  gk_halves h;
  memcpy(&h, p, sizeof h);
  return (gk_floats)(__builtin_convertvector(h, gk_words) << 16);
}

GK_ALWAYS gk_floats gk_load_int8(const int8_t *p) {
  gk_bytes b;
  memcpy(&b, p, sizeof b);
  /* In two steps, each of which is one instruction: the compiler takes a single one apart, lane by lane. */
  return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(b, gk_shorts), gk_ints), gk_floats);
}

/* The nearest bfloat16, ties to even, of a finite number. */
GK_ALWAYS uint16_t gk_bf16(float v) {
  uint32_t raw;
  memcpy(&raw, &v, sizeof raw);
  return (uint16_t)((raw + 0x7fffu + (raw >> 16 & 1u)) >> 16);
}

/* The nearest bfloat16 of sixteen numbers, finite or not: NaN stays a quiet NaN. */
GK_ALWAYS gk_halves gk_to_bf16(gk_floats v) {
  const gk_words raw = (gk_words)v;
  const gk_words nan = (gk_words)(v != v);
  const gk_words nearest = (raw + 0x7fffu + (raw >> 16 & 1u)) >> 16;
  return __builtin_convertvector((nan & (raw >> 16 | 0x40u)) | (~nan & nearest), gk_halves);
}

/* Sum of the lanes: halves onto each other, four times. */
GK_ALWAYS float gk_sum(gk_floats v) {
  v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
  v += __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
  return v[0];
}

/* e^x for x of at most 88; see gk_exp. */
GK_ALWAYS gk_floats gk_exp_low(gk_floats v) {
  const gk_floats low = gk_all(-87.0f);
  const gk_ints small = v < low;
  const gk_floats x = (gk_floats)((small & (gk_ints)low) | (~small & (gk_ints)v));
  const gk_floats magic = gk_all(12582912.0f);
  const gk_floats n = (x * 1.44269504088896341f + magic) - magic;
  const gk_floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  gk_floats p = gk_all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const gk_ints power = (__builtin_convertvector(n, gk_ints) + 127) << 23;
  return (gk_floats)(~small & (gk_ints)(p * (gk_floats)power));
}

/* e^v within 2 units in the last place; 0 below -87, at most e^88. Range reduction by ln 2 in two parts, polynomial of Cephes' expf. */
GK_ALWAYS gk_floats gk_exp(gk_floats v) {
  const gk_floats high = gk_all(88.0f);
  const gk_ints large = v > high;
  return gk_exp_low((gk_floats)((large & (gk_ints)high) | (~large & (gk_ints)v)));
}

#endif
