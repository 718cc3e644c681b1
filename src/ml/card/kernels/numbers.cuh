// The numbers that kernels compute with. Values are stored as f32, f64 or bf16; arithmetic is in f32 (f64 for f64), and sums over many
// values are in f64. bf16 is converted by its bits, so that one PTX serves every card from compute capability 7.5 on.
#pragma once

typedef unsigned int u32;
typedef unsigned short u16;

// A bf16 value by its bits: the upper half of an f32.
struct bf16 {
    u16 bits;
};

template <class T> struct Number {
    typedef float Compute;
};
template <> struct Number<double> {
    typedef double Compute;
};

// The type in which a kernel over `T` computes.
template <class T> using In = typename Number<T>::Compute;

__device__ __forceinline__ float get(const float *values, u32 at) { return values[at]; }
__device__ __forceinline__ double get(const double *values, u32 at) { return values[at]; }
__device__ __forceinline__ float get(const bf16 *values, u32 at) { return __uint_as_float((u32)values[at].bits << 16); }

__device__ __forceinline__ void put(float *values, u32 at, float value) { values[at] = value; }
__device__ __forceinline__ void put(float *values, u32 at, double value) { values[at] = (float)value; }
__device__ __forceinline__ void put(double *values, u32 at, double value) { values[at] = value; }
__device__ __forceinline__ void put(double *values, u32 at, float value) { values[at] = value; }
__device__ __forceinline__ void put(bf16 *values, u32 at, float value) {
    u32 bits = __float_as_uint(value);
    // To nearest, ties to even; what is not a number stays so, whatever its payload.
    u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    values[at].bits = (u16)(value != value ? ((bits >> 16) | 0x40u) : rounded);
}
__device__ __forceinline__ void put(bf16 *values, u32 at, double value) { put(values, at, (float)value); }

// The first element of a thread in a loop over all, and how far on its next one is.
__device__ __forceinline__ u32 first() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u32 stride() { return gridDim.x * blockDim.x; }

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }
__device__ __forceinline__ float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ __forceinline__ double hyperbolic_tangent(double x) { return tanh(x); }

// eᵘ − 1 − u, given also eᵘ; by its series where the difference would lose digits.
__device__ __forceinline__ double exponential_excess(double u, double exponential) {
    if (fabs(u) > 0.5) return exponential - 1.0 - u;
    double tail = 1.0;
    // Horner from u¹⁷/17!: the next term is below 2⁻⁵³ of the first for |u| ≤ ½.
    for (int n = 17; n >= 3; n--) tail = 1.0 + tail * u / n;
    return 0.5 * u * u * tail;
}
