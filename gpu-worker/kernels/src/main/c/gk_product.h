/* Products with packed weights inside the library. */
#ifndef GK_PRODUCT_H
#define GK_PRODUCT_H

#include "gk_pool.h"
#include "gk_weight.h"

#define GK_TARGET(isa) __attribute__((target(isa)))
#define GK_INLINE static inline __attribute__((always_inline))
#define GK_AVX2_ISA "avx2,fma"
#define GK_VNNI_ISA "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
#define GK_AMX_ISA GK_VNNI_ISA ",amx-tile,amx-int8"

/* A checked weight: its header and what lies behind it. */
typedef struct {
  gk_weight head;
  const uint8_t *blocks;
} gk_matrix;

/* Bytes of scratch space for m inputs. */
int64_t gk_product_scratch(const gk_weight *w, int64_t m);

/* gk_matmul without its checks. */
void gk_product_run(gk_pool *pool, int32_t isa, const gk_matrix *w, const float *x, int32_t m, float *y, void *scratch);

#endif
