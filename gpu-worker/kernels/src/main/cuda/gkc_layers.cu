/* The small steps between a decoder's products. */
#include "gkc_attention.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kGkcWarp;
constexpr int kMostPairs = kGkcMostDim / 2 / kGkcWarp; /* of a lane */

__global__ void __launch_bounds__(kThreads) rms_norm(const float *x, const float *weight, int width, float eps, gkc_bf16 *out) {
  const int64_t base = (int64_t)blockIdx.x * width;
  float squares = 0;
  for (int k = (int)threadIdx.x; k < width; k += kThreads) {
    squares += x[base + k] * x[base + k];
  }
  squares = gkc_block_sum(squares, (float *)gkc_shared());
  const float scale = 1.0f / sqrtf(squares / (float)width + eps);
  for (int k = (int)threadIdx.x; k < width; k += kThreads) {
    out[base + k] = gkc_round(x[base + k] * scale * weight[k]);
  }
}

__global__ void __launch_bounds__(kThreads) swiglu(const float *gate_up, int64_t n, int mlp, gkc_bf16 *out) {
  const int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
  if (i < n) {
    const float *gate = gate_up + i / mlp * 2 * mlp + i % mlp;
    out[i] = gkc_round(gate[0] / (1.0f + expf(-gate[0])) * gate[mlp]);
  }
}

struct Turn {
  GkcCache c;
  const float *qkv, *bias;
  const int32_t *slots, *positions;
  const float *rope;
  int rows;
  float *queries;
};

/* Writes a head of keys or values; each lane has pairs k and half + k. */
GKC_DEVICE void write_cache(const GkcCache &c, void *cache, float *scales, int64_t at, const float (&low)[kMostPairs],
                            const float (&high)[kMostPairs]) {
  const int half = c.head_dim / 2;
  const int lane = (int)threadIdx.x % kGkcWarp;
  float inverse = 0;
  if (c.kv_bits == 8) {
    float most = 0;
#pragma unroll
    for (int i = 0; i < kMostPairs; i++) {
      most = fmaxf(most, fmaxf(fabsf(low[i]), fabsf(high[i])));
    }
    most = gkc_warp_max(most);
    inverse = most > 0x1p-100f ? 127.0f / most : 0.0f;
    if (lane == 0) {
      scales[at] = most / 127.0f;
    }
  }
#pragma unroll
  for (int i = 0; i < kMostPairs; i++) {
    const int k = lane + i * kGkcWarp;
    if (k < half && c.kv_bits == 8) {
      int8_t *to = (int8_t *)cache + at * c.head_dim;
      to[k] = (int8_t)rintf(low[i] * inverse);
      to[half + k] = (int8_t)rintf(high[i] * inverse);
    } else if (k < half) {
      gkc_bf16 *to = (gkc_bf16 *)cache + at * c.head_dim;
      to[k] = gkc_round(low[i]);
      to[half + k] = gkc_round(high[i]);
    }
  }
}

/* A warp for each head of each row. */
__global__ void __launch_bounds__(kThreads) turn(Turn p) {
  const GkcCache &c = p.c;
  const int all = c.heads + 2 * c.kv_heads;
  const int half = c.head_dim / 2;
  const int lane = (int)threadIdx.x % kGkcWarp;
  const int64_t i = (int64_t)blockIdx.x * kWarps + threadIdx.x / kGkcWarp;
  const int64_t row = i / all;
  const int head = (int)(i % all);
  if (row >= p.rows || !gkc_exists(c, p.slots[row], p.positions[row])) {
    return;
  }
  const float *v = p.qkv + i * c.head_dim;
  const float *bias = p.bias == nullptr ? nullptr : p.bias + head * c.head_dim;
  const float *rope = p.rope + row * c.head_dim;
  float low[kMostPairs];
  float high[kMostPairs];
#pragma unroll
  for (int n = 0; n < kMostPairs; n++) {
    const int k = lane + n * kGkcWarp;
    low[n] = 0;
    high[n] = 0;
    if (k < half) {
      const float a = v[k] + (bias == nullptr ? 0.0f : bias[k]);
      const float b = v[half + k] + (bias == nullptr ? 0.0f : bias[half + k]);
      const bool rotated = head < c.heads + c.kv_heads;
      low[n] = rotated ? a * rope[k] - b * rope[half + k] : a;
      high[n] = rotated ? b * rope[k] + a * rope[half + k] : b;
    }
  }
  if (head < c.heads) {
    const float scale = 1.0f / sqrtf((float)c.head_dim);
    float *to = p.queries + (row * c.heads + head) * c.head_dim;
#pragma unroll
    for (int n = 0; n < kMostPairs; n++) {
      const int k = lane + n * kGkcWarp;
      if (k < half) {
        to[k] = low[n] * scale;
        to[half + k] = high[n] * scale;
      }
    }
  } else if (head < c.heads + c.kv_heads) {
    write_cache(c, c.keys, c.key_scales, gkc_cache_at(c, p.slots[row], head - c.heads, p.positions[row]), low, high);
  } else {
    write_cache(c, c.values, c.value_scales, gkc_cache_at(c, p.slots[row], head - c.heads - c.kv_heads, p.positions[row]), low, high);
  }
}

}  // namespace

int32_t gkc_rms_norm(const float *x, const float *weight, int32_t rows, int32_t width, float eps, void *out, void *stream) {
  if (!gkc_sizes(rows, width) || !(eps > 0)) {
    return GKC_ESIZE;
  }
  if (!gkc_all_aligned(16, x, weight) || !gkc_aligned(out, 16)) {
    return GKC_EALIGN;
  }
  return gkc_launch(rms_norm, dim3((unsigned)rows), kThreads, 33 * sizeof(float), stream, x, weight, width, eps, (gkc_bf16 *)out);
}

int32_t gkc_swiglu(const float *gate_up, int32_t rows, int32_t mlp, void *out, void *stream) {
  if (!gkc_sizes(rows, mlp)) {
    return GKC_ESIZE;
  }
  if (!gkc_aligned(gate_up, 16) || !gkc_aligned(out, 16)) {
    return GKC_EALIGN;
  }
  const int64_t n = (int64_t)rows * mlp;
  dim3 grid;
  const int32_t error = gkc_grid(gkc_ceil(n, kThreads), &grid);
  return error != 0 ? error : gkc_launch(swiglu, grid, kThreads, 0, stream, gate_up, n, mlp, (gkc_bf16 *)out);
}

int32_t gkc_rotate(const gkc_cache *cache, const float *qkv, const float *bias, const int32_t *slots, const int32_t *positions,
                   const float *rope, int32_t rows, float *queries, void *stream) {
  Turn p = {};
  int32_t error = gkc_open_cache(cache, &p.c);
  if (error != 0) {
    return error;
  }
  if (!gkc_sizes(rows)) {
    return GKC_ESIZE;
  }
  if (!gkc_all_aligned(16, qkv, rope, queries) || !gkc_all_aligned(4, slots, positions) ||
      (bias != nullptr && !gkc_aligned(bias, 16))) {
    return GKC_EALIGN;
  }
  p.qkv = qkv;
  p.bias = bias;
  p.slots = slots;
  p.positions = positions;
  p.rope = rope;
  p.rows = rows;
  p.queries = queries;
  dim3 grid;
  error = gkc_grid(gkc_ceil((int64_t)rows * (p.c.heads + 2 * p.c.kv_heads), kWarps), &grid);
  return error != 0 ? error : gkc_launch(turn, grid, kThreads, 0, stream, p);
}
