/* Products of codes on AMX: tiles of 16 inputs by 64 columns times 64 columns by 16 rows; the same integers as anywhere. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gk_product.h"

#define GK_AMX_INPUTS 16

/* The compiler's tile instructions do not tell it what memory they read. */
#define GK_WRITTEN(p) __asm__ volatile("" : : "r"(p) : "memory")

typedef struct {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} gk_tile_config;

/* Columns of a run that one tile takes; 0 if the run has parts of tiles. */
static int32_t gk_amx_cols(const gk_weight *w) {
  if (w->run % GK_STEP != 0) {
    return 0;
  }
  return w->run % 64 == 0 ? 64 : w->run % 32 == 0 ? 32 : w->run % 16 == 0 ? 16 : 8;
}

/* Tiles 0 to 3: sums of high and low bytes of the first and second 16 inputs; 4 and 5: inputs; 6: weights. */
GK_TARGET(GK_AMX_ISA) void gk_amx_begin(const gk_product *p) {
  const int32_t cols = gk_amx_cols(p->w);
  gk_tile_config c = {.palette = 1};
  for (int t = 0; t < 4; t++) {
    c.rows[t] = GK_AMX_INPUTS;
    c.row_bytes[t] = 64;
  }
  c.rows[4] = c.rows[5] = GK_AMX_INPUTS;
  c.row_bytes[4] = c.row_bytes[5] = (uint16_t)cols;
  c.rows[6] = (uint8_t)(cols / 4);
  c.row_bytes[6] = 64;
  GK_WRITTEN(&c);
  _tile_loadconfig(&c);
}

/* `zeros`: zero points of the 16 rows, or null. */
GK_TARGET(GK_AMX_ISA) GK_INLINE void gk_amx_sums(const gk_product *p, int32_t from, int32_t n, int32_t run, const int32_t *high,
                                                 const int32_t *low, __m512 scale, const int8_t *zeros, float *sums) {
  for (int32_t i = 0; i < n; i++) {
    const int64_t at = (int64_t)(from + i) * p->w->runs + run;
    const __m512i both = _mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(high + 16 * i), 8), _mm512_load_si512(low + 16 * i));
    __m512i dot = _mm512_add_epi32(both, _mm512_set1_epi32(p->input.center[at]));
    if (zeros != NULL) {
      const __m512i zero = _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)zeros));
      dot = _mm512_add_epi32(dot, _mm512_mullo_epi32(zero, _mm512_set1_epi32(gk_minus_sum(p->w, p->input.center[at]))));
    }
    const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(p->input.scales[at]));
    _mm512_store_ps(sums + 16 * i, _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), factor, _mm512_load_ps(sums + 16 * i)));
  }
}

/* 32 inputs (16 if not `two`) by 16 rows. */
GK_TARGET(GK_AMX_ISA) GK_INLINE void gk_amx_inputs(const gk_product *p, int64_t block, int32_t from, const int two, int32_t cols) {
  const gk_weight *w = p->w;
  const uint8_t *scales = p->blocks + block * w->stride;
  const uint8_t *codes = scales + w->scale_bytes;
  const int8_t *zeros = w->form & GK_ZEROS ? (const int8_t *)codes - gk_zero_bytes(w) : NULL;
  const int64_t row = gk_codes_per_row(w);
  const int8_t *x = p->input.codes + from * row;
  const int8_t *x2 = x + GK_AMX_INPUTS * row;
  const __m512i mask = _mm512_set1_epi8(15);
  _Alignas(64) uint8_t expanded[GK_RUN * GK_ROWS];
  _Alignas(64) int32_t dots[4][GK_AMX_INPUTS * GK_ROWS];
  _Alignas(64) float sums[2 * GK_AMX_INPUTS * GK_ROWS] = {0};
  const int64_t run_bytes = w->run_steps * gk_tile_bytes(w);
  for (int32_t run = 0; run < w->runs; run++, codes += run_bytes) {
    const uint8_t *bytes = codes;
    if (w->code_bits == 4) {
      for (int32_t s = 0; s < w->run_steps; s++) {
        const __m512i v = _mm512_load_si512(codes + 64 * s);
        _mm512_store_si512(expanded + 128 * s, _mm512_and_si512(v, mask));
        _mm512_store_si512(expanded + 128 * s + 64, _mm512_and_si512(_mm512_srli_epi16(v, 4), mask));
      }
      bytes = expanded;
    }
    GK_WRITTEN(bytes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int32_t c = 0; c < w->run; c += cols) {
      const int64_t at = (int64_t)run * w->run + c;
      _tile_loadd(6, bytes + 16 * c, 64);
      _tile_loadd(4, x + at, row);
      _tile_dpbsud(0, 4, 6);
      _tile_loadd(5, x + row / 2 + at, row);
      _tile_dpbsud(1, 5, 6);
      if (two) {
        _tile_loadd(4, x2 + at, row);
        _tile_dpbsud(2, 4, 6);
        _tile_loadd(5, x2 + row / 2 + at, row);
        _tile_dpbsud(3, 5, 6);
      }
    }
    _tile_stored(0, dots[0], 64);
    _tile_stored(1, dots[1], 64);
    if (two) {
      _tile_stored(2, dots[2], 64);
      _tile_stored(3, dots[3], 64);
    }
    __m512 scale;
    if (w->form & GK_WIDE) {
      scale = _mm512_loadu_ps(scales + (int64_t)run * 64);
    } else {
      const __m256i half = _mm256_loadu_si256((const __m256i *)(scales + (int64_t)run * 32));
      scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    gk_amx_sums(p, from, GK_AMX_INPUTS, run, dots[0], dots[1], scale, zeros, sums);
    if (two) {
      gk_amx_sums(p, from + GK_AMX_INPUTS, GK_AMX_INPUTS, run, dots[2], dots[3], scale, zeros, sums + GK_AMX_INPUTS * GK_ROWS);
    }
    zeros += zeros != NULL ? GK_ROWS : 0;
  }
  const int64_t first_row = block * GK_ROWS;
  const int64_t left = w->rows - first_row;
  const __mmask16 present = left >= GK_ROWS ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
  for (int32_t i = 0; i < (two ? 2 : 1) * GK_AMX_INPUTS; i++) {
    _mm512_mask_storeu_ps(p->y + (int64_t)(from + i) * w->rows + first_row, present, _mm512_load_ps(sums + 16 * i));
  }
}

GK_TARGET(GK_AMX_ISA) void gk_block_amx(const gk_product *p, int64_t block) {
  const int32_t cols = gk_amx_cols(p->w);
  int32_t i = 0;
  for (; i + 2 * GK_AMX_INPUTS <= p->m; i += 2 * GK_AMX_INPUTS) {
    gk_amx_inputs(p, block, i, 1, cols);
  }
  for (; i + GK_AMX_INPUTS <= p->m; i += GK_AMX_INPUTS) {
    gk_amx_inputs(p, block, i, 0, cols);
  }
  gk_rest_vnni(p, block, i);
}

GK_TARGET(GK_AMX_ISA) void gk_amx_end(void) { _tile_release(); }

#define GK_ARCH_REQ_XCOMP_PERM 0x1023
#define GK_XFEATURE_TILE_DATA 18

int gk_amx_fits(const gk_product *p) { return !gk_dense(p->w) && p->m >= GK_AMX_INPUTS && gk_amx_cols(p->w) != 0; }

int gk_amx_allowed(void) {
  unsigned a;
  unsigned b;
  unsigned c;
  unsigned d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 3u) != 3u) {
    return 0;
  }
  return syscall(SYS_arch_prctl, GK_ARCH_REQ_XCOMP_PERM, GK_XFEATURE_TILE_DATA) == 0;
}
