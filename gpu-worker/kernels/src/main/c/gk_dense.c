/* Products with numbers: four sums for each row, of columns 0, 1, 2, 3 modulo 4, added as (0 + 1) + (2 + 3). */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "gk_product.h"

void gk_dense_scalar(const gk_product *p, int64_t block) {
  const gk_weight *w = p->w;
  const uint8_t *tiles = p->blocks + block * w->stride;
  for (int32_t i = 0; i < p->m; i++) {
    const float *x = p->input.values + i * gk_padded_cols(w);
    for (int32_t r = 0; r < GK_ROWS && block * GK_ROWS + r < w->rows; r++) {
      float sums[4] = {0};
      for (int64_t c = 0; c < gk_padded_cols(w); c++) {
        uint32_t raw = 0;
        float value;
        if (w->code_bits == 16) {
          memcpy((uint8_t *)&raw + 2, tiles + c / 4 * 128 + c % 4 / 2 * 64 + r * 4 + c % 2 * 2, 2);
        } else {
          memcpy(&raw, tiles + c / 4 * 256 + c % 4 * 64 + r * 4, 4);
        }
        memcpy(&value, &raw, sizeof value);
        sums[c % 4] = fmaf(value, x[c], sums[c % 4]);
      }
      p->y[(int64_t)i * w->rows + block * GK_ROWS + r] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  }
}

GK_TARGET(GK_AVX2_ISA) GK_INLINE void gk_dense_half_avx2(const gk_product *p, int64_t block, int32_t i, int half, const int wide) {
  const gk_weight *w = p->w;
  const __m256i upper = _mm256_set1_epi32((int32_t)0xffff0000u);
  const uint8_t *tiles = p->blocks + block * w->stride + 32 * half;
  const float *x = p->input.values + i * gk_padded_cols(w);
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int32_t s = 0; s < w->run_steps; s++, tiles += wide ? 256 : 128, x += 4) {
    __m256 v[4];
    GK_EACH(k, 2) {
      if (wide) {
        v[2 * k] = _mm256_load_ps((const float *)(tiles + 128 * k));
        v[2 * k + 1] = _mm256_load_ps((const float *)(tiles + 128 * k + 64));
      } else {
        const __m256i both = _mm256_load_si256((const __m256i *)(tiles + 64 * k));
        v[2 * k] = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
        v[2 * k + 1] = _mm256_castsi256_ps(_mm256_and_si256(both, upper));
      }
    }
    GK_EACH(k, 4) {
      sums[k] = _mm256_fmadd_ps(v[k], _mm256_set1_ps(x[k]), sums[k]);
    }
  }
  float out[8];
  _mm256_storeu_ps(out, _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
  const int64_t first = block * GK_ROWS + 8 * half;
  const int64_t n = w->rows - first < 8 ? w->rows - first : 8;
  if (n > 0) {
    memcpy(p->y + (int64_t)i * w->rows + first, out, (size_t)n * sizeof(float));
  }
}

GK_TARGET(GK_AVX2_ISA) void gk_dense_avx2(const gk_product *p, int64_t block) {
  for (int32_t i = 0; i < 2 * p->m; i++) {
    if (p->w->code_bits == 32) {
      gk_dense_half_avx2(p, block, i / 2, i % 2, 1);
    } else {
      gk_dense_half_avx2(p, block, i / 2, i % 2, 0);
    }
  }
}

GK_TARGET(GK_VNNI_ISA) GK_INLINE void gk_dense_tile_vnni(const gk_product *p, int64_t block, int32_t from, const int M, const int wide) {
  const gk_weight *w = p->w;
  const uint8_t *tiles = p->blocks + block * w->stride;
  const int64_t cols = gk_padded_cols(w);
  const float *x = p->input.values + from * cols;
  const __m512i upper = _mm512_set1_epi32((int32_t)0xffff0000u);
  __m512 sums[GK_TOGETHER][4];
  GK_EACH(i, M) {
    sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = _mm512_setzero_ps();
  }
  for (int32_t s = 0; s < w->run_steps; s++, tiles += wide ? 256 : 128, x += 4) {
    __m512 v[4];
    GK_EACH(k, 2) {
      if (wide) {
        gk_fetch(tiles + 128 * k);
        gk_fetch(tiles + 128 * k + 64);
        v[2 * k] = _mm512_load_ps(tiles + 128 * k);
        v[2 * k + 1] = _mm512_load_ps(tiles + 128 * k + 64);
      } else {
        gk_fetch(tiles + 64 * k);
        const __m512i both = _mm512_load_si512(tiles + 64 * k);
        v[2 * k] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        v[2 * k + 1] = _mm512_castsi512_ps(_mm512_and_si512(both, upper));
      }
    }
    GK_EACH(i, M) {
      GK_EACH(k, 4) {
        sums[i][k] = _mm512_fmadd_ps(v[k], _mm512_set1_ps(x[i * cols + k]), sums[i][k]);
      }
    }
  }
  const int64_t first_row = block * GK_ROWS;
  const int64_t left = w->rows - first_row;
  const __mmask16 present = left >= GK_ROWS ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
  GK_EACH(i, M) {
    const __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[i][0], sums[i][1]), _mm512_add_ps(sums[i][2], sums[i][3]));
    _mm512_mask_storeu_ps(p->y + (int64_t)(from + i) * w->rows + first_row, present, sum);
  }
}

GK_TARGET(GK_VNNI_ISA) GK_INLINE void gk_dense_inputs_vnni(const gk_product *p, int64_t block, const int wide) {
  int32_t i = 0;
  for (; i + 4 <= p->m; i += 4) {
    gk_dense_tile_vnni(p, block, i, 4, wide);
  }
  for (; i < p->m; i++) {
    gk_dense_tile_vnni(p, block, i, 1, wide);
  }
}

GK_TARGET(GK_VNNI_ISA) void gk_dense_vnni(const gk_product *p, int64_t block) {
  if (p->w->code_bits == 32) {
    gk_dense_inputs_vnni(p, block, 1);
  } else {
    gk_dense_inputs_vnni(p, block, 0);
  }
}
