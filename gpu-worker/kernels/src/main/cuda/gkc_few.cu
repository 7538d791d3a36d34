/*
 * Products with few inputs. A block computes some row blocks of 16; its warps split the columns, and each lane loads its operands
 * straight from memory, several chunks ahead. Partial sums meet in shared memory, in a fixed order.
 */
#include "gkc_product.cuh"

namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kGkcWarp;

/* Chunks that a lane has on the way: about 128 bytes, but two chunks at least. */
__host__ __device__ constexpr int depth(int bits, int blocks) {
  return gkc_loads(bits) * blocks >= 4 ? 2 : 8 / (gkc_loads(bits) * blocks);
}

/* Eight inputs' part of a unit, 8 columns of one input for each lane: operands of two steps. */
GKC_DEVICE uint4 inputs_of(const GkcProduct &p, int tile, int unit, int lane) {
  const int input = tile * 8 + lane / 4;
  if (input >= p.m) {
    return {0, 0, 0, 0};
  }
  return *(const uint4 *)(p.x + (int64_t)input * p.w.cols + unit * kGkcUnit + lane % 4 * 8);
}

/* Sums of one warp: kBlocks row blocks by kTiles tiles of 8 inputs. */
template <int kBits, int kTiles, int kBlocks, bool kZeros>
struct Sums {
  float all[kBlocks][kTiles][4];
  float group[kBlocks][kTiles][4];
  float2 scales[kBlocks]; /* of the group at hand */
  GkcOffsets offsets[kBlocks];
};

template <int kBits, int kTiles, int kBlocks, bool kZeros>
GKC_DEVICE void add_group(const GkcProduct &p, const int (&block)[kBlocks], int next, int lane, Sums<kBits, kTiles, kBlocks, kZeros> &s) {
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
    if (next < p.w.groups) {
      s.scales[b] = gkc_scales<kBits>(p.w, block[b], next, lane / 4);
      if (kZeros) {
        s.offsets[b] = gkc_offsets<kBits>(p.w, block[b], next, lane / 4);
      }
    }
  }
}

template <int kBits, int kTiles, int kBlocks, bool kZeros>
GKC_DEVICE void add_unit(const GkcProduct &p, const uint4 (&codes)[kBlocks][gkc_loads(kBits)], int chunk, int half, int lane,
                         Sums<kBits, kTiles, kBlocks, kZeros> &s) {
  uint4 x[kTiles];
#pragma unroll
  for (int n = 0; n < kTiles; n++) {
    x[n] = inputs_of(p, n, chunk * 2 + half, lane);
  }
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
#pragma unroll
    for (int step = 0; step < 2; step++) {
      uint32_t a[4];
      gkc_operand<kBits>(codes[b], half * 2 + step, kZeros ? s.offsets[b] : gkc_symmetric<kBits>(), a);
#pragma unroll
      for (int n = 0; n < kTiles; n++) {
        gkc_mma(s.group[b][n], a, gkc_word(x[n], 2 * step), gkc_word(x[n], 2 * step + 1));
      }
    }
  }
}

template <int kBits, int kBlocks>
GKC_DEVICE void load_chunk(const GkcMatrix &w, const int (&block)[kBlocks], int chunk, int lane,
                           uint4 (&out)[kBlocks][gkc_loads(kBits)]) {
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
    const int64_t at = gkc_at<kBits>(w, block[b], chunk, lane);
#pragma unroll
    for (int l = 0; l < gkc_loads(kBits); l++) {
      out[b][l] = gkc_load_once(w.codes + at + l * kGkcWarp);
    }
  }
}

/* Adds the warps' sums up and writes them. */
template <int kBits, int kTiles, int kBlocks, bool kZeros>
GKC_DEVICE void reduce(const GkcProduct &p, const Sums<kBits, kTiles, kBlocks, kZeros> &s, int warp, int lane) {
  constexpr int kPitch = kTiles * 8 + 1; /* of a row, against conflicts */
  constexpr int kRows = kBlocks * kGkcRows;
  float *parts = (float *)gkc_shared(); /* [kWarps, kRows, kPitch] */
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
#pragma unroll
    for (int n = 0; n < kTiles; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = b * kGkcRows + lane / 4 + i / 2 * 8;
        parts[(warp * kRows + row) * kPitch + n * 8 + lane % 4 * 2 + i % 2] = s.all[b][n][i];
      }
    }
  }
  __syncthreads();
  for (int k = (int)threadIdx.x; k < kRows * kTiles * 8; k += kThreads) {
    const int row = k % kRows;
    const int input = k / kRows;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kWarps; i++) {
      sum += parts[(i * kRows + row) * kPitch + input];
    }
    gkc_put(p, input, (int)blockIdx.x * kRows + row, sum);
  }
}

template <int kBits, int kTiles, int kBlocks, bool kZeros>
__global__ void __launch_bounds__(kThreads, 2) few(GkcProduct p) {
  constexpr int kDepth = depth(kBits, kBlocks);
  const int lane = (int)threadIdx.x % kGkcWarp;
  const int warp = (int)threadIdx.x / kGkcWarp;
  const int from = (int)((int64_t)p.w.chunks * warp / kWarps);
  const int to = (int)((int64_t)p.w.chunks * (warp + 1) / kWarps);
  int block[kBlocks];
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
    const int wanted = (int)blockIdx.x * kBlocks + b;
    block[b] = wanted < p.w.blocks ? wanted : p.w.blocks - 1; /* computed again, not written */
  }
  Sums<kBits, kTiles, kBlocks, kZeros> s = {};
  uint4 ring[kDepth][kBlocks][gkc_loads(kBits)];
#pragma unroll
  for (int d = 0; d < kDepth; d++) {
    if (from + d < to) {
      load_chunk<kBits>(p.w, block, from + d, lane, ring[d]);
    }
  }
  int group = from * 2 / p.w.group_units - 1;
  int left = p.w.group_units - from * 2 % p.w.group_units; /* units of the group at hand */
  if (from < to) {
    add_group(p, block, ++group, lane, s);
  }
  for (int base = from; base < to; base += kDepth) {
#pragma unroll
    for (int d = 0; d < kDepth; d++) {
      const int chunk = base + d;
      if (chunk < to) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          if (chunk * 2 + half < p.w.units) {
            add_unit<kBits, kTiles, kBlocks, kZeros>(p, ring[d], chunk, half, lane, s);
            if (--left == 0) {
              add_group(p, block, ++group, lane, s);
              left = p.w.group_units;
            }
          }
        }
        if (chunk + kDepth < to) {
          load_chunk<kBits>(p.w, block, chunk + kDepth, lane, ring[d]);
        }
      }
    }
  }
  if (left != p.w.group_units) {
    add_group(p, block, p.w.groups, lane, s);
  }
  reduce(p, s, warp, lane);
}

template <int kBits, int kTiles, int kBlocks, bool kZeros>
int32_t start(const GkcProduct &p, void *stream) {
  const size_t bytes = sizeof(float) * kWarps * kBlocks * kGkcRows * (kTiles * 8 + 1);
  return gkc_launch(few<kBits, kTiles, kBlocks, kZeros>, dim3((unsigned)gkc_ceil(p.w.blocks, kBlocks)), kThreads, bytes, stream, p);
}

/* Several row blocks share their inputs' loads, as soon as that leaves enough blocks for a large GPU (about 132 processors). */
template <int kBits, int kTiles, bool kZeros>
int32_t start_sized(const GkcProduct &p, void *stream) {
  return p.w.blocks >= 2 * 264 ? start<kBits, kTiles, 2, kZeros>(p, stream) : start<kBits, kTiles, 1, kZeros>(p, stream);
}

template <int kBits, bool kZeros>
int32_t start_few(const GkcProduct &p, void *stream) {
  return p.m <= 8 ? start_sized<kBits, 1, kZeros>(p, stream) : start_sized<kBits, 2, kZeros>(p, stream);
}

}  // namespace

int32_t gkc_few(const GkcProduct &p, int bits, void *stream) {
  if (p.w.zeros != nullptr) {
    return bits == 4 ? start_few<4, true>(p, stream) : start_few<8, true>(p, stream);
  }
  return bits == 4 ? start_few<4, false>(p, stream) : bits == 8 ? start_few<8, false>(p, stream) : start_few<16, false>(p, stream);
}
