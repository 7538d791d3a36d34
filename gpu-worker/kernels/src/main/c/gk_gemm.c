/*
 * Products of bfloat16 matrices. The larger matrix ("left") is packed block by block into the second-level cache and meets the
 * smaller one ("right"), packed as a whole before, in blocks of 32 by 32 sums. If b is the larger one, the transposed product is taken.
 */
#include <cpuid.h>

#include "gk_tile.h"

#define GK_BLOCK_NUMBERS (GK_SIDE * GK_SIDE)
#define GK_LEFT_MOST 256   /* left rows that a thread packs at a time */
#define GK_RIGHT_MOST 512  /* right columns whose sums it keeps */
#define GK_DEPTH_MOST 8    /* tiles along k that it packs at a time */
#define GK_MAX_GEMM (1 << 24)

typedef struct {
  gk_side left;
  gk_side right;
  int32_t k;
  int32_t tiles; /* along k */
  int32_t left_block;
  int32_t panels; /* of the right matrix, 32 columns each */
  int transposed;
  void *c;
  int32_t add; /* c is float32 and is added to */
  int32_t unit;
  int64_t c_row;
  uint8_t *packed; /* right: [panels, tiles, 2] tiles */
  uint8_t *own;    /* of each thread: left block, sums */
  int64_t own_bytes;
  gk_items *items;
} gk_gemm;

/* Packs the right matrix, panel by panel. */
GK_TARGET(GK_TILE_ISA) static void gk_gemm_right(void *context, int32_t part, int32_t parts) {
  const gk_gemm *g = context;
  int64_t panel;
  for (int64_t end; (end = gk_claim(g->items, part, parts, 1, &panel)) > panel;) {
    uint8_t *out = g->packed + panel * g->tiles * 2 * GK_TILE_BYTES;
    for (int32_t t = 0; t < g->tiles; t++) {
      gk_pack_pair(&g->right, g->k, (int32_t)panel * GK_SIDE, t * GK_DEPTH, 0, out);
      out += 2 * GK_TILE_BYTES;
    }
  }
}

/* Asks memory for what gk_pack_pair will read: a line for each of 32 rows or of 32 columns. */
GK_INLINE void gk_fetch_pair(const gk_side *s, int32_t k_end, int32_t o, int32_t k) {
  if (k >= k_end || o >= s->count) {
    return;
  }
  const uint16_t *p = s->p + o * s->outer + k * s->along;
  const int64_t line = s->along == 1 ? s->outer : s->along;
  const int32_t lines = gk_least(GK_SIDE, s->along == 1 ? s->count - o : k_end - k);
  for (int32_t i = 0; i < lines; i++) {
    __builtin_prefetch(p + i * line, 0, 2);
  }
}

/* Asks memory for the block that sums of left row `o` and right column `n` are added to. */
GK_INLINE void gk_fetch_sums(const gk_gemm *g, int32_t o, int32_t n) {
  const float *c = (const float *)g->c + (g->transposed ? n * g->c_row + o : o * g->c_row + n);
  const int32_t rows = gk_least(GK_SIDE, g->transposed ? g->right.count - n : g->left.count - o);
  for (int32_t i = 0; i < rows; i++) {
    __builtin_prefetch(c + i * g->c_row, 1, 3);
    __builtin_prefetch(c + i * g->c_row + GK_TILE, 1, 3);
  }
}

/* Writes a tile of sums, rounded, to where left row `o` and right column `n` are, or adds it there as it is. */
GK_TARGET(GK_TILE_ISA) GK_INLINE void gk_gemm_store(const gk_gemm *g, const float *sums, int32_t o, int32_t n) {
  __m512i v[16];
  GK_EACH(i, 16) { v[i] = _mm512_load_si512(sums + GK_SIDE * i); }
  int32_t rows = g->left.count - o;
  int32_t cols = g->right.count - n;
  const int64_t at = g->transposed ? n * g->c_row + o : o * g->c_row + n;
  if (g->transposed) {
    gk_transpose(v);
    const int32_t swap = rows;
    rows = cols;
    cols = swap;
  }
  const __mmask16 mask = gk_first_16(cols);
  GK_EACH(i, 16) {
    if (i >= rows) {
      continue;
    }
    const __m512 sum = _mm512_castsi512_ps(v[i]);
    if (g->add) {
      float *c = (float *)g->c + at + i * g->c_row;
      _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), sum));
    } else {
      gk_put((uint16_t *)g->c + at + i * g->c_row, mask, sum);
    }
  }
}

GK_TARGET(GK_TILE_ISA) static void gk_gemm_left_block(const gk_gemm *g, int32_t from, uint8_t *left, float *sums) {
  const int32_t blocks = gk_parts(gk_least(g->left_block, g->left.count - from), GK_SIDE);
  const int32_t panels_most = GK_RIGHT_MOST / GK_SIDE;
  for (int32_t p = 0; p < g->panels; p += panels_most) {
    const int32_t panels = gk_least(panels_most, g->panels - p);
    for (int32_t t = 0; t < g->tiles; t += GK_DEPTH_MOST) {
      const int32_t depth = gk_least(GK_DEPTH_MOST, g->tiles - t);
      uint8_t *out = left;
      for (int32_t b = 0; b < blocks; b++) {
        for (int32_t i = 0; i < depth; i++) {
          gk_pack_pair(&g->left, g->k, from + b * GK_SIDE, (t + i) * GK_DEPTH, 1, out);
          gk_fetch_pair(&g->left, g->k, from + b * GK_SIDE, (t + i + GK_DEPTH_MOST) * GK_DEPTH);
          out += 2 * GK_TILE_BYTES;
        }
      }
      GK_FENCE();
      for (int32_t q = 0; q < panels; q++) {
        const uint8_t *right = g->packed + ((int64_t)(p + q) * g->tiles + t) * 2 * GK_TILE_BYTES;
        for (int32_t b = 0; b < blocks; b++) {
          float *block = sums + (int64_t)(q * blocks + b) * GK_BLOCK_NUMBERS;
          gk_tile_product(g->unit, left + (int64_t)b * depth * 2 * GK_TILE_BYTES, 0, right, depth, t > 0, block, GK_SIDE);
        }
      }
      GK_FENCE();
    }
    for (int32_t b = 0; b < blocks; b++) {
      for (int32_t q = 0; q < panels; q++) {
        const float *block = sums + (int64_t)(q * blocks + b) * GK_BLOCK_NUMBERS;
        if (g->add && q + 1 < panels) {
          gk_fetch_sums(g, from + b * GK_SIDE, (p + q + 1) * GK_SIDE);
        }
        for (int32_t tile = 0; tile < 4; tile++) {
          gk_gemm_store(g, block + tile / 2 * GK_TILE * GK_SIDE + tile % 2 * GK_TILE, from + b * GK_SIDE + tile / 2 * GK_TILE, (p + q) * GK_SIDE + tile % 2 * GK_TILE);
        }
      }
    }
  }
}

GK_TARGET(GK_TILE_ISA) static void gk_gemm_left(void *context, int32_t part, int32_t parts) {
  const gk_gemm *g = context;
  gk_tiles_begin(g->unit);
  uint8_t *left = g->own + part * g->own_bytes;
  float *sums = (float *)(left + (int64_t)g->left_block * GK_DEPTH_MOST * GK_DEPTH * 2);
  int64_t block;
  for (int64_t end; (end = gk_claim(g->items, part, parts, 1, &block)) > block;) {
    gk_gemm_left_block(g, (int32_t)block * g->left_block, left, sums);
  }
  gk_tiles_end(g->unit);
}

static int32_t gk_find_unit(void) {
  unsigned a;
  unsigned b;
  unsigned c;
  unsigned d;
  if (gk_best_isa() < GK_VNNI || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a >> 5 & 1u) == 0) {
    return GK_NO_UNIT; /* without AVX-512 for bfloat16 */
  }
  const int tiles = gk_best_isa() == GK_AMX && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1u) == 1;
  return tiles ? GK_TILES : GK_PAIRS;
}

/* Asked once: a virtual machine takes tens of microseconds to answer. */
int32_t gk_unit(void) {
  static _Atomic int32_t found = -1;
  if (found < 0) {
    found = gk_find_unit();
  }
  return found;
}

int32_t gk_gemm_present(void) { return gk_unit(); }

static int gk_gemm_strides(int64_t row, int64_t col) { return (row == 1 || col == 1) && row >= 1 && col >= 1 && row <= GK_MAX_GEMM && col <= GK_MAX_GEMM; }

static int32_t gk_gemm_plan(const gk_gemm_shape *s, int32_t threads, gk_gemm *g) {
  if (s == NULL) {
    return GK_EALIGN;
  }
  if (s->m < 1 || s->n < 1 || s->k < 1 || s->m > GK_MAX_GEMM || s->n > GK_MAX_GEMM || s->k > GK_MAX_GEMM ||
      !gk_gemm_strides(s->a_row, s->a_col) || !gk_gemm_strides(s->b_row, s->b_col) || s->c_row < s->n || s->c_row > GK_MAX_GEMM || s->add < 0 || s->add > 1 || s->plain < 0 ||
      s->plain > 1 || s->reserved != 0) {
    return GK_ESIZE;
  }
  const gk_side a = {.outer = s->a_row, .along = s->a_col, .count = s->m};
  const gk_side b = {.outer = s->b_col, .along = s->b_row, .count = s->n};
  g->transposed = s->m < s->n;
  g->left = g->transposed ? b : a;
  g->right = g->transposed ? a : b;
  g->k = s->k;
  g->c_row = s->c_row;
  g->add = s->add;
  g->unit = s->plain ? gk_least(gk_unit(), GK_PAIRS) : gk_unit();
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
  if (g.unit == GK_NO_UNIT) {
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
