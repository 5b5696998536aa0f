// Storage types, the types that arithmetic is done in, and conversions between them.
// No CUDA header is needed, so the kernels compile wherever NVRTC is; the few intrinsics are written as PTX.
// Outside CUDA (the tests compile these sources as C++) the 16-bit conversions come from the host compiler.
#pragma once

#ifdef __CUDACC_RTC__
#define SHARED_MEMORY(NAME) extern __shared__ __align__(16) unsigned char NAME[]
#endif

struct Half { unsigned short bits; };
struct BFloat16 { unsigned short bits; };

template <class T> struct Scalar;

template <> struct Scalar<float> {
    typedef float Compute;
    static __device__ float load(float value) { return value; }
    static __device__ float store(float value) { return value; }
};

template <> struct Scalar<double> {
    typedef double Compute;
    static __device__ double load(double value) { return value; }
    static __device__ double store(double value) { return value; }
};

template <> struct Scalar<Half> {
    typedef float Compute;
    static __device__ float load(Half value) {
#ifdef __CUDACC_RTC__
        float result;
        asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
        return result;
#else
        return host_half_to_float(value.bits);
#endif
    }
    static __device__ Half store(float value) {
        Half result;
#ifdef __CUDACC_RTC__
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
        result.bits = host_float_to_half(value);
#endif
        return result;
    }
};

template <> struct Scalar<BFloat16> {
    typedef float Compute;
    static __device__ float load(BFloat16 value) { return __uint_as_float((unsigned)value.bits << 16); }
    static __device__ BFloat16 store(float value) {
        BFloat16 result;
#if defined(__CUDACC_RTC__) && __CUDA_ARCH__ >= 800
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
        // Round to nearest, ties to even; a NaN must not carry over into the exponent.
        unsigned bits = __float_as_uint(value);
        if (value != value) result.bits = 0x7fff;
        else result.bits = (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
        return result;
    }
};

// Loaded and stored in one access when N * sizeof(T) is 16.
template <class T, int N> struct alignas(sizeof(T) * N) Vector {
    T at[N];
};
