/* Products of codes with AVX-512 VNNI: sixteen rows by up to eight inputs at once. */
#include <immintrin.h>

#include "gk_product.h"

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
GK_TARGET(GK_VNNI_ISA) GK_INLINE void gk_tile_vnni(const gk_product *p, int64_t block, int32_t from, const int M, const int form,
                                                   const int bytes) {
  const gk_weight *w = p->w;
  const uint8_t *scales = p->blocks + block * w->stride;
  const uint8_t *codes = scales + w->scale_bytes;
  const int8_t *zeros = (const int8_t *)codes - gk_zero_bytes(w);
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
    if (form & GK_WIDE) {
      scale = _mm512_loadu_ps(scales);
      scales += 64;
    } else {
      scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)scales)), 16));
      scales += 32;
    }
    GK_EACH(i, M) {
      const int shift = halves == 2 && !bytes ? 4 : 0;
      __m512i dot = _mm512_add_epi32(_mm512_slli_epi32(gk_added(high[i], shift), 8), gk_added(low[i], shift));
      if (form & GK_ZEROS) {
        const __m512i zero = _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)zeros));
        const int32_t minus = gk_minus_sum(w, center[(int64_t)i * runs + run]);
        dot = _mm512_add_epi32(dot, _mm512_mullo_epi32(zero, _mm512_set1_epi32(minus)));
      }
      const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[(int64_t)i * runs + run]));
      sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), both, sums[i]);
    }
    zeros += form & GK_ZEROS ? GK_ROWS : 0;
  }
  const int64_t first_row = block * GK_ROWS;
  const int64_t left = w->rows - first_row;
  const __mmask16 present = left >= GK_ROWS ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
  GK_EACH(i, M) {
    _mm512_mask_storeu_ps(p->y + (int64_t)(from + i) * w->rows + first_row, present, sums[i]);
  }
}

GK_TARGET(GK_VNNI_ISA) GK_INLINE void gk_inputs_vnni(const gk_product *p, int64_t block, int32_t i, const int form, const int bytes) {
  for (; i + 8 <= p->m; i += 8) {
    gk_tile_vnni(p, block, i, 8, form, bytes);
  }
  for (; i + 4 <= p->m; i += 4) {
    gk_tile_vnni(p, block, i, 4, form, bytes);
  }
  switch (p->m - i) {
    case 3:
      gk_tile_vnni(p, block, i, 3, form, bytes);
      break;
    case 2:
      gk_tile_vnni(p, block, i, 2, form, bytes);
      break;
    case 1:
      gk_tile_vnni(p, block, i, 1, form, bytes);
      break;
    default:
      break;
  }
}

GK_TARGET(GK_VNNI_ISA) GK_APART void gk_zeros_vnni(const gk_product *p, int64_t block, int32_t from) {
  GK_EACH_FORM(p->w, GK_ZEROS, gk_inputs_vnni, p, block, from)
}

GK_TARGET(GK_VNNI_ISA) GK_APART void gk_symmetric_vnni(const gk_product *p, int64_t block, int32_t from) {
  GK_EACH_FORM(p->w, 0, gk_inputs_vnni, p, block, from)
}

void gk_rest_vnni(const gk_product *p, int64_t block, int32_t from) {
  if (p->w->form & GK_ZEROS) {
    gk_zeros_vnni(p, block, from);
  } else {
    gk_symmetric_vnni(p, block, from);
  }
}

void gk_block_vnni(const gk_product *p, int64_t block) { gk_rest_vnni(p, block, 0); }
