#define _GNU_SOURCE
#include "gk_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A worker looks for work this many times (a millisecond or less) before it sleeps. */
#define GK_SPINS 20000

struct gk_worker {
  gk_pool *pool;
  int32_t part;
  int32_t processor;
  pthread_t thread;
};

struct gk_pool {
  int32_t threads;
  gk_openmp openmp; /* null pointers in a pool with workers of its own */
  gk_body *body;
  void *context;
  _Atomic int32_t round; /* counts up when there is work */
  _Atomic int32_t sleepers;
  _Atomic int32_t busy;
  _Atomic int32_t closed;
  int32_t spare; /* the processor that is the caller's; -1 where workers are not bound */
  struct gk_worker workers[GK_MAX_THREADS];
};

static void gk_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void gk_wait(_Atomic int32_t *at, int32_t value) {
  syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void gk_wake(_Atomic int32_t *at) { syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, GK_MAX_THREADS, NULL, NULL, 0); }

static void gk_bind(pthread_t thread, int32_t processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)processor, &set);
  /* Best effort: an unbound thread is slower, not wrong. */
  (void)pthread_setaffinity_np(thread, sizeof set, &set);
}

/* A worker whose processor the caller runs on would wait until the system parts them, for milliseconds: it takes the spare one. */
static void gk_make_way(gk_pool *pool) {
  if (pool->spare < 0) {
    return;
  }
  const int32_t own = sched_getcpu();
  for (int32_t part = 1; own != pool->spare && part < pool->threads; part++) {
    struct gk_worker *worker = &pool->workers[part];
    if (worker->processor == own) {
      worker->processor = pool->spare;
      pool->spare = own;
      gk_bind(worker->thread, worker->processor);
    }
  }
}

static void *gk_work(void *argument) {
  struct gk_worker *self = argument;
  gk_pool *pool = self->pool;
  int32_t seen = 0;
  for (;;) {
    int32_t spins = 0;
    int32_t now;
    while ((now = atomic_load_explicit(&pool->round, memory_order_acquire)) == seen) {
      if (++spins < GK_SPINS) {
        gk_pause();
        continue;
      }
      atomic_fetch_add(&pool->sleepers, 1);
      gk_wait(&pool->round, seen);
      atomic_fetch_sub(&pool->sleepers, 1);
      spins = 0;
    }
    seen = now;
    if (atomic_load(&pool->closed)) {
      return NULL;
    }
    pool->body(pool->context, self->part, pool->threads);
    atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
  }
}

static void gk_announce(gk_pool *pool) {
  atomic_fetch_add(&pool->round, 1);
  if (atomic_load(&pool->sleepers) > 0) {
    gk_wake(&pool->round);
  }
}

gk_pool *gk_pool_new(int32_t threads) {
  if (threads < 1 || threads > GK_MAX_THREADS) {
    return NULL;
  }
  gk_pool *pool = calloc(1, sizeof *pool);
  if (pool == NULL) {
    return NULL;
  }
  /* Workers take the allowed processors from the last down; the caller keeps what the system gives it. */
  cpu_set_t allowed;
  int32_t processors[GK_MAX_THREADS];
  int32_t count = 0;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int32_t cpu = CPU_SETSIZE - 1; cpu >= 0 && count < GK_MAX_THREADS; cpu--) {
      if (CPU_ISSET((size_t)cpu, &allowed)) {
        processors[count++] = cpu;
      }
    }
  }
  pool->threads = 1;
  pool->spare = threads <= count ? processors[threads - 1] : -1;
  for (int32_t part = 1; part < threads; part++) {
    struct gk_worker *worker = &pool->workers[part];
    worker->pool = pool;
    worker->part = part;
    worker->processor = threads <= count ? processors[part - 1] : -1;
    if (pthread_create(&worker->thread, NULL, gk_work, worker) != 0) {
      gk_pool_free(pool);
      return NULL;
    }
    if (worker->processor >= 0) {
      gk_bind(worker->thread, worker->processor);
    }
    pool->threads = part + 1;
  }
  return pool;
}

gk_pool *gk_pool_borrow(const gk_openmp *openmp, int32_t threads) {
  if (threads < 1 || threads > GK_MAX_THREADS || openmp == NULL || openmp->parallel == NULL || openmp->thread == NULL ||
      openmp->threads == NULL) {
    return NULL;
  }
  gk_pool *pool = calloc(1, sizeof *pool);
  if (pool != NULL) {
    pool->threads = threads;
    pool->openmp = *openmp;
  }
  return pool;
}

void gk_pool_free(gk_pool *pool) {
  if (pool == NULL) {
    return;
  }
  if (pool->openmp.parallel != NULL) {
    free(pool);
    return;
  }
  atomic_store(&pool->closed, 1);
  gk_announce(pool);
  for (int32_t part = 1; part < pool->threads; part++) {
    pthread_join(pool->workers[part].thread, NULL);
  }
  free(pool);
}

int32_t gk_pool_threads(const gk_pool *pool) { return pool == NULL ? 1 : pool->threads; }

/* OpenMP may give fewer threads than were asked for. */
static void gk_shares(void *argument) {
  const gk_pool *pool = argument;
  const int32_t threads = pool->openmp.threads();
  for (int32_t part = pool->openmp.thread(); part < pool->threads; part += threads) {
    pool->body(pool->context, part, pool->threads);
  }
}

void gk_run(gk_pool *pool, gk_body *body, void *context) {
  if (pool == NULL || pool->threads == 1) {
    body(context, 0, 1);
    return;
  }
  if (pool->openmp.parallel != NULL) {
    pool->body = body;
    pool->context = context;
    pool->openmp.parallel(gk_shares, pool, (uint32_t)pool->threads, 0);
    return;
  }
  pool->body = body;
  pool->context = context;
  gk_make_way(pool);
  atomic_store(&pool->busy, pool->threads - 1);
  gk_announce(pool);
  body(context, 0, pool->threads);
  int32_t spins = 0;
  while (atomic_load_explicit(&pool->busy, memory_order_acquire) > 0) {
    if (++spins % GK_SPINS == 0) {
      sched_yield(); /* a worker was taken off its processor */
    }
    gk_pause();
  }
}

void gk_split(gk_items *items, int64_t n, int32_t parts) {
  for (int32_t i = 0; i < parts; i++) {
    const uint64_t range = (uint64_t)gk_first(n, i, parts) << 32 | (uint64_t)gk_first(n, i + 1, parts);
    atomic_store_explicit(&items->shares[i].left, range, memory_order_relaxed);
  }
}

/* Takes up to `most` items of a share; from its end if not `own`. */
static int64_t gk_claim_of(_Atomic uint64_t *share, int own, int64_t most, int64_t *from) {
  uint64_t range = atomic_load_explicit(share, memory_order_relaxed);
  for (;;) {
    const int64_t first = (int64_t)(range >> 32);
    const int64_t end = (int64_t)(range & 0xffffffffu);
    const int64_t n = end - first < most ? end - first : most;
    *from = own ? first : end - n;
    if (n == 0) {
      return *from;
    }
    const uint64_t rest = (uint64_t)(own ? first + n : first) << 32 | (uint64_t)(own ? end : end - n);
    if (atomic_compare_exchange_weak_explicit(share, &range, rest, memory_order_relaxed, memory_order_relaxed)) {
      return *from + n;
    }
  }
}

int64_t gk_claim(gk_items *items, int32_t part, int32_t parts, int64_t most, int64_t *from) {
  for (int32_t i = 0; i < parts; i++) {
    const int64_t end = gk_claim_of(&items->shares[(part + i) % parts].left, i == 0, most, from);
    if (end > *from) {
      return end;
    }
  }
  return *from;
}
