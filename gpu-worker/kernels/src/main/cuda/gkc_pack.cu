#include "gkc_weight.cuh"

namespace {

constexpr int kThreads = 256;

struct Packing {
  const uint32_t *words; /* packed codes, or bfloat16 numbers */
  const float *scales;
  const int8_t *zeros;
  int bits; /* of a code in words */
  int words_per_row;
  uint32_t *codes;
  void *out_scales;
  int64_t n; /* words of codes */
};

int32_t rounded_bits(int32_t bits) { return bits <= 4 ? 4 : bits <= 8 ? 8 : 16; }

/* Code + 2^(bits-1) of a column. */
GKC_DEVICE uint32_t code_at(const Packing &p, int row, int col) {
  const int64_t bit = (int64_t)col * p.bits;
  const uint32_t *at = p.words + (int64_t)row * p.words_per_row + bit / 32;
  const int shift = (int)(bit % 32);
  uint32_t u = at[0] >> shift;
  if (shift + p.bits > 32) {
    u |= at[1] << (32 - shift);
  }
  return u & ((1u << p.bits) - 1);
}

/* A value as it is stored; zero outside of the weight. */
template <int kBits>
GKC_DEVICE uint32_t stored(const Packing &p, const GkcMatrix &w, int row, int col) {
  const bool inside = row < w.rows && col < w.cols;
  if (kBits == 16) {
    return inside ? ((const gkc_bf16 *)p.words)[(int64_t)row * w.cols + col] : 0u;
  }
  const uint32_t zero = 1u << (kBits - 1);
  return inside ? code_at(p, row, col) + zero - (1u << (p.bits - 1)) : zero;
}

/* One thread for each 32-bit word of the layout. */
template <int kBits>
__global__ void __launch_bounds__(kThreads) pack_codes(Packing p, GkcMatrix w) {
  const int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
  if (i >= p.n) {
    return;
  }
  const int word = (int)(i % 4);
  const int lane = (int)(i / 4 % kGkcWarp);
  const int load = (int)(i / (4 * kGkcWarp) % gkc_loads(kBits));
  const int64_t tile = i / (4 * kGkcWarp * gkc_loads(kBits));
  const int row = (int)(tile / w.chunks) * kGkcRows + lane / 4;
  const int col = (int)(tile % w.chunks) * kGkcChunk + lane % 4 * 8;
  uint32_t out = 0;
  for (int value = 0; value < 32; value++) {
    const int step = value / 8;
    const int r = value / 2 % 4;
    const int half = value % 2;
    const GkcPosition at = gkc_position<kBits>(step, r, half);
    if (at.load == load && at.word == word) {
      const uint32_t u = stored<kBits>(p, w, row + r % 2 * 8, col + step / 2 * kGkcUnit + step % 2 * 4 + r / 2 * 2 + half);
      out |= u << at.shift;
    }
  }
  p.codes[i] = out;
}

/* One thread for each scale and zero point of the layout: [block][group][row 0 and 8, 1 and 9, ...]. */
template <int kBits>
__global__ void __launch_bounds__(kThreads) pack_scales(Packing p, GkcMatrix w) {
  const int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
  if (i >= (int64_t)w.blocks * w.groups * kGkcRows) {
    return;
  }
  const int place = (int)(i % kGkcRows);
  const int64_t tile = i / kGkcRows;
  const int row = (int)(tile / w.groups) * kGkcRows + place / 2 + place % 2 * 8;
  const int64_t from = (int64_t)row * w.groups + tile % w.groups;
  const float scale = row < w.rows ? p.scales[from] : 0.0f;
  if (p.zeros != nullptr) {
    /* What a stored 0 is as an operand, 128 with 4 bits, counts for the offset. */
    const int center = (kBits == 4 ? 128 : 0) + (1 << (kBits - 1));
    const int zero = row < w.rows ? p.zeros[from] : 0;
    ((gkc_bf16 *)const_cast<uint32_t *>(w.zeros))[i] = gkc_round((float)-(center + zero));
  }
  if (w.wide_scales) {
    ((float *)p.out_scales)[i] = scale;
  } else {
    ((gkc_bf16 *)p.out_scales)[i] = gkc_round(scale);
  }
}

template <int kBits>
int32_t start_packing(const Packing &p, const GkcMatrix &w, void *stream) {
  dim3 grid;
  int32_t error = gkc_grid(gkc_ceil(p.n, kThreads), &grid);
  error = error != 0 ? error : gkc_launch(pack_codes<kBits>, grid, kThreads, 0, stream, p, w);
  if (error != 0 || kBits == 16) {
    return error;
  }
  error = gkc_grid(gkc_ceil((int64_t)w.blocks * w.groups * kGkcRows, kThreads), &grid);
  return error != 0 ? error : gkc_launch(pack_scales<kBits>, grid, kThreads, 0, stream, p, w);
}

__global__ void __launch_bounds__(kThreads) round_all(const float *x, int64_t n, gkc_bf16 *out) {
  for (int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x; i < n; i += (int64_t)gridDim.x * kThreads) {
    out[i] = gkc_round(x[i]);
  }
}

}  // namespace

int32_t gkc_version(void) { return GKC_VERSION; }

int32_t gkc_on_device(void) {
#ifdef __CUDACC__
  return 1;
#else
  return 0;
#endif
}

int32_t gkc_weight_describe(int32_t bits, int32_t rows, int32_t cols, int32_t group, int32_t form, gkc_weight *out) {
  if (out == nullptr) {
    return GKC_EALIGN;
  }
  if ((bits < 2 || bits > 8) && bits != 16) {
    return GKC_EFORMAT;
  }
  if (!gkc_sizes(rows, cols, group) || cols % kGkcUnit != 0 || group % kGkcUnit != 0 || cols % group != 0 ||
      (bits == 16 && (group != cols || form != 0)) || (form & ~(GKC_WIDE | GKC_ZEROS)) != 0 ||
      (int64_t)rows * cols > kGkcMostElements) {
    return GKC_ESIZE;
  }
  const int64_t blocks = gkc_ceil(rows, kGkcRows);
  *out = gkc_weight();
  out->version = GKC_VERSION;
  out->bits = rounded_bits(bits);
  out->rows = rows;
  out->cols = cols;
  out->group = group;
  out->form = form;
  out->code_bytes = blocks * gkc_ceil(cols, kGkcChunk) * gkc_loads(out->bits) * kGkcWarp * (int64_t)sizeof(uint4);
  const int each = (form & GKC_WIDE ? 4 : 2) + (form & GKC_ZEROS ? 2 : 0);
  out->scale_bytes = bits == 16 ? 0 : blocks * (cols / group) * kGkcRows * each;
  return 0;
}

int32_t gkc_open(const gkc_weight *weight, GkcMatrix *out) {
  if (weight == nullptr) {
    return GKC_EALIGN;
  }
  gkc_weight expected;
  if (weight->version != GKC_VERSION || (weight->bits != 4 && weight->bits != 8 && weight->bits != 16) ||
      gkc_weight_describe(weight->bits, weight->rows, weight->cols, weight->group, weight->form, &expected) != 0 ||
      weight->code_bytes != expected.code_bytes || weight->scale_bytes != expected.scale_bytes) {
    return GKC_EFORMAT;
  }
  if (!gkc_aligned(weight->codes, 16) || (weight->bits != 16 && !gkc_aligned(weight->scales, 16))) {
    return GKC_EALIGN;
  }
  out->codes = static_cast<const uint4 *>(weight->codes);
  out->scales = weight->scales;
  out->rows = weight->rows;
  out->cols = weight->cols;
  out->blocks = (int)gkc_ceil(weight->rows, kGkcRows);
  out->chunks = (int)gkc_ceil(weight->cols, kGkcChunk);
  out->units = weight->cols / kGkcUnit;
  out->group_units = weight->group / kGkcUnit;
  out->groups = weight->cols / weight->group;
  out->wide_scales = weight->form & GKC_WIDE;
  const int64_t scales = (int64_t)out->blocks * out->groups * kGkcRows * (out->wide_scales ? 4 : 2);
  out->zeros = weight->form & GKC_ZEROS ? (const uint32_t *)((const char *)weight->scales + scales) : nullptr;
  return 0;
}

int32_t gkc_pack(const int32_t *words, const float *scales, const int8_t *zeros, int32_t bits, const gkc_weight *weight, void *stream) {
  GkcMatrix w;
  const int32_t error = gkc_open(weight, &w);
  if (error != 0) {
    return error;
  }
  if (bits < 2 || bits > 8 || rounded_bits(bits) != weight->bits) {
    return GKC_EFORMAT;
  }
  if (!gkc_all_aligned(16, words, scales) || (zeros == nullptr) != (w.zeros == nullptr)) {
    return GKC_EALIGN;
  }
  Packing p = {};
  p.words = reinterpret_cast<const uint32_t *>(words);
  p.scales = scales;
  p.zeros = zeros;
  p.bits = bits;
  p.words_per_row = (int)gkc_ceil((int64_t)weight->cols * bits, 32);
  p.codes = static_cast<uint32_t *>(const_cast<void *>(weight->codes));
  p.out_scales = const_cast<void *>(weight->scales);
  p.n = weight->code_bytes / 4;
  return weight->bits == 4 ? start_packing<4>(p, w, stream) : start_packing<8>(p, w, stream);
}

int32_t gkc_pack_bf16(const void *values, const gkc_weight *weight, void *stream) {
  GkcMatrix w;
  const int32_t error = gkc_open(weight, &w);
  if (error != 0) {
    return error;
  }
  if (weight->bits != 16) {
    return GKC_EFORMAT;
  }
  if (!gkc_aligned(values, 16)) {
    return GKC_EALIGN;
  }
  Packing p = {};
  p.words = static_cast<const uint32_t *>(values);
  p.codes = static_cast<uint32_t *>(const_cast<void *>(weight->codes));
  p.n = weight->code_bytes / 4;
  return start_packing<16>(p, w, stream);
}

int32_t gkc_round_bf16(const float *x, int64_t n, void *out, void *stream) {
  if (n < 1 || n > kGkcMostElements) {
    return GKC_ESIZE;
  }
  if (!gkc_aligned(x, 16) || !gkc_aligned(out, 16)) {
    return GKC_EALIGN;
  }
  const int64_t blocks = gkc_ceil(n, kThreads);
  return gkc_launch(round_all, dim3((unsigned)(blocks < 4096 ? blocks : 4096)), kThreads, 0, stream, x, n, (gkc_bf16 *)out);
}
