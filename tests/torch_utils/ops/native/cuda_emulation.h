// Runs the CUDA kernels of torch_utils/ops/native on the CPU, so that their index arithmetic is tested without a GPU.
//
// The threads of a block are fibers that take turns at __syncthreads(); blocks run one after the other. A kernel's source
// is compiled unchanged after this file, and launched with the same array of argument pointers as by the CUDA driver.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(N)
#define SHARED_MEMORY(NAME) unsigned char* NAME = emulation.shared.data()

using std::exp;
using std::expm1;
using std::log1p;
using std::max;
using std::min;
using std::tanh;

struct Dimensions { unsigned x, y, z; };
static Dimensions gridDim, blockDim, blockIdx, threadIdx;

static inline unsigned __float_as_uint(float value) { unsigned bits; memcpy(&bits, &value, 4); return bits; }
static inline float __uint_as_float(unsigned bits) { float value; memcpy(&value, &bits, 4); return value; }
static inline float host_half_to_float(unsigned short bits) { _Float16 value; memcpy(&value, &bits, 2); return (float)value; }
static inline unsigned short host_float_to_half(float value) {
    _Float16 half = (_Float16)value;
    unsigned short bits;
    memcpy(&bits, &half, 2);
    return bits;
}

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done;
};

struct Emulation {
    std::vector<unsigned char> shared;
    std::vector<Fiber> fibers;
    ucontext_t scheduler;
    std::function<void()> body;
    unsigned running;
};
static Emulation emulation;

static void __syncthreads() {
    Fiber& fiber = emulation.fibers[emulation.running];
    swapcontext(&fiber.context, &emulation.scheduler);
}

static void run_fiber() {
    emulation.body();
    emulation.fibers[emulation.running].done = true;
}

// 0, or 1 where only a part of a block's threads came to a barrier.
static int run_block() {
    for (Fiber& fiber : emulation.fibers) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &emulation.scheduler;
        fiber.done = false;
        makecontext(&fiber.context, run_fiber, 0);
    }
    for (;;) {
        unsigned done = 0;
        for (unsigned t = 0; t < emulation.fibers.size(); t++) {
            emulation.running = t;
            threadIdx = {t, 0, 0};
            swapcontext(&emulation.scheduler, &emulation.fibers[t].context);
            done += emulation.fibers[t].done;
        }
        if (done == emulation.fibers.size()) return 0;
        if (done != 0) return 1;
    }
}

template <class... A, size_t... I>
static int launch(void (*kernel)(A...), void** arguments, unsigned grid, unsigned block, unsigned shared,
                  std::index_sequence<I...>) {
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    // Filled with NaN, as shared memory holds anything at first.
    emulation.shared.assign(shared, 0xff);
    emulation.fibers.resize(block);
    for (Fiber& fiber : emulation.fibers) fiber.stack.resize(64 * 1024);
    emulation.body = [&] { kernel(*(A*)arguments[I]...); };
    for (unsigned b = 0; b < grid; b++) {
        blockIdx = {b, 0, 0};
        std::fill(emulation.shared.begin(), emulation.shared.end(), 0xff);
        if (run_block()) return 1;
    }
    return 0;
}

template <class... A>
static int launch(void (*kernel)(A...), void** arguments, unsigned grid, unsigned block, unsigned shared) {
    return launch(kernel, arguments, grid, block, shared, std::index_sequence_for<A...>());
}

#define EMULATED(NAME)                                                                                     \
    extern "C" int emulated_##NAME(void** arguments, unsigned grid, unsigned block, unsigned shared) {     \
        return launch(NAME, arguments, grid, block, shared);                                               \
    }
