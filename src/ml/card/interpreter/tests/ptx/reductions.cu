// nvcc -ptx -arch=compute_80 -std=c++17 -O3 --fmad=true reductions.cu -o reductions.ptx
__device__ double warp_sum(double v) {
    for (int d = 16; d; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
    return v;
}
__device__ double block_sum(double v, double *shared) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    v = warp_sum(v);
    if (lane == 0) shared[warp] = v;
    __syncthreads();
    v = threadIdx.x < (blockDim.x >> 5) ? shared[lane] : 0.0;
    if (warp == 0) v = warp_sum(v);
    if (threadIdx.x == 0) shared[0] = v;
    __syncthreads();
    v = shared[0];
    __syncthreads();
    return v;
}
extern "C" __global__ void tree_sum_f32(const float *x, double *y, unsigned n) {
    extern __shared__ double part[];
    double s = 0;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) s += x[i];
    part[threadIdx.x] = s;
    __syncthreads();
    for (unsigned h = blockDim.x / 2; h; h /= 2) {
        if (threadIdx.x < h) part[threadIdx.x] += part[threadIdx.x + h];
        __syncthreads();
    }
    if (threadIdx.x == 0) y[blockIdx.x] = part[0];
}
extern "C" __global__ void cross_entropy(const float *logits, const unsigned *labels, double *loss, float *gradient, unsigned columns) {
    __shared__ double shared[32];
    const float *row = logits + (size_t)blockIdx.x * columns;
    __shared__ float top;
    if (threadIdx.x == 0) {
        float m = row[0];
        for (unsigned c = 1; c < columns; c++) m = fmaxf(m, row[c]);
        top = m;
    }
    __syncthreads();
    double s = 0;
    for (unsigned c = threadIdx.x; c < columns; c += blockDim.x) s += exp((double)row[c] - top);
    s = block_sum(s, shared);
    unsigned label = labels[blockIdx.x];
    if (threadIdx.x == 0) loss[blockIdx.x] = log(s) + top - row[label];
    for (unsigned c = threadIdx.x; c < columns; c += blockDim.x)
        gradient[(size_t)blockIdx.x * columns + c] = (float)(exp((double)row[c] - top) / s - (c == label));
}
extern "C" __global__ void batch_norm(const float *x, const float *gamma, const float *beta, float *y, unsigned batch, unsigned channels, unsigned area, double eps) {
    __shared__ double shared[32];
    unsigned c = blockIdx.x, n = batch * area;
    double s = 0, q = 0;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) { double v = x[((size_t)(i / area) * channels + c) * area + i % area]; s += v; }
    double mean = block_sum(s, shared) / n;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) { double v = x[((size_t)(i / area) * channels + c) * area + i % area] - mean; q += v * v; }
    double scale = 1.0 / sqrt(block_sum(q, shared) / n + eps);
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        size_t at = ((size_t)(i / area) * channels + c) * area + i % area;
        y[at] = (float)((x[at] - mean) * scale * gamma[c] + beta[c]);
    }
}
__device__ unsigned tickets = 0;
extern "C" __global__ void last_block_sum(const float *x, double *part, double *total, unsigned n) {
    __shared__ double shared[32];
    __shared__ bool last;
    double s = 0;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) s += x[i];
    s = block_sum(s, shared);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = s;
        __threadfence();
        last = atomicInc(&tickets, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        double t = 0;
        for (unsigned b = 0; b < gridDim.x; b++) t += part[b];
        *total = t;
    }
}
extern "C" __global__ void butterfly(const float *x, float *y) {
    float v = x[threadIdx.x];
    for (int m = 16; m; m >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, m));
    y[threadIdx.x] = v;
}
