/* Threads that work together; private to the library. */
#ifndef GK_POOL_H
#define GK_POOL_H

#include "grace_kernels.h"

/* A share of some work: share `part` of `parts`. */
typedef void gk_body(void *context, int32_t part, int32_t parts);

/* Runs body once for each thread of the pool and returns when all are done; a null pool is the caller alone. */
void gk_run(gk_pool *pool, gk_body *body, void *context);

/* Threads of a pool; 1 for a null one. */
int32_t gk_pool_threads(const gk_pool *pool);

/* First item of a share when n items are split evenly. */
static inline int64_t gk_first(int64_t n, int32_t part, int32_t parts) { return n * part / parts; }

#endif
