// Softmax, its derivative, and the losses on logits `[rows, classes]`: one thread a row, in f64, rounded once.

__device__ __forceinline__ double NAMED(row_dot)(const T *xs, const T *ys, u32 begin, u32 classes) {
    double sum = 0;
    for (u32 k = 0; k < classes; k++) sum += (double)get(xs, begin + k) * (double)get(ys, begin + k);
    return sum;
}

// The largest logit, where it is, and log Σ exp(z − largest).
__device__ __forceinline__ void NAMED(row_sum)(const T *zs, u32 begin, u32 classes, double &largest, double &log_sum,
                                               double &sum) {
    u32 best = 0;
    for (u32 k = 1; k < classes; k++)
        if (get(zs, begin + k) > get(zs, begin + best)) best = k;
    largest = get(zs, begin + best);
    double others = 0;
    for (u32 k = 0; k < classes; k++)
        if (k != best) others += exp((double)get(zs, begin + k) - largest);
    log_sum = log1p(others);
    sum = 1.0 + others;
}

extern "C" __global__ void NAMED(softmax)(T *out, const T *zs, u32 rows, u32 classes) {
    for (u32 row = first(); row < rows; row += stride()) {
        double largest, log_sum, sum;
        NAMED(row_sum)(zs, row * classes, classes, largest, log_sum, sum);
        for (u32 k = 0; k < classes; k++)
            put(out, row * classes + k, exp((double)get(zs, row * classes + k) - largest) / sum);
    }
}

extern "C" __global__ void NAMED(softmax_tangent)(T *out, const T *ps, const T *ts, u32 rows, u32 classes) {
    for (u32 row = first(); row < rows; row += stride()) {
        const u32 begin = row * classes;
        const double mean = NAMED(row_dot)(ps, ts, begin, classes);
        for (u32 i = begin; i < begin + classes; i++) put(out, i, (double)get(ps, i) * ((double)get(ts, i) - mean));
    }
}

extern "C" __global__ void NAMED(softmax_tangent_adjoint)(T *out, const T *ps, const T *ts, const T *gs, u32 rows,
                                                          u32 classes) {
    for (u32 row = first(); row < rows; row += stride()) {
        const u32 begin = row * classes;
        const double mean = NAMED(row_dot)(ps, ts, begin, classes), pull = NAMED(row_dot)(gs, ps, begin, classes);
        for (u32 i = begin; i < begin + classes; i++)
            put(out, i, (double)get(gs, i) * ((double)get(ts, i) - mean) - pull * (double)get(ts, i));
    }
}

extern "C" __global__ void NAMED(residual_square)(T *out, const T *rs, const T *ts, u32 rows, u32 classes) {
    for (u32 row = first(); row < rows; row += stride()) {
        const u32 begin = row * classes;
        const double along = NAMED(row_dot)(rs, ts, begin, classes);
        for (u32 i = begin; i < begin + classes; i++) put(out, i, (double)get(rs, i) * along);
    }
}

// Each row's excess, and the residual p − q; `other` and `own` are the targets of the other classes and of the label.
extern "C" __global__ void NAMED(cross_entropy)(double *losses, T *out, const T *zs, const u32 *labels, double other,
                                                double own, u32 rows, u32 classes) {
    for (u32 row = first(); row < rows; row += stride()) {
        const u32 begin = row * classes;
        double largest, log_sum, sum, excess = 0;
        NAMED(row_sum)(zs, begin, classes, largest, log_sum, sum);
        for (u32 k = 0; k < classes; k++) {
            const double z = get(zs, begin + k), log_p = z - largest - log_sum, p = exp(z - largest) / sum;
            const bool here = k == labels[row];
            const double q = here ? own : other;
            if (other > 0)
                excess += q * exponential_excess(log_p - log(q), p / q);
            else if (here)
                excess = -log_p;
            put(out, begin + k, p - q);
        }
        losses[row] = excess;
    }
}

extern "C" __global__ void NAMED(squared_error)(double *losses, T *out, const T *zs, const u32 *labels, double other,
                                                double own, u32 rows, u32 classes) {
    for (u32 row = first(); row < rows; row += stride()) {
        double sum = 0;
        for (u32 k = 0; k < classes; k++) {
            const double r = (double)get(zs, row * classes + k) - (k == labels[row] ? own : other);
            sum += 0.5 * r * r;
            put(out, row * classes + k, r);
        }
        losses[row] = sum;
    }
}

// 1 where a row's first largest logit is at its label and all are numbers, else 0.
extern "C" __global__ void NAMED(correct)(double *hits, const T *zs, const u32 *labels, u32 rows, u32 classes) {
    for (u32 row = first(); row < rows; row += stride()) {
        const u32 begin = row * classes;
        u32 best = 0;
        bool numbers = true;
        for (u32 k = 0; k < classes; k++) {
            const In<T> z = get(zs, begin + k);
            if (z > get(zs, begin + best)) best = k;
            numbers = numbers && z == z;
        }
        hits[row] = numbers && best == labels[row] ? 1.0 : 0.0;
    }
}
