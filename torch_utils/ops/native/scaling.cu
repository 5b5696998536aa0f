// y = x * s + noise, and sums over pixels of a * b, with s and the sums per image and channel (torch_utils/ops/scaling.py).
//
// Compiled with -DSCALAR=<storage type>. Entry points <scale|products>_<last|planes>_<vector|scalar>: for channels_last, in
// which neighbouring threads take neighbouring channels of a pixel, and for contiguous images, in which they take neighbouring
// pixels of a plane. The vector ones move packs of 16 bytes and need aligned pointers and whole packs in a pixel or a plane;
// a pack of the scalar ones is one element. Each thread keeps to its channels, so it loads their factors once.
#include "scalar.cuh"

typedef Scalar<SCALAR>::Compute Compute;

enum { THREADS = 256, AHEAD = 4 };  // AHEAD: packs of each input whose loads are under way together

struct Walk {
    long long outer;    // images; for planes, planes
    long long inner;    // places in each of them: pixels; for planes, packs
    int part;           // places that a block visits
    int splits;         // blocks that share the places
    int channels;
    int columns;        // packs of a pixel's channels; for planes 1, as are chunks
    int chunks;         // blocks that share the columns
    int width, lanes;   // threads side by side along the columns, and pixels at once; for planes, along a plane (a power of
                        // two), and planes at once. width * lanes <= THREADS
};

struct Course {
    long long outer, first;  // image or plane, and the thread's first place in it
    long long at, step;      // in packs
    int column, x, lane, split;
    int left;                // packs to visit
};

template <bool LAST> static __device__ Course start(const Walk& w) {
    Course c;
    const unsigned block = blockIdx.x / w.splits;
    c.split = (int)(blockIdx.x % w.splits);
    c.x = (int)threadIdx.x % w.width;
    c.lane = (int)threadIdx.x / w.width;
    c.outer = LAST ? (long long)(block / w.chunks) : (long long)block * w.lanes + c.lane;
    c.column = LAST ? (int)(block % w.chunks) * w.width + c.x : 0;
    const bool inside = c.lane < w.lanes && (LAST ? c.column < w.columns : c.outer < w.outer);
    const int offset = LAST ? c.lane : c.x, apart = LAST ? w.lanes : w.width;
    const long long begin = (long long)c.split * w.part;
    const int count = (int)min((long long)w.part, w.inner - begin);
    c.left = inside && offset < count ? (count - offset + apart - 1) / apart : 0;
    c.first = begin + offset;
    c.at = (c.outer * w.inner + c.first) * w.columns + c.column;
    c.step = (long long)apart * w.columns;
    return c;
}

// COUNT packs; with an addition from every NOISE elements of `noise`, none if NOISE is 0.
template <int N, bool LAST, int NOISE, int COUNT>
static __device__ void scale_some(const Vector<SCALAR, N>* from, Vector<SCALAR, N>* to, long long step,
                                  const Compute* noise, long long noise_step, const Compute* factors) {
    Vector<SCALAR, N> packs[COUNT];
    Compute added[COUNT][NOISE ? NOISE : 1];
#pragma unroll
    for (int k = 0; k < COUNT; k++) packs[k] = from[k * step];
#pragma unroll
    for (int k = 0; k < COUNT; k++)
#pragma unroll
        for (int i = 0; i < NOISE; i++) added[k][i] = noise[k * noise_step + i];
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            Compute y = Scalar<SCALAR>::load(packs[k].at[i]) * factors[LAST ? i : 0];
            if (NOISE) y += added[k][NOISE > 1 ? i : 0];
            packs[k].at[i] = Scalar<SCALAR>::store(y);
        }
        to[k * step] = packs[k];
    }
}

template <int N, bool LAST, int NOISE>
static __device__ void scale(const SCALAR* x, const Compute* s, const Compute* noise, SCALAR* y, const Walk& w,
                             long long noise_stride) {
    Course c = start<LAST>(w);
    if (c.left == 0) return;
    Compute factors[LAST ? N : 1];
#pragma unroll
    for (int i = 0; i < (LAST ? N : 1); i++) factors[i] = s[LAST ? c.outer * w.channels + c.column * N + i : c.outer];
    const Vector<SCALAR, N>* from = (const Vector<SCALAR, N>*)x + c.at;
    Vector<SCALAR, N>* to = (Vector<SCALAR, N>*)y + c.at;
    const long long noise_step = (LAST ? w.lanes : w.width) * NOISE;
    if (NOISE) noise += (LAST ? c.outer : c.outer / w.channels) * noise_stride + c.first * NOISE;
#pragma unroll 1
    for (; c.left >= AHEAD; c.left -= AHEAD) {
        scale_some<N, LAST, NOISE, AHEAD>(from, to, c.step, noise, noise_step, factors);
        from += AHEAD * c.step;
        to += AHEAD * c.step;
        noise += AHEAD * noise_step;
    }
#pragma unroll 1
    for (; c.left > 0; c.left--) {
        scale_some<N, LAST, NOISE, 1>(from, to, c.step, noise, noise_step, factors);
        from += c.step;
        to += c.step;
        noise += noise_step;
    }
}

template <int N, bool PAIR, int COUNT>
static __device__ void add_some(const Vector<SCALAR, N>* a, const Vector<SCALAR, N>* b, long long step, Compute* sums) {
    Vector<SCALAR, N> left[COUNT], right[COUNT];
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
        left[k] = a[k * step];
        if (PAIR) right[k] = b[k * step];
    }
#pragma unroll
    for (int k = 0; k < COUNT; k++)
#pragma unroll
        for (int i = 0; i < N; i++) {
            const Compute value = Scalar<SCALAR>::load(left[k].at[i]);
            sums[i] += PAIR ? value * Scalar<SCALAR>::load(right[k].at[i]) : value;
        }
}

template <int N, bool PAIR>
static __device__ void add_all(const SCALAR* a, const SCALAR* b, const Course& c, Compute* sums) {
    const Vector<SCALAR, N>* left = (const Vector<SCALAR, N>*)a + c.at;
    const Vector<SCALAR, N>* right = (const Vector<SCALAR, N>*)b + (PAIR ? c.at : 0);
    int rest = c.left;
#pragma unroll 1
    for (; rest >= AHEAD; rest -= AHEAD) {
        add_some<N, PAIR, AHEAD>(left, right, c.step, sums);
        left += AHEAD * c.step;
        if (PAIR) right += AHEAD * c.step;
    }
#pragma unroll 1
    for (; rest > 0; rest--) {
        add_some<N, PAIR, 1>(left, right, c.step, sums);
        left += c.step;
        if (PAIR) right += c.step;
    }
}

// Sums of the products, of `a` alone without `b`, one for each split: out [images, splits, channels] for channels_last,
// [planes, splits] for planes. Always added in the same order.
template <int N, bool LAST>
static __device__ void products(const SCALAR* a, const SCALAR* b, Compute* out, const Walk& w) {
    SHARED_MEMORY(shared);
    Compute* of_threads = (Compute*)shared;  // [lanes, width * N] for channels_last, [THREADS] for planes
    const Course c = start<LAST>(w);
    Compute sums[N];
#pragma unroll
    for (int i = 0; i < N; i++) sums[i] = 0;
    if (b) add_all<N, true>(a, b, c, sums);
    else add_all<N, false>(a, b, c, sums);

    if (LAST) {
        const int entries = w.width * N;
        if (c.lane < w.lanes) {
#pragma unroll
            for (int i = 0; i < N; i++) of_threads[c.lane * entries + c.x * N + i] = sums[i];
        }
        __syncthreads();
        const int begin = (c.column - c.x) * N;
        for (int entry = threadIdx.x; entry < entries && begin + entry < w.channels; entry += THREADS) {
            Compute sum = 0;
            for (int lane = 0; lane < w.lanes; lane++) sum += of_threads[lane * entries + entry];
            out[(c.outer * w.splits + c.split) * w.channels + begin + entry] = sum;
        }
    } else {
        Compute sum = 0;
#pragma unroll
        for (int i = 0; i < N; i++) sum += sums[i];
        of_threads[threadIdx.x] = sum;
        __syncthreads();
        for (int half = w.width / 2; half > 0; half /= 2) {
            if (c.x < half) of_threads[threadIdx.x] += of_threads[threadIdx.x + half];
            __syncthreads();
        }
        if (c.x == 0 && c.outer < w.outer) out[c.outer * w.splits + c.split] = of_threads[threadIdx.x];
    }
}

#define ENTRY(LAYOUT, NAME, N, LAST)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) scale_##LAYOUT##_##NAME(                            \
        const SCALAR* x, const Compute* s, const Compute* noise, SCALAR* y, Walk w, long long noise_stride) { \
        if (noise) scale<N, LAST, LAST ? 1 : N>(x, s, noise, y, w, noise_stride);                             \
        else scale<N, LAST, 0>(x, s, noise, y, w, noise_stride);                                              \
    }                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                     \
        products_##LAYOUT##_##NAME(const SCALAR* a, const SCALAR* b, Compute* out, Walk w) {                  \
        products<N, LAST>(a, b, out, w);                                                                      \
    }
ENTRY(last, vector, 16 / sizeof(SCALAR), true)
ENTRY(last, scalar, 1, true)
ENTRY(planes, vector, 16 / sizeof(SCALAR), false)
ENTRY(planes, scalar, 1, false)
