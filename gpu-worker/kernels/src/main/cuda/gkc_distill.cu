/*
 * Gated decoupled distillation with its gradient, as GatedDkd.java has it. A block owns a row: maxima, sums, then the gradient.
 * Exponentials of single logits are float32; sums, logarithms and what belongs to a whole row are double, 1 - p of the target comes
 * from the sum without it, and nothing is clamped.
 */
#include "gkc_launch.cuh"

namespace {

constexpr int kThreads = 512;
constexpr int kMostVocab = 1 << 20;

/* What all threads of a row know. */
struct Row {
  double p_rest, q_rest;   /* ln of the non-targets' sums, divided by the temperature */
  double f;                /* temperature * weight */
  double shift;            /* alpha * (difference of the targets' masses) */
  double beta;
  double target_part;      /* alpha * TCKD */
};

struct Shared {
  double sums[33];
  Row row;
};

struct Loss {
  gkc_distillation o;
  const float *logits;
  const int32_t *targets;
  const float *teacher;
  const int32_t *ids;
  const double *scalars;
  float *gradient;
  double *per_token, *gates, *total;
};

/* q (ln q - ln p), 0 at q = 0. */
GKC_DEVICE double term(double q, double log_q, double log_p) { return q == 0 ? 0 : q * (log_q - log_p); }

GKC_DEVICE double log_add(double a, double b) {
  const double hi = a > b ? a : b;
  const double lo = a > b ? b : a;
  return hi + log1p(exp(lo - hi));
}

GKC_DEVICE double gate_of(double entropy, int vocab) {
  const double share = entropy / log((double)vocab);
  return exp(-(share < 0 ? 0 : share > 1 ? 1 : share));
}

/* Entropy of a row at temperature 1; for all threads. */
GKC_DEVICE double entropy_of(const float *z, int vocab, double *scratch) {
  float most = -INFINITY;
  for (int v = (int)threadIdx.x; v < vocab; v += kThreads) {
    most = fmaxf(most, z[v]);
  }
  most = gkc_block_max(most, (float *)scratch);
  double sum = 0;
  double weighted = 0;
  for (int v = (int)threadIdx.x; v < vocab; v += kThreads) {
    const float below = z[v] - most;
    const float e = expf(below);
    sum += (double)e;
    weighted += e > 0 || below != below ? (double)(e * below) : 0.0;
  }
  sum = gkc_block_sum(sum, scratch);
  weighted = gkc_block_sum(weighted, scratch);
  return log(sum) - weighted / sum;
}

__global__ void __launch_bounds__(kThreads) gates(Loss p) {
  Shared &s = *(Shared *)gkc_shared();
  const int64_t row = blockIdx.x;
  double entropy = 0;
  if (p.o.gated) {
    entropy = p.o.k > 0 ? p.scalars[row * 4] : entropy_of(p.teacher + row * p.o.vocab, p.o.vocab, s.sums);
  }
  if (threadIdx.x == 0) {
    p.gates[row] = p.o.gated ? gate_of(entropy, p.o.vocab) : 1;
  }
}

/* Sum of a product of two vectors (or of one), in a fixed order; for all threads of the only block. */
GKC_DEVICE double dot(const double *a, const double *b, int n, double *scratch) {
  double sum = 0;
  for (int i = (int)threadIdx.x; i < n; i += kThreads) {
    sum += b != nullptr ? a[i] * b[i] : a[i];
  }
  return gkc_block_sum(sum, scratch);
}

__global__ void __launch_bounds__(kThreads) sum_gates(Loss p) {
  const double sum = dot(p.gates, nullptr, p.o.rows, (double *)gkc_shared());
  if (threadIdx.x == 0) {
    p.total[1] = sum;
  }
}

__global__ void __launch_bounds__(kThreads) sum_loss(Loss p) {
  const double sum = dot(p.gates, p.per_token, p.o.rows, (double *)gkc_shared());
  if (threadIdx.x == 0) {
    p.total[0] = sum / p.total[1];
  }
}

/* The non-targets of a row: ln of the sum of exp(z / temperature) is most / temperature + log_sum. */
struct Rest {
  float most;
  double log_sum;
};

/* For all threads. */
GKC_DEVICE Rest rest_of(const float *z, int vocab, int target, float inverse, double *scratch) {
  Rest out = {-INFINITY, 0};
  for (int v = (int)threadIdx.x; v < vocab; v += kThreads) {
    out.most = v != target ? fmaxf(out.most, z[v]) : out.most;
  }
  out.most = gkc_block_max(out.most, (float *)scratch);
  double sum = 0;
  for (int v = (int)threadIdx.x; v < vocab; v += kThreads) {
    sum += v != target ? (double)expf((z[v] - out.most) * inverse) : 0.0;
  }
  out.log_sum = log(gkc_block_sum(sum, scratch));
  return out;
}

GKC_DEVICE double log_of(const Rest &r, double inverse) { return (double)r.most * inverse + r.log_sum; }

/* The target against the rest; one thread computes it. */
GKC_DEVICE Row weigh(const Loss &p, int64_t row, double q_target, double q_rest, double p_target, double p_rest) {
  const double q_all = log_add(q_target, q_rest);
  const double p_all = log_add(p_target, p_rest);
  const double qy = exp(q_target - q_all);
  const double qn = exp(q_rest - q_all);
  const double py = exp(p_target - p_all);
  const double pn = exp(p_rest - p_all);
  const double tckd = term(qy, q_target - q_all, p_target - p_all) + term(qn, q_rest - q_all, p_rest - p_all);
  const double difference = py > 0.5 ? qn - pn : py - qy; /* the smaller pair of masses has the more exact difference */
  const double alpha = p.o.decoupled ? p.o.alpha : 1;
  Row out;
  out.p_rest = p_rest;
  out.q_rest = q_rest;
  out.f = p.o.temperature * p.gates[row] / p.total[1];
  out.shift = alpha * difference;
  out.beta = p.o.decoupled ? p.o.beta : qn;
  out.target_part = alpha * tckd;
  return out;
}

GKC_DEVICE float slope(const Row &r, double p, double q) { return (float)(r.f * (r.beta * (p - q) - r.shift * p)); }

/* NCKD over all non-targets; this thread's part. */
GKC_DEVICE double full_rest(const Loss &p, const Row &r, const float *z, const Rest &p_rest, const float *teacher, const Rest &q_rest,
                            int target, float inverse, float *d) {
  const float p_sum = (float)p_rest.log_sum;
  const float q_sum = (float)q_rest.log_sum;
  double nckd = 0;
  for (int v = (int)threadIdx.x; v < p.o.vocab; v += kThreads) {
    if (v != target) {
      const float log_q = (teacher[v] - q_rest.most) * inverse - q_sum;
      const float log_p = (z[v] - p_rest.most) * inverse - p_sum;
      const float q = expf(log_q);
      const float pv = expf(log_p);
      nckd += q == 0 ? 0.0 : (double)(q * (log_q - log_p));
      d[v] = slope(r, (double)pv, (double)q);
    }
  }
  return nckd;
}

__global__ void __launch_bounds__(kThreads, 1) full_rows(Loss p) {
  Shared &s = *(Shared *)gkc_shared();
  const int64_t row = blockIdx.x;
  const int64_t base = row * p.o.vocab;
  const float *z = p.logits + base;
  const float *teacher = p.teacher + base;
  const double exact = 1 / p.o.temperature;
  const int target = p.targets[row];
  const bool known = target >= 0 && target < p.o.vocab;
  const Rest p_rest = rest_of(z, p.o.vocab, target, (float)exact, s.sums);
  const Rest q_rest = rest_of(teacher, p.o.vocab, target, (float)exact, s.sums);
  if (threadIdx.x == 0) {
    s.row = weigh(p, row, known ? (double)teacher[target] * exact : (double)NAN, log_of(q_rest, exact),
                  known ? (double)z[target] * exact : (double)NAN, log_of(p_rest, exact));
  }
  __syncthreads();
  const Row r = s.row;
  const double nckd = gkc_block_sum(full_rest(p, r, z, p_rest, teacher, q_rest, target, (float)exact, p.gradient + base), s.sums);
  if (threadIdx.x == 0) {
    p.per_token[row] = p.o.temperature * p.o.temperature * (r.target_part + r.beta * nckd);
    if (known) {
      p.gradient[base + target] = (float)(r.f * r.shift);
    }
  }
}

GKC_DEVICE bool marked(const uint32_t *marks, int v) { return (marks[v / 32] >> v % 32 & 1) != 0; }

/* Marks the target and the listed ids; false if one is not in the vocabulary. For all threads. */
GKC_DEVICE bool mark(const Loss &p, const int32_t *ids, int target, uint32_t *marks, double *scratch) {
  for (int i = (int)threadIdx.x; i < (p.o.vocab + 31) / 32; i += kThreads) {
    marks[i] = 0;
  }
  __syncthreads();
  int good = target >= 0 && target < p.o.vocab;
  if (threadIdx.x == 0 && good) {
    atomicOr(marks + target / 32, 1u << target % 32);
  }
  for (int j = (int)threadIdx.x; j < p.o.k; j += kThreads) {
    const int v = ids[j];
    if (v >= 0 && v < p.o.vocab) {
      atomicOr(marks + v / 32, 1u << v % 32);
    } else {
      good = 0;
    }
  }
  return gkc_block_join(good, (int *)scratch, [](int a, int b) { return a & b; }) != 0;
}

/* The ids that are neither listed nor the target. */
struct Tail {
  float most;
  double sum; /* of exp((z - most) / temperature) */
  int count;
};

GKC_DEVICE Tail tail_of(const Loss &p, const float *z, const uint32_t *marks, float inverse, double *scratch) {
  Tail t = {-INFINITY, 0, 0};
  for (int v = (int)threadIdx.x; v < p.o.vocab; v += kThreads) {
    if (!marked(marks, v)) {
      t.most = fmaxf(t.most, z[v]);
      t.count++;
    }
  }
  t.most = gkc_block_max(t.most, (float *)scratch);
  t.count = gkc_block_sum(t.count, (int *)scratch);
  for (int v = (int)threadIdx.x; v < p.o.vocab; v += kThreads) {
    t.sum += marked(marks, v) ? 0.0 : (double)expf((z[v] - t.most) * inverse);
  }
  t.sum = gkc_block_sum(t.sum, scratch);
  return t;
}

__global__ void __launch_bounds__(kThreads, 1) listed_rows(Loss p) {
  Shared &s = *(Shared *)gkc_shared();
  uint32_t *marks = (uint32_t *)(gkc_shared() + sizeof(Shared));
  const int64_t row = blockIdx.x;
  const float *z = p.logits + row * p.o.vocab;
  float *d = p.gradient + row * p.o.vocab;
  const int32_t *ids = p.ids + row * p.o.k;
  const double t = p.o.temperature;
  const double exact = 1 / t;
  const int target = p.targets[row];
  const bool good = mark(p, ids, target, marks, s.sums);
  const double p_rest = log_of(rest_of(z, p.o.vocab, target, (float)exact, s.sums), exact);
  const Tail tail = tail_of(p, z, marks, (float)exact, s.sums);
  if (threadIdx.x == 0) {
    const double *scalars = p.scalars + row * 4;
    s.row = weigh(p, row, (scalars[1] + scalars[2]) * exact, scalars[3], good ? (double)z[target] * exact : (double)NAN, p_rest);
  }
  __syncthreads();
  const Row r = s.row;
  double nckd = 0;
  double q_listed = 0;
  for (int j = (int)threadIdx.x; j < p.o.k; j += kThreads) {
    const int v = ids[j];
    if (good && v != target) {
      const double log_q = (double)p.teacher[row * p.o.k + j] * exact - r.q_rest;
      const double log_p = (double)z[v] * exact - r.p_rest;
      const double q = exp(log_q);
      q_listed += q;
      nckd += term(q, log_q, log_p);
      d[v] = slope(r, exp(log_p), q);
    }
  }
  nckd = gkc_block_sum(nckd, s.sums);
  q_listed = gkc_block_sum(q_listed, s.sums);
  if (tail.count > 0) {
    const double q_tail = q_listed < 1 ? 1 - q_listed : 0; /* what the listed ids leave */
    const double log_tail = (double)tail.most * exact + log(tail.sum) - r.p_rest;
    const double p_tail = exp(log_tail);
    nckd += term(q_tail, log(q_tail), log_tail);
    const double share = r.f * (r.beta * (p_tail - q_tail) - r.shift * p_tail) / tail.sum;
    for (int v = (int)threadIdx.x; v < p.o.vocab; v += kThreads) {
      if (!marked(marks, v)) {
        d[v] = good ? (float)(share * (double)expf((z[v] - tail.most) * (float)exact)) : NAN;
      }
    }
  }
  if (threadIdx.x == 0) {
    p.per_token[row] = good ? t * t * (r.target_part + r.beta * nckd) : (double)NAN;
    if (target >= 0 && target < p.o.vocab) {
      d[target] = (float)(r.f * r.shift);
    }
  }
}

bool usable(const gkc_distillation &o) {
  return gkc_sizes(o.rows) && o.vocab >= 2 && o.vocab <= kMostVocab && o.k >= 0 && o.k <= o.vocab && o.temperature >= 1e-3 &&
         o.temperature <= 1e3 && o.alpha >= 0 && o.alpha < 1e9 && o.beta >= 0 && o.beta < 1e9;
}

}  // namespace

int32_t gkc_gated_dkd(const gkc_distillation *options, const float *logits, const int32_t *targets, const float *teacher,
                      const int32_t *ids, const double *scalars, float *gradient, double *per_token, double *gate, double *total,
                      void *stream) {
  if (options == nullptr) {
    return GKC_EALIGN;
  }
  if (!usable(*options)) {
    return GKC_ESIZE;
  }
  const bool listed = options->k > 0;
  if (!gkc_all_aligned(16, logits, teacher, gradient) || !gkc_all_aligned(16, per_token, gate, total) || !gkc_aligned(targets, 16) ||
      (listed && (!gkc_aligned(ids, 16) || !gkc_aligned(scalars, 16)))) {
    return GKC_EALIGN;
  }
  const Loss p = {*options, logits, targets, teacher, ids, scalars, gradient, per_token, gate, total};
  const dim3 rows((unsigned)options->rows);
  int32_t error = gkc_launch(gates, rows, kThreads, sizeof(Shared), stream, p);
  error = error != 0 ? error : gkc_launch(sum_gates, dim3(1), kThreads, sizeof(Shared), stream, p);
  if (error == 0) {
    const size_t marks = (size_t)gkc_ceil(options->vocab, 32) * sizeof(uint32_t);
    error = listed ? gkc_launch(listed_rows, rows, kThreads, sizeof(Shared) + marks, stream, p)
                   : gkc_launch(full_rows, rows, kThreads, sizeof(Shared), stream, p);
  }
  return error != 0 ? error : gkc_launch(sum_loss, dim3(1), kThreads, sizeof(Shared), stream, p);
}
