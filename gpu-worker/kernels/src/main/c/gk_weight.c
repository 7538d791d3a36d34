#define _GNU_SOURCE
#include "gk_weight.h"

#include <string.h>
#include <sys/mman.h>

#define GK_HUGE_PAGE ((int64_t)2 << 20)

static const char GK_MAGIC[8] = {'g', 'r', 'a', 'c', 'e', '-', 'k', 'w'};

void *gk_reserve(int64_t bytes) {
  if (bytes < 1) {
    return NULL;
  }
  void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return NULL;
  }
  /* A hint: where it is refused, small pages are slower, not wrong. */
  if (bytes >= GK_HUGE_PAGE) {
    (void)madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
  }
  return memory;
}

void gk_release(void *memory, int64_t bytes) {
  if (memory != NULL) {
    munmap(memory, (size_t)bytes);
  }
}

/* Largest divisor of n that is at most GK_RUN. */
static int32_t gk_run_length(int32_t n) {
  for (int32_t run = n < GK_RUN ? n : GK_RUN; run > 1; run--) {
    if (n % run == 0) {
      return run;
    }
  }
  return 1;
}

int32_t gk_describe_weight(gk_weight *w, int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t form) {
  const int dense = bits == 16 || bits == 32;
  if (bits < 2 || (bits > 8 && !dense) || rows < 1 || rows > GK_MAX_SIZE || cols < 1 || cols > GK_MAX_SIZE || group < 1 || group > cols ||
      cols % group != 0 || (form & ~(GK_WIDE | GK_ZEROS)) != 0 || (dense && (group != cols || form != 0))) {
    return GK_ESIZE;
  }
  memset(w, 0, sizeof *w);
  memcpy(w->magic, GK_MAGIC, sizeof GK_MAGIC);
  w->version = GK_VERSION;
  w->bits = bits;
  w->rows = rows;
  w->cols = cols;
  w->group = group;
  w->form = form;
  w->code_bits = bits <= 4 ? 4 : bits <= 8 ? 8 : bits;
  w->run = dense ? cols : gk_run_length(group);
  w->runs = cols / w->run;
  w->run_steps = (w->run + gk_tile_cols(w) - 1) / gk_tile_cols(w);
  w->scale_bytes = dense ? 0 : gk_round_up((int64_t)w->runs * GK_ROWS * (form & GK_WIDE ? 4 : 2), GK_ALIGN) + gk_zero_bytes(w);
  w->stride = w->scale_bytes + (int64_t)w->runs * w->run_steps * gk_tile_bytes(w);
  return 0;
}

int32_t gk_open_weight(const void *weight, int64_t bytes, gk_weight *out) {
  if (!gk_aligned(weight)) {
    return GK_EALIGN;
  }
  if (bytes < GK_ALIGN) {
    return GK_EFORMAT;
  }
  gk_weight found;
  memcpy(&found, weight, sizeof found);
  if (gk_describe_weight(out, found.bits, found.rows, found.cols, found.group, found.form) != 0 ||
      memcmp(&found, out, sizeof found) != 0 || gk_total_bytes(out) != bytes) {
    return GK_EFORMAT;
  }
  return 0;
}

int64_t gk_weight_bytes(int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t form) {
  gk_weight w;
  int32_t error = gk_describe_weight(&w, bits, rows, cols, group, form);
  return error != 0 ? error : gk_total_bytes(&w);
}

/* Unsigned code of element c of a row. */
static uint32_t gk_code(const uint32_t *words, int64_t c, int32_t bits) {
  int64_t bit = c * bits;
  uint32_t shift = (uint32_t)(bit & 31);
  uint32_t code = words[bit >> 5] >> shift;
  if (shift + (uint32_t)bits > 32) {
    code |= words[(bit >> 5) + 1] << (32 - shift);
  }
  return code & ((1u << bits) - 1u);
}

static void gk_put_scale(const gk_weight *w, uint8_t *scales, int64_t at, float value) {
  uint32_t raw;
  memcpy(&raw, &value, sizeof raw);
  if (w->form & GK_WIDE) {
    memcpy(scales + 4 * at, &raw, 4);
  } else {
    uint16_t half = (uint16_t)(raw >> 16);
    memcpy(scales + 2 * at, &half, 2);
  }
}

int32_t gk_pack_dense(const void *values, int32_t bits, int32_t rows, int32_t cols, void *out, int64_t out_bytes) {
  gk_weight w;
  int32_t error = bits < 16 ? GK_ESIZE : gk_describe_weight(&w, bits, rows, cols, cols, 0);
  if (error != 0) {
    return error;
  }
  if (values == NULL || !gk_aligned(out)) {
    return GK_EALIGN;
  }
  if (out_bytes != gk_total_bytes(&w)) {
    return GK_ESPACE;
  }
  memset(out, 0, (size_t)out_bytes);
  memcpy(out, &w, sizeof w);
  const uint8_t *from = values;
  for (int64_t row = 0; row < rows; row++) {
    uint8_t *tiles = (uint8_t *)out + GK_ALIGN + row / GK_ROWS * w.stride;
    const int64_t r = row % GK_ROWS;
    for (int64_t c = 0; c < cols; c++) {
      if (bits == 16) {
        memcpy(tiles + c / 4 * 128 + c % 4 / 2 * 64 + r * 4 + c % 2 * 2, from + (row * cols + c) * 2, 2);
      } else {
        memcpy(tiles + c / 4 * 256 + c % 4 * 64 + r * 4, from + (row * cols + c) * 4, 4);
      }
    }
  }
  return 0;
}

int32_t gk_pack(const int32_t *words, const float *scales, const int8_t *zeros, int32_t bits, int32_t rows, int32_t cols, int32_t group,
                int32_t form, void *out, int64_t out_bytes) {
  gk_weight w;
  int32_t error = bits > 8 ? GK_ESIZE : gk_describe_weight(&w, bits, rows, cols, group, form);
  if (error != 0) {
    return error;
  }
  if (words == NULL || scales == NULL || (zeros == NULL) != !(form & GK_ZEROS) || !gk_aligned(out)) {
    return GK_EALIGN;
  }
  if (out_bytes != gk_total_bytes(&w)) {
    return GK_ESPACE;
  }
  const int64_t row_words = ((int64_t)cols * bits + 31) / 32;
  const uint32_t center = 1u << (bits - 1);
  const uint32_t shift = (1u << (w.code_bits - 1)) - center; /* from code + center to code + 2^(code_bits - 1) */
  const uint8_t nothing = (uint8_t)(w.code_bits == 4 ? 0x88 : 0x80);
  const int64_t tile = gk_tile_bytes(&w);
  memset(out, 0, GK_ALIGN);
  memcpy(out, &w, sizeof w);
  for (int64_t block = 0; block < gk_blocks(&w); block++) {
    uint8_t *base = (uint8_t *)out + GK_ALIGN + block * w.stride;
    uint8_t *codes = base + w.scale_bytes;
    int8_t *zero = (int8_t *)codes - gk_zero_bytes(&w);
    memset(base, 0, (size_t)w.scale_bytes);
    memset(codes, nothing, (size_t)(w.stride - w.scale_bytes));
    for (int32_t r = 0; r < GK_ROWS && block * GK_ROWS + r < rows; r++) {
      const int64_t row = block * GK_ROWS + r;
      const uint32_t *source = (const uint32_t *)words + row * row_words;
      const int64_t row_groups = row * (cols / group);
      for (int32_t run = 0; run < w.runs; run++) {
        const int64_t at_group = row_groups + (int64_t)run * w.run / group;
        gk_put_scale(&w, base, (int64_t)run * GK_ROWS + r, scales[at_group]);
        if (zeros != NULL) {
          zero[(int64_t)run * GK_ROWS + r] = zeros[at_group];
        }
        uint8_t *tiles = codes + (int64_t)run * w.run_steps * tile;
        for (int32_t k = 0; k < w.run; k++) {
          uint32_t code = gk_code(source, (int64_t)run * w.run + k, bits) + shift;
          uint8_t *at = tiles + k / GK_STEP * tile + 4 * r + k % 4;
          int high = k % GK_STEP >= 4;
          if (w.code_bits == 8) {
            at[high ? 64 : 0] = (uint8_t)code;
          } else {
            *at = (uint8_t)(high ? (*at & 0x0f) | code << 4 : (*at & 0xf0) | code);
          }
        }
      }
    }
  }
  return 0;
}
