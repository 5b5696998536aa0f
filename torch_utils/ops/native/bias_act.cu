// clip(gain * act(x + b), -clamp, clamp) and its first two derivatives, one element at a time.
//
// Compiled with -DSCALAR=<storage type> -DINDEX=<unsigned integer type that holds the number of elements>, and -DSMOOTH
// for the activations that are not piecewise linear. Entry points bias_act_<order>_<vector|scalar>; the vector ones move 16
// bytes per access and need aligned pointers. The smooth activations, which the networks do not use, have scalar ones only.
#include "scalar.cuh"

typedef Scalar<SCALAR>::Compute Compute;

struct Options {
    unsigned long long count;        // elements
    unsigned long long bias_size;    // entries of the bias; 0 without one
    unsigned long long bias_stride;  // distance in memory between elements with successive bias entries
    Compute alpha, gain, clamp;      // no clamp: negative
    int act;                         // index among the smooth activations
    int from_result;                 // derivatives: `x` holds the result, and no bias is needed
};

#ifdef SMOOTH

static __device__ Compute select(bool condition, Compute a, Compute b) { return condition ? a : b; }
static __device__ Compute sigmoid(Compute u) { return Compute(1) / (Compute(1) + exp(-u)); }

// value(u, o), first(u, o) and second(u, o), made from the table in torch_utils/ops/activation.py.
#include "activations.cuh"

#else

// linear, relu and lrelu differ by the slope of negative input.
static __device__ Compute value(Compute u, const Options& o) { return u > 0 ? u : u * o.alpha; }
static __device__ Compute first(Compute u, const Options& o) { return u > 0 ? Compute(1) : o.alpha; }
static __device__ Compute second(Compute, const Options&) { return 0; }

#endif

// order 0: the result. order 1: grad * slope. order 2: grad * direction * curvature.
template <int ORDER>
static __device__ Compute element(Compute x, Compute b, Compute grad, Compute direction, const Options& o) {
    const Compute gain = o.gain, clamp = o.clamp;
    if (ORDER == 1 && o.from_result) {
        if (clamp >= 0 && (x >= clamp || x <= -clamp)) return Compute(0);
        return grad * gain * first(x, o);
    }
    Compute u = x + b;
    if (ORDER == 0 || clamp >= 0) {
        Compute y = value(u, o) * gain;
        bool above = clamp >= 0 && y > clamp, below = clamp >= 0 && y < -clamp;
        if (ORDER == 0) return above ? clamp : below ? -clamp : y;
        if (above || below) return Compute(0);
    }
    if (ORDER == 1) return grad * gain * first(u, o);
    return grad * direction * gain * second(u, o);
}

template <int ORDER, int N>
static __device__ void run(const SCALAR* x, const SCALAR* b, const SCALAR* grad, const SCALAR* direction, SCALAR* out,
                           const Options& o) {
    typedef Vector<SCALAR, N> Pack;
    const INDEX count = (INDEX)o.count, size = (INDEX)o.bias_size, stride = (INDEX)o.bias_stride;
    const bool biased = size != 0 && !(ORDER == 1 && o.from_result);
    const bool shared_entry = stride % N == 0;             // all elements of a pack have the same bias
    const bool successive = stride == 1 && size % N == 0;  // they have successive entries
    const INDEX step = (INDEX)gridDim.x * blockDim.x;

    for (INDEX pack = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; pack < count / N; pack += step) {
        const INDEX at = pack * N;
        Pack in = *(const Pack*)(x + at), up, along, result;
        if (ORDER >= 1) up = *(const Pack*)(grad + at);
        if (ORDER >= 2) along = *(const Pack*)(direction + at);
        INDEX entry = 0;
        if (biased && (shared_entry || successive)) entry = at / stride % size;
#pragma unroll
        for (int i = 0; i < N; i++) {
            Compute bias = 0;
            if (biased) {
                INDEX index = shared_entry ? entry : successive ? entry + i : (at + i) / stride % size;
                bias = Scalar<SCALAR>::load(b[index]);
            }
            Compute g = ORDER >= 1 ? Scalar<SCALAR>::load(up.at[i]) : Compute(0);
            Compute h = ORDER >= 2 ? Scalar<SCALAR>::load(along.at[i]) : Compute(0);
            result.at[i] =
                Scalar<SCALAR>::store(element<ORDER>(Scalar<SCALAR>::load(in.at[i]), bias, g, h, o));
        }
        *(Pack*)(out + at) = result;
    }

    // The elements after the last whole pack, fewer than N.
    const INDEX rest = count / N * N + (INDEX)blockIdx.x * blockDim.x + threadIdx.x;
    if (N > 1 && rest < count) {
        Compute bias = biased ? Scalar<SCALAR>::load(b[rest / stride % size]) : Compute(0);
        Compute g = ORDER >= 1 ? Scalar<SCALAR>::load(grad[rest]) : Compute(0);
        Compute h = ORDER >= 2 ? Scalar<SCALAR>::load(direction[rest]) : Compute(0);
        out[rest] = Scalar<SCALAR>::store(element<ORDER>(Scalar<SCALAR>::load(x[rest]), bias, g, h, o));
    }
}

#define ENTRY(ORDER, NAME, N)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) bias_act_##ORDER##_##NAME(                                  \
        const SCALAR* x, const SCALAR* b, const SCALAR* grad, const SCALAR* direction, SCALAR* out, Options o) {  \
        run<ORDER, N>(x, b, grad, direction, out, o);                                                             \
    }
ENTRY(0, scalar, 1)
ENTRY(1, scalar, 1)
ENTRY(2, scalar, 1)
#ifndef SMOOTH
ENTRY(0, vector, 16 / sizeof(SCALAR))
ENTRY(1, vector, 16 / sizeof(SCALAR))
#endif
