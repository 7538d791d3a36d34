/*
 * Tiles of bfloat16 numbers and their float32 sums, on AMX, or on AVX-512's products of pairs where there is no AMX; private to the
 * library. Both round once for each product or sum, but in another order, so their bits differ now and then.
 */
#ifndef GK_TILE_H
#define GK_TILE_H

#include <immintrin.h>
#include <string.h>

#include "gk_product.h"

#define GK_TILE_ISA GK_VNNI_ISA ",avx512bf16,amx-tile,amx-bf16"
#define GK_TILE 16  /* rows of a tile, and float32 columns */
#define GK_DEPTH 32 /* bfloat16 columns of a tile */
#define GK_TILE_BYTES 1024
#define GK_SIDE 32 /* rows and columns of a block of sums, two tiles each */

/* The compiler's tile instructions do not tell it what memory they read and write. */
#define GK_FENCE() __asm__ volatile("" : : : "memory")

/* A matrix as seen along its outer dimension and along k. */
typedef struct {
  const uint16_t *p;
  int64_t outer;
  int64_t along;
  int32_t count; /* outer */
} gk_side;

static inline int32_t gk_least(int64_t a, int64_t b) { return (int32_t)(a < b ? a : b); }

static inline int32_t gk_parts(int64_t n, int64_t of) { return (int32_t)((n + of - 1) / of); }

GK_TARGET(GK_TILE_ISA) GK_INLINE __mmask32 gk_first_32(int64_t n) { return n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (1u << n) - 1u; }

GK_TARGET(GK_TILE_ISA) GK_INLINE __mmask16 gk_first_16(int64_t n) { return (__mmask16)(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u); }

/* Sixteen bfloat16 numbers as float32, and back, rounded to nearest even. */
GK_TARGET(GK_TILE_ISA) GK_INLINE __m512 gk_get(const uint16_t *p, __mmask16 mask) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p)), 16));
}

GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_put(uint16_t *p, __mmask16 mask, __m512 v) {
  _mm256_mask_storeu_epi16(p, mask, (__m256i)_mm512_cvtneps_pbh(v));
}

/* What a processor multiplies bfloat16 numbers with. */
#define GK_NO_UNIT 0
#define GK_PAIRS 1 /* AVX-512 */
#define GK_TILES 2 /* AMX */

/* The best that this processor has. */
int32_t gk_unit(void);

/* Before a thread's first tile, and after its last. */
GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_tiles_begin(int32_t unit) {
  if (unit != GK_TILES) {
    return;
  }
  _Alignas(64) uint8_t config[64] = {1};
  for (int tile = 0; tile < 8; tile++) {
    config[16 + 2 * tile] = 64; /* bytes of a row */
    config[48 + tile] = GK_TILE;
  }
  GK_FENCE();
  _tile_loadconfig(config);
}

GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_tiles_end(int32_t unit) {
  if (unit == GK_TILES) {
    _tile_release();
  }
}

/* 16 by 16 words of 32 bits. */
GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_transpose(__m512i v[16]) {
  __m512i t[16];
  GK_EACH(i, 8) {
    t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
  GK_EACH(i, 4) {
    v[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    v[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  GK_EACH(i, 4) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(v[i], v[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(v[8 + i], v[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(v[8 + i], v[12 + i], 0xdd);
  }
  GK_EACH(i, 4) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    v[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    v[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    v[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

/*
 * One tile from outer index `o` and k on: [16 outer, 32 k] if `lines`, else [16 pairs of k, 16 outer, 2]; zeros outside of the matrix,
 * which ends at `k_end`. One of its strides is 1.
 */
GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_pack_tile(const gk_side *s, int32_t k_end, int32_t o, int32_t k, const int lines, uint8_t *out) {
  __m512i v[16];
  const uint16_t *p = s->p + o * s->outer + k * s->along;
  const int32_t outer = s->count - o;
  const int32_t depth = k_end - k;
  int turn;
  if (s->along == 1) {
    const __mmask32 mask = gk_first_32(depth);
    GK_EACH(i, 16) {
      v[i] = i < outer ? _mm512_maskz_loadu_epi16(mask, p + i * s->outer) : _mm512_setzero_si512();
    }
    turn = !lines;
  } else {
    const __mmask16 mask = gk_first_16(outer);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                           18, 2, 17, 1, 16, 0);
    GK_EACH(i, 16) {
      const __m256i even = 2 * i < depth ? _mm256_maskz_loadu_epi16(mask, p + 2 * i * s->along) : _mm256_setzero_si256();
      const __m256i odd = 2 * i + 1 < depth ? _mm256_maskz_loadu_epi16(mask, p + (2 * i + 1) * s->along) : _mm256_setzero_si256();
      v[i] = _mm512_permutexvar_epi16(order, _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1));
    }
    turn = lines;
  }
  if (turn) {
    gk_transpose(v);
  }
  GK_EACH(i, 16) { _mm512_store_si512(out + 64 * i, v[i]); }
}

/* Two tiles of 32 outer indexes from `o` on. */
GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_pack_pair(const gk_side *s, int32_t k_end, int32_t o, int32_t k, const int lines, uint8_t *out) {
  gk_pack_tile(s, k_end, o, k, lines, out);
  gk_pack_tile(s, k_end, o + GK_TILE, k, lines, out + GK_TILE_BYTES);
}

/* Where the lines of a left matrix are: pairs of tiles if `row` is 0, else 32 rows of numbers, `row` from one to the next. */
typedef struct {
  const uint8_t *p;
  int64_t line;  /* bytes from line to line */
  int64_t lower; /* to the lower tile */
  int64_t next;  /* to the next tiles along k */
} gk_left_lines;

static inline gk_left_lines gk_lines_of(const void *left, int64_t row) {
  const int64_t line = row == 0 ? 64 : row * 2;
  return (gk_left_lines){.p = left,
                         .line = line,
                         .lower = row == 0 ? GK_TILE_BYTES : GK_TILE * line,
                         .next = row == 0 ? 2 * GK_TILE_BYTES : GK_DEPTH * 2};
}

GK_TARGET(GK_TILE_ISA)
GK_INLINE void gk_amx_product(gk_left_lines left, const uint8_t *right, int32_t n, const int add, float *sums, int64_t row) {
  const int64_t bytes = row * 4;
  if (add) {
    _tile_loadd(0, sums, bytes);
    _tile_loadd(1, sums + GK_TILE, bytes);
    _tile_loadd(2, sums + GK_TILE * row, bytes);
    _tile_loadd(3, sums + GK_TILE * row + GK_TILE, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint8_t *from = left.p;
  for (int32_t t = 0; t < n; t++, from += left.next, right += 2 * GK_TILE_BYTES) {
    _tile_loadd(4, from, left.line);
    _tile_loadd(6, right, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right + GK_TILE_BYTES, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, from + left.lower, left.line);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, bytes);
  _tile_stored(1, sums + GK_TILE, bytes);
  _tile_stored(2, sums + GK_TILE * row, bytes);
  _tile_stored(3, sums + GK_TILE * row + GK_TILE, bytes);
}

#define GK_LINES_TOGETHER 8 /* lines whose sums are in registers at a time */

GK_TARGET(GK_TILE_ISA)
GK_INLINE void gk_pairs_product(gk_left_lines left, const uint8_t *right, int32_t n, const int add, float *sums, int64_t row) {
  for (int32_t first = 0; first < GK_SIDE; first += GK_LINES_TOGETHER, sums += GK_LINES_TOGETHER * row) {
    const uint8_t *line = left.p + first / GK_TILE * left.lower + first % GK_TILE * left.line;
    const uint8_t *pairs = right;
    __m512 low[GK_LINES_TOGETHER];
    __m512 high[GK_LINES_TOGETHER];
    GK_EACH(i, GK_LINES_TOGETHER) {
      low[i] = add ? _mm512_loadu_ps(sums + i * row) : _mm512_setzero_ps();
      high[i] = add ? _mm512_loadu_ps(sums + i * row + GK_TILE) : _mm512_setzero_ps();
    }
    for (int32_t t = 0; t < n; t++, line += left.next, pairs += 2 * GK_TILE_BYTES) {
      for (int32_t k = 0; k < GK_DEPTH / 2; k++) {
        const __m512bh a = (__m512bh)_mm512_loadu_si512(pairs + 64 * k);
        const __m512bh b = (__m512bh)_mm512_loadu_si512(pairs + GK_TILE_BYTES + 64 * k);
        GK_EACH(i, GK_LINES_TOGETHER) {
          int32_t pair;
          memcpy(&pair, line + i * left.line + 4 * k, sizeof pair);
          const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
          low[i] = _mm512_dpbf16_ps(low[i], both, a);
          high[i] = _mm512_dpbf16_ps(high[i], both, b);
        }
      }
    }
    GK_EACH(i, GK_LINES_TOGETHER) {
      _mm512_storeu_ps(sums + i * row, low[i]);
      _mm512_storeu_ps(sums + i * row + GK_TILE, high[i]);
    }
  }
}

/*
 * sums [32, 32], `row` numbers from row to row, = or += left times right over n tiles along k. Right is packed in pairs. Left is pairs of
 * lines if left_row is 0, else 32 rows of numbers, so many from row to row.
 */
GK_TARGET(GK_TILE_ISA)
GK_INLINE void gk_tile_product(int32_t unit, const void *left, int64_t left_row, const uint8_t *right, int32_t n, const int add, float *sums,
                               int64_t row) {
  if (unit == GK_TILES) {
    gk_amx_product(gk_lines_of(left, left_row), right, n, add, sums, row);
  } else {
    gk_pairs_product(gk_lines_of(left, left_row), right, n, add, sums, row);
  }
}

#endif
