/* Layout of packed weights; private to the library. */
#ifndef GK_WEIGHT_H
#define GK_WEIGHT_H

#include <stddef.h>

#include "grace_kernels.h"

#define GK_ROWS 16  /* rows of a tile: lanes of a 512-bit register */
#define GK_STEP 8   /* columns of a tile */
#define GK_RUN 128  /* longest run of columns with one activation scale */
#define GK_ALIGN 64
#define GK_MAX_SIZE (1 << 24)

/*
 * A weight is a header and then, for each 16 rows, scales [runs, 16] (padded to 64 bytes), with GK_ZEROS zero points [runs, 16] (signed
 * bytes, padded likewise), and tiles [runs, run_steps].
 *
 * A tile of 4-bit codes has 64 bytes: byte 4 r + j holds column j of row r in its low and column 4 + j in its high half. A tile of
 * 8-bit codes has 128: byte 4 r + j holds column j, byte 64 + 4 r + j column 4 + j. Codes are stored as code + 2^(code_bits - 1);
 * what pads a run or the rows is the code 0.
 *
 * A weight of 16 bits has bfloat16 numbers instead of codes, no scales, one run, and tiles of 4 columns and 128 bytes: byte pair
 * 2 r + j holds column j of row r, pair 32 + 2 r + j column 2 + j. One of 32 bits has float32 numbers in tiles of 4 columns and 256
 * bytes: number 16 j + r is column j of row r.
 */
typedef struct {
  char magic[8];
  int32_t version;
  int32_t bits;
  int32_t rows;
  int32_t cols;
  int32_t group;
  int32_t form;      /* GK_WIDE, GK_ZEROS */
  int32_t code_bits; /* 4 or 8; 16 or 32 for numbers instead of codes */
  int32_t run;       /* columns of a run, a divisor of group */
  int32_t runs;      /* cols / run */
  int32_t run_steps; /* tiles of a run */
  int64_t scale_bytes; /* of scales and zero points of 16 rows, padded */
  int64_t stride;      /* bytes from 16 rows to the next */
} gk_weight;

_Static_assert(sizeof(gk_weight) <= GK_ALIGN, "header");

static inline int64_t gk_blocks(const gk_weight *w) { return ((int64_t)w->rows + GK_ROWS - 1) / GK_ROWS; }

static inline int gk_dense(const gk_weight *w) { return w->code_bits >= 16; }

static inline int64_t gk_tile_bytes(const gk_weight *w) { return w->code_bits == 4 ? 64 : w->code_bits == 32 ? 256 : 128; }

/* Bytes of the zero points of 16 rows; they end where the tiles begin. */
static inline int64_t gk_zero_bytes(const gk_weight *w) {
  return w->form & GK_ZEROS ? ((int64_t)w->runs * GK_ROWS + GK_ALIGN - 1) / GK_ALIGN * GK_ALIGN : 0;
}

static inline int64_t gk_total_bytes(const gk_weight *w) { return GK_ALIGN + gk_blocks(w) * w->stride; }

static inline int gk_aligned(const void *p) { return p != NULL && (uintptr_t)p % GK_ALIGN == 0; }

static inline int64_t gk_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Columns of a tile. */
static inline int32_t gk_tile_cols(const gk_weight *w) { return gk_dense(w) ? 4 : GK_STEP; }

/* Fills in the sizes; GK_ESIZE if they do not fit each other. */
int32_t gk_describe_weight(gk_weight *w, int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t form);

/* The header of a packed weight after checking it against the length; an error code otherwise. */
int32_t gk_open_weight(const void *weight, int64_t bytes, gk_weight *out);

#endif
