// nvcc -ptx -arch=compute_90 -std=c++17 -O3 --fmad=true conversions.cu -o conversions.ptx
#include <cuda_bf16.h>
#include <cuda_fp16.h>
extern "C" __global__ void to_integers(const double *x, int *i, unsigned *u, long long *l, double *d, unsigned n) {
    unsigned k = threadIdx.x;
    if (k >= n) return;
    double a = x[k];
    i[4 * k] = (int)a; i[4 * k + 1] = __double2int_ru(a); i[4 * k + 2] = __float2int_rd((float)a); i[4 * k + 3] = (signed char)(int)a;
    u[2 * k] = (unsigned)a; u[2 * k + 1] = (unsigned char)(unsigned)(long long)a;
    l[3 * k] = (long long)a; l[3 * k + 1] = __double2ll_rn(a); l[3 * k + 2] = (long long)(unsigned long long)fabs(a);
    d[4 * k] = (double)(long long)a; d[4 * k + 1] = ceil(a); d[4 * k + 2] = trunc(a); d[4 * k + 3] = (double)(unsigned)a;
}
extern "C" __global__ void directed(const double *x, const double *y, double *d, float *f, unsigned n) {
    unsigned k = threadIdx.x;
    if (k >= n) return;
    double a = x[k], b = y[k];
    d[6 * k] = __dadd_rd(a, b); d[6 * k + 1] = __dadd_ru(a, b); d[6 * k + 2] = __dmul_rd(a, b); d[6 * k + 3] = __dmul_ru(a, b);
    d[6 * k + 4] = __ddiv_rd(a, b); d[6 * k + 5] = __ddiv_ru(a, b);
    f[2 * k] = __double2float_rd(a); f[2 * k + 1] = __double2float_ru(a);
}
extern "C" __global__ void halves(const float *x, const float *y, float *z, unsigned n) {
    unsigned k = threadIdx.x;
    if (k >= n) return;
    __nv_bfloat16 a = __float2bfloat16(x[k]), b = __float2bfloat16(y[k]);
    z[5 * k] = __bfloat162float(a + b); z[5 * k + 1] = __bfloat162float(a * b); z[5 * k + 2] = __bfloat162float(__hmax(a, b));
    z[5 * k + 3] = a < b ? 1.0f : 0.0f;
    z[5 * k + 4] = __half2float(__float2half(x[k]));
}
struct Pair { double a; int b; int c[3]; };
__device__ __noinline__ Pair turned(Pair p) { p.a += p.c[1]; p.b ^= 3; return p; }
extern "C" __global__ void structures(Pair p, Pair *y) { y[threadIdx.x] = turned(p); }
__constant__ float table[4] = {1, 2, 3, 4.5f};
__device__ double doubles[3] = {1.5, 2.5, -3};
__constant__ const double *pointers[2] = {doubles, doubles + 1};
extern "C" __global__ void tables(double *y) { y[threadIdx.x] = table[threadIdx.x & 3] + *pointers[threadIdx.x & 1]; }
extern "C" __global__ void meetings(const unsigned *x, unsigned *y) {
    unsigned a = x[threadIdx.x], *o = y + 10 * threadIdx.x;
    o[0] = __ballot_sync(~0u, a & 1); o[1] = __any_sync(~0u, a > 30); o[2] = __all_sync(~0u, a > 30);
    o[3] = __shfl_sync(~0u, a, 5); o[4] = __shfl_up_sync(~0u, a, 2, 8); o[5] = __reduce_add_sync(~0u, a);
    o[6] = __syncthreads_count(a > 2); o[7] = __syncthreads_or(a > 1000); o[8] = __ffs(a); o[9] = __byte_perm(a, 0xaabbccdd, 0x5140);
}
