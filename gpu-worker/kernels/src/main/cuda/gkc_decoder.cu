/*
 * A decoder on packed weights: all memory reserved when it is made, a CUDA graph for each shape of a token.
 */
#include <new>

#include "gkc_attention.cuh"
#include "gkc_weight.cuh"

namespace {

constexpr int kLayerWeights = 4;
constexpr int kLayerVectors = 3;

struct Layer {
  gkc_weight qkv, out, gate_up, down;
  const float *norm, *bias, *mlp_norm;
  gkc_cache cache;
};

/* The arguments of a token. */
struct Token {
  int32_t rows;
  const int32_t *slots, *positions;
  const float *rope;
  float *x, *logits;
};

}  // namespace

struct gkc_decoder {
  gkc_config c;
  Layer *layers;
  gkc_weight head;
  const float *norm;
  char *memory; /* everything below lies in it */
  int64_t bytes;
  gkc_bf16 *normed; /* [max_rows, width] */
  float *qkv;       /* [max_rows, (heads + 2 kv_heads) head_dim] */
  float *queries;   /* [max_rows, heads, head_dim] */
  gkc_bf16 *mixed;  /* [max_rows, heads head_dim] */
  float *gate_up;   /* [max_rows, 2 mlp] */
  gkc_bf16 *gated;  /* [max_rows, mlp] */
  char *attention;
  int64_t attention_bytes;
#ifdef __CUDACC__
  cudaStream_t recorder;
  cudaGraphExec_t graph; /* of `recorded`; null if there is none */
  Token recorded;
#endif
};

namespace {

bool fits(const gkc_config &c) {
  if (!gkc_sizes(c.layers, c.width, c.heads, c.kv_heads, c.head_dim, c.mlp, c.vocab, c.slots, c.max_positions, c.max_rows)) {
    return false;
  }
  const gkc_cache cache = {c.heads, c.kv_heads, c.head_dim, c.slots, c.max_positions, c.kv_bits, nullptr, nullptr, nullptr, nullptr};
  return gkc_cache_fits(cache) && c.layers <= 4096 && c.max_rows <= 65535 && (int64_t)c.max_rows * c.heads <= kGkcMostSize &&
         2 * (int64_t)c.mlp <= kGkcMostSize && c.eps > 0;
}

int64_t qkv_rows(const gkc_config &c) { return ((int64_t)c.heads + 2 * c.kv_heads) * c.head_dim; }

int32_t open_weight(const gkc_weight &w, int64_t rows, int64_t cols, gkc_weight *out) {
  GkcMatrix matrix;
  const int32_t error = gkc_open(&w, &matrix);
  if (error != 0) {
    return error;
  }
  *out = w;
  return w.rows == rows && w.cols == cols ? 0 : GKC_ESIZE;
}

int32_t open_layer(const gkc_config &c, const gkc_weight *w, const float *const *v, Layer *out) {
  int32_t error = open_weight(w[0], qkv_rows(c), c.width, &out->qkv);
  error = error != 0 ? error : open_weight(w[1], c.width, (int64_t)c.heads * c.head_dim, &out->out);
  error = error != 0 ? error : open_weight(w[2], 2 * (int64_t)c.mlp, c.width, &out->gate_up);
  error = error != 0 ? error : open_weight(w[3], c.width, c.mlp, &out->down);
  if (error == 0 && (!gkc_aligned(v[0], 16) || (v[1] != nullptr && !gkc_aligned(v[1], 16)) || !gkc_aligned(v[2], 16))) {
    error = GKC_EALIGN;
  }
  out->norm = v[0];
  out->bias = v[1];
  out->mlp_norm = v[2];
  return error;
}

int32_t open_all(gkc_decoder *d, const gkc_weight *weights, const float *const *vectors) {
  int32_t error = 0;
  for (int32_t i = 0; i < d->c.layers && error == 0; i++) {
    error = open_layer(d->c, weights + i * kLayerWeights, vectors + i * kLayerVectors, d->layers + i);
  }
  error = error != 0 ? error : open_weight(weights[d->c.layers * kLayerWeights], d->c.vocab, d->c.width, &d->head);
  d->norm = vectors[d->c.layers * kLayerVectors];
  return error != 0 ? error : gkc_aligned(d->norm, 16) ? 0 : GKC_EALIGN;
}

/* Lays the memory out from base, which may be null; returns its length. */
int64_t plan(gkc_decoder *d, char *base) {
  const gkc_config &c = d->c;
  int64_t at = 0;
  const auto take = [&](int64_t bytes) {
    char *p = base == nullptr ? nullptr : base + at;
    at += gkc_slot(bytes);
    return p;
  };
  const int64_t heads = (int64_t)c.slots * c.kv_heads * c.max_positions;
  for (int32_t i = 0; i < c.layers; i++) {
    gkc_cache *cache = &d->layers[i].cache;
    *cache = {c.heads, c.kv_heads, c.head_dim, c.slots, c.max_positions, c.kv_bits, nullptr, nullptr, nullptr, nullptr};
    cache->keys = take(heads * c.head_dim * c.kv_bits / 8);
    cache->values = take(heads * c.head_dim * c.kv_bits / 8);
    cache->key_scales = (float *)(c.kv_bits == 8 ? take(heads * 4) : nullptr);
    cache->value_scales = (float *)(c.kv_bits == 8 ? take(heads * 4) : nullptr);
  }
  const int64_t rows = c.max_rows;
  d->normed = (gkc_bf16 *)take(rows * c.width * 2);
  d->qkv = (float *)take(rows * qkv_rows(c) * 4);
  d->queries = (float *)take(rows * c.heads * c.head_dim * 4);
  d->mixed = (gkc_bf16 *)take(rows * c.heads * c.head_dim * 2);
  d->gate_up = (float *)take(rows * 2 * c.mlp * 4);
  d->gated = (gkc_bf16 *)take(rows * c.mlp * 2);
  d->attention_bytes = gkc_attention_bytes(&d->layers[0].cache, c.max_rows);
  d->attention = take(d->attention_bytes);
  return at;
}

int32_t run_layer(gkc_decoder *d, const Layer &l, const Token &t, void *stream) {
  const gkc_config &c = d->c;
  const int32_t rows = t.rows;
  int32_t e = gkc_rms_norm(t.x, l.norm, rows, c.width, c.eps, d->normed, stream);
  e = e != 0 ? e : gkc_matmul(&l.qkv, d->normed, rows, d->qkv, 0, stream);
  e = e != 0 ? e : gkc_rotate(&l.cache, d->qkv, l.bias, t.slots, t.positions, t.rope, rows, d->queries, stream);
  e = e != 0 ? e
             : gkc_attention(&l.cache, d->queries, t.slots, t.positions, rows, d->mixed, d->attention, d->attention_bytes, stream);
  e = e != 0 ? e : gkc_matmul(&l.out, d->mixed, rows, t.x, 1, stream);
  e = e != 0 ? e : gkc_rms_norm(t.x, l.mlp_norm, rows, c.width, c.eps, d->normed, stream);
  e = e != 0 ? e : gkc_matmul(&l.gate_up, d->normed, rows, d->gate_up, 0, stream);
  e = e != 0 ? e : gkc_swiglu(d->gate_up, rows, c.mlp, d->gated, stream);
  return e != 0 ? e : gkc_matmul(&l.down, d->gated, rows, t.x, 1, stream);
}

int32_t run_layers(gkc_decoder *d, const Token &t, void *stream) {
  int32_t error = 0;
  for (int32_t i = 0; i < d->c.layers && error == 0; i++) {
    error = run_layer(d, d->layers[i], t, stream);
  }
  return error;
}

int32_t run_head(gkc_decoder *d, const Token &t, void *stream) {
  const int32_t error = gkc_rms_norm(t.x, d->norm, t.rows, d->c.width, d->c.eps, d->normed, stream);
  return error != 0 ? error : gkc_matmul(&d->head, d->normed, t.rows, t.logits, 0, stream);
}

int32_t check(const gkc_decoder *d, int32_t rows, const void *x) {
  if (d == nullptr || !gkc_aligned(x, 16)) {
    return GKC_EALIGN;
  }
  return rows >= 1 && rows <= d->c.max_rows ? 0 : GKC_ESIZE;
}

int32_t check_rows(const gkc_decoder *d, const Token &t) {
  const int32_t error = check(d, t.rows, t.x);
  if (error != 0) {
    return error;
  }
  return gkc_all_aligned(4, t.slots, t.positions) && gkc_aligned(t.rope, 16) ? 0 : GKC_EALIGN;
}

int32_t run_token(gkc_decoder *d, const Token &t, void *stream) {
  const int32_t error = run_layers(d, t, stream);
  return error != 0 ? error : run_head(d, t, stream);
}

#ifdef __CUDACC__

bool same(const Token &a, const Token &b) {
  return a.rows == b.rows && a.slots == b.slots && a.positions == b.positions && a.rope == b.rope && a.x == b.x &&
         a.logits == b.logits;
}

void forget(gkc_decoder *d) {
  if (d->graph != nullptr) {
    cudaGraphExecDestroy(d->graph);
    d->graph = nullptr;
  }
}

/* Records the launches of a token, on a stream of its own: the caller's may be the default one, which cannot record. */
int32_t record(gkc_decoder *d, const Token &t) {
  forget(d);
  if (d->recorder == nullptr && cudaStreamCreateWithFlags(&d->recorder, cudaStreamNonBlocking) != cudaSuccess) {
    cudaGetLastError();
    return GKC_EMEMORY;
  }
  if (cudaStreamBeginCapture(d->recorder, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
    cudaGetLastError();
    return GKC_ELAUNCH;
  }
  const int32_t error = run_token(d, t, d->recorder);
  cudaGraph_t graph = nullptr;
  const bool recorded = cudaStreamEndCapture(d->recorder, &graph) == cudaSuccess && error == 0;
  const bool made = recorded && cudaGraphInstantiate(&d->graph, graph, 0) == cudaSuccess;
  if (graph != nullptr) {
    cudaGraphDestroy(graph);
  }
  if (!made) {
    cudaGetLastError();
    d->graph = nullptr;
    return error != 0 ? error : GKC_ELAUNCH;
  }
  d->recorded = t;
  return 0;
}

int32_t replay(gkc_decoder *d, const Token &t, void *stream) {
  if (d->graph == nullptr || !same(d->recorded, t)) {
    const int32_t error = record(d, t);
    if (error != 0) {
      return error;
    }
  }
  if (cudaGraphLaunch(d->graph, (cudaStream_t)stream) != cudaSuccess) {
    cudaGetLastError();
    return GKC_ELAUNCH;
  }
  return 0;
}

#endif

}  // namespace

int32_t gkc_decoder_new(const gkc_config *config, const gkc_weight *weights, int32_t weight_count, const float *const *vectors,
                        int32_t vector_count, gkc_decoder **out) {
  if (out == nullptr) {
    return GKC_EALIGN;
  }
  *out = nullptr;
  if (config == nullptr || weights == nullptr || vectors == nullptr) {
    return GKC_EALIGN;
  }
  if (!fits(*config) || weight_count != config->layers * kLayerWeights + 1 || vector_count != config->layers * kLayerVectors + 1) {
    return GKC_ESIZE;
  }
  gkc_decoder *d = new (std::nothrow) gkc_decoder();
  if (d == nullptr) {
    return GKC_EMEMORY;
  }
  d->c = *config;
  d->layers = new (std::nothrow) Layer[(size_t)config->layers]();
  int32_t error = d->layers == nullptr ? GKC_EMEMORY : open_all(d, weights, vectors);
  if (error == 0) {
    d->bytes = plan(d, nullptr);
    void *memory;
    error = gkc_reserve(d->bytes, &memory);
    d->memory = static_cast<char *>(memory);
  }
  if (error != 0) {
    gkc_decoder_free(d);
    return error;
  }
  plan(d, d->memory);
  *out = d;
  return 0;
}

void gkc_decoder_free(gkc_decoder *d) {
  if (d == nullptr) {
    return;
  }
#ifdef __CUDACC__
  forget(d);
  if (d->recorder != nullptr) {
    cudaStreamDestroy(d->recorder);
  }
#endif
  if (d->memory != nullptr) {
    gkc_release(d->memory);
  }
  delete[] d->layers;
  delete d;
}

int64_t gkc_decoder_bytes(const gkc_decoder *d) { return d == nullptr ? GKC_EALIGN : d->bytes; }

int32_t gkc_forward(gkc_decoder *d, int32_t rows, const int32_t *slots, const int32_t *positions, const float *rope, float *x,
                    void *stream) {
  const Token t = {rows, slots, positions, rope, x, nullptr};
  const int32_t error = check_rows(d, t);
  return error != 0 ? error : run_layers(d, t, stream);
}

int32_t gkc_logits(gkc_decoder *d, int32_t rows, const float *x, float *logits, void *stream) {
  const int32_t error = check(d, rows, x);
  if (error != 0) {
    return error;
  }
  const Token t = {rows, nullptr, nullptr, nullptr, const_cast<float *>(x), logits};
  return gkc_aligned(logits, 16) ? run_head(d, t, stream) : GKC_EALIGN;
}

int32_t gkc_token(gkc_decoder *d, int32_t rows, const int32_t *slots, const int32_t *positions, const float *rope, float *x,
                  float *logits, void *stream) {
  const Token t = {rows, slots, positions, rope, x, logits};
  const int32_t error = check_rows(d, t);
  if (error != 0) {
    return error;
  }
  if (!gkc_aligned(logits, 16)) {
    return GKC_EALIGN;
  }
#ifdef __CUDACC__
  return replay(d, t, stream);
#else
  return run_token(d, t, stream);
#endif
}
