/*
 * Attention of a decoding step. A block takes the queries that share a key/value head of one row, and 128 positions; a second
 * kernel joins the parts. A lane reads 8 elements of a head at a time, so a few lanes read one position and a warp several.
 */
#include "gkc_attention.cuh"

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kGkcWarp;
constexpr int kSplit = 128; /* positions of a block */
constexpr int kOwn = 8;     /* elements of a lane */
constexpr int kQueries = 4; /* that share one reading of the cache */

struct Attention {
  GkcCache c;
  const float *queries;
  const int32_t *slots, *positions;
  int splits;
  float *parts; /* [rows, heads, splits, head_dim + 2]: weighted values, largest score, sum */
  gkc_bf16 *out;
};

/* How the lanes of a block lie over positions and elements. */
struct Lanes {
  int width;  /* lanes that read one position: a power of two */
  int first;  /* element of this lane */
  bool used;
  int sub;    /* this lane's position within a step */
  int step;   /* positions of a step */
};

GKC_DEVICE Lanes lanes_of(int head_dim) {
  Lanes l;
  l.width = 1;
  while (l.width * kOwn < head_dim) {
    l.width *= 2;
  }
  l.first = (int)threadIdx.x % l.width * kOwn;
  l.used = l.first < head_dim;
  l.sub = (int)threadIdx.x / l.width;
  l.step = kThreads / l.width;
  return l;
}

template <int kBits>
GKC_DEVICE void read(const void *cache, int64_t at, float (&out)[kOwn]) {
  if (kBits == 16) {
    const uint4 v = *(const uint4 *)((const gkc_bf16 *)cache + at);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      out[2 * i] = gkc_first(words[i]);
      out[2 * i + 1] = gkc_second(words[i]);
    }
  } else {
    const uint2 v = *(const uint2 *)((const int8_t *)cache + at);
#pragma unroll
    for (int i = 0; i < kOwn; i++) {
      out[i] = (float)(int8_t)((i < 4 ? v.x : v.y) >> 8 * (i % 4));
    }
  }
}

struct Shared {
  float *queries; /* [group, head_dim] */
  float *scores;  /* [group, kSplit], then their exponentials */
  float *sums;    /* [step, kQueries, head_dim] */
};

GKC_DEVICE Shared shared_of(const GkcCache &c) {
  const int group = c.heads / c.kv_heads;
  float *at = (float *)gkc_shared();
  return {at, at + group * c.head_dim, at + group * (c.head_dim + kSplit)};
}

/* Floats of shared memory. A lane reads kOwn elements, so the lanes that read positions hold at most 2 kOwn kThreads. */
size_t shared_floats(const GkcCache &c) {
  const size_t group = (size_t)(c.heads / c.kv_heads);
  return group * (size_t)(c.head_dim + kSplit) + (size_t)kThreads * kOwn * kQueries;
}

template <int kBits>
GKC_DEVICE void score(const Attention &p, const Shared &s, const Lanes &l, int64_t first, int n) {
  const int group = p.c.heads / p.c.kv_heads;
  const int whole = (n + l.step - 1) / l.step * l.step; /* all lanes take part in shuffles */
  for (int t = l.sub; t < whole; t += l.step) {
    float key[kOwn] = {};
    if (l.used && t < n) {
      read<kBits>(p.c.keys, (first + t) * p.c.head_dim + l.first, key);
    }
    for (int h = 0; h < group; h++) {
      float sum = 0;
      if (l.used) {
#pragma unroll
        for (int i = 0; i < kOwn; i++) {
          sum += key[i] * s.queries[h * p.c.head_dim + l.first + i];
        }
      }
      for (int mask = l.width / 2; mask > 0; mask /= 2) {
        sum += gkc_swap(sum, mask);
      }
      if (l.first == 0 && t < n) {
        s.scores[h * kSplit + t] = kBits == 8 ? sum * p.c.key_scales[first + t] : sum;
      }
    }
  }
}

/* Scores become exponentials; a warp for each query. With 8 bits they take the values' scales along. */
template <int kBits>
GKC_DEVICE void soften(const Attention &p, const Shared &s, int64_t part, int64_t first, int n) {
  const int lane = (int)threadIdx.x % kGkcWarp;
  for (int h = (int)threadIdx.x / kGkcWarp; h < p.c.heads / p.c.kv_heads; h += kWarps) {
    float *scores = s.scores + h * kSplit;
    float most = -INFINITY;
    for (int t = lane; t < n; t += kGkcWarp) {
      most = fmaxf(most, scores[t]);
    }
    most = gkc_warp_max(most);
    float sum = 0;
    for (int t = lane; t < n; t += kGkcWarp) {
      const float e = expf(scores[t] - most);
      sum += e;
      scores[t] = kBits == 8 ? e * p.c.value_scales[first + t] : e;
    }
    sum = gkc_warp_sum(sum);
    if (lane == 0) {
      float *out = p.parts + (part + (int64_t)h * p.splits) * (p.c.head_dim + 2) + p.c.head_dim;
      out[0] = most;
      out[1] = sum;
    }
  }
}

template <int kBits>
GKC_DEVICE void mix(const Attention &p, const Shared &s, const Lanes &l, int64_t part, int64_t first, int n) {
  const int group = p.c.heads / p.c.kv_heads;
  const int dim = p.c.head_dim;
  for (int from = 0; from < group; from += kQueries) {
    float sum[kQueries][kOwn] = {};
    for (int t = l.sub; t < n && l.used; t += l.step) {
      float value[kOwn];
      read<kBits>(p.c.values, (first + t) * dim + l.first, value);
#pragma unroll
      for (int h = 0; h < kQueries; h++) {
        const float weight = from + h < group ? s.scores[(from + h) * kSplit + t] : 0.0f;
#pragma unroll
        for (int i = 0; i < kOwn; i++) {
          sum[h][i] += weight * value[i];
        }
      }
    }
#pragma unroll
    for (int h = 0; h < kQueries; h++) {
#pragma unroll
      for (int i = 0; i < kOwn; i++) {
        if (l.used) {
          s.sums[(l.sub * kQueries + h) * dim + l.first + i] = sum[h][i];
        }
      }
    }
    __syncthreads();
    for (int k = (int)threadIdx.x; k < kQueries * dim; k += kThreads) {
      float total = 0;
      for (int sub = 0; sub < l.step; sub++) {
        total += s.sums[sub * kQueries * dim + k];
      }
      const int h = from + k / dim;
      if (h < group) {
        p.parts[(part + (int64_t)h * p.splits) * (dim + 2) + k % dim] = total;
      }
    }
    __syncthreads();
  }
}

template <int kBits>
__global__ void __launch_bounds__(kThreads) attend(Attention p) {
  const int row = (int)blockIdx.z;
  const int kv = (int)blockIdx.y;
  const int split = (int)blockIdx.x;
  const int position = p.positions[row];
  if (!gkc_exists(p.c, p.slots[row], position) || split * kSplit > position) {
    return;
  }
  const int group = p.c.heads / p.c.kv_heads;
  const int left = position + 1 - split * kSplit;
  const int n = left < kSplit ? left : kSplit;
  const int64_t first = gkc_cache_at(p.c, p.slots[row], kv, split * kSplit);
  const int64_t part = ((int64_t)row * p.c.heads + kv * group) * p.splits + split;
  const Shared s = shared_of(p.c);
  const Lanes l = lanes_of(p.c.head_dim);
  const float *queries = p.queries + ((int64_t)row * p.c.heads + kv * group) * p.c.head_dim;
  for (int k = (int)threadIdx.x; k < group * p.c.head_dim; k += kThreads) {
    s.queries[k] = queries[k];
  }
  __syncthreads();
  score<kBits>(p, s, l, first, n);
  __syncthreads();
  soften<kBits>(p, s, part, first, n);
  __syncthreads();
  mix<kBits>(p, s, l, part, first, n);
}

/* A block joins the parts of one head of a row. */
__global__ void __launch_bounds__(kThreads) join(Attention p) {
  const int64_t head = blockIdx.x;
  const int row = (int)(head / p.c.heads);
  const int dim = p.c.head_dim;
  const bool exists = gkc_exists(p.c, p.slots[row], p.positions[row]);
  const int splits = exists ? p.positions[row] / kSplit + 1 : 0;
  const float *parts = p.parts + head * p.splits * (dim + 2);
  float most = -INFINITY;
  for (int i = 0; i < splits; i++) {
    most = fmaxf(most, parts[i * (dim + 2) + dim]);
  }
  for (int k = (int)threadIdx.x; k < dim; k += kThreads) {
    float sum = 0;
    float total = 0;
    for (int i = 0; i < splits; i++) {
      const float *part = parts + i * (dim + 2);
      const float share = expf(part[dim] - most);
      sum += share * part[k];
      total += share * part[dim + 1];
    }
    p.out[head * dim + k] = gkc_round(exists ? sum / total : NAN);
  }
}

int splits_of(const gkc_cache &c) { return (int)gkc_ceil(c.max_positions, kSplit); }

int64_t bytes_of(const gkc_cache &c, int32_t rows) {
  return (int64_t)rows * c.heads * splits_of(c) * (c.head_dim + 2) * (int64_t)sizeof(float);
}

}  // namespace

bool gkc_cache_fits(const gkc_cache &c) {
  return gkc_sizes(c.heads, c.kv_heads, c.head_dim, c.slots, c.max_positions) && c.heads <= 4096 && c.heads % c.kv_heads == 0 &&
         c.head_dim % kOwn == 0 && c.head_dim <= kGkcMostDim && (c.kv_bits == 16 || c.kv_bits == 8) &&
         (double)c.slots * c.kv_heads * c.max_positions * c.head_dim <= (double)kGkcMostElements &&
         shared_floats(c) * sizeof(float) <= 160u << 10;
}

int32_t gkc_open_cache(const gkc_cache *cache, GkcCache *out) {
  if (cache == nullptr) {
    return GKC_EALIGN;
  }
  if (!gkc_cache_fits(*cache)) {
    return GKC_ESIZE;
  }
  if (!gkc_aligned(cache->keys, 16) || !gkc_aligned(cache->values, 16) ||
      (cache->kv_bits == 8 && !gkc_all_aligned(16, cache->key_scales, cache->value_scales))) {
    return GKC_EALIGN;
  }
  *out = *cache;
  return 0;
}

int64_t gkc_attention_bytes(const gkc_cache *cache, int32_t rows) {
  if (cache == nullptr) {
    return GKC_EALIGN;
  }
  return gkc_cache_fits(*cache) && rows >= 1 && rows <= 65535 ? bytes_of(*cache, rows) : GKC_ESIZE;
}

int32_t gkc_attention(const gkc_cache *cache, const float *queries, const int32_t *slots, const int32_t *positions, int32_t rows,
                      void *out, void *scratch, int64_t bytes, void *stream) {
  Attention p = {};
  int32_t error = gkc_open_cache(cache, &p.c);
  if (error != 0) {
    return error;
  }
  if (rows < 1 || rows > 65535 || (int64_t)rows * cache->heads > kGkcMostSize) {
    return GKC_ESIZE;
  }
  if (!gkc_aligned(queries, 16) || !gkc_all_aligned(4, slots, positions) || !gkc_aligned(out, 16) || !gkc_aligned(scratch, 16)) {
    return GKC_EALIGN;
  }
  if (bytes < bytes_of(*cache, rows)) {
    return GKC_ESPACE;
  }
  p.queries = queries;
  p.slots = slots;
  p.positions = positions;
  p.splits = splits_of(*cache);
  p.parts = static_cast<float *>(scratch);
  p.out = static_cast<gkc_bf16 *>(out);
  const dim3 grid((unsigned)p.splits, (unsigned)p.c.kv_heads, (unsigned)rows);
  const size_t shared = shared_floats(p.c) * sizeof(float);
  error = p.c.kv_bits == 16 ? gkc_launch(attend<16>, grid, kThreads, shared, stream, p)
                            : gkc_launch(attend<8>, grid, kThreads, shared, stream, p);
  return error != 0 ? error : gkc_launch(join, dim3((unsigned)(rows * p.c.heads)), kThreads, 0, stream, p);
}
