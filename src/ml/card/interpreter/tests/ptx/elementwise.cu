// nvcc -ptx -arch=compute_80 -std=c++17 -O3 --fmad=true elementwise.cu -o elementwise.ptx
#include <cuda_bf16.h>
struct Shape { long long rows; int columns; float scale; double shift; };
extern "C" __global__ void axpy_f32(const float *x, float *y, float a, unsigned n) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = a * x[i] + y[i];
}
extern "C" __global__ void arithmetic_f64(const double *x, const double *y, double *out, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double a = x[i], b = y[i];
    out[8 * i] = a + b; out[8 * i + 1] = a * b; out[8 * i + 2] = a / b; out[8 * i + 3] = sqrt(fabs(a));
    out[8 * i + 4] = fmin(a, b); out[8 * i + 5] = fmax(a, b); out[8 * i + 6] = fma(a, b, a); out[8 * i + 7] = floor(a);
}
extern "C" __global__ void arithmetic_f32(const float *x, const float *y, float *out, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float a = x[i], b = y[i];
    out[8 * i] = a + b; out[8 * i + 1] = a * b; out[8 * i + 2] = a / b; out[8 * i + 3] = sqrtf(fabsf(a));
    out[8 * i + 4] = fminf(a, b); out[8 * i + 5] = fmaxf(a, b); out[8 * i + 6] = rsqrtf(fabsf(a)); out[8 * i + 7] = rintf(a);
}
extern "C" __global__ void integers(const int *x, const int *y, int *out, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int a = x[i], b = y[i]; unsigned ua = a, ub = b;
    int *o = out + 12 * i;
    o[0] = a / b; o[1] = a % b; o[2] = ua / ub; o[3] = ua % ub; o[4] = __mulhi(a, b); o[5] = __umulhi(ua, ub);
    o[6] = __popc(a); o[7] = __clz(b); o[8] = __brev(a); o[9] = (a << (ub & 31)) ^ (a >> 3); o[10] = __funnelshift_l(a, b, 7);
    o[11] = min(a, b) + ((a & 0xff00) >> 8);
}
extern "C" __global__ void widen_bf16(const __nv_bfloat16 *x, float *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = __bfloat162float(x[i]);
}
extern "C" __global__ void narrow_bf16(const float4 *x, ushort4 *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float4 v = x[i];
    ushort4 r;
    r.x = __bfloat16_as_ushort(__float2bfloat16(v.x)); r.y = __bfloat16_as_ushort(__float2bfloat16(v.y));
    r.z = __bfloat16_as_ushort(__float2bfloat16(v.z)); r.w = __bfloat16_as_ushort(__float2bfloat16(v.w));
    y[i] = r;
}
extern "C" __global__ void affine_struct(const float *x, double *y, Shape shape) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < shape.rows * shape.columns) y[i] = (double)(x[i] * shape.scale) + shape.shift;
}
