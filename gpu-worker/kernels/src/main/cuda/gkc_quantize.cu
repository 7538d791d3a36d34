/*
 * The log-scale quantizer and its training step. A warp owns a group; lanes take its elements in turn, so that neighbors load
 * together, and sums are the same in any launch.
 */
#include "gkc_launch.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kRatios = 20;
constexpr double kFirstRatio = 0.3;
constexpr double kLastRatio = 1.2;
constexpr float kLeastScale = 1e-8f;
constexpr float kMostScale = 1e4f;
constexpr int kNormBlocks = 512;

struct Groups {
  int64_t n; /* groups */
  int size;
  float low, high; /* codes */
};

/* What one element's gradient passes on. */
struct Passed {
  float weight; /* to the latent weight */
  float scale;  /* factor of the gradient with respect to the scale */
};

GKC_DEVICE float within(float s) { return s < kLeastScale ? kLeastScale : s > kMostScale ? kMostScale : s; }

GKC_DEVICE float scale_of(float theta) { return within((float)exp((double)theta)); }

GKC_DEVICE float clip(float r, const Groups &g) { return r < g.low ? g.low : r > g.high ? g.high : r; }

/* Halves round to even. */
GKC_DEVICE float code_of(float w, float s, const Groups &g) { return clip(rintf(w / s), g); }

GKC_DEVICE Passed pass(float w, float s, const Groups &g) {
  const float u = w / s;
  const float r = rintf(u);
  const bool in = r >= g.low && r <= g.high;
  const float q = clip(r, g);
  return {in ? 1.0f : 0.0f, in ? q - u : q};
}

/* + 0 turns a negative zero into zero; rounded on its own, as the oracle does. */
GKC_DEVICE float dequantized(float w, float s, const Groups &g) { return __fmul_rn(code_of(w, s, g) + 0.0f, s); }

GKC_DEVICE void store(void *out, int narrow, int64_t i, float value) {
  if (narrow) {
    ((gkc_bf16 *)out)[i] = gkc_round(value);
  } else {
    ((float *)out)[i] = value;
  }
}

/* The warp's group, or -1. */
GKC_DEVICE int64_t group_of(const Groups &g) {
  const int64_t i = ((int64_t)blockIdx.x * kThreads + threadIdx.x) / kGkcWarp;
  return i < g.n ? i : -1;
}

GKC_DEVICE int lane_of() { return (int)(threadIdx.x % kGkcWarp); }

__global__ void __launch_bounds__(kThreads) search(Groups g, const float *w, float *theta) {
  const int64_t group = group_of(g);
  if (group < 0) {
    return;
  }
  w += group * g.size;
  float most = 0;
  for (int i = lane_of(); i < g.size; i += kGkcWarp) {
    most = fmaxf(most, fabsf(w[i]));
  }
  most = gkc_warp_max(most);
  float best = kLeastScale;
  double least = (double)INFINITY;
  for (int k = 0; k < kRatios && most > 0; k++) {
    const double ratio = kFirstRatio + (kLastRatio - kFirstRatio) * k / (kRatios - 1);
    const float s = within((float)(ratio * (double)most / (double)g.high));
    double error = 0;
    for (int i = lane_of(); i < g.size; i += kGkcWarp) {
      const double d = (double)__fsub_rn(w[i], __fmul_rn(s, code_of(w[i], s, g)));
      error += d * d;
    }
    error = gkc_warp_sum(error);
    if (error < least) {
      least = error;
      best = s;
    }
  }
  if (lane_of() == 0) {
    theta[group] = (float)log((double)best);
  }
}

struct Words {
  int64_t n;
  int bits, cols, per_row, group, offset;
};

/* One thread for each word; a code may lie in two words. */
__global__ void __launch_bounds__(kThreads) write_words(Groups g, Words p, const float *w, const float *theta, uint32_t *words) {
  const int64_t at = (int64_t)blockIdx.x * kThreads + threadIdx.x;
  if (at >= p.n) {
    return;
  }
  const int64_t row = at / p.per_row;
  const int first_bit = (int)(at % p.per_row) * 32;
  uint32_t out = 0;
  for (int col = first_bit / p.bits; col < p.cols && col * p.bits < first_bit + 32; col++) {
    const int64_t i = row * p.cols + col;
    const uint32_t u = (uint32_t)((int)code_of(w[i], scale_of(theta[i / p.group]), g) + p.offset);
    const int shift = col * p.bits - first_bit;
    out |= shift >= 0 ? u << shift : u >> -shift;
  }
  words[at] = out;
}

__global__ void __launch_bounds__(kThreads) write_scales(int64_t n, const float *theta, float *scales) {
  const int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
  if (i < n) {
    scales[i] = scale_of(theta[i]);
  }
}

__global__ void __launch_bounds__(kThreads) fake(Groups g, const float *w, const float *theta, void *out, int narrow) {
  const int64_t group = group_of(g);
  if (group < 0) {
    return;
  }
  const float s = scale_of(theta[group]);
  for (int i = lane_of(); i < g.size; i += kGkcWarp) {
    const int64_t at = group * g.size + i;
    store(out, narrow, at, dequantized(w[at], s, g));
  }
}

/* AdamW with the corrections of its step already in the rate and the root. */
struct Adam {
  double rate, beta1, beta2, eps, decay, root;
};

GKC_DEVICE float adam(const Adam &a, double gradient, float p, float *m, float *v) {
  *m = (float)(a.beta1 * (double)*m + (1 - a.beta1) * gradient);
  *v = (float)(a.beta2 * (double)*v + (1 - a.beta2) * gradient * gradient);
  return (float)((double)p * a.decay - a.rate * (double)*m / (sqrt((double)*v) / a.root + a.eps));
}

struct Training {
  Adam weight, scale;
  double theta_factor;
  float gradient_scale;
  const float *gradient;
  float *w, *m, *v, *theta, *theta_m, *theta_v;
  void *quantized;
  int narrow;
};

__global__ void __launch_bounds__(kThreads) train(Groups g, Training t) {
  const int64_t group = group_of(g);
  if (group < 0) {
    return;
  }
  const float s = scale_of(t.theta[group]);
  double ds = 0;
  for (int i = lane_of(); i < g.size; i += kGkcWarp) {
    const int64_t at = group * g.size + i;
    const Passed passed = pass(t.w[at], s, g);
    ds += (double)t.gradient[at] * (double)passed.scale;
    const double gradient = (double)(t.gradient[at] * passed.weight) * (double)t.gradient_scale;
    t.w[at] = adam(t.weight, gradient, t.w[at], t.m + at, t.v + at);
  }
  ds = gkc_warp_sum(ds);
  float theta = 0;
  if (lane_of() == 0) {
    const float gradient = (float)(t.theta_factor * (double)s * ds);
    theta = adam(t.scale, (double)gradient * (double)t.gradient_scale, t.theta[group], t.theta_m + group, t.theta_v + group);
    t.theta[group] = theta;
  }
  const float after = scale_of(gkc_from(theta, 0));
  for (int i = lane_of(); i < g.size; i += kGkcWarp) {
    const int64_t at = group * g.size + i;
    store(t.quantized, t.narrow, at, dequantized(t.w[at], after, g));
  }
}

/* Each warp takes groups a grid apart, in order; each block writes one part. */
__global__ void __launch_bounds__(kThreads) norm_parts(Groups g, const float *gradient, const float *w, const float *theta,
                                                       double factor, double *parts) {
  const int64_t warps = (int64_t)gridDim.x * kThreads / kGkcWarp;
  double sum = 0;
  for (int64_t group = ((int64_t)blockIdx.x * kThreads + threadIdx.x) / kGkcWarp; group < g.n; group += warps) {
    const float s = scale_of(theta[group]);
    double ds = 0;
    for (int i = lane_of(); i < g.size; i += kGkcWarp) {
      const int64_t at = group * g.size + i;
      const Passed passed = pass(w[at], s, g);
      const double own = (double)(gradient[at] * passed.weight);
      sum += own * own;
      ds += (double)gradient[at] * (double)passed.scale;
    }
    ds = gkc_warp_sum(ds);
    const double own = (double)(float)(factor * (double)s * ds);
    sum += lane_of() == 0 ? own * own : 0.0;
  }
  sum = gkc_block_sum(sum, (double *)gkc_shared());
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
  }
}

__global__ void __launch_bounds__(kThreads) norm_sum(const double *parts, int n, double *out) {
  double sum = 0;
  for (int i = (int)threadIdx.x; i < n; i += kThreads) {
    sum += parts[i];
  }
  sum = gkc_block_sum(sum, (double *)gkc_shared());
  if (threadIdx.x == 0) {
    *out = sum;
  }
}

int32_t open_groups(const gkc_quantizer *q, Groups *out, dim3 *grid) {
  if (q == nullptr) {
    return GKC_EALIGN;
  }
  if (q->bits < 2 || q->bits > 8 || !gkc_sizes(q->rows, q->cols, q->group) || q->cols % q->group != 0 ||
      (int64_t)q->rows * q->cols > kGkcMostElements) {
    return GKC_ESIZE;
  }
  out->n = (int64_t)q->rows * (q->cols / q->group);
  out->size = q->group;
  out->low = (float)-(1 << (q->bits - 1));
  out->high = (float)((1 << (q->bits - 1)) - 1);
  return gkc_grid(gkc_ceil(out->n, kThreads / kGkcWarp), grid);
}

bool usable(const gkc_step &s) {
  return s.rate >= 0 && s.rate <= 1e6 && s.theta_rate >= 0 && s.theta_rate <= 1e6 && s.beta1 >= 0 && s.beta1 < 1 && s.beta2 >= 0 &&
         s.beta2 < 1 && s.eps > 0 && s.eps < 1 && s.decay >= 0 && s.decay < 1e6 && isfinite(s.theta_factor) &&
         isfinite(s.gradient_scale) && s.number >= 1;
}

Adam corrected(const gkc_step &s, double rate, double decay) {
  Adam a = {rate / (1 - pow(s.beta1, s.number)), s.beta1, s.beta2, s.eps, 1 - rate * decay, sqrt(1 - pow(s.beta2, s.number))};
  return a;
}

}  // namespace

int32_t gkc_scale_search(const gkc_quantizer *q, const float *w, float *theta, void *stream) {
  Groups g;
  dim3 grid;
  const int32_t error = open_groups(q, &g, &grid);
  if (error != 0) {
    return error;
  }
  return gkc_all_aligned(16, w, theta) ? gkc_launch(search, grid, kThreads, 0, stream, g, w, theta) : GKC_EALIGN;
}

int32_t gkc_quantize(const gkc_quantizer *q, const float *w, const float *theta, int32_t *words, float *scales, void *stream) {
  Groups g;
  dim3 grid;
  int32_t error = open_groups(q, &g, &grid);
  if (error != 0) {
    return error;
  }
  if (!gkc_all_aligned(16, w, theta, scales) || !gkc_aligned(words, 16)) {
    return GKC_EALIGN;
  }
  Words p;
  p.bits = q->bits;
  p.cols = q->cols;
  p.per_row = (int)gkc_ceil((int64_t)q->cols * q->bits, 32);
  p.group = q->group;
  p.offset = 1 << (q->bits - 1);
  p.n = (int64_t)q->rows * p.per_row;
  error = gkc_grid(gkc_ceil(p.n, kThreads), &grid);
  error = error != 0 ? error : gkc_launch(write_words, grid, kThreads, 0, stream, g, p, w, theta, (uint32_t *)words);
  error = error != 0 ? error : gkc_grid(gkc_ceil(g.n, kThreads), &grid);
  return error != 0 ? error : gkc_launch(write_scales, grid, kThreads, 0, stream, g.n, theta, scales);
}

int32_t gkc_fake_quantize(const gkc_quantizer *q, const float *w, const float *theta, void *out, int32_t narrow, void *stream) {
  Groups g;
  dim3 grid;
  const int32_t error = open_groups(q, &g, &grid);
  if (error != 0) {
    return error;
  }
  if (!gkc_all_aligned(16, w, theta) || !gkc_aligned(out, 16)) {
    return GKC_EALIGN;
  }
  return gkc_launch(fake, grid, kThreads, 0, stream, g, w, theta, out, narrow);
}

int32_t gkc_qat_step(const gkc_quantizer *q, const gkc_step *step, const float *gradient, float *w, float *m, float *v, float *theta,
                     float *theta_m, float *theta_v, void *quantized, int32_t narrow, void *stream) {
  Groups g;
  dim3 grid;
  const int32_t error = open_groups(q, &g, &grid);
  if (error != 0) {
    return error;
  }
  if (step == nullptr || !gkc_all_aligned(16, gradient, w, m, v, theta, theta_m, theta_v) || !gkc_aligned(quantized, 16)) {
    return GKC_EALIGN;
  }
  if (!usable(*step)) {
    return GKC_ESIZE;
  }
  Training t = {};
  t.weight = corrected(*step, step->rate, step->decay);
  t.scale = corrected(*step, step->theta_rate, 0);
  t.theta_factor = step->theta_factor;
  t.gradient_scale = step->gradient_scale;
  t.gradient = gradient;
  t.w = w;
  t.m = m;
  t.v = v;
  t.theta = theta;
  t.theta_m = theta_m;
  t.theta_v = theta_v;
  t.quantized = quantized;
  t.narrow = narrow;
  return gkc_launch(train, grid, kThreads, 0, stream, g, t);
}

int64_t gkc_gradient_norm_bytes(void) { return kNormBlocks * (int64_t)sizeof(double); }

int32_t gkc_gradient_norm(const gkc_quantizer *q, const float *gradient, const float *w, const float *theta, double theta_factor,
                          double *out, void *parts, int64_t bytes, void *stream) {
  Groups g;
  dim3 grid;
  int32_t error = open_groups(q, &g, &grid);
  if (error != 0) {
    return error;
  }
  if (!gkc_all_aligned(16, gradient, w, theta) || !gkc_aligned(out, 16) || !gkc_aligned(parts, 16)) {
    return GKC_EALIGN;
  }
  if (bytes < gkc_gradient_norm_bytes()) {
    return GKC_ESPACE;
  }
  const int blocks = grid.x < (unsigned)kNormBlocks ? (int)grid.x : kNormBlocks;
  const size_t shared = 33 * sizeof(double);
  error = gkc_launch(norm_parts, dim3((unsigned)blocks), kThreads, shared, stream, g, gradient, w, theta, theta_factor,
                     (double *)parts);
  return error != 0 ? error
                    : gkc_launch(norm_sum, dim3(1), kThreads, shared, stream, (const double *)parts, blocks, out);
}
