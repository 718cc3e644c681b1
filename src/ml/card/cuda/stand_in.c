/* A stand-in for CUDA's driver, cuBLAS and cuDNN: the functions of theirs that thalweg calls, over memory and kernels that a test provides.
 * Products and convolutions are computed as the vendor's documentation defines them, with strides that descriptors give, in double. Every
 * function that needs a context refuses without one, and what is destroyed twice or not at all is counted. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
    uint64_t (*reserve)(size_t);
    void (*release)(uint64_t);
    void (*write)(uint64_t, const void *, size_t);
    void (*read)(uint64_t, void *, size_t);
    int (*launch)(const char *, const unsigned *, void **);
};

static struct table test;
static int objects;
static _Thread_local int current;

void stand_in(const struct table *given) { test = *given; }
int stand_in_objects(void) { return objects; }

#define NEEDS_CONTEXT \
    if (!current) return 201
#define MADE(pointer) (objects++, *(pointer) = calloc(1, 256))
#define GONE(object) (objects--, free(object))

int cuInit(unsigned flags) { return (int)flags; }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuGetErrorName(int error, const char **name) { return (void)error, *name = "CUDA_ERROR_OF_THE_STAND_IN", 0; }
int cuGetErrorString(int error, const char **name) { return cuGetErrorName(error, name); }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 7, ordinal == 0 ? 0 : 101; }
int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, "stand-in");
    return device == 7 ? 0 : 101;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = (size_t)1 << 30, device == 7 ? 0 : 101; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : -1;
    return device == 7 && *value >= 0 ? 0 : 1;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { return MADE(context), device == 7 ? 0 : 101; }
int cuDevicePrimaryCtxRelease_v2(int device) { return objects--, device == 7 ? 0 : 101; }
int cuCtxSetCurrent(void *context) { return current = context != NULL, 0; }
int cuStreamCreate(void **stream, unsigned flags) {
    NEEDS_CONTEXT;
    return MADE(stream), flags == 1 ? 0 : 1;
}
int cuStreamSynchronize(void *stream) {
    NEEDS_CONTEXT;
    return stream ? 0 : 400;
}
int cuStreamDestroy_v2(void *stream) { return GONE(stream), 0; }
int cuModuleLoadData(void **module, const char *image) {
    NEEDS_CONTEXT;
    return MADE(module), strstr(image, ".version 6.5") && strstr(image, ".target sm_75") ? 0 : 218;
}
int cuModuleUnload(void *module) { return GONE(module), 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = strdup(name);
    return module ? 0 : 400;
}
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    NEEDS_CONTEXT;
    return objects++, *address = test.reserve(bytes), 0;
}
int cuMemFree_v2(uint64_t address) {
    NEEDS_CONTEXT;
    return objects--, test.release(address), 0;
}
int cuMemGetInfo_v2(size_t *left, size_t *all) {
    NEEDS_CONTEXT;
    return *left = *all = (size_t)1 << 30, 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    return test.write(to, from, bytes), stream ? 0 : 400;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    return test.read(from, to, bytes), stream ? 0 : 400;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    void *room = malloc(bytes ? bytes : 1);
    test.read(from, room, bytes);
    test.write(to, room, bytes);
    free(room);
    return stream ? 0 : 400;
}
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    void *room = malloc(bytes ? bytes : 1);
    memset(room, value, bytes);
    test.write(at, room, bytes);
    free(room);
    return stream ? 0 : 400;
}
int cuLaunchKernel(const char *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    NEEDS_CONTEXT;
    const unsigned geometry[] = {gx, gy, gz, bx, by, bz, shared};
    return !stream || extra ? 400 : test.launch(function, geometry, parameters);
}

/* Numbers by their type: 0 f32, 1 f64, 2 bf16. */
static size_t width(int type) { return type == 0 ? 4 : type == 1 ? 8 : 2; }
static double *numbers(uint64_t at, size_t count, int type) {
    unsigned char *bytes = malloc(count * width(type) + 1);
    double *values = malloc(count * sizeof(double) + 1);
    test.read(at, bytes, count * width(type));
    for (size_t i = 0; i < count; i++) {
        float single = 0;
        if (type == 0) memcpy(&single, bytes + 4 * i, 4);
        if (type == 2) memcpy((char *)&single + 2, bytes + 2 * i, 2);
        values[i] = single;
        if (type == 1) memcpy(&values[i], bytes + 8 * i, 8);
    }
    free(bytes);
    return values;
}
static void keep(uint64_t at, const double *values, size_t count, int type) {
    unsigned char *bytes = malloc(count * width(type) + 1);
    for (size_t i = 0; i < count; i++) {
        float single = (float)values[i];
        uint32_t bits;
        memcpy(&bits, &single, 4);
        uint16_t half = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
        memcpy(bytes + width(type) * i, type == 1 ? (const void *)&values[i] : type == 0 ? (void *)&single : (void *)&half, width(type));
    }
    test.write(at, bytes, count * width(type));
    free(bytes);
}

/* cuBLAS */
static int blas_stream, blas_room;
int cublasGetProperty(int which, int *value) { return *value = which == 0 ? 13 : 1, 0; }
int cublasCreate_v2(void **handle) {
    NEEDS_CONTEXT;
    return MADE(handle), 0;
}
int cublasDestroy_v2(void *handle) { return GONE(handle), 0; }
int cublasSetStream_v2(void *handle, void *stream) { return blas_stream = stream != NULL, handle ? 0 : 1; }
int cublasSetWorkspace_v2(void *handle, uint64_t at, size_t bytes) { return blas_room = at && bytes, handle ? 0 : 1; }
int cublasSetAtomicsMode(void *handle, int mode) { return handle && mode == 0 ? 0 : 7; }
int cublasSetMathMode(void *handle, int mode) { return handle && mode == 16 ? 0 : 7; }
static double scalar(const void *at, int is_double) { return is_double ? *(const double *)at : *(const float *)at; }
/* C = alpha·op(A)·op(B) + beta·C, column by column, op(A) m × k, op(B) k × n. */
int cublasGemmEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, uint64_t a, int at, int lda, uint64_t b,
                 int bt, int ldb, const void *beta, uint64_t c, int ct, int ldc, int compute, int algorithm) {
    NEEDS_CONTEXT;
    const int type = at == 0 ? 0 : at == 1 ? 1 : at == 14 ? 2 : -1;
    const int is_double = compute == 70;
    if (!handle || !blas_stream || !blas_room || at != bt || at != ct || type < 0 || algorithm != -1) return 7;
    if ((type == 1) != is_double || (type != 1 && compute != 68 && compute != 77)) return 15;
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return 7;
    double *x = numbers(a, (size_t)lda * (ta ? m : k), type), *y = numbers(b, (size_t)ldb * (tb ? k : n), type);
    const double by = scalar(alpha, is_double), before = scalar(beta, is_double);
    double *z = before != 0 ? numbers(c, (size_t)ldc * n, type) : calloc((size_t)ldc * n + 1, sizeof(double));
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            double sum = 0;
            for (int l = 0; l < k; l++) sum += x[ta ? i * lda + l : l * lda + i] * y[tb ? l * ldb + j : j * ldb + l];
            z[j * ldc + i] = by * sum + before * z[j * ldc + i];
        }
    keep(c, z, (size_t)ldc * n, type);
    return free(x), free(y), free(z), 0;
}

/* cuDNN. A description of a tensor or kernel: format (1 channels last), type, and four sizes: samples or outputs, channels, rows, columns. */
struct sizes {
    int format, type, n, c, h, w;
};
struct movement {
    int pad[2], step[2], dilation[2], mode, type, math;
};
static int dnn_stream;
size_t cudnnGetVersion(void) { return 92100; }
size_t cudnnGetCudartVersion(void) { return 13000; }
int cudnnCreate(void **handle) {
    NEEDS_CONTEXT;
    return MADE(handle), 0;
}
int cudnnDestroy(void *handle) { return GONE(handle), 0; }
int cudnnSetStream(void *handle, void *stream) { return dnn_stream = stream != NULL, handle ? 0 : 2002; }
int cudnnCreateTensorDescriptor(void **made) { return MADE(made), 0; }
int cudnnCreateFilterDescriptor(void **made) { return MADE(made), 0; }
int cudnnCreateConvolutionDescriptor(void **made) { return MADE(made), 0; }
int cudnnDestroyTensorDescriptor(void *gone) { return GONE(gone), 0; }
int cudnnDestroyFilterDescriptor(void *gone) { return GONE(gone), 0; }
int cudnnDestroyConvolutionDescriptor(void *gone) { return GONE(gone), 0; }
int cudnnSetTensor4dDescriptor(struct sizes *of, int format, int type, int n, int c, int h, int w) {
    return *of = (struct sizes){format, type, n, c, h, w}, 0;
}
int cudnnSetFilter4dDescriptor(struct sizes *of, int type, int format, int k, int c, int h, int w) {
    return *of = (struct sizes){format, type, k, c, h, w}, 0;
}
int cudnnSetConvolution2dDescriptor(struct movement *of, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int type) {
    return *of = (struct movement){{ph, pw}, {sh, sw}, {dh, dw}, mode, type, 0}, 0;
}
int cudnnSetConvolutionMathType(struct movement *of, int math) { return of->math = math, 0; }

static size_t place(const struct sizes *of, int n, int c, int h, int w) {
    return of->format == 1 ? (((size_t)n * of->h + h) * of->w + w) * of->c + c : (((size_t)n * of->c + c) * of->h + h) * of->w + w;
}
static size_t count(const struct sizes *of) { return (size_t)of->n * of->c * of->h * of->w; }
static int fits(const struct sizes *x, const struct sizes *w, const struct sizes *y, const struct movement *by) {
    const int rows = (x->h + 2 * by->pad[0] - w->h) / by->step[0] + 1, columns = (x->w + 2 * by->pad[1] - w->w) / by->step[1] + 1;
    const int type = x->type == 9 ? 2 : x->type;
    /* FMA is f32's, the tensor cores' are of what may be rounded: default math of f32, tensor-op math of bf16 (9). */
    const int math = x->type == 0 ? by->math == 3 || by->math == 0 : by->math == 1;
    return (type == 0 || type == 2) && math && by->type == 0 && by->mode == 1 && by->dilation[0] == 1 && by->dilation[1] == 1 &&
           x->type == w->type && x->type == y->type && x->format == 1 && w->format == 1 && y->format == 1 && x->c == w->c &&
           y->c == w->n && y->n == x->n && y->h == rows && y->w == columns;
}
static int room(const struct sizes *x, const struct sizes *w, const struct sizes *y, const struct movement *by, int known, size_t *bytes) {
    if (!fits(x, w, y, by)) return 2000;
    /* Kernels of one pixel have no algorithm here, so that the way round is tried too. */
    if (!known || w->h * w->w == 1) return 3000;
    return *bytes = 512 + (size_t)x->n, 0;
}
/* which: 0 y of x and w, 1 x of w and y, 2 w of x and y. */
static int convolve(int which, const float *alpha, const struct sizes *x, uint64_t xs, const struct sizes *w, uint64_t ws,
                    const struct sizes *y, uint64_t ys, const struct movement *by, uint64_t work, size_t bytes, const float *beta) {
    if (!dnn_stream || !work || bytes < 512 || !fits(x, w, y, by)) return 2000;
    const int type = x->type == 9 ? 2 : 0;
    const struct sizes *of[] = {y, x, w};
    const uint64_t at[] = {ys, xs, ws};
    const size_t out = count(of[which]);
    double *a = which == 1 ? NULL : numbers(xs, count(x), type), *b = which == 2 ? NULL : numbers(ws, count(w), type);
    double *c = which == 0 ? NULL : numbers(ys, count(y), type), *sums = calloc(out + 1, sizeof(double));
    for (int n = 0; n < x->n; n++)
        for (int i = 0; i < y->h; i++)
            for (int j = 0; j < y->w; j++)
                for (int k = 0; k < w->n; k++)
                    for (int p = 0; p < w->h; p++)
                        for (int q = 0; q < w->w; q++)
                            for (int d = 0; d < x->c; d++) {
                                const int row = i * by->step[0] + p - by->pad[0], column = j * by->step[1] + q - by->pad[1];
                                if (row < 0 || column < 0 || row >= x->h || column >= x->w) continue;
                                const size_t here = place(x, n, d, row, column), kernel = place(w, k, d, p, q), there = place(y, n, k, i, j);
                                if (which == 0) sums[there] += a[here] * b[kernel];
                                if (which == 1) sums[here] += c[there] * b[kernel];
                                if (which == 2) sums[kernel] += a[here] * c[there];
                            }
    double *before = *beta != 0 ? numbers(at[which], out, type) : calloc(out + 1, sizeof(double));
    for (size_t i = 0; i < out; i++) sums[i] = *alpha * sums[i] + *beta * before[i];
    keep(at[which], sums, out, type);
    return free(a), free(b), free(c), free(sums), free(before), 0;
}
int cudnnGetConvolutionForwardWorkspaceSize(void *handle, struct sizes *x, struct sizes *w, struct movement *by, struct sizes *y, int algorithm, size_t *bytes) {
    return handle ? room(x, w, y, by, algorithm == 1, bytes) : 2002;
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(void *handle, struct sizes *w, struct sizes *y, struct movement *by, struct sizes *x, int algorithm, size_t *bytes) {
    return handle ? room(x, w, y, by, algorithm == 1, bytes) : 2002;
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(void *handle, struct sizes *x, struct sizes *y, struct movement *by, struct sizes *w, int algorithm, size_t *bytes) {
    return handle ? room(x, w, y, by, algorithm == 1, bytes) : 2002;
}
int cudnnConvolutionForward(void *handle, const float *alpha, struct sizes *x, uint64_t xs, struct sizes *w, uint64_t ws, struct movement *by, int algorithm,
                            uint64_t work, size_t bytes, const float *beta, struct sizes *y, uint64_t ys) {
    NEEDS_CONTEXT;
    return handle && algorithm == 1 ? convolve(0, alpha, x, xs, w, ws, y, ys, by, work, bytes, beta) : 3000;
}
int cudnnConvolutionBackwardData(void *handle, const float *alpha, struct sizes *w, uint64_t ws, struct sizes *y, uint64_t ys, struct movement *by, int algorithm,
                                 uint64_t work, size_t bytes, const float *beta, struct sizes *x, uint64_t xs) {
    NEEDS_CONTEXT;
    return handle && algorithm == 1 ? convolve(1, alpha, x, xs, w, ws, y, ys, by, work, bytes, beta) : 3000;
}
int cudnnConvolutionBackwardFilter(void *handle, const float *alpha, struct sizes *x, uint64_t xs, struct sizes *y, uint64_t ys, struct movement *by, int algorithm,
                                   uint64_t work, size_t bytes, const float *beta, struct sizes *w, uint64_t ws) {
    NEEDS_CONTEXT;
    return handle && algorithm == 1 ? convolve(2, alpha, x, xs, w, ws, y, ys, by, work, bytes, beta) : 3000;
}
