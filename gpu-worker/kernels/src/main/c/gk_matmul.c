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
  if (w->form & GK_WIDE) {
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
  const int8_t *zeros = (const int8_t *)codes - gk_zero_bytes(w);
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
        if (w->form & GK_ZEROS) {
          dot += (uint32_t)(zeros[run * GK_ROWS + r] * gk_minus_sum(w, p->input.center[at]));
        }
        sum = fmaf((float)(int32_t)dot, gk_scale(w, scales, (int64_t)run * GK_ROWS + r) * p->input.scales[at], sum);
      }
      p->y[(int64_t)i * w->rows + block * GK_ROWS + r] = sum;
    }
  }
}

/* Eight of the sixteen rows by M inputs. */
GK_TARGET(GK_AVX2_ISA) GK_INLINE void gk_half_avx2(const gk_product *p, int64_t block, int half, int32_t from, const int M,
                                                    const int form, const int bytes) {
  const gk_weight *w = p->w;
  const uint8_t *scales = p->blocks + block * w->stride;
  const uint8_t *codes = scales + w->scale_bytes + 32 * half;
  const int8_t *zeros = (const int8_t *)scales + w->scale_bytes - gk_zero_bytes(w) + 8 * half;
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
    const uint8_t *own = scales + ((int64_t)run * GK_ROWS + 8 * half) * (form & GK_WIDE ? 4 : 2);
    if (form & GK_WIDE) {
      scale = _mm256_loadu_ps((const float *)own);
    } else {
      scale = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)own)), 16));
    }
    if (form & GK_ZEROS) {
      const __m256i zero = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(zeros + (int64_t)run * GK_ROWS)));
      GK_EACH(i, M) {
        const int32_t minus = gk_minus_sum(w, p->input.center[(int64_t)(from + i) * w->runs + run]);
        dots[i] = _mm256_add_epi32(dots[i], _mm256_mullo_epi32(zero, _mm256_set1_epi32(minus)));
      }
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

GK_TARGET(GK_AVX2_ISA) GK_INLINE void gk_inputs_avx2(const gk_product *p, int64_t block, const int form, const int bytes) {
  int32_t i = 0;
  for (; i + 4 <= p->m; i += 4) {
    gk_half_avx2(p, block, 0, i, 4, form, bytes);
    gk_half_avx2(p, block, 1, i, 4, form, bytes);
  }
  for (; i < p->m; i++) {
    gk_half_avx2(p, block, 0, i, 1, form, bytes);
    gk_half_avx2(p, block, 1, i, 1, form, bytes);
  }
}

GK_TARGET(GK_AVX2_ISA) GK_APART void gk_zeros_avx2(const gk_product *p, int64_t block) {
  GK_EACH_FORM(p->w, GK_ZEROS, gk_inputs_avx2, p, block)
}

GK_TARGET(GK_AVX2_ISA) GK_APART void gk_symmetric_avx2(const gk_product *p, int64_t block) {
  GK_EACH_FORM(p->w, 0, gk_inputs_avx2, p, block)
}

static void gk_block_avx2(const gk_product *p, int64_t block) {
  if (p->w->form & GK_ZEROS) {
    gk_zeros_avx2(p, block);
  } else {
    gk_symmetric_avx2(p, block);
  }
}

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
