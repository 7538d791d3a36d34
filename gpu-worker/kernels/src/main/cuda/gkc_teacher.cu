/*
 * What is kept of a teacher's logits. A block owns a row: maxima, then sums, then the k largest by a radix select over keys that
 * hold the value and, below it, the id, so that no two are equal and every launch selects the same.
 */
#include "gkc_launch.cuh"

namespace {

constexpr int kThreads = 512;
constexpr int kMostK = 1024;
constexpr int kDigit = 11; /* bits that one pass decides */
constexpr int kBins = 1 << kDigit;
constexpr int kBinsOfLane = kBins / kGkcWarp;

struct Shared {
  double sums[33];
  uint64_t list[kMostK];
  uint32_t bins[kBins];
  uint64_t prefix; /* of the keys that are still in question */
  int wanted;      /* of them */
  int exact;       /* whether all of them are wanted */
  int found;
};

struct Rows {
  const float *logits;
  const int32_t *targets;
  int vocab, k;
  double temperature;
  int32_t *ids;
  float *values;
  double *scalars;
};

/* Grows with the value, then with a falling id; + 0 makes both zeros equal. */
GKC_DEVICE uint64_t key_of(float z, int id) {
  const uint32_t bits = __float_as_uint(z + 0.0f);
  const uint32_t ordered = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
  return (uint64_t)ordered << 32 | (uint32_t)~id;
}

GKC_DEVICE void write_scalars(const Rows &p, const float *z, int64_t row, Shared &s) {
  const int target = p.targets[row];
  float most = -INFINITY;
  float most_other = -INFINITY;
  for (int v = (int)threadIdx.x; v < p.vocab; v += kThreads) {
    most = fmaxf(most, z[v]);
    most_other = v != target ? fmaxf(most_other, z[v]) : most_other;
  }
  most = gkc_block_max(most, (float *)s.sums);
  most_other = gkc_block_max(most_other, (float *)s.sums);
  const float inverse = (float)(1 / p.temperature);
  double sum = 0;
  double weighted = 0;
  double others = 0;
  for (int v = (int)threadIdx.x; v < p.vocab; v += kThreads) {
    const float below = z[v] - most;
    const float e = expf(below);
    sum += (double)e;
    weighted += e > 0 || below != below ? (double)(e * below) : 0.0;
    others += v != target ? (double)expf((z[v] - most_other) * inverse) : 0.0;
  }
  sum = gkc_block_sum(sum, s.sums);
  weighted = gkc_block_sum(weighted, s.sums);
  others = gkc_block_sum(others, s.sums);
  if (threadIdx.x == 0) {
    double *out = p.scalars + row * 4;
    const double log_sum = log(sum);
    const double entropy = log_sum - weighted / sum;
    const double limit = log((double)p.vocab);
    const bool known = target >= 0 && target < p.vocab;
    out[0] = entropy < 0 ? 0 : entropy > limit ? limit : entropy;
    out[1] = known ? (double)z[target] - (double)most - log_sum : (double)NAN;
    out[2] = (double)most + log_sum;
    out[3] = known ? (double)most_other / p.temperature + log(others) : (double)NAN;
  }
}

/* Finds the bin, from the highest on, that holds the last wanted key. The first warp does it. */
GKC_DEVICE void choose_bin(Shared &s, int bits) {
  const int lane = (int)threadIdx.x;
  const int first = kBins - 1 - lane * kBinsOfLane;
  int own = 0;
  for (int i = 0; i < kBinsOfLane; i++) {
    own += (int)s.bins[first - i];
  }
  int above = 0; /* keys in higher lanes' bins */
  for (int other = 0; other < kGkcWarp; other++) {
    const int count = gkc_from(own, other);
    above += other < lane ? count : 0;
  }
  const int wanted = s.wanted;
  __syncwarp();
  if (above < wanted && wanted <= above + own) {
    int bin = first;
    while (above + (int)s.bins[bin] < wanted) {
      above += (int)s.bins[bin--];
    }
    s.prefix = s.prefix << bits | (uint64_t)bin;
    s.wanted = wanted - above;
    s.exact = s.wanted == (int)s.bins[bin];
  }
}

/* The smallest key of the k largest, or one between it and the next smaller. */
GKC_DEVICE uint64_t threshold_of(const Rows &p, const float *z, Shared &s) {
  if (threadIdx.x == 0) {
    s.prefix = 0;
    s.wanted = p.k;
    s.exact = 0;
    s.found = 0;
  }
  int left = 64; /* bits below the prefix */
  while (true) {
    const int bits = left < kDigit ? left : kDigit;
    for (int i = (int)threadIdx.x; i < kBins; i += kThreads) {
      s.bins[i] = 0;
    }
    __syncthreads();
    const uint64_t prefix = s.prefix;
    for (int v = (int)threadIdx.x; v < p.vocab; v += kThreads) {
      const uint64_t key = key_of(z[v], v);
      if (left == 64 || key >> left == prefix) {
        atomicAdd(&s.bins[key >> (left - bits) & ((1u << bits) - 1)], 1u);
      }
    }
    __syncthreads();
    if (threadIdx.x < kGkcWarp) {
      choose_bin(s, bits);
    }
    __syncthreads();
    left -= bits;
    if (s.exact || left == 0) {
      return left == 0 ? s.prefix : s.prefix << left;
    }
  }
}

/* Sorts the list, falling; n is a power of two. */
GKC_DEVICE void sort(uint64_t *list, int n) {
  for (int size = 2; size <= n; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      __syncthreads();
      for (int i = (int)threadIdx.x; i < n; i += kThreads) {
        const int other = i ^ stride;
        const bool falling = (i & size) == 0;
        if (other > i && (list[i] < list[other]) == falling) {
          const uint64_t kept = list[i];
          list[i] = list[other];
          list[other] = kept;
        }
      }
    }
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) teacher_rows(Rows p) {
  Shared &s = *(Shared *)gkc_shared();
  const int64_t row = blockIdx.x;
  const float *z = p.logits + row * p.vocab;
  write_scalars(p, z, row, s);
  const uint64_t threshold = threshold_of(p, z, s);
  int padded = 1;
  while (padded < p.k) {
    padded *= 2;
  }
  for (int i = (int)threadIdx.x; i < padded; i += kThreads) {
    s.list[i] = 0;
  }
  __syncthreads();
  for (int v = (int)threadIdx.x; v < p.vocab; v += kThreads) {
    const uint64_t key = key_of(z[v], v);
    if (key >= threshold) {
      s.list[atomicAdd(&s.found, 1)] = key;
    }
  }
  sort(s.list, padded);
  for (int i = (int)threadIdx.x; i < p.k; i += kThreads) {
    const int id = (int)~(uint32_t)s.list[i];
    p.ids[row * p.k + i] = id;
    p.values[row * p.k + i] = z[id];
  }
}

}  // namespace

int32_t gkc_teacher_rows(const float *logits, const int32_t *targets, int32_t rows, int32_t vocab, int32_t k, double temperature,
                         int32_t *ids, float *values, double *scalars, void *stream) {
  if (!gkc_sizes(rows, k) || vocab < 2 || vocab > kGkcMostSize || k > vocab || k > kMostK ||
      !(temperature >= 1e-3 && temperature <= 1e3)) {
    return GKC_ESIZE;
  }
  if (!gkc_all_aligned(16, logits, values) || !gkc_all_aligned(16, targets, ids) || !gkc_aligned(scalars, 16)) {
    return GKC_EALIGN;
  }
  const Rows p = {logits, targets, vocab, k, temperature, ids, values, scalars};
  return gkc_launch(teacher_rows, dim3((unsigned)rows), kThreads, sizeof(Shared), stream, p);
}
