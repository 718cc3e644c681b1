// Sums in one order, whatever the card: each block's share is summed by its threads and then by a tree, and the shares are summed in
// order. How many shares there are depends on shapes alone.
#pragma once
#include "numbers.cuh"

#define SUMMERS 256

// The sum of one value a thread of a block of `SUMMERS`.
__device__ __forceinline__ double block_sum(double value) {
    __shared__ double room[SUMMERS];
    room[threadIdx.x] = value;
    __syncthreads();
    for (u32 half = SUMMERS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    return room[0];
}

extern "C" __global__ void sum_f64(double *sum, const double *values, u32 count) {
    double own = 0;
    for (u32 i = threadIdx.x; i < count; i += SUMMERS) own += values[i];
    own = block_sum(own);
    if (threadIdx.x == 0) *sum = own;
}

// Per channel of `[rows, channels]` a thread stays with one channel: `threadIdx.x` and `blockIdx.x` say which, `threadIdx.y` and
// `blockIdx.y` where its rows begin.
__device__ __forceinline__ u32 own_channel() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u32 first_row() { return blockIdx.y * blockDim.y + threadIdx.y; }
__device__ __forceinline__ u32 row_stride() { return gridDim.y * blockDim.y; }

// The rows of a strip: `blockIdx.y` says which, and each has as many but the last.
struct Strip {
    u32 start, end;
    __device__ __forceinline__ Strip(u32 rows, u32 together)
        : start(blockIdx.y * together), end(rows - start < together ? rows : start + together) {}
};

// Sums of a strip: thread by thread, then over the block's rows, kept as `shares[(strip·K + k)·channels + channel]`.
template <int K> __device__ __forceinline__ void keep_shares(double *shares, const double (&sums)[K], u32 channels) {
    __shared__ double room[SUMMERS];
    const u32 own = threadIdx.y * blockDim.x + threadIdx.x, c = own_channel();
    for (int k = 0; k < K; k++) {
        room[own] = sums[k];
        __syncthreads();
        for (u32 half = blockDim.y / 2; half > 0; half /= 2) {
            if (threadIdx.y < half) room[own] += room[own + half * blockDim.x];
            __syncthreads();
        }
        if (threadIdx.y == 0 && c < channels) shares[(blockIdx.y * K + k) * channels + c] = room[own];
        __syncthreads();
    }
}

// The sum over all strips of share `k` of `sums`.
__device__ __forceinline__ double all_strips(const double *shares, u32 sums, u32 k, u32 channels, u32 strips, u32 c) {
    double sum = 0;
    for (u32 strip = 0; strip < strips; strip++) sum += shares[(strip * sums + k) * channels + c];
    return sum;
}
