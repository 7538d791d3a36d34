/* What rows of logits say: statistics and the largest ones. */
#include <stdatomic.h>

#include "gk_rows.h"

#define GK_STATISTICS 6

/* ---- statistics ---- */

typedef struct {
  const float *logits;
  int32_t rows;
  int32_t vocab;
  const int32_t *targets;
  double temperature;
  double *out;
  atomic_int bad;
} gk_statistics_job;

/* Sums over all but the target y: exp(x / T), exp(x) and exp(x) x for x = z - max. */
GK_ALWAYS void gk_row_sums(const float *row, int64_t n, int64_t y, float max, float inverse, gk_power power, double *sums) {
  double lanes[3][GK_BLOCK] = {{0}};
  for (int64_t at = 0; at < n; at += GK_BLOCK) {
    float copy[GK_BLOCK];
    float e[3][GK_BLOCK];
    const float *z = gk_block_of(row, n, at, y, copy);
    for (int i = 0; i < GK_BLOCK; i += GK_LANES) {
      const gk_floats x = gk_max(gk_load(z + i) - max, -GK_FAR);
      gk_floats one;
      gk_store(e[0] + i, gk_both_exp(x, inverse, power, &one));
      gk_store(e[1] + i, one);
      gk_store(e[2] + i, one * x);
    }
    for (int k = 0; k < 3; k++) {
      gk_add_lanes(lanes[k], e[k]);
    }
  }
  for (int k = 0; k < 3; k++) {
    sums[k] = gk_fold(lanes[k], GK_BLOCK);
  }
}

GK_ALWAYS int32_t gk_first_of(const float *row, int32_t n, float value) {
  for (int32_t i = 0; i < n; i++) {
    if (row[i] == value) {
      return i;
    }
  }
  return -1;
}

/*
 * The row is split into the target and the others, whose sums stay exact however small they are; u is the others' ln sum exp less the
 * target's logit.
 */
GK_ALWAYS void gk_row_statistics(gk_statistics_job *s, int64_t r) {
  const float *row = s->logits + r * s->vocab;
  double *out = s->out + r * GK_STATISTICS;
  const int32_t y = s->targets[r];
  const float max = gk_finite_max(row, s->vocab, y);
  if (isnan(max)) {
    for (int i = 0; i < GK_STATISTICS; i++) {
      out[i] = NAN;
    }
    s->bad = 1;
    return;
  }
  double sums[3];
  const double inverse = 1 / s->temperature;
  gk_row_sums(row, s->vocab, y, max, (float)inverse, gk_power_of(s->temperature), sums);
  const double log_others = gk_log64(sums[1]);
  const double u = ((double)max - (double)row[y]) + log_others;
  const double log_target = -gk_log_add(0, u);
  const double log_rest = -gk_log_add(0, -u);
  const double p_rest = gk_exp64(log_rest);
  const double inner = log_others - sums[2] / sums[1];
  const double entropy = -(gk_exp64(log_target) * log_target) - p_rest * log_rest + p_rest * inner;
  const double most = gk_log64(s->vocab);
  out[0] = entropy < 0 ? 0 : entropy > most ? most : entropy;
  out[1] = (double)row[y] - log_target;
  out[2] = log_target;
  out[3] = (double)max * inverse + gk_log64(sums[0]);
  const float top = max > row[y] ? max : row[y];
  out[4] = gk_first_of(row, s->vocab, top);
  out[5] = gk_exp64(((double)top - (double)row[y]) + log_target);
}

GK_ALWAYS void gk_statistics_part(void *context, int32_t part, int32_t parts) {
  gk_statistics_job *s = context;
  const int64_t end = gk_first(s->rows, part + 1, parts);
  for (int64_t r = gk_first(s->rows, part, parts); r < end; r++) {
    gk_row_statistics(s, r);
  }
}
GK_VERSIONS(gk_statistics_part)

int32_t gk_statistics(gk_pool *pool, int32_t isa, const float *logits, int32_t rows, int32_t vocab, const int32_t *targets,
                      double temperature, double *out) {
  if (rows < 0 || vocab < 2 || !(temperature >= 1e-3 && temperature <= 1e3)) {
    return GK_ESIZE;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (rows == 0) {
    return 0;
  }
  if (logits == NULL || targets == NULL || out == NULL) {
    return GK_EALIGN;
  }
  for (int32_t i = 0; i < rows; i++) {
    if (targets[i] < 0 || targets[i] >= vocab) {
      return GK_ESIZE;
    }
  }
  gk_statistics_job s = {.logits = logits, .rows = rows, .vocab = vocab, .targets = targets, .temperature = temperature, .out = out};
  gk_run(gk_worth(pool, (int64_t)rows * vocab), gk_statistics_part_versions[isa], &s);
  return s.bad ? GK_EVALUE : 0;
}

/* ---- the largest ---- */

typedef struct {
  const float *logits;
  int32_t rows;
  int32_t vocab;
  int32_t k;
  int32_t *ids;
  float *values;
} gk_choice;

GK_ALWAYS int gk_worse(const float *row, int32_t a, int32_t b) { return row[a] < row[b] || (row[a] == row[b] && a > b); }

/* Lets the root of a heap, whose root is the worst of n ids, sink to its place. */
GK_ALWAYS void gk_sink(const float *row, int32_t *heap, int32_t n) {
  const int32_t id = heap[0];
  int64_t p = 0;
  for (int64_t c = 1; c < n; c = 2 * p + 1) {
    if (c + 1 < n && gk_worse(row, heap[c + 1], heap[c])) {
      c++;
    }
    if (!gk_worse(row, heap[c], id)) {
      break;
    }
    heap[p] = heap[c];
    p = c;
  }
  heap[p] = id;
}

GK_ALWAYS void gk_rise(const float *row, int32_t *heap, int64_t c) {
  const int32_t id = heap[c];
  for (; c > 0 && gk_worse(row, id, heap[(c - 1) / 2]); c = (c - 1) / 2) {
    heap[c] = heap[(c - 1) / 2];
  }
  heap[c] = id;
}

GK_ALWAYS void gk_choose(const gk_choice *c, int64_t r) {
  const float *row = c->logits + r * c->vocab;
  int32_t *heap = c->ids + r * c->k;
  for (int32_t id = 0; id < c->k; id++) {
    heap[id] = id;
    gk_rise(row, heap, id);
  }
  for (int32_t at = c->k; at < c->vocab; at += GK_BLOCK) {
    const int32_t end = c->vocab - at < GK_BLOCK ? c->vocab : at + GK_BLOCK;
    float least = row[heap[0]];
    int32_t some = 0;
    for (int32_t id = at; id < end; id++) {
      some |= row[id] > least;
    }
    /* Few blocks hold one that is larger than the worst so far. */
    for (int32_t id = at; some && id < end; id++) {
      if (row[id] > least) {
        heap[0] = id;
        gk_sink(row, heap, c->k);
        least = row[heap[0]];
      }
    }
  }
  for (int32_t n = c->k - 1; n > 0; n--) {
    const int32_t worst = heap[0];
    heap[0] = heap[n];
    heap[n] = worst;
    gk_sink(row, heap, n);
  }
  for (int32_t i = 0; i < c->k; i++) {
    c->values[r * c->k + i] = row[heap[i]];
  }
}

GK_ALWAYS void gk_choose_part(void *context, int32_t part, int32_t parts) {
  const gk_choice *c = context;
  const int64_t end = gk_first(c->rows, part + 1, parts);
  for (int64_t r = gk_first(c->rows, part, parts); r < end; r++) {
    gk_choose(c, r);
  }
}
GK_VERSIONS(gk_choose_part)

int32_t gk_top_k(gk_pool *pool, int32_t isa, const float *logits, int32_t rows, int32_t vocab, int32_t k, int32_t *ids, float *values) {
  if (rows < 0 || vocab < 1 || k < 1 || k > vocab || vocab > INT32_MAX - GK_BLOCK) {
    return GK_ESIZE;
  }
  if (!gk_isa_fits(isa)) {
    return GK_EISA;
  }
  if (rows == 0) {
    return 0;
  }
  if (logits == NULL || ids == NULL || values == NULL) {
    return GK_EALIGN;
  }
  gk_choice c = {.logits = logits, .rows = rows, .vocab = vocab, .k = k, .ids = ids, .values = values};
  gk_run(gk_worth(pool, (int64_t)rows * vocab), gk_choose_part_versions[isa], &c);
  return 0;
}
