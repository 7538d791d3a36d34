/* The key/value cache as kernels know it. */
#ifndef GKC_ATTENTION_CUH
#define GKC_ATTENTION_CUH

#include "gkc_launch.cuh"

constexpr int kGkcMostDim = 256;

typedef gkc_cache GkcCache;

/* Checks a cache with its pointers. */
int32_t gkc_open_cache(const gkc_cache *cache, GkcCache *out);

/* Whether sizes are in range; looks at no pointer. */
bool gkc_cache_fits(const gkc_cache &c);

GKC_DEVICE bool gkc_exists(const GkcCache &c, int slot, int position) {
  return slot >= 0 && slot < c.slots && position >= 0 && position < c.max_positions;
}

/* Where a head of a position is, in heads. */
GKC_DEVICE int64_t gkc_cache_at(const GkcCache &c, int slot, int head, int position) {
  return ((int64_t)slot * c.kv_heads + head) * c.max_positions + position;
}

#endif
