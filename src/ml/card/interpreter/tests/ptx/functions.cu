// nvcc -ptx -arch=compute_80 -std=c++17 -O3 --fmad=true functions.cu -o functions.ptx
extern "C" __global__ void functions_f64(const double *x, double *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double a = x[i];
    y[i] = exp(a); y[n + i] = log(a); y[2 * n + i] = log1p(a); y[3 * n + i] = expm1(a); y[4 * n + i] = tanh(a);
    y[5 * n + i] = rsqrt(a); 
}
extern "C" __global__ void functions_f32(const float *x, float *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float a = x[i];
    y[i] = expf(a); y[n + i] = logf(a); y[2 * n + i] = log1pf(a); y[3 * n + i] = expm1f(a); y[4 * n + i] = tanhf(a);
    y[5 * n + i] = __expf(a); y[6 * n + i] = __fdividef(1.0f, a); 
}
extern "C" __global__ void sines(const double *x, double *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = sin(x[i]); y[n + i] = cos(x[i]);
}
