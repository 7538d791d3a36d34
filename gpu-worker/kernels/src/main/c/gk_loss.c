/* Cross-entropy and distillation with their gradient; the formulas are those of GatedDkd.java. */
#include <stdatomic.h>
#include <stdlib.h>

#include "gk_rows.h"

#define GK_LISTED 24 /* bytes for a listed id: two doubles and a float, padded */

typedef struct {
  const gk_losses *shape;
  const float *logits;
  const int32_t *targets;
  const float *teacher;
  const int32_t *ids;
  const double *known;
  const double *weights;
  double *losses;
  float *d;
  /* Each thread has `bytes` of scratch space: `shared` for the listed ids or a row exp(xt / T), the rest for a row exp(x). */
  uint8_t *space;
  size_t bytes;
  size_t shared;
  float inverse;  /* of the temperature */
  gk_power power;
  atomic_int bad;
} gk_loss_job;

/* One row; y is the target, the others are "rest". */
typedef struct {
  const gk_loss_job *job;
  const float *z;
  float *d;
  int64_t n;
  int64_t row;
  int32_t y;
  float zy;
  /* What d does not hold of the exponentials, whole blocks long. */
  float *taught; /* exp(xt / T); null without all of the teacher's logits */
  float *one;    /* exp(x); null if it follows from exp(x / T) */
} gk_loss_row;

/* The parts of distillation that depend on the target's masses alone. */
typedef struct {
  double tckd;
  double factor; /* T times the row's weight */
  double shift;  /* alpha times the difference of the target's masses */
  double beta;
} gk_target_part;

GK_ALWAYS gk_target_part gk_target_of(const gk_loss_row *r, double q_target, double q_rest, double p_target, double p_rest) {
  const gk_losses *s = r->job->shape;
  const double q_all = gk_log_add(q_target, q_rest);
  const double p_all = gk_log_add(p_target, p_rest);
  const double qy = gk_exp64(q_target - q_all);
  const double qn = gk_exp64(q_rest - q_all);
  const double py = gk_exp64(p_target - p_all);
  const double pn = gk_exp64(p_rest - p_all);
  const double alpha = s->mode == GK_KD ? 1 : s->alpha;
  return (gk_target_part){
      .tckd = alpha * (gk_term(qy, q_target - q_all, p_target - p_all) + gk_term(qn, q_rest - q_all, p_rest - p_all)),
      .factor = s->temperature * r->job->weights[r->row],
      /* The difference of the smaller masses is the more exact one. */
      .shift = alpha * (py > 0.5 ? qn - pn : py - qy),
      .beta = s->mode == GK_KD ? qn : s->beta,
  };
}

/* Cross-entropy from the others' ln sum exp; its gradient of the target is -weight * rest, of another id weight * exp(z - all). */
typedef struct {
  double loss;
  double rest; /* the others' probability */
  double all;  /* ln sum exp */
} gk_entropy_part;

GK_ALWAYS gk_entropy_part gk_entropy_of(float zy, double rest) {
  const double u = rest - (double)zy;
  const double loss = gk_log_add(0, u);
  return (gk_entropy_part){.loss = loss, .rest = gk_exp64(u - loss), .all = (double)zy + loss};
}

/* A block of a row at `at`, or the buffer where the row ends within it; gk_end_block puts what was written there into the row. */
GK_ALWAYS float *gk_begin_block(float *row, int64_t n, int64_t at, float *buffer) { return at + GK_BLOCK <= n ? row + at : buffer; }

GK_ALWAYS void gk_end_block(float *row, int64_t n, int64_t at, const float *buffer) {
  if (at + GK_BLOCK > n) {
    memcpy(row + at, buffer, (size_t)(n - at) * sizeof(float));
  }
}

/* Sums over all but `skip` of exp(x / T), which d holds then, and exp(x), x = z - max; z may be d. */
GK_ALWAYS void gk_student_sums(const gk_loss_row *r, const float *z, int64_t skip, float max, double *sums) {
  const gk_power power = r->job->power;
  double lanes[2][GK_BLOCK] = {{0}};
  for (int64_t at = 0; at < r->n; at += GK_BLOCK) {
    float copy[GK_BLOCK];
    float end[GK_BLOCK];
    float plain[GK_BLOCK];
    const float *b = gk_block_of(z, r->n, at, skip, copy);
    float *e = gk_begin_block(r->d, r->n, at, end);
    float *f = r->one == NULL ? plain : r->one + at;
    for (int i = 0; i < GK_BLOCK; i += GK_LANES) {
      gk_floats one;
      gk_store(e + i, gk_both_exp(gk_load(b + i) - max, r->job->inverse, power, &one));
      gk_store(f + i, one);
    }
    gk_add_lanes(lanes[0], e);
    if (power != GK_SAME) {
      gk_add_lanes(lanes[1], f);
    }
    gk_end_block(r->d, r->n, at, end);
  }
  sums[0] = gk_fold(lanes[0], GK_BLOCK);
  sums[1] = power == GK_SAME ? sums[0] : gk_fold(lanes[1], GK_BLOCK);
}

/* Of the exponentials that the sums left: d = tempered * exp(x / T) + plain * exp(x) - taught * exp(xt / T). */
GK_ALWAYS void gk_write_row(const gk_loss_row *r, float tempered, float plain, float taught) {
  const gk_power power = r->job->power;
  for (int64_t i = 0; i < r->n; i += GK_LANES) {
    const gk_floats e = gk_load_some(r->d + i, r->n - i);
    const gk_floats one = power == GK_SAME ? e : power == GK_SQUARE ? e * e : gk_load(r->one + i);
    gk_floats g = e * tempered + one * plain;
    if (r->taught != NULL) {
      g -= gk_load(r->taught + i) * taught;
    }
    gk_store_some(r->d + i, g, r->n - i);
  }
}

/* ---- all of the teacher's logits, or none ---- */

/* As gk_student_sums, and with xt the teacher's distance: exp(xt / T), which is kept, and exp(xt / T) (xt - x). */
GK_ALWAYS void gk_full_sums(const gk_loss_row *r, const float *t, float max, float t_max, double *sums) {
  double lanes[4][GK_BLOCK] = {{0}};
  for (int64_t at = 0; at < r->n; at += GK_BLOCK) {
    float copy[GK_BLOCK];
    float t_copy[GK_BLOCK];
    float end[GK_BLOCK];
    float plain[GK_BLOCK];
    float term[GK_BLOCK];
    const float *b = gk_block_of(r->z, r->n, at, r->y, copy);
    const float *c = gk_block_of(t, r->n, at, r->y, t_copy);
    float *e = gk_begin_block(r->d, r->n, at, end);
    float *f = r->one == NULL ? plain : r->one + at;
    float *g = r->taught + at;
    for (int i = 0; i < GK_BLOCK; i += GK_LANES) {
      gk_floats one;
      const gk_floats x = gk_max(gk_load(b + i) - max, -GK_FAR);
      const gk_floats xt = gk_max(gk_load(c + i) - t_max, -GK_FAR);
      const gk_floats q = gk_exp_low(xt * r->job->inverse);
      gk_store(e + i, gk_both_exp(x, r->job->inverse, r->job->power, &one));
      gk_store(f + i, one);
      gk_store(g + i, q);
      gk_store(term + i, q * (xt - x));
    }
    gk_add_lanes(lanes[0], e);
    gk_add_lanes(lanes[1], f);
    gk_add_lanes(lanes[2], g);
    gk_add_lanes(lanes[3], term);
    gk_end_block(r->d, r->n, at, end);
  }
  for (int k = 0; k < 4; k++) {
    sums[k] = gk_fold(lanes[k], GK_BLOCK);
  }
}

GK_ALWAYS int gk_plain_row(const gk_loss_row *r, double *losses) {
  const gk_losses *s = r->job->shape;
  const float max = gk_finite_max(r->z, r->n, r->y);
  if (isnan(max)) {
    return 0;
  }
  double sums[2];
  gk_student_sums(r, r->z, r->y, max, sums);
  const gk_entropy_part ce = gk_entropy_of(r->zy, (double)max + gk_log64(sums[1]));
  losses[0] = ce.loss;
  losses[1] = 0;
  gk_write_row(r, 0, (float)(s->ce_weight * gk_exp64((double)max - ce.all)), 0);
  r->d[r->y] = (float)(-s->ce_weight * ce.rest);
  return 1;
}

GK_ALWAYS int gk_full_row(const gk_loss_row *r, double *losses) {
  const gk_losses *s = r->job->shape;
  const float *t = r->job->teacher + r->row * r->n;
  const float max = gk_finite_max(r->z, r->n, r->y);
  const float t_max = gk_finite_max(t, r->n, r->y);
  if (isnan(max) || isnan(t_max) || !isfinite(r->job->weights[r->row])) {
    return 0;
  }
  double sums[4];
  gk_full_sums(r, t, max, t_max, sums);
  const double inverse = 1 / s->temperature;
  const double log_p = gk_log64(sums[0]);
  const double log_q = gk_log64(sums[2]);
  const gk_entropy_part ce = gk_entropy_of(r->zy, (double)max + gk_log64(sums[1]));
  const gk_target_part k =
      gk_target_of(r, t[r->y] * inverse, (double)t_max * inverse + log_q, (double)r->zy * inverse, (double)max * inverse + log_p);
  losses[0] = ce.loss;
  losses[1] = s->temperature * s->temperature * (k.tckd + k.beta * (inverse * sums[3] / sums[2] - (log_q - log_p)));
  gk_write_row(r, (float)(k.factor * (k.beta - k.shift) / sums[0]), (float)(s->ce_weight * gk_exp64((double)max - ce.all)),
               (float)(k.factor * k.beta / sums[2]));
  r->d[r->y] = (float)(k.factor * k.shift - s->ce_weight * ce.rest);
  return 1;
}

/* ---- some of the teacher's logits and the mass of the rest ---- */

/* The ids that are neither listed nor the target. */
typedef struct {
  int64_t others;
  float max;
  double sums[2]; /* see gk_student_sums */
} gk_tail;

/* Leaves exp(x / T) of the tail in d, 0 elsewhere. */
GK_ALWAYS gk_tail gk_tail_of(const gk_loss_row *r, const int32_t *ids, int32_t k) {
  gk_tail tail = {.others = r->n - 1};
  if (r->d != r->z) {
    memcpy(r->d, r->z, (size_t)r->n * sizeof(float));
  }
  r->d[r->y] = -INFINITY;
  for (int32_t j = 0; j < k; j++) {
    tail.others -= ids[j] != r->y;
    r->d[ids[j]] = -INFINITY;
  }
  tail.max = -INFINITY;
  if (tail.others > 0) {
    tail.max = gk_row_max(r->d, r->n, -1);
    gk_student_sums(r, r->d, -1, tail.max, tail.sums);
  }
  return tail;
}

/* The others' ln sum of exp(z / T): listed ones and the tail, about the largest; masses [k] become exp(z / T - the result). */
GK_ALWAYS double gk_listed_rest(const gk_loss_row *r, const gk_tail *tail, double tail_sum, double inverse, const int32_t *ids, int32_t k,
                                const float *listed, double *masses) {
  float max = tail->max;
  for (int32_t j = 0; j < k; j++) {
    max = ids[j] != r->y && listed[j] > max ? listed[j] : max;
  }
  double sum = tail->others > 0 ? tail_sum * gk_exp64(((double)tail->max - (double)max) * inverse) : 0;
  for (int32_t j = 0; j < k; j++) {
    masses[j] = gk_exp64(((double)listed[j] - (double)max) * inverse);
    sum += ids[j] != r->y ? masses[j] : 0;
  }
  for (int32_t j = 0; j < k; j++) {
    masses[j] /= sum;
  }
  return (double)max * inverse + gk_log64(sum);
}

GK_ALWAYS int gk_listed_row(const gk_loss_row *r, uint8_t *space, double *losses) {
  const gk_losses *s = r->job->shape;
  const int32_t k = s->k;
  const float *t = r->job->teacher + r->row * k;
  const int32_t *ids = r->job->ids + r->row * k;
  const double *known = r->job->known + r->row * 3;
  double *p = (double *)space; /* tempered masses, then gradients */
  double *plain = p + k;       /* masses at temperature 1 */
  float *listed = (float *)(plain + k);
  if (!gk_finite(r->z, r->n) || !gk_finite(t, k) || !isfinite(known[0]) || !isfinite(known[1]) || !isfinite(known[2]) ||
      !isfinite(r->job->weights[r->row])) {
    return 0;
  }
  for (int32_t j = 0; j < k; j++) {
    listed[j] = r->z[ids[j]];
  }
  const double inverse = 1 / s->temperature;
  const gk_tail tail = gk_tail_of(r, ids, k);
  const double p_rest = gk_listed_rest(r, &tail, tail.sums[0], inverse, ids, k, listed, p);
  const gk_entropy_part ce = gk_entropy_of(r->zy, gk_listed_rest(r, &tail, tail.sums[1], 1, ids, k, listed, plain));
  const double q_rest = known[2];
  const gk_target_part own = gk_target_of(r, (known[0] + known[1]) * inverse, q_rest, (double)r->zy * inverse, p_rest);
  const double ce_rest = s->ce_weight * ce.rest;
  double nckd = 0;
  double listed_mass = 0;
  for (int32_t j = 0; j < k; j++) {
    if (ids[j] != r->y) {
      const double log_q = (double)t[j] * inverse - q_rest;
      const double q = gk_exp64(log_q);
      listed_mass += q;
      nckd += gk_term(q, log_q, (double)listed[j] * inverse - p_rest);
      p[j] = own.factor * (own.beta * (p[j] - q) - own.shift * p[j]) + ce_rest * plain[j];
    }
  }
  if (tail.others > 0) {
    /* The teacher's mass of the tail is what the listed ids leave. */
    const double q_tail = listed_mass < 1 ? 1 - listed_mass : 0;
    const double log_p = (double)tail.max * inverse + gk_log64(tail.sums[0]) - p_rest;
    const double p_tail = gk_exp64(log_p);
    nckd += gk_term(q_tail, gk_log64(q_tail), log_p);
    const double tempered = own.factor * (own.beta * (p_tail - q_tail) - own.shift * p_tail) / tail.sums[0];
    gk_write_row(r, (float)tempered, (float)(s->ce_weight * gk_exp64((double)tail.max - ce.all)), 0);
  }
  for (int32_t j = 0; j < k; j++) {
    if (ids[j] != r->y) {
      r->d[ids[j]] = (float)p[j];
    }
  }
  r->d[r->y] = (float)(own.factor * own.shift - ce_rest);
  losses[0] = ce.loss;
  losses[1] = s->temperature * s->temperature * (own.tckd + own.beta * nckd);
  return 1;
}

/* ---- rows ---- */

GK_ALWAYS void gk_loss_part(void *context, int32_t part, int32_t parts) {
  gk_loss_job *job = context;
  const gk_losses *s = job->shape;
  const int64_t end = gk_first(s->rows, part + 1, parts);
  uint8_t *space = job->space + (size_t)part * job->bytes;
  const int full = s->k > 0 && s->listed == 0;
  for (int64_t i = gk_first(s->rows, part, parts); i < end; i++) {
    gk_loss_row r = {.job = job, .z = job->logits + i * s->vocab, .d = job->d + i * s->vocab, .n = s->vocab, .row = i};
    r.y = job->targets[i];
    r.zy = r.z[r.y];
    r.taught = full ? (float *)space : NULL;
    r.one = job->power == GK_OTHER ? (float *)(space + job->shared) : NULL;
    double *losses = job->losses + 2 * i;
    const int good = s->k == 0 ? gk_plain_row(&r, losses) : full ? gk_full_row(&r, losses) : gk_listed_row(&r, space, losses);
    if (!good) {
      losses[0] = losses[1] = NAN;
      job->bad = 1;
    }
  }
}
GK_VERSIONS(gk_loss_part)

static int32_t gk_check_losses(const gk_losses *s, int32_t isa) {
  if (s == NULL) {
    return GK_EALIGN;
  }
  if (s->rows < 0 || s->vocab < 2 || s->vocab > INT32_MAX - GK_BLOCK || s->k < 0 || s->k > s->vocab || (s->listed != 0 && s->listed != 1) ||
      (s->listed == 0 && s->k != 0 && s->k != s->vocab) || (s->listed == 1 && s->k == 0) || (s->mode != GK_KD && s->mode != GK_DKD) ||
      s->reserved != 0 || !(s->temperature >= 1e-3 && s->temperature <= 1e3) || !(s->alpha >= 0 && s->alpha < 1e9) ||
      !(s->beta >= 0 && s->beta < 1e9) || !isfinite(s->ce_weight)) {
    return GK_ESIZE;
  }
  return gk_isa_fits(isa) ? 0 : GK_EISA;
}

static int gk_within(const int32_t *ids, int64_t n, int32_t vocab) {
  uint32_t outside = 0;
  for (int64_t i = 0; i < n; i++) {
    outside |= (uint32_t)ids[i] >= (uint32_t)vocab;
  }
  return !outside;
}

int32_t gk_token_losses(gk_pool *pool, int32_t isa, const gk_losses *shape, const float *logits, const int32_t *targets,
                        const float *teacher, const int32_t *ids, const double *known, const double *weights, double *losses, float *d) {
  const int32_t error = gk_check_losses(shape, isa);
  if (error != 0 || shape->rows == 0) {
    return error;
  }
  const int64_t listed = shape->listed ? (int64_t)shape->rows * shape->k : 0;
  if (logits == NULL || targets == NULL || losses == NULL || d == NULL || (shape->k > 0 && (teacher == NULL || weights == NULL)) ||
      (listed > 0 && (ids == NULL || known == NULL))) {
    return GK_EALIGN;
  }
  if (!gk_within(targets, shape->rows, shape->vocab) || !gk_within(ids, listed, shape->vocab)) {
    return GK_ESIZE;
  }
  gk_loss_job job = {.shape = shape, .logits = logits, .targets = targets, .teacher = teacher, .ids = ids, .known = known};
  job.weights = weights;
  job.losses = losses;
  job.d = d;
  job.inverse = shape->k == 0 ? 1.0f : (float)(1 / shape->temperature);
  job.power = shape->k == 0 ? GK_SAME : gk_power_of(shape->temperature);
  const size_t row = ((size_t)shape->vocab + GK_BLOCK - 1) / GK_BLOCK * GK_BLOCK * sizeof(float);
  job.shared = shape->listed ? (size_t)shape->k * GK_LISTED : shape->k > 0 ? row : 0;
  job.bytes = job.shared + (job.power == GK_OTHER ? row : 0);
  if (job.bytes > 0) {
    job.space = malloc((size_t)gk_pool_threads(pool) * job.bytes);
    if (job.space == NULL) {
      return GK_EMEMORY;
    }
  }
  gk_run(gk_worth(pool, (int64_t)shape->rows * shape->vocab), gk_loss_part_versions[isa], &job);
  free(job.space);
  return job.bad ? GK_EVALUE : 0;
}
