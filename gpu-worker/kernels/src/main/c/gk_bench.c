#include <math.h>
#include <string.h>

#include "gk_product.h"
#include "gk_vector.h"

static uint64_t gk_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

int32_t gk_random_weight(int32_t bits, int32_t rows, int32_t cols, int32_t group, uint64_t seed, void *out, int64_t out_bytes) {
  gk_weight w;
  int32_t error = gk_describe_weight(&w, bits, rows, cols, group, 0);
  if (error != 0) {
    return error;
  }
  if (!gk_aligned(out)) {
    return GK_EALIGN;
  }
  if (out_bytes != gk_total_bytes(&w)) {
    return GK_ESPACE;
  }
  memset(out, 0, GK_ALIGN);
  memcpy(out, &w, sizeof w);
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  /* Codes are uniform: their deviation is 0.29 * 2^bits. A random bfloat16 of the exponent below 1 has about 0.75. */
  const float scale = 1.0f / (sqrtf((float)cols) * 0.29f * (float)(1 << (bits == 16 ? 0 : bits)));
  const int32_t exponent = 127 - (int32_t)lrintf(0.5f * log2f((float)cols));
  for (int64_t block = 0; block < gk_blocks(&w); block++) {
    uint8_t *base = (uint8_t *)out + GK_ALIGN + block * w.stride;
    uint16_t *scales = (uint16_t *)base;
    for (int64_t i = 0; i < w.scale_bytes / 2; i++) {
      scales[i] = gk_bf16(scale);
    }
    for (int64_t at = w.scale_bytes; at < w.stride; at += 8) {
      uint64_t random = gk_next(&state);
      if (bits == 16) {
        random = (random & 0x807f807f807f807full) | (uint64_t)(uint32_t)exponent * 0x0080008000800080ull;
      }
      memcpy(base + at, &random, sizeof random);
    }
  }
  return 0;
}

typedef struct {
  const uint8_t *memory;
  int64_t bytes;
  _Atomic int64_t sum;
} gk_reading;

GK_CLONES static void gk_read_part(void *context, int32_t part, int32_t parts) {
  gk_reading *r = context;
  const int64_t from = gk_first(r->bytes, part, parts) / 64 * 64;
  const int64_t to = gk_first(r->bytes, part + 1, parts) / 64 * 64;
  gk_ints sums[4] = {{0}};
  for (int64_t at = from; at + 256 <= to; at += 256) {
    for (int k = 0; k < 4; k++) {
      gk_ints v;
      gk_fetch(r->memory + at + 64 * k);
      memcpy(&v, r->memory + at + 64 * k, sizeof v);
      sums[k] += v;
    }
  }
  const gk_ints sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  int64_t total = 0;
  for (int i = 0; i < GK_LANES; i++) {
    total += sum[i];
  }
  r->sum += total;
}

int64_t gk_read(gk_pool *pool, const void *memory, int64_t bytes) {
  if (memory == NULL || bytes < 0) {
    return GK_EALIGN;
  }
  gk_reading r = {.memory = memory, .bytes = bytes};
  gk_run(pool, gk_read_part, &r);
  return r.sum & INT64_MAX;
}
