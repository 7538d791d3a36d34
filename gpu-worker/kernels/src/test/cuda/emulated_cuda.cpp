#include "emulated_cuda.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <deque>
#include <mutex>
#include <vector>

namespace emulated {

Place place;
unsigned char *shared;

namespace {

constexpr size_t kStack = 256 << 10;
constexpr unsigned kMostThreads = 1024;
constexpr size_t kGuard = 256;
constexpr unsigned char kPoison = 0xff; /* four of them are a NaN */
constexpr unsigned char kFence = 0xa5;

enum class State { kReady, kAtBlock, kAtWarp, kDone };

struct Copy {
  void *to;
  const void *from;
  int bytes;
};

struct Fibre {
  jmp_buf at;
  ucontext_t start;
  bool started;
  State state;
  dim3 index;
  std::deque<std::vector<Copy>> copies; /* closed groups, oldest first */
  std::vector<Copy> open;
};

struct Warp {
  int lanes;
  int here;
  WarpStep step;
  bool differ;
  alignas(16) unsigned char in[kWarp * kMostBytes];
  alignas(16) unsigned char out[kWarp * kMostBytes];
};

std::mutex one_at_a_time;
unsigned char *stacks;
std::vector<Fibre> fibres(kMostThreads);
std::vector<Warp> warps(kMostThreads / kWarp);
const std::function<void()> *body;
ucontext_t scheduler_start;
jmp_buf scheduler;
unsigned current;
uint32_t order = 0;

/* Back to the scheduler, until it comes here again. setjmp and longjmp switch without a call of the system. */
void wait_as(State state) {
  Fibre &f = fibres[current];
  f.state = state;
  if (_setjmp(f.at) == 0) {
    _longjmp(scheduler, 1);
  }
}

void finish_copies(Fibre &f, size_t but_last) {
  while (f.copies.size() > but_last) {
    for (const Copy &c : f.copies.front()) {
      unsigned char whole[16] = {0};
      memcpy(whole, c.from, (size_t)c.bytes);
      memcpy(c.to, whole, sizeof whole);
    }
    f.copies.pop_front();
  }
}

void run_fibre() {
  (*body)();
  finish_copies(fibres[current], 0);
  fibres[current].state = State::kDone;
  _longjmp(scheduler, 1);
}

void resume(unsigned i) {
  Fibre &f = fibres[i];
  current = i;
  place.thread = f.index;
  if (_setjmp(scheduler) == 0) {
    if (f.started) {
      _longjmp(f.at, 1);
    }
    f.started = true;
    setcontext(&f.start);
  }
}

void prepare(unsigned threads, dim3 block) {
  for (unsigned i = 0; i < threads; i++) {
    Fibre &f = fibres[i];
    f.started = false;
    f.state = State::kReady;
    f.index = dim3(i % block.x, i / block.x % block.y, i / block.x / block.y);
    f.copies.clear();
    f.open.clear();
    f.start = scheduler_start;
    f.start.uc_stack.ss_sp = stacks + i * kStack;
    f.start.uc_stack.ss_size = kStack;
    f.start.uc_link = nullptr;
    makecontext(&f.start, run_fibre, 0);
  }
  for (unsigned i = 0; i < (threads + kWarp - 1) / kWarp; i++) {
    warps[i].lanes = (int)(threads - i * kWarp < (unsigned)kWarp ? threads - i * kWarp : kWarp);
    warps[i].here = 0;
    warps[i].differ = false;
  }
}

uint32_t scramble(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  return x;
}

/* 0 once all threads have ended; -1 if some wait for what does not come. */
int run_block(unsigned threads) {
  unsigned done = 0;
  while (done < threads) {
    bool moved = false;
    unsigned at_block = 0;
    done = 0;
    const unsigned turn = order == 0 ? 0 : scramble(order + place.block.x * 31) % threads;
    for (unsigned k = 0; k < threads; k++) {
      const unsigned i = order % 2 == 0 ? (k + turn) % threads : (2 * threads - 1 - k - turn) % threads;
      if (fibres[i].state == State::kReady) {
        resume(i);
        moved = true;
        if (warps[i / kWarp].differ) {
          return -1;
        }
      }
    }
    for (unsigned i = 0; i < threads; i++) {
      done += fibres[i].state == State::kDone;
      at_block += fibres[i].state == State::kAtBlock;
    }
    if (at_block == threads) {
      for (unsigned i = 0; i < threads; i++) {
        fibres[i].state = State::kReady;
      }
    } else if (!moved && done < threads) {
      return -1;
    }
  }
  return 0;
}

}  // namespace

void meet_block() { wait_as(State::kAtBlock); }

void meet_warp(WarpStep step, const void *in, size_t in_bytes, void *out, size_t out_bytes) {
  const unsigned own = current;
  Warp &w = warps[own / kWarp];
  const int lane = (int)(own % kWarp);
  if (w.here == 0) {
    w.step = step;
  } else if (w.step != step) {
    w.differ = true;
  }
  if (in_bytes > 0) {
    memcpy(w.in + lane * kMostBytes, in, in_bytes);
  }
  if (++w.here == w.lanes) {
    w.here = 0;
    step(w.in, w.out);
    for (unsigned i = own / kWarp * kWarp; i < own / kWarp * kWarp + (unsigned)w.lanes; i++) {
      fibres[i].state = State::kReady;
    }
  } else {
    wait_as(State::kAtWarp);
  }
  if (out_bytes > 0) {
    memcpy(out, w.out + lane * kMostBytes, out_bytes);
  }
}

void copy_later(void *to, const void *from, int bytes) { fibres[current].open.push_back({to, from, bytes}); }

void close_copies() {
  Fibre &f = fibres[current];
  f.copies.push_back(std::move(f.open));
  f.open.clear();
}

void wait_for_copies(int but_last) { finish_copies(fibres[current], (size_t)but_last); }

int launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread) {
  std::lock_guard<std::mutex> lock(one_at_a_time);
  const unsigned threads = block.x * block.y * block.z;
  if (threads < 1 || threads > kMostThreads || grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.y > 65535 || grid.z > 65535 ||
      shared_bytes > 227u << 10) {
    return -1;
  }
  if (stacks == nullptr) {
    void *memory = mmap(nullptr, kMostThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      return -1;
    }
    stacks = static_cast<unsigned char *>(memory);
    getcontext(&scheduler_start);
  }
  std::vector<unsigned char> memory(shared_bytes + kGuard + 128);
  shared = memory.data() + (128 - reinterpret_cast<uintptr_t>(memory.data()) % 128);
  body = &thread;
  place.block_size = block;
  place.grid_size = grid;
  int result = 0;
  for (unsigned z = 0; z < grid.z && result == 0; z++) {
    for (unsigned y = 0; y < grid.y && result == 0; y++) {
      for (unsigned x = 0; x < grid.x && result == 0; x++) {
        place.block = dim3(x, y, z);
        memset(shared, kPoison, shared_bytes);
        memset(shared + shared_bytes, kFence, kGuard - 128);
        prepare(threads, block);
        result = run_block(threads);
        for (size_t i = 0; i < kGuard - 128; i++) {
          result |= shared[shared_bytes + i] == kFence ? 0 : -1;
        }
      }
    }
  }
  return result;
}

}  // namespace emulated

/* Changes the order in which threads run: 0 ascending, odd numbers descending from somewhere, other even numbers ascending. */
extern "C" __attribute__((visibility("default"))) void emulated_order(uint32_t order) {
  std::lock_guard<std::mutex> lock(emulated::one_at_a_time);
  emulated::order = order;
}
