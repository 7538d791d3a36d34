/*
 * Products of bfloat16 matrices on AMX. The larger matrix ("left") is packed block by block into the second-level cache and meets the
 * smaller one ("right"), packed as a whole before, in blocks of 32 by 32 sums. If b is the larger one, the transposed product is taken.
 */
#include <cpuid.h>
#include <immintrin.h>

#include "gk_product.h"
#include "gk_weight.h"

#define GK_GEMM_ISA GK_VNNI_ISA ",avx512bf16,amx-tile,amx-bf16"
#define GK_TILE 16          /* rows of a tile, and float32 columns */
#define GK_DEPTH 32         /* bfloat16 columns of a tile */
#define GK_TILE_BYTES 1024
#define GK_SIDE 32          /* rows and columns of a block of sums, two tiles each */
#define GK_BLOCK_BYTES (4 * GK_TILE_BYTES)
#define GK_LEFT_MOST 128    /* left rows that a thread packs at a time */
#define GK_RIGHT_MOST 512  /* right columns whose sums it keeps */
#define GK_DEPTH_MOST 8    /* tiles along k that it packs at a time */
#define GK_MAX_GEMM (1 << 24)

/* The compiler's tile instructions do not tell it what memory they read and write. */
#define GK_FENCE() __asm__ volatile("" : : : "memory")

/* A matrix as seen along its outer dimension and along k. */
typedef struct {
  const uint16_t *p;
  int64_t outer;
  int64_t along;
  int32_t count; /* outer */
} gk_side;

typedef struct {
  gk_side left;
  gk_side right;
  int32_t k;
  int32_t tiles; /* along k */
  int32_t left_block;
  int32_t panels; /* of the right matrix, 32 columns each */
  int transposed;
  uint16_t *c;
  int64_t c_row;
  uint8_t *packed; /* right: [panels, tiles, 2] tiles */
  uint8_t *own;    /* of each thread: left block, sums */
  int64_t own_bytes;
  gk_items *items;
} gk_gemm;

static int32_t gk_least(int64_t a, int64_t b) { return (int32_t)(a < b ? a : b); }

static int32_t gk_parts(int64_t n, int64_t of) { return (int32_t)((n + of - 1) / of); }

GK_TARGET(GK_GEMM_ISA) GK_INLINE __mmask32 gk_first_32(int32_t n) {
  return n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (1u << n) - 1u;
}

/* 16 by 16 words of 32 bits. */
GK_TARGET(GK_GEMM_ISA) GK_INLINE void gk_transpose(__m512i v[16]) {
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
 * One tile from outer index `o` and k on: [16 outer, 32 k] if `lines`, else [16 pairs of k, 16 outer, 2]; zeros outside of the matrix.
 */
GK_TARGET(GK_GEMM_ISA) GK_INLINE void gk_pack_tile(const gk_side *s, int32_t k_end, int32_t o, int32_t k, const int lines, uint8_t *out) {
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
    const __mmask16 mask = (__mmask16)gk_first_32(outer);
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

/* Packs the right matrix, panel by panel. */
GK_TARGET(GK_GEMM_ISA) static void gk_gemm_right(void *context, int32_t part, int32_t parts) {
  const gk_gemm *g = context;
  int64_t panel;
  for (int64_t end; (end = gk_claim(g->items, part, parts, 1, &panel)) > panel;) {
    uint8_t *out = g->packed + panel * g->tiles * 2 * GK_TILE_BYTES;
    for (int32_t t = 0; t < g->tiles; t++) {
      for (int32_t half = 0; half < 2; half++, out += GK_TILE_BYTES) {
        gk_pack_tile(&g->right, g->k, (int32_t)panel * GK_SIDE + half * GK_TILE, t * GK_DEPTH, 0, out);
      }
    }
  }
}

/* Adds `n` tiles along k to a block of sums; the first time there are none yet. */
GK_TARGET(GK_GEMM_ISA) GK_INLINE void gk_gemm_block(const uint8_t *left, const uint8_t *right, int32_t n, const int first, float *sums) {
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + 256, 64);
    _tile_loadd(2, sums + 512, 64);
    _tile_loadd(3, sums + 768, 64);
  }
  for (int32_t t = 0; t < n; t++, left += 2 * GK_TILE_BYTES, right += 2 * GK_TILE_BYTES) {
    _tile_loadd(4, left, 64);
    _tile_loadd(6, right, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right + GK_TILE_BYTES, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, left + GK_TILE_BYTES, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  _tile_stored(2, sums + 512, 64);
  _tile_stored(3, sums + 768, 64);
}

/* Rounds a tile of sums to bfloat16 and writes it to where left row `o` and right column `n` are. */
GK_TARGET(GK_GEMM_ISA) GK_INLINE void gk_gemm_store(const gk_gemm *g, const float *sums, int32_t o, int32_t n) {
  __m512i v[16];
  GK_EACH(i, 16) { v[i] = _mm512_load_si512(sums + 16 * i); }
  int32_t rows = g->left.count - o;
  int32_t cols = g->right.count - n;
  uint16_t *c = g->c + (g->transposed ? n * g->c_row + o : o * g->c_row + n);
  if (g->transposed) {
    gk_transpose(v);
    const int32_t swap = rows;
    rows = cols;
    cols = swap;
  }
  const __mmask16 mask = (__mmask16)gk_first_32(cols);
  GK_EACH(i, 16) {
    if (i < rows) {
      _mm256_mask_storeu_epi16(c + i * g->c_row, mask, (__m256i)_mm512_cvtneps_pbh(_mm512_castsi512_ps(v[i])));
    }
  }
}

GK_TARGET(GK_GEMM_ISA) static void gk_gemm_left_block(const gk_gemm *g, int32_t from, uint8_t *left, float *sums) {
  const int32_t blocks = gk_parts(gk_least(g->left_block, g->left.count - from), GK_SIDE);
  const int32_t panels_most = GK_RIGHT_MOST / GK_SIDE;
  for (int32_t p = 0; p < g->panels; p += panels_most) {
    const int32_t panels = gk_least(panels_most, g->panels - p);
    for (int32_t t = 0; t < g->tiles; t += GK_DEPTH_MOST) {
      const int32_t depth = gk_least(GK_DEPTH_MOST, g->tiles - t);
      uint8_t *out = left;
      for (int32_t b = 0; b < blocks; b++) {
        for (int32_t i = 0; i < depth; i++) {
          for (int32_t half = 0; half < 2; half++, out += GK_TILE_BYTES) {
            gk_pack_tile(&g->left, g->k, from + b * GK_SIDE + half * GK_TILE, (t + i) * GK_DEPTH, 1, out);
          }
        }
      }
      GK_FENCE();
      for (int32_t q = 0; q < panels; q++) {
        const uint8_t *right = g->packed + ((int64_t)(p + q) * g->tiles + t) * 2 * GK_TILE_BYTES;
        for (int32_t b = 0; b < blocks; b++) {
          float *block = sums + (int64_t)(q * blocks + b) * (GK_BLOCK_BYTES / 4);
          gk_gemm_block(left + (int64_t)b * depth * 2 * GK_TILE_BYTES, right, depth, t == 0, block);
        }
      }
      GK_FENCE();
    }
    for (int32_t b = 0; b < blocks; b++) {
      for (int32_t q = 0; q < panels; q++) {
        const float *block = sums + (int64_t)(q * blocks + b) * (GK_BLOCK_BYTES / 4);
        for (int32_t tile = 0; tile < 4; tile++) {
          gk_gemm_store(g, block + 256 * tile, from + b * GK_SIDE + tile / 2 * GK_TILE, (p + q) * GK_SIDE + tile % 2 * GK_TILE);
        }
      }
    }
  }
}

GK_TARGET(GK_GEMM_ISA) static void gk_gemm_left(void *context, int32_t part, int32_t parts) {
  const gk_gemm *g = context;
  _Alignas(64) uint8_t config[64] = {1};
  for (int tile = 0; tile < 8; tile++) {
    config[16 + 2 * tile] = 64; /* bytes of a row */
    config[48 + tile] = GK_TILE;
  }
  GK_FENCE();
  _tile_loadconfig(config);
  uint8_t *left = g->own + part * g->own_bytes;
  float *sums = (float *)(left + (int64_t)g->left_block * GK_DEPTH_MOST * GK_DEPTH * 2);
  int64_t block;
  for (int64_t end; (end = gk_claim(g->items, part, parts, 1, &block)) > block;) {
    gk_gemm_left_block(g, (int32_t)block * g->left_block, left, sums);
  }
  _tile_release();
}

int32_t gk_gemm_present(void) {
  unsigned a;
  unsigned b;
  unsigned c;
  unsigned d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 22 & 1u) == 0 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a >> 5 & 1u) == 0) {
    return 0; /* without AMX or AVX-512 for bfloat16 */
  }
  return gk_best_isa() == GK_AMX;
}

static int gk_gemm_strides(int64_t row, int64_t col) { return (row == 1 || col == 1) && row >= 1 && col >= 1 && row <= GK_MAX_GEMM && col <= GK_MAX_GEMM; }

static int32_t gk_gemm_plan(const gk_gemm_shape *s, int32_t threads, gk_gemm *g) {
  if (s == NULL) {
    return GK_EALIGN;
  }
  if (s->m < 1 || s->n < 1 || s->k < 1 || s->m > GK_MAX_GEMM || s->n > GK_MAX_GEMM || s->k > GK_MAX_GEMM ||
      !gk_gemm_strides(s->a_row, s->a_col) || !gk_gemm_strides(s->b_row, s->b_col) || s->c_row < s->n || s->c_row > GK_MAX_GEMM) {
    return GK_ESIZE;
  }
  const gk_side a = {.outer = s->a_row, .along = s->a_col, .count = s->m};
  const gk_side b = {.outer = s->b_col, .along = s->b_row, .count = s->n};
  g->transposed = s->m < s->n;
  g->left = g->transposed ? b : a;
  g->right = g->transposed ? a : b;
  g->k = s->k;
  g->c_row = s->c_row;
  g->tiles = gk_parts(s->k, GK_DEPTH);
  g->panels = gk_parts(g->right.count, GK_SIDE);
  /* Some blocks for each thread, so that the last one keeps nobody waiting for long. */
  g->left_block = gk_least(GK_LEFT_MOST, GK_SIDE * gk_parts(gk_parts(g->left.count, 4 * (int64_t)threads), GK_SIDE));
  const int64_t sums = (int64_t)g->left_block * gk_least(GK_RIGHT_MOST, (int64_t)g->panels * GK_SIDE) * 4;
  g->own_bytes = (int64_t)g->left_block * GK_DEPTH_MOST * GK_DEPTH * 2 + sums;
  return 0;
}

static int64_t gk_gemm_right_bytes(const gk_gemm *g) { return (int64_t)g->panels * g->tiles * 2 * GK_TILE_BYTES; }

int64_t gk_gemm_scratch(const gk_pool *pool, const gk_gemm_shape *shape) {
  gk_gemm g;
  const int32_t threads = gk_pool_threads(pool);
  const int32_t error = gk_gemm_plan(shape, threads, &g);
  return error != 0 ? error : gk_gemm_right_bytes(&g) + threads * g.own_bytes;
}

int32_t gk_gemm_bf16(gk_pool *pool, const gk_gemm_shape *shape, const void *a, const void *b, void *c, void *scratch, int64_t scratch_bytes) {
  gk_gemm g;
  const int32_t threads = gk_pool_threads(pool);
  const int32_t error = gk_gemm_plan(shape, threads, &g);
  if (error != 0) {
    return error;
  }
  if (!gk_gemm_present()) {
    return GK_EISA;
  }
  if (a == NULL || b == NULL || c == NULL || scratch == NULL || (uintptr_t)scratch % 64 != 0) {
    return GK_EALIGN;
  }
  if (scratch_bytes < gk_gemm_right_bytes(&g) + threads * g.own_bytes) {
    return GK_ESPACE;
  }
  g.left.p = g.transposed ? b : a;
  g.right.p = g.transposed ? a : b;
  g.c = c;
  g.packed = scratch;
  g.own = g.packed + gk_gemm_right_bytes(&g);
  gk_items items;
  g.items = &items;
  gk_pool *with = (int64_t)shape->m * shape->n * shape->k < 1 << 18 ? NULL : pool;
  const int32_t parts = gk_pool_threads(with);
  gk_split(&items, g.panels, parts);
  gk_run(with, gk_gemm_right, &g);
  gk_split(&items, gk_parts(g.left.count, g.left_block), parts);
  gk_run(with, gk_gemm_left, &g);
  return 0;
}
