/*
 * Products with many inputs. A block computes 128 rows by 64 inputs; weights and inputs come through a ring of stages in shared
 * memory, filled by asynchronous copies.
 */
#include "gkc_product.cuh"

namespace {

constexpr int kWarpsDown = 4;                         /* along rows */
constexpr int kWarpsAcross = 2;                       /* along inputs */
constexpr int kThreads = kWarpsDown * kWarpsAcross * kGkcWarp;
constexpr int kBlocks = 2;                            /* row blocks of a warp */
constexpr int kTiles = 4;                             /* tiles of 8 inputs of a warp */
constexpr int kTileBlocks = kWarpsDown * kBlocks;     /* row blocks of a block: 128 rows */
constexpr int kTileInputs = kWarpsAcross * kTiles * 8;
constexpr int kInputChunks = kGkcChunk / 8;           /* 16-byte pieces of an input's chunk */
constexpr int kStages = 4;

__host__ __device__ constexpr int weight_loads(int bits) { return kTileBlocks * gkc_loads(bits) * kGkcWarp; }

__host__ __device__ constexpr int stage_bytes(int bits) { return 16 * (weight_loads(bits) + kTileInputs * kInputChunks); }

/*
 * Where a 16-byte piece of an input lies in its stage. A quarter of a warp reads four neighboring pieces of two inputs; odd inputs
 * have their halves swapped, so those eight pieces lie in different banks.
 */
GKC_DEVICE int piece_at(int input, int piece) { return input * kInputChunks + (piece ^ (input % 2 * 4)); }

template <int kBits>
GKC_DEVICE void fetch(const GkcProduct &p, int chunk, uint4 *stage) {
  const int first_block = (int)blockIdx.y * kTileBlocks;
#pragma unroll
  for (int k = (int)threadIdx.x; k < weight_loads(kBits); k += kThreads) {
    const int b = first_block + k / (gkc_loads(kBits) * kGkcWarp);
    const int block = b < p.w.blocks ? b : p.w.blocks - 1; /* computed again, not written */
    const int64_t at = gkc_at<kBits>(p.w, block, chunk, 0) + k % (gkc_loads(kBits) * kGkcWarp);
    gkc_copy_async(stage + k, p.w.codes + at, 16);
  }
  uint4 *inputs = stage + weight_loads(kBits);
#pragma unroll
  for (int k = (int)threadIdx.x; k < kTileInputs * kInputChunks; k += kThreads) {
    const int input = (int)blockIdx.x * kTileInputs + k / kInputChunks;
    const int col = chunk * kGkcChunk + k % kInputChunks * 8;
    const bool inside = input < p.m && col < p.w.cols;
    const gkc_bf16 *from = inside ? p.x + (int64_t)input * p.w.cols + col : p.x;
    gkc_copy_async(inputs + piece_at(k / kInputChunks, k % kInputChunks), from, inside ? 16 : 0);
  }
}

struct Sums {
  float all[kBlocks][kTiles][4];
  float group[kBlocks][kTiles][4];
  float2 scales[kBlocks];
  GkcOffsets offsets[kBlocks];
};

template <int kBits, bool kZeros>
GKC_DEVICE void add_group(const GkcMatrix &w, int first_block, int next, int lane, Sums &s) {
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
#pragma unroll
    for (int n = 0; n < kTiles; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        s.all[b][n][i] += (i < 2 ? s.scales[b].x : s.scales[b].y) * s.group[b][n][i];
        s.group[b][n][i] = 0;
      }
    }
    if (next < w.groups) {
      const int block = first_block + b;
      const int own = block < w.blocks ? block : w.blocks - 1;
      s.scales[b] = gkc_scales<kBits>(w, own, next, lane / 4);
      if (kZeros) {
        s.offsets[b] = gkc_offsets<kBits>(w, own, next, lane / 4);
      }
    }
  }
}

template <int kBits, bool kZeros>
GKC_DEVICE void add_unit(const uint4 *stage, int half, int down, int across, int lane, Sums &s) {
  const uint4 *inputs = stage + weight_loads(kBits);
  uint4 x[kTiles];
#pragma unroll
  for (int n = 0; n < kTiles; n++) {
    x[n] = inputs[piece_at((across * kTiles + n) * 8 + lane / 4, half * 4 + lane % 4)];
  }
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
    uint4 codes[gkc_loads(kBits)];
#pragma unroll
    for (int l = 0; l < gkc_loads(kBits); l++) {
      codes[l] = stage[((down * kBlocks + b) * gkc_loads(kBits) + l) * kGkcWarp + lane];
    }
#pragma unroll
    for (int step = 0; step < 2; step++) {
      uint32_t a[4];
      gkc_operand<kBits>(codes, half * 2 + step, kZeros ? s.offsets[b] : gkc_symmetric<kBits>(), a);
#pragma unroll
      for (int n = 0; n < kTiles; n++) {
        gkc_mma(s.group[b][n], a, gkc_word(x[n], 2 * step), gkc_word(x[n], 2 * step + 1));
      }
    }
  }
}

template <int kBits, bool kZeros>
__global__ void __launch_bounds__(kThreads, 1) many(GkcProduct p) {
  uint4 *stages = (uint4 *)gkc_shared();
  constexpr int kStage = stage_bytes(kBits) / 16;
  const int lane = (int)threadIdx.x % kGkcWarp;
  const int warp = (int)threadIdx.x / kGkcWarp;
  const int down = warp % kWarpsDown;
  const int across = warp / kWarpsDown;
  const int first_block = (int)blockIdx.y * kTileBlocks + down * kBlocks;
#pragma unroll
  for (int i = 0; i < kStages - 1; i++) {
    if (i < p.w.chunks) {
      fetch<kBits>(p, i, stages + i * kStage);
    }
    gkc_copy_commit();
  }
  Sums s = {};
  int group = 0;
  int left = p.w.group_units;
  add_group<kBits, kZeros>(p.w, first_block, 0, lane, s);
  for (int chunk = 0; chunk < p.w.chunks; chunk++) {
    gkc_copy_wait<kStages - 2>();
    __syncthreads(); /* this chunk is here for all, and all are done with the stage that is filled next */
    if (chunk + kStages - 1 < p.w.chunks) {
      fetch<kBits>(p, chunk + kStages - 1, stages + (chunk + kStages - 1) % kStages * kStage);
    }
    gkc_copy_commit();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (chunk * 2 + half < p.w.units) {
        add_unit<kBits, kZeros>(stages + chunk % kStages * kStage, half, down, across, lane, s);
        if (--left == 0) {
          add_group<kBits, kZeros>(p.w, first_block, ++group, lane, s);
          left = p.w.group_units;
        }
      }
    }
  }
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
#pragma unroll
    for (int n = 0; n < kTiles; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        gkc_put(p, (int)blockIdx.x * kTileInputs + (across * kTiles + n) * 8 + lane % 4 * 2 + i % 2,
                (first_block + b) * kGkcRows + lane / 4 + i / 2 * 8, s.all[b][n][i]);
      }
    }
  }
}

template <int kBits, bool kZeros>
int32_t start(const GkcProduct &p, void *stream) {
  const dim3 grid((unsigned)gkc_ceil(p.m, kTileInputs), (unsigned)gkc_ceil(p.w.blocks, kTileBlocks));
  if (grid.y > 65535) {
    return GKC_ESIZE;
  }
  return gkc_launch(many<kBits, kZeros>, grid, kThreads, (size_t)(kStages * stage_bytes(kBits)), stream, p);
}

}  // namespace

int32_t gkc_many(const GkcProduct &p, int bits, void *stream) {
  if (p.w.zeros != nullptr) {
    return bits == 4 ? start<4, true>(p, stream) : start<8, true>(p, stream);
  }
  return bits == 4 ? start<4, false>(p, stream) : bits == 8 ? start<8, false>(p, stream) : start<16, false>(p, stream);
}

int32_t gkc_matmul(const gkc_weight *weight, const void *x, int32_t m, float *y, int32_t add, void *stream) {
  GkcProduct p = {};
  const int32_t error = gkc_open(weight, &p.w);
  if (error != 0) {
    return error;
  }
  if (m < 1 || m > kGkcMostSize) {
    return GKC_ESIZE;
  }
  if (!gkc_aligned(x, 16) || !gkc_aligned(y, 16)) {
    return GKC_EALIGN;
  }
  p.x = static_cast<const gkc_bf16 *>(x);
  p.y = y;
  p.m = m;
  p.add = add;
  return m <= 16 ? gkc_few(p, weight->bits, stream) : gkc_many(p, weight->bits, stream);
}
