// What the kernels of batch normalisation have in common. The formulas and letters are those of `ops/norm`.
#pragma once
#include "sums.cuh"

// What a channel's values are normalised by.
template <class T> struct Channel {
    In<T> mean, scale, bias;
    __device__ __forceinline__ Channel(const T *w, const T *b, const double *mean, const double *variance, double epsilon,
                                       u32 c)
        : mean((In<T>)mean[c]), scale((In<T>)(1.0 / sqrt(variance[c] + epsilon)) * get(w, c)), bias(get(b, c)) {}
    __device__ __forceinline__ In<T> value(In<T> x) const { return (x - mean) * scale + bias; }
    // `t` where the ReLU, if there is one, lets through what the channel makes of `x`.
    __device__ __forceinline__ In<T> pass(u32 relu, In<T> x, In<T> t) const {
        return relu && value(x) <= (In<T>)0 ? (In<T>)0 : t;
    }
};

// A strip among all: where it starts and how many rows it has.
struct Stretch {
    u32 start, rows;
    __device__ __forceinline__ Stretch(u32 strip, u32 together, u32 all)
        : start(strip * together), rows(all - start < together ? all - start : together) {}
};

// A channel's derivatives along a line, `[6, channels]`: the means of x′ and x″, A′, A″, b′, b″.
enum Derivative { MEAN_1, MEAN_2, SLOPE, BEND, BIAS_1, BIAS_2 };
