// Operations on each element by itself.

#define OF_ONE(NAME, BODY)                                                                                             \
    extern "C" __global__ void NAMED(NAME)(T * out, const T *xs, double scalar, u32 count) {                           \
        const In<T> c = (In<T>)scalar;                                                                                 \
        for (u32 i = first(); i < count; i += stride()) {                                                              \
            const In<T> x = get(xs, i);                                                                                \
            put(out, i, (In<T>)(BODY));                                                                                \
        }                                                                                                              \
    }

#define OF_TWO(NAME, BODY)                                                                                             \
    extern "C" __global__ void NAMED(NAME)(T * out, const T *xs, const T *ys, double scalar, u32 count) {              \
        const In<T> c = (In<T>)scalar;                                                                                 \
        for (u32 i = first(); i < count; i += stride()) {                                                              \
            const In<T> x = get(xs, i), y = get(ys, i);                                                                \
            put(out, i, (In<T>)(BODY));                                                                                \
        }                                                                                                              \
    }

OF_ONE(scale, c *x)
OF_ONE(tanh, (void(c), hyperbolic_tangent(x)))
OF_ONE(one_minus_square, (void(c), 1 - x * x))
OF_ONE(inverse_root, 1 / root(x + c))
OF_TWO(add_scaled, x + c * y)
OF_TWO(mul, (void(c), x *y))
OF_TWO(gate, (void(c), x <= 0 ? 0 : y))
OF_TWO(tanh_adjoint, (void(c), y *(1 - x * x)))
// (1 − c)·x + c·y in f64, rounded once.
extern "C" __global__ void NAMED(interpolate)(T *out, const T *xs, const T *ys, double c, u32 count) {
    for (u32 i = first(); i < count; i += stride()) put(out, i, (1.0 - c) * (double)get(xs, i) + c * (double)get(ys, i));
}

extern "C" __global__ void NAMED(accumulate)(T *sum, const T *xs, u32 count) {
    for (u32 i = first(); i < count; i += stride()) put(sum, i, get(sum, i) + get(xs, i));
}

extern "C" __global__ void NAMED(scale_by)(T *out, const T *xs, const double *factor, u32 count) {
    const In<T> c = (In<T>)*factor;
    for (u32 i = first(); i < count; i += stride()) put(out, i, c * get(xs, i));
}

extern "C" __global__ void NAMED(cast_from_f32)(T *out, const float *xs, u32 count) {
    for (u32 i = first(); i < count; i += stride()) put(out, i, get(xs, i));
}

extern "C" __global__ void NAMED(cast_from_f64)(T *out, const double *xs, u32 count) {
    for (u32 i = first(); i < count; i += stride()) put(out, i, get(xs, i));
}

extern "C" __global__ void NAMED(cast_from_bf16)(T *out, const bf16 *xs, u32 count) {
    for (u32 i = first(); i < count; i += stride()) put(out, i, get(xs, i));
}

#undef OF_ONE
#undef OF_TWO
