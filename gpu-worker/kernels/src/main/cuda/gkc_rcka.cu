/*
 * Relational loss 1 - CKA with its gradient, as Rcka.java has it: rows of length 1, their similarity matrix, centered; products in
 * float32, sums over rows in double, in a fixed order.
 */
#include <type_traits>

#include "gkc_launch.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kMinTokens = 4;
constexpr double kMinSquares = 1e-8;
constexpr double kEps = 1e-12;
constexpr int kTile = 64;  /* of a product's result */
constexpr int kDeep = 16;
constexpr int kOwn = 4;    /* a thread computes 4 x 4 */
constexpr int kSide = kTile / kOwn;

struct Space {
  int n, d;
  const float *teacher, *v;
  float *gradient;
  double *result;
  float *unit;   /* [n, d] */
  float *a;      /* [n, n], the centered matrix of the teacher, then the gradient with respect to the centered one of the student */
  float *b;      /* [n, n], similarities of the student */
  double *norms; /* [n] */
  double *means; /* [2, n], of rows; [2] of all behind */
  double *parts; /* [n, 3]; [3] sums behind */
};

/* c [rows, cols] = x [rows, deep] y, where y is [deep, cols], or its transpose [cols, deep] if kTransposed. */
template <bool kTransposed>
__global__ void __launch_bounds__(kThreads) product(const float *x, const float *y, int rows, int cols, int deep, float *c) {
  float *xs = (float *)gkc_shared();      /* [kDeep, kTile + 1] */
  float *ys = xs + kDeep * (kTile + 1);
  const int row = (int)blockIdx.y * kTile;
  const int col = (int)blockIdx.x * kTile;
  const int ty = (int)threadIdx.x / kSide;
  const int tx = (int)threadIdx.x % kSide;
  float sum[kOwn][kOwn] = {};
  for (int at = 0; at < deep; at += kDeep) {
    for (int k = (int)threadIdx.x; k < kTile * kDeep; k += kThreads) {
      const int i = k / kDeep;
      const int j = k % kDeep;
      xs[j * (kTile + 1) + i] = row + i < rows && at + j < deep ? x[(int64_t)(row + i) * deep + at + j] : 0.0f;
      if (kTransposed) {
        ys[j * (kTile + 1) + i] = col + i < cols && at + j < deep ? y[(int64_t)(col + i) * deep + at + j] : 0.0f;
      } else {
        const int dj = k / kTile;
        const int ci = k % kTile;
        ys[dj * (kTile + 1) + ci] = col + ci < cols && at + dj < deep ? y[(int64_t)(at + dj) * cols + col + ci] : 0.0f;
      }
    }
    __syncthreads();
    for (int j = 0; j < kDeep; j++) {
#pragma unroll
      for (int i = 0; i < kOwn; i++) {
#pragma unroll
        for (int l = 0; l < kOwn; l++) {
          sum[i][l] += xs[j * (kTile + 1) + ty + i * kSide] * ys[j * (kTile + 1) + tx + l * kSide];
        }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < kOwn; i++) {
    for (int l = 0; l < kOwn; l++) {
      const int r = row + ty + i * kSide;
      const int q = col + tx + l * kSide;
      if (r < rows && q < cols) {
        c[(int64_t)r * cols + q] = sum[i][l];
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads) normalize(Space s) {
  const int64_t base = (int64_t)blockIdx.x * s.d;
  double squares = 0;
  for (int j = (int)threadIdx.x; j < s.d; j += kThreads) {
    squares += (double)s.v[base + j] * (double)s.v[base + j];
  }
  const double norm = sqrt(gkc_block_sum(squares, (double *)gkc_shared()));
  const double inverse = 1 / (norm < kEps ? kEps : norm);
  for (int j = (int)threadIdx.x; j < s.d; j += kThreads) {
    s.unit[base + j] = (float)((double)s.v[base + j] * inverse);
  }
  if (threadIdx.x == 0) {
    s.norms[blockIdx.x] = norm;
  }
}

/* Element of a symmetric matrix, taken above the diagonal. */
GKC_DEVICE double upper(const float *k, int n, int i, int j) { return (double)(i <= j ? k[(int64_t)i * n + j] : k[(int64_t)j * n + i]); }

__global__ void __launch_bounds__(kThreads) row_means(Space s) {
  const float *k = blockIdx.y == 0 ? s.teacher : s.b;
  double sum = 0;
  for (int j = (int)threadIdx.x; j < s.n; j += kThreads) {
    sum += (double)k[(int64_t)blockIdx.x * s.n + j];
  }
  sum = gkc_block_sum(sum, (double *)gkc_shared());
  if (threadIdx.x == 0) {
    s.means[(int64_t)blockIdx.y * s.n + blockIdx.x] = sum / s.n;
  }
}

__global__ void __launch_bounds__(kThreads) all_means(Space s) {
  double sum = 0;
  for (int i = (int)threadIdx.x; i < s.n; i += kThreads) {
    sum += s.means[(int64_t)blockIdx.x * s.n + i] / s.n;
  }
  sum = gkc_block_sum(sum, (double *)gkc_shared());
  if (threadIdx.x == 0) {
    s.means[2 * (int64_t)s.n + blockIdx.x] = sum;
  }
}

/* A row of the centered matrices and its part of their inner products; only the teacher's is kept, the student's is read across. */
__global__ void __launch_bounds__(kThreads) center(Space s) {
  const int i = (int)blockIdx.x;
  const double *mt = s.means;
  const double *ms = s.means + s.n;
  const double all_t = s.means[2 * (int64_t)s.n];
  const double all_s = s.means[2 * (int64_t)s.n + 1];
  double tt = 0;
  double ss = 0;
  double ts = 0;
  for (int j = (int)threadIdx.x; j < s.n; j += kThreads) {
    const float a = (float)(upper(s.teacher, s.n, i, j) - mt[i] - mt[j] + all_t);
    const float b = (float)(upper(s.b, s.n, i, j) - ms[i] - ms[j] + all_s);
    s.a[(int64_t)i * s.n + j] = a;
    tt += (double)a * (double)a;
    ss += (double)b * (double)b;
    ts += (double)a * (double)b;
  }
  double *scratch = (double *)gkc_shared();
  tt = gkc_block_sum(tt, scratch);
  ss = gkc_block_sum(ss, scratch);
  ts = gkc_block_sum(ts, scratch);
  if (threadIdx.x == 0) {
    double *out = s.parts + 3 * (int64_t)i;
    out[0] = tt;
    out[1] = ss;
    out[2] = ts;
  }
}

__global__ void __launch_bounds__(kThreads) add_parts(Space s) {
  double sums[3] = {0, 0, 0};
  for (int i = (int)threadIdx.x; i < s.n; i += kThreads) {
    for (int k = 0; k < 3; k++) {
      sums[k] += s.parts[3 * (int64_t)i + k];
    }
  }
  for (int k = 0; k < 3; k++) {
    sums[k] = gkc_block_sum(sums[k], (double *)gkc_shared());
  }
  if (threadIdx.x == 0) {
    const double ab = sqrt(sums[0]) * sqrt(sums[1]);
    const bool skip = sums[0] < kMinSquares || sums[1] < kMinSquares;
    double cka = skip ? 1 : sums[2] / ab;
    cka = cka < 0 ? 0 : cka > 1 ? 1 : cka;
    s.result[0] = 1 - cka;
    s.result[1] = cka;
    s.result[2] = skip ? 1 : 0;
    for (int k = 0; k < 3; k++) {
      s.parts[3 * (int64_t)s.n + k] = sums[k];
    }
  }
}

/* a becomes the gradient with respect to the student's centered matrix. */
__global__ void __launch_bounds__(kThreads) slopes(Space s) {
  const int i = (int)blockIdx.x;
  const double *sums = s.parts + 3 * (int64_t)s.n;
  const double *ms = s.means + s.n;
  const double all_s = s.means[2 * (int64_t)s.n + 1];
  const double ab = sqrt(sums[0]) * sqrt(sums[1]);
  for (int j = (int)threadIdx.x; j < s.n; j += kThreads) {
    const double b = (double)(float)(upper(s.b, s.n, i, j) - ms[i] - ms[j] + all_s);
    float *a = s.a + (int64_t)i * s.n + j;
    *a = (float)(-2 * ((double)*a / ab - sums[2] / ab * b / sums[1]));
  }
}

/* From the unit rows back to the rows: what would lengthen a row has no effect. */
__global__ void __launch_bounds__(kThreads) project(Space s) {
  const int64_t base = (int64_t)blockIdx.x * s.d;
  const bool skip = s.result[2] != 0;
  double dot = 0;
  for (int j = (int)threadIdx.x; j < s.d; j += kThreads) {
    dot += (double)s.gradient[base + j] * (double)s.unit[base + j];
  }
  dot = gkc_block_sum(dot, (double *)gkc_shared());
  const double norm = s.norms[blockIdx.x];
  for (int j = (int)threadIdx.x; j < s.d; j += kThreads) {
    const double g = ((double)s.gradient[base + j] - dot * (double)s.unit[base + j]) / norm;
    s.gradient[base + j] = skip || norm < kEps ? 0.0f : (float)g;
  }
}

__global__ void __launch_bounds__(kThreads) skip(Space s) {
  for (int64_t i = threadIdx.x; i < (int64_t)s.n * s.d; i += kThreads) {
    s.gradient[i] = 0;
  }
  if (threadIdx.x < 3) {
    s.result[threadIdx.x] = threadIdx.x == 0 ? 0 : 1;
  }
}

/* Lays the scratch space out from base, which may be null; returns its length. */
int64_t plan(Space *s, char *base) {
  int64_t at = 0;
  const auto take = [&](auto **where, int64_t count) {
    *where = reinterpret_cast<std::remove_reference_t<decltype(*where)>>(base + at);
    at += gkc_slot(count * (int64_t)sizeof(**where));
  };
  const int64_t n = s->n;
  take(&s->unit, n * s->d);
  take(&s->a, n * n);
  take(&s->b, n * n);
  take(&s->norms, n);
  take(&s->means, 2 * n + 2);
  take(&s->parts, 3 * n + 3);
  return at;
}

bool fits(int32_t n, int32_t d) { return gkc_sizes(n, d) && n <= 65535 && (int64_t)n * d <= kGkcMostElements; }

int32_t run(const Space &s, void *stream) {
  const dim3 rows((unsigned)s.n);
  const unsigned tiles = (unsigned)gkc_ceil(s.n, kTile);
  const size_t tile_bytes = 2 * kDeep * (kTile + 1) * sizeof(float);
  const size_t sums = 33 * sizeof(double);
  const float *unit = s.unit;
  const float *slope = s.a;
  int32_t error = gkc_launch(normalize, rows, kThreads, sums, stream, s);
  error = error != 0 ? error
                     : gkc_launch(product<true>, dim3(tiles, tiles), kThreads, tile_bytes, stream, unit, unit, s.n, s.n, s.d, s.b);
  error = error != 0 ? error : gkc_launch(row_means, dim3((unsigned)s.n, 2), kThreads, sums, stream, s);
  error = error != 0 ? error : gkc_launch(all_means, dim3(2), kThreads, sums, stream, s);
  error = error != 0 ? error : gkc_launch(center, rows, kThreads, sums, stream, s);
  error = error != 0 ? error : gkc_launch(add_parts, dim3(1), kThreads, sums, stream, s);
  error = error != 0 ? error : gkc_launch(slopes, rows, kThreads, 0, stream, s);
  const dim3 wide((unsigned)gkc_ceil(s.d, kTile), tiles);
  error = error != 0 ? error
                     : gkc_launch(product<false>, wide, kThreads, tile_bytes, stream, slope, unit, s.n, s.d, s.n, s.gradient);
  return error != 0 ? error : gkc_launch(project, rows, kThreads, sums, stream, s);
}

}  // namespace

int64_t gkc_rcka_bytes(int32_t n, int32_t d) {
  if (!fits(n, d)) {
    return GKC_ESIZE;
  }
  Space s = {};
  s.n = n;
  s.d = d;
  return plan(&s, nullptr);
}

int32_t gkc_rcka(const float *teacher, const float *v, int32_t n, int32_t d, float *gradient, double *result, void *scratch,
                 int64_t bytes, void *stream) {
  const int64_t needed = gkc_rcka_bytes(n, d);
  if (needed < 0) {
    return (int32_t)needed;
  }
  if (!gkc_all_aligned(16, teacher, v, gradient) || !gkc_aligned(result, 16) || !gkc_aligned(scratch, 256)) {
    return GKC_EALIGN;
  }
  if (bytes < needed) {
    return GKC_ESPACE;
  }
  Space s = {};
  s.n = n;
  s.d = d;
  s.teacher = teacher;
  s.v = v;
  s.gradient = gradient;
  s.result = result;
  plan(&s, static_cast<char *>(scratch));
  return n < kMinTokens ? gkc_launch(skip, dim3(1), kThreads, 0, stream, s) : run(s, stream);
}
