/* Threads that work together; private to the library. */
#ifndef GK_POOL_H
#define GK_POOL_H

#include <stdatomic.h>

#include "grace_kernels.h"

/* A share of some work: share `part` of `parts`. */
typedef void gk_body(void *context, int32_t part, int32_t parts);

#define GK_MAX_THREADS 256

/*
 * Items split evenly among threads, each of which takes its own from the front. Who has none left takes from the ends of the others':
 * a thread that the system has held up does not hold up all.
 */
typedef struct {
  struct {
    _Alignas(64) _Atomic uint64_t left; /* first in the upper half, end in the lower */
  } shares[GK_MAX_THREADS];
} gk_items;

/* Splits n < 2^31 items among `parts`. */
void gk_split(gk_items *items, int64_t n, int32_t parts);

/* The next items for `part`, [*from, result): at most `most`. None are left for anybody if the result is *from. */
int64_t gk_claim(gk_items *items, int32_t part, int32_t parts, int64_t most, int64_t *from);

/* Runs body once for each thread of the pool and returns when all are done; a null pool is the caller alone. */
void gk_run(gk_pool *pool, gk_body *body, void *context);

/* Threads of a pool; 1 for a null one. */
int32_t gk_pool_threads(const gk_pool *pool);

/* First item of a share when n items are split evenly. */
static inline int64_t gk_first(int64_t n, int32_t part, int32_t parts) { return n * part / parts; }

#endif
