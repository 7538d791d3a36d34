#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "gk_product.h"

#define GK_LIMIT 32639.0f /* 127 * 256 + 127: what two signed bytes, one worth 256, can hold */

static int64_t gk_input_layout(const gk_weight *w, int64_t m, uint8_t *base, gk_input *out) {
  if (gk_dense(w)) {
    if (out != NULL) {
      out->values = (float *)base;
    }
    return gk_round_up(m * gk_padded_cols(w) * 4, GK_ALIGN);
  }
  const int64_t codes = gk_round_up(m * gk_codes_per_row(w), GK_ALIGN);
  const int64_t numbers = gk_round_up(m * w->runs * 4, GK_ALIGN);
  if (out != NULL) {
    out->codes = (int8_t *)base;
    out->scales = (float *)(base + codes);
    out->center = (int32_t *)(base + codes + numbers);
  }
  return codes + 2 * numbers;
}

int64_t gk_matmul_scratch(const void *weight, int64_t weight_bytes, int32_t m) {
  gk_weight w;
  int32_t error = gk_open_weight(weight, weight_bytes, &w);
  if (error != 0) {
    return error;
  }
  return m < 0 || m > GK_MAX_SIZE ? GK_ESIZE : gk_product_scratch(&w, m);
}

int64_t gk_product_scratch(const gk_weight *w, int64_t m) { return gk_input_layout(w, m, NULL, NULL); }

/* ---- rounding of inputs ---- */

/* `planes` is the distance from a run's high to its low bytes; 0 for 16-bit values. */
GK_INLINE void gk_round_run(const float *x, int32_t n, int32_t steps, int64_t planes, int32_t offset, int8_t *codes, float *scale,
                            int32_t *center) {
  /* Bits of magnitudes are ordered as the numbers are, and integers have a maximum that needs no order of its own. */
  uint32_t most = 0;
  for (int32_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  float absmax;
  memcpy(&absmax, &most, sizeof absmax);
  int16_t q[GK_RUN + GK_STEP] = {0};
  const float step = absmax / GK_LIMIT;
  /* A run whose step is not a normal number is as good as zero beside any other. */
  const int empty = !(step >= 0x1p-126f);
  int32_t sum = 0;
  if (!empty) {
    const float inverse = GK_LIMIT / absmax;
    for (int32_t i = 0; i < n; i++) {
      /* Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even. */
      float rounded = x[i] * inverse + 12582912.0f;
      q[i] = (int16_t)(rounded - 12582912.0f);
      sum += q[i];
    }
  }
  *scale = empty ? 0.0f : step;
  *center = -offset * sum;
  if (planes) {
    int8_t high[GK_RUN + GK_STEP];
    int8_t low[GK_RUN + GK_STEP];
    for (int32_t i = 0; i < GK_RUN + GK_STEP; i++) {
      low[i] = (int8_t)q[i];
      high[i] = (int8_t)((q[i] - low[i]) >> 8);
    }
    memcpy(codes, high, (size_t)steps * GK_STEP);
    memcpy(codes + planes, low, (size_t)steps * GK_STEP);
    return;
  }
  for (int32_t s = 0; s < steps; s++) {
    const int16_t *v = q + s * GK_STEP;
    const int16_t pairs[8] = {v[0], v[2], v[4], v[6], v[1], v[3], v[5], v[7]};
    memcpy(codes + s * 16, pairs, sizeof pairs);
  }
}

GK_INLINE void gk_round_rows(const gk_product *p, int32_t part, int32_t parts, int planes) {
  const gk_weight *w = p->w;
  const int32_t offset = 1 << (w->code_bits - 1);
  const int64_t all = (int64_t)p->m * w->runs;
  const int64_t end = gk_first(all, part + 1, parts);
  const int64_t plane = planes ? gk_codes_per_row(w) / 2 : 0;
  const int64_t run_bytes = (int64_t)w->run_steps * (planes ? GK_STEP : 2 * GK_STEP);
  for (int64_t i = gk_first(all, part, parts); i < end; i++) {
    int8_t *codes = p->input.codes + i / w->runs * gk_codes_per_row(w) + i % w->runs * run_bytes;
    gk_round_run(p->x + i * w->run, w->run, w->run_steps, plane, offset, codes, p->input.scales + i, p->input.center + i);
  }
}

static void gk_round_scalar(void *context, int32_t part, int32_t parts) { gk_round_rows(context, part, parts, 0); }

GK_TARGET(GK_AVX2_ISA) static void gk_round_avx2(void *context, int32_t part, int32_t parts) {
  gk_round_rows(context, part, parts, 0);
}

GK_TARGET(GK_VNNI_ISA) static void gk_round_vnni(void *context, int32_t part, int32_t parts) {
  gk_round_rows(context, part, parts, 1);
}

static void gk_pad_rows(void *context, int32_t part, int32_t parts) {
  const gk_product *p = context;
  const int64_t cols = gk_padded_cols(p->w);
  const int64_t end = gk_first(p->m, part + 1, parts);
  for (int64_t i = gk_first(p->m, part, parts); i < end; i++) {
    memset(p->input.values + (i + 1) * cols - 4, 0, 4 * sizeof(float));
    memcpy(p->input.values + i * cols, p->x + i * p->w->cols, (size_t)p->w->cols * sizeof(float));
  }
}

/* ---- products ---- */

static float gk_scale(const gk_weight *w, const uint8_t *scales, int64_t at) {
  uint32_t raw = 0;
  float value;
  if (w->wide_scales) {
    memcpy(&raw, scales + 4 * at, 4);
  } else {
    uint16_t half;
    memcpy(&half, scales + 2 * at, 2);
    raw = (uint32_t)half << 16;
  }
  memcpy(&value, &raw, sizeof value);
  return value;
}

/* Where column j of a tile is among the pairs of an input. */
static const int8_t GK_PAIR[GK_STEP] = {0, 4, 1, 5, 2, 6, 3, 7};

static void gk_block_scalar(const gk_product *p, int64_t block) {
  const gk_weight *w = p->w;
  const uint8_t *scales = p->blocks + block * w->stride;
  const uint8_t *codes = scales + w->scale_bytes;
  for (int32_t i = 0; i < p->m; i++) {
    const int8_t *x = p->input.codes + i * gk_codes_per_row(w);
    for (int32_t r = 0; r < GK_ROWS && block * GK_ROWS + r < w->rows; r++) {
      float sum = 0;
      for (int32_t run = 0; run < w->runs; run++) {
        const int64_t at = (int64_t)i * w->runs + run;
        uint32_t dot = (uint32_t)p->input.center[at];
        for (int32_t s = 0; s < w->run_steps; s++) {
          const int64_t tile = (int64_t)run * w->run_steps + s;
          int16_t values[GK_STEP];
          memcpy(values, x + tile * 16, sizeof values);
          for (int32_t j = 0; j < GK_STEP; j++) {
            const uint8_t *byte = codes + tile * gk_tile_bytes(w) + 4 * r + j % 4;
            const int32_t code = w->code_bits == 8 ? byte[j / 4 * 64] : *byte >> j / 4 * 4 & 15;
            dot += (uint32_t)(code * values[GK_PAIR[j]]);
          }
        }
        sum = fmaf((float)(int32_t)dot, gk_scale(w, scales, (int64_t)run * GK_ROWS + r) * p->input.scales[at], sum);
      }
      p->y[(int64_t)i * w->rows + block * GK_ROWS + r] = sum;
    }
  }
}

/* Eight of the sixteen rows by M inputs. */
GK_TARGET(GK_AVX2_ISA) GK_INLINE void gk_half_avx2(const gk_product *p, int64_t block, int half, int32_t from, const int M,
                                                    const int wide, const int bytes) {
  const gk_weight *w = p->w;
  const uint8_t *scales = p->blocks + block * w->stride;
  const uint8_t *codes = scales + w->scale_bytes + 32 * half;
  const int8_t *x = p->input.codes + from * gk_codes_per_row(w);
  const __m256i mask = bytes ? _mm256_set1_epi16(255) : _mm256_set1_epi16(15);
  __m256 sums[GK_TOGETHER];
  GK_EACH(i, M) {
    sums[i] = _mm256_setzero_ps();
  }
  for (int32_t run = 0; run < w->runs; run++) {
    __m256i dots[GK_TOGETHER];
    GK_EACH(i, M) {
      dots[i] = _mm256_set1_epi32(p->input.center[(int64_t)(from + i) * w->runs + run]);
    }
    for (int32_t s = 0; s < w->run_steps; s++) {
      const int64_t tile = (int64_t)run * w->run_steps + s;
      const __m256i v = _mm256_load_si256((const __m256i *)(codes + tile * (bytes ? 128 : 64)));
      __m256i c[4];
      if (bytes) {
        const __m256i u = _mm256_load_si256((const __m256i *)(codes + tile * 128 + 64));
        c[0] = _mm256_and_si256(v, mask);
        c[1] = _mm256_and_si256(u, mask);
        c[2] = _mm256_srli_epi16(v, 8);
        c[3] = _mm256_srli_epi16(u, 8);
      } else {
        c[0] = _mm256_and_si256(v, mask);
        c[1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        c[2] = _mm256_and_si256(_mm256_srli_epi16(v, 8), mask);
        c[3] = _mm256_srli_epi16(v, 12);
      }
      GK_EACH(i, M) {
        const int8_t *at = x + i * gk_codes_per_row(w) + tile * 16;
        GK_EACH(j, 4) {
          int32_t pair;
          memcpy(&pair, at + 4 * j, 4);
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(c[j], _mm256_set1_epi32(pair)));
        }
      }
    }
    __m256 scale;
    const uint8_t *own = scales + ((int64_t)run * GK_ROWS + 8 * half) * (wide ? 4 : 2);
    if (wide) {
      scale = _mm256_loadu_ps((const float *)own);
    } else {
      scale = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)own)), 16));
    }
    GK_EACH(i, M) {
      const __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(p->input.scales[(int64_t)(from + i) * w->runs + run]));
      sums[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[i]), both, sums[i]);
    }
  }
  const int64_t first = block * GK_ROWS + 8 * half;
  GK_EACH(i, M) {
    float out[8];
    _mm256_storeu_ps(out, sums[i]);
    const int64_t n = w->rows - first < 8 ? w->rows - first : 8;
    if (n > 0) {
      memcpy(p->y + (int64_t)(from + i) * w->rows + first, out, (size_t)n * sizeof(float));
    }
  }
}

GK_TARGET(GK_AVX2_ISA) GK_INLINE void gk_inputs_avx2(const gk_product *p, int64_t block, const int wide, const int bytes) {
  int32_t i = 0;
  for (; i + 4 <= p->m; i += 4) {
    gk_half_avx2(p, block, 0, i, 4, wide, bytes);
    gk_half_avx2(p, block, 1, i, 4, wide, bytes);
  }
  for (; i < p->m; i++) {
    gk_half_avx2(p, block, 0, i, 1, wide, bytes);
    gk_half_avx2(p, block, 1, i, 1, wide, bytes);
  }
}

GK_TARGET(GK_AVX2_ISA) static void gk_block_avx2(const gk_product *p, int64_t block) {
  const int wide = p->w->wide_scales;
  if (p->w->code_bits == 8) {
    if (wide) {
      gk_inputs_avx2(p, block, 1, 1);
    } else {
      gk_inputs_avx2(p, block, 0, 1);
    }
  } else if (wide) {
    gk_inputs_avx2(p, block, 1, 0);
  } else {
    gk_inputs_avx2(p, block, 0, 0);
  }
}

typedef struct {
  int8_t bytes[4];
} gk_four;

/* sum + codes * four bytes of an input, the same in every lane. The compiler's own function copies sums between registers. */
GK_TARGET(GK_VNNI_ISA) GK_INLINE __m512i gk_dot(__m512i sum, __m512i codes, const int8_t *x) {
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(*(const gk_four *)x));
  return sum;
}

/* The sum of both tiles' and both halves' sums, the second half's divided by 2^shift. */
GK_TARGET(GK_VNNI_ISA) GK_INLINE __m512i gk_added(__m512i sums[2][2], const int shift) {
  const __m512i first = _mm512_add_epi32(sums[0][0], sums[0][1]);
  const __m512i second = _mm512_add_epi32(sums[1][0], sums[1][1]);
  return _mm512_add_epi32(first, shift > 0 ? _mm512_srai_epi32(second, (unsigned)shift) : second);
}

/* Sixteen rows by M inputs. */
GK_TARGET(GK_VNNI_ISA) GK_INLINE void gk_tile_vnni(const gk_product *p, int64_t block, int32_t from, const int M, const int wide,
                                                   const int bytes) {
  const gk_weight *w = p->w;
  const uint8_t *scales = p->blocks + block * w->stride;
  const uint8_t *codes = scales + w->scale_bytes;
  const int64_t row = gk_codes_per_row(w);
  const int8_t *x = p->input.codes + from * row;
  const float *x_scales = p->input.scales + (int64_t)from * w->runs;
  const int32_t *center = p->input.center + (int64_t)from * w->runs;
  const int32_t runs = w->runs;
  const int32_t steps = w->run_steps;
  const int32_t tile = bytes ? 128 : 64;
  const __m512i low_half = _mm512_set1_epi8(15);
  const __m512i high_half = _mm512_set1_epi8((char)0xf0);
  __m512 sums[GK_TOGETHER];
  GK_EACH(i, M) {
    sums[i] = _mm512_setzero_ps();
  }
  /*
   * Few inputs have sums of their own for each half of a tile and for even and odd tiles: a product takes as long as several can begin,
   * and one chain of sums would wait for each.
   */
  const int halves = M <= 4 ? 2 : 1;
  const int tiles = M <= 2 ? 2 : 1;
  for (int32_t run = 0; run < runs; run++) {
    __m512i high[GK_TOGETHER][2][2];
    __m512i low[GK_TOGETHER][2][2];
    GK_EACH(i, M) {
      GK_EACH(k, 4) {
        high[i][k / 2][k % 2] = low[i][k / 2][k % 2] = _mm512_setzero_si512();
      }
      low[i][0][0] = _mm512_set1_epi32(center[(int64_t)i * runs + run]);
    }
    for (int32_t s = 0; s < steps; s += tiles) {
      GK_EACH(t, tiles) {
        if (t > 0 && s + t == steps) {
          break;
        }
        gk_fetch(codes);
        __m512i first = _mm512_load_si512(codes);
        __m512i second;
        if (bytes) {
          gk_fetch(codes + 64);
          second = _mm512_load_si512(codes + 64);
        } else {
          /* Where the second half has sums of its own, its codes stay in place, worth 16 times as much. */
          second = halves == 2 ? _mm512_and_si512(first, high_half) : _mm512_and_si512(_mm512_srli_epi16(first, 4), low_half);
          first = _mm512_and_si512(first, low_half);
        }
        GK_EACH(i, M) {
          const int8_t *high_x = x + i * row;
          const int8_t *low_x = high_x + row / 2;
          high[i][0][t] = gk_dot(high[i][0][t], first, high_x);
          low[i][0][t] = gk_dot(low[i][0][t], first, low_x);
          high[i][halves - 1][t] = gk_dot(high[i][halves - 1][t], second, high_x + 4);
          low[i][halves - 1][t] = gk_dot(low[i][halves - 1][t], second, low_x + 4);
        }
        codes += tile;
        x += GK_STEP;
      }
    }
    __m512 scale;
    if (wide) {
      scale = _mm512_loadu_ps(scales);
      scales += 64;
    } else {
      scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)scales)), 16));
      scales += 32;
    }
    GK_EACH(i, M) {
      const int shift = halves == 2 && !bytes ? 4 : 0;
      const __m512i dot = _mm512_add_epi32(_mm512_slli_epi32(gk_added(high[i], shift), 8), gk_added(low[i], shift));
      const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[(int64_t)i * runs + run]));
      sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), both, sums[i]);
    }
  }
  const int64_t first_row = block * GK_ROWS;
  const int64_t left = w->rows - first_row;
  const __mmask16 present = left >= GK_ROWS ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
  GK_EACH(i, M) {
    _mm512_mask_storeu_ps(p->y + (int64_t)(from + i) * w->rows + first_row, present, sums[i]);
  }
}

GK_TARGET(GK_VNNI_ISA) GK_INLINE void gk_inputs_vnni(const gk_product *p, int64_t block, int32_t i, const int wide, const int bytes) {
  for (; i + 8 <= p->m; i += 8) {
    gk_tile_vnni(p, block, i, 8, wide, bytes);
  }
  for (; i + 4 <= p->m; i += 4) {
    gk_tile_vnni(p, block, i, 4, wide, bytes);
  }
  switch (p->m - i) {
    case 3:
      gk_tile_vnni(p, block, i, 3, wide, bytes);
      break;
    case 2:
      gk_tile_vnni(p, block, i, 2, wide, bytes);
      break;
    case 1:
      gk_tile_vnni(p, block, i, 1, wide, bytes);
      break;
    default:
      break;
  }
}

GK_TARGET(GK_VNNI_ISA) void gk_rest_vnni(const gk_product *p, int64_t block, int32_t from) {
  const int wide = p->w->wide_scales;
  if (p->w->code_bits == 8) {
    if (wide) {
      gk_inputs_vnni(p, block, from, 1, 1);
    } else {
      gk_inputs_vnni(p, block, from, 0, 1);
    }
  } else if (wide) {
    gk_inputs_vnni(p, block, from, 1, 0);
  } else {
    gk_inputs_vnni(p, block, from, 0, 0);
  }
}

static void gk_block_vnni(const gk_product *p, int64_t block) { gk_rest_vnni(p, block, 0); }

static gk_block *const GK_BLOCKS[] = {gk_block_scalar, gk_block_avx2, gk_block_vnni, gk_block_vnni};
static gk_block *const GK_DENSE[] = {gk_dense_scalar, gk_dense_avx2, gk_dense_vnni, gk_dense_vnni};
static gk_body *const GK_ROUND[] = {gk_round_scalar, gk_round_avx2, gk_round_vnni, gk_round_vnni};

/* Blocks that a thread takes at a time. */
#define GK_CLAIMED 2

static void gk_multiply(void *context, int32_t part, int32_t parts) {
  const gk_product *p = context;
  const int amx = p->isa == GK_AMX && gk_amx_fits(p);
  gk_block *const body = amx ? gk_block_amx : gk_dense(p->w) ? GK_DENSE[p->isa] : GK_BLOCKS[p->isa];
  if (amx) {
    gk_amx_begin(p);
  }
  int64_t from;
  int64_t end;
  while ((end = gk_claim(p->items, part, parts, GK_CLAIMED, &from)) > from) {
    for (int64_t block = from; block < end; block++) {
      body(p, block);
    }
  }
  if (amx) {
    gk_amx_end();
  }
}

void gk_product_run(gk_pool *pool, int32_t isa, const gk_matrix *w, const float *x, int32_t m, float *y, void *scratch) {
  gk_product p = {.w = &w->head, .blocks = w->blocks, .x = x, .m = m, .y = y, .isa = isa};
  gk_input_layout(p.w, m, scratch, &p.input);
  gk_run((int64_t)m * p.w->cols < 1 << 14 ? NULL : pool, gk_dense(p.w) ? gk_pad_rows : GK_ROUND[isa], &p);
  gk_items items;
  p.items = &items;
  gk_pool *const workers = (int64_t)m * p.w->rows * p.w->cols < 1 << 16 ? NULL : pool;
  gk_split(&items, gk_blocks(p.w), gk_pool_threads(workers));
  gk_run(workers, gk_multiply, &p);
}

int32_t gk_version(void) { return GK_VERSION; }

static int32_t gk_find_isa(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
    return gk_amx_allowed() ? GK_AMX : GK_VNNI;
  }
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? GK_AVX2 : GK_SCALAR;
}

int32_t gk_best_isa(void) {
  static _Atomic int32_t found = -1;
  if (found < 0) {
    found = gk_find_isa();
  }
  return found;
}

int32_t gk_matmul(gk_pool *pool, int32_t isa, const void *weight, int64_t weight_bytes, const float *x, int32_t m, float *y,
                  void *scratch, int64_t scratch_bytes) {
  gk_matrix w = {.blocks = (const uint8_t *)weight + GK_ALIGN};
  int32_t error = gk_open_weight(weight, weight_bytes, &w.head);
  if (error != 0) {
    return error;
  }
  if (m < 0 || m > GK_MAX_SIZE) {
    return GK_ESIZE;
  }
  if (isa < GK_SCALAR || isa > gk_best_isa()) {
    return GK_EISA;
  }
  if (m == 0) {
    return 0;
  }
  if (x == NULL || y == NULL || !gk_aligned(scratch)) {
    return GK_EALIGN;
  }
  if (scratch_bytes < gk_product_scratch(&w.head, m)) {
    return GK_ESPACE;
  }
  gk_product_run(pool, isa, &w, x, m, y, scratch);
  return 0;
}
