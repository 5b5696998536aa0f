// bias_act of the piecewise linear activations on the CPU: one pass over memory in place of three or four.
//
// A tensor is [outer, size, stride] in memory, with one bias entry per index of the middle axis. float arithmetic is
// done in the order of the PyTorch expressions and without contraction, so float32 results are the same bits.
#include <cstdint>
#include <cstring>

namespace {

struct BFloat16 { uint16_t bits; };

inline float load(float value) { return value; }
inline float load(BFloat16 value) {
    uint32_t bits = (uint32_t)value.bits << 16;
    float result;
    std::memcpy(&result, &bits, 4);
    return result;
}
inline void store(float* to, float value) { *to = value; }
inline void store(BFloat16* to, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
    to->bits = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (uint16_t)rounded;
}

struct Options { float alpha, gain, clamp; };  // no clamp: NaN, which compares false with everything

inline float activate(float u, Options o) {
    u *= o.gain;
    u = u > 0 ? u : u * o.alpha;
    u = u > o.clamp ? o.clamp : u;
    return u < -o.clamp ? -o.clamp : u;
}

inline float slope(float grad, float y, Options o) {
    grad = y > 0 ? grad : grad * o.alpha;
    grad *= o.gain;
    return y >= o.clamp || y <= -o.clamp ? 0.0f : grad;
}

const int64_t CHUNK = 1 << 14;  // elements that a thread takes at once

template <class T>
void forward(const T* x, const T* b, T* y, int64_t outer, int64_t size, int64_t stride, Options o, int threads) {
    if (stride == 1) {
        const int64_t rows = outer, block = CHUNK / size + 1;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t first = 0; first < rows; first += block)
            for (int64_t row = first; row < rows && row < first + block; row++)
#pragma omp simd
                for (int64_t j = 0; j < size; j++) store(y + row * size + j, activate(load(x[row * size + j]) + load(b[j]), o));
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < outer * size; row++) {
        const float bias = load(b[row % size]);
        const T* from = x + row * stride;
        T* to = y + row * stride;
#pragma omp simd
        for (int64_t j = 0; j < stride; j++) store(to + j, activate(load(from[j]) + bias, o));
    }
}

template <class T>
void backward(const T* grad, const T* y, T* dx, int64_t count, Options o, int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) store(dx + i, slope(load(grad[i]), load(y[i]), o));
}

}  // namespace

#define EXPORT(NAME, T)                                                                                               \
    extern "C" void forward_##NAME(const T* x, const T* b, T* y, int64_t outer, int64_t size, int64_t stride,         \
                                   float alpha, float gain, float clamp, int threads) {                               \
        forward(x, b, y, outer, size, stride, Options{alpha, gain, clamp}, threads);                                  \
    }                                                                                                                 \
    extern "C" void backward_##NAME(const T* grad, const T* y, T* dx, int64_t count, float alpha, float gain,         \
                                    float clamp, int threads) {                                                       \
        backward(grad, y, dx, count, Options{alpha, gain, clamp}, threads);                                           \
    }
EXPORT(float, float)
EXPORT(bfloat16, BFloat16)
