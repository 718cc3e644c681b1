// nvcc -ptx -arch=compute_80 -std=c++17 -O3 --fmad=true layout.cu -o layout.ptx
extern "C" __global__ void transpose(const float *x, float *y, unsigned rows, unsigned columns) {
    __shared__ float tile[32][33];
    unsigned c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
    for (unsigned k = 0; k < 32; k += 8) if (c < columns && r + k < rows) tile[threadIdx.y + k][threadIdx.x] = x[(size_t)(r + k) * columns + c];
    __syncthreads();
    c = blockIdx.y * 32 + threadIdx.x; r = blockIdx.x * 32 + threadIdx.y;
    for (unsigned k = 0; k < 32; k += 8) if (c < rows && r + k < columns) y[(size_t)(r + k) * rows + c] = tile[threadIdx.x][threadIdx.y + k];
}
extern "C" __global__ void im2col(const float *x, float *y, int channels, int height, int width, int kernel, int stride, int padding, int out_h, int out_w) {
    int total = channels * kernel * kernel * out_h * out_w;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < total; i += gridDim.x * blockDim.x) {
        int ow = i % out_w, oh = i / out_w % out_h, k = i / (out_w * out_h);
        int kw = k % kernel, kh = k / kernel % kernel, c = k / (kernel * kernel);
        int h = oh * stride - padding + kh, w = ow * stride - padding + kw;
        y[i] = h >= 0 && h < height && w >= 0 && w < width ? x[(c * height + h) * width + w] : 0.0f;
    }
}
extern "C" __global__ void max_pool(const float *x, float *y, unsigned *which, unsigned planes, unsigned height, unsigned width) {
    unsigned oh = height / 2, ow = width / 2, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= planes * oh * ow) return;
    unsigned p = i / (oh * ow), r = i / ow % oh, c = i % ow;
    float best = -__int_as_float(0x7f800000); unsigned at = 0;
    for (unsigned a = 0; a < 2; a++) for (unsigned b = 0; b < 2; b++) {
        unsigned k = (p * height + 2 * r + a) * width + 2 * c + b;
        if (x[k] > best || x[k] != x[k]) { best = x[k]; at = k; }
    }
    y[i] = best; which[i] = at;
}
extern "C" __global__ void gather(const float *x, const unsigned *which, float *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[which[i]];
}
__device__ __noinline__ double horner(const double *a, int n, double x) {
    double s = 0;
    for (int i = 0; i < n; i++) s = fma(s, x, a[i]);
    return s;
}
extern "C" __global__ void called(const double *a, int n, const double *x, double *y) { y[threadIdx.x] = horner(a, n, x[threadIdx.x]); }
extern "C" __global__ void histogram(const int *which, int n, int *y) {
    int bins[16];
    for (int i = 0; i < 16; i++) bins[i] = 0;
    for (int i = 0; i < n; i++) bins[which[i] & 15] += 1;
    for (int i = 0; i < 16; i++) y[i] = bins[i];
}
