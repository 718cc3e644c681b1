// Derivatives of a normalised batch along a line, and the adjoint of the first.

// With x less its mean and x′, x″ less the strip's first: Σ x, Σ x′, Σ x″, Σ xx′, Σ x′², Σ xx″. Without x″ its sums are 0.
extern "C" __global__ void NAMED(along)(double *shares, const T *xs, const T *x1s, const T *x2s, const double *mean, u32 rows,
                                        u32 channels, u32 together) {
    const u32 c = own_channel();
    const Strip strip(rows, together);
    double sums[6] = {0, 0, 0, 0, 0, 0};
    if (c < channels) {
        const u32 begin = strip.start * channels + c;
        const double centre = mean[c], near1 = get(x1s, begin), near2 = x2s ? (double)get(x2s, begin) : 0.0;
        for (u32 row = strip.start + threadIdx.y; row < strip.end; row += blockDim.y) {
            const u32 at = row * channels + c;
            const double x = (double)get(xs, at) - centre, x1 = (double)get(x1s, at) - near1;
            sums[0] += x;
            sums[1] += x1;
            sums[3] += x * x1;
            sums[4] += x1 * x1;
            if (x2s) {
                const double x2 = (double)get(x2s, at) - near2;
                sums[2] += x2;
                sums[5] += x * x2;
            }
        }
    }
    keep_shares(shares, sums, channels);
}

// `line`, `[6, channels]` as `Derivative` says, and var′.
extern "C" __global__ void NAMED(line)(double *line, double *variance1, const double *shares, const T *x1s, const T *x2s,
                                       const T *w, const T *w1, const T *w2, const T *b1, const T *b2,
                                       const double *variance, double epsilon, u32 rows, u32 channels, u32 together,
                                       u32 strips) {
    const u32 c = first();
    if (c >= channels) return;
    double m1 = 0, m2 = 0, v1 = 0, v2 = 0;
    for (u32 strip = 0; strip < strips; strip++) {
        const Stretch own(strip, together, rows);
        const double *sums = shares + strip * 6 * channels + c;
        m1 += sums[channels] + own.rows * (double)get(x1s, own.start * channels + c);
        if (x2s) m2 += sums[2 * channels] + own.rows * (double)get(x2s, own.start * channels + c);
    }
    m1 /= rows;
    m2 /= rows;
    for (u32 strip = 0; strip < strips; strip++) {
        const Stretch own(strip, together, rows);
        const double *sums = shares + strip * 6 * channels + c;
        const double off1 = (double)get(x1s, own.start * channels + c) - m1;
        const double off2 = x2s ? (double)get(x2s, own.start * channels + c) - m2 : 0.0;
        v1 += sums[3 * channels] + off1 * sums[0];
        v2 += sums[4 * channels] + off1 * (2.0 * sums[channels] + own.rows * off1);
        v2 += sums[5 * channels] + off2 * sums[0];
    }
    v1 *= 2.0 / rows;
    v2 *= 2.0 / rows;
    const double r = 1.0 / sqrt(variance[c] + epsilon), cube = r * r * r, own = get(w, c);
    const double r1 = -0.5 * cube * v1, r2 = 0.75 * cube * r * r * v1 * v1 - 0.5 * cube * v2;
    const double own1 = w1 ? (double)get(w1, c) : 0.0, own2 = w2 ? (double)get(w2, c) : 0.0;
    line[MEAN_1 * channels + c] = m1;
    line[MEAN_2 * channels + c] = m2;
    line[SLOPE * channels + c] = own1 * r + own * r1;
    line[BEND * channels + c] = own2 * r + 2.0 * own1 * r1 + own * r2;
    line[BIAS_1 * channels + c] = b1 ? (double)get(b1, c) : 0.0;
    line[BIAS_2 * channels + c] = b2 ? (double)get(b2, c) : 0.0;
    variance1[c] = v1;
}

// y′ and, where there is room for it, y″.
extern "C" __global__ void NAMED(derive)(T *out, T *bent, const T *xs, const T *x1s, const T *x2s, const T *w, const T *b,
                                         const double *mean, const double *variance, const double *line, double epsilon,
                                         u32 relu, u32 rows, u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    const Channel<T> by(w, b, mean, variance, epsilon, c);
    const In<T> m1 = (In<T>)line[MEAN_1 * channels + c], m2 = (In<T>)line[MEAN_2 * channels + c];
    const In<T> slope = (In<T>)line[SLOPE * channels + c], bend = (In<T>)line[BEND * channels + c];
    const In<T> b1 = (In<T>)line[BIAS_1 * channels + c], b2 = (In<T>)line[BIAS_2 * channels + c];
    for (u32 row = first_row(); row < rows; row += row_stride()) {
        const u32 at = row * channels + c;
        const In<T> x = get(xs, at), x0 = x - by.mean, x1 = get(x1s, at) - m1;
        put(out, at, by.pass(relu, x, by.scale * x1 + slope * x0 + b1));
        if (bent) {
            const In<T> x2 = x2s ? get(x2s, at) - m2 : (In<T>)0;
            put(bent, at, by.pass(relu, x, by.scale * x2 + (In<T>)2 * slope * x1 + bend * x0 + b2));
        }
    }
}

// Σ h, Σ hx̂ and Σ hx̂′ of what the ReLU lets through.
extern "C" __global__ void NAMED(pull_first)(double *shares, const T *hs, const T *xs, const T *x1s, const T *w, const T *b,
                                             const double *mean, const double *variance, const double *mean1,
                                             double epsilon, u32 relu, u32 rows, u32 channels, u32 together) {
    const u32 c = own_channel();
    const Strip strip(rows, together);
    double sums[3] = {0, 0, 0};
    if (c < channels) {
        const Channel<T> by(w, b, mean, variance, epsilon, c);
        const double m0 = mean[c], m1 = mean1[c];
        for (u32 row = strip.start + threadIdx.y; row < strip.end; row += blockDim.y) {
            const u32 at = row * channels + c;
            const In<T> x = get(xs, at);
            const double h = by.pass(relu, x, get(hs, at));
            sums[0] += h;
            sums[1] += h * ((double)x - m0);
            sums[2] += h * ((double)get(x1s, at) - m1);
        }
    }
    keep_shares(shares, sums, channels);
}

// The gradients in w, w′ and b′, and `[4, channels]`: a shift, A′, and the pulls of x̂ and x̂′.
extern "C" __global__ void NAMED(pulled_first)(double *by, T *to_w, T *to_w1, T *to_b1, const double *shares, const T *w,
                                               const T *w1, const double *variance, const double *variance1, double epsilon,
                                               u32 rows, u32 channels, u32 strips) {
    const u32 c = first();
    if (c >= channels) return;
    const double bias = all_strips(shares, 3, 0, channels, strips, c);
    const double over_x = all_strips(shares, 3, 1, channels, strips, c);
    const double over_first = all_strips(shares, 3, 2, channels, strips, c);
    const double r = 1.0 / sqrt(variance[c] + epsilon), cube = r * r * r, v1 = variance1[c];
    const double own = get(w, c), own1 = w1 ? (double)get(w1, c) : 0.0, r1 = -0.5 * cube * v1;
    const double of_r = own * over_first + own1 * over_x - 1.5 * r * r * v1 * own * over_x;
    by[c] = bias / rows;
    by[channels + c] = own1 * r + own * r1;
    by[2 * channels + c] = -cube * of_r / rows;
    by[3 * channels + c] = -cube * own * over_x / rows;
    put(to_w, c, r * over_first + r1 * over_x);
    put(to_w1, c, r * over_x);
    put(to_b1, c, bias);
}

extern "C" __global__ void NAMED(push_first)(T *out, T *out1, const T *hs, const T *xs, const T *x1s, const T *w, const T *b,
                                             const double *mean, const double *variance, const double *mean1,
                                             const double *pulled, double epsilon, u32 relu, u32 rows, u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    const Channel<T> by(w, b, mean, variance, epsilon, c);
    const In<T> m1 = (In<T>)mean1[c], shift = (In<T>)pulled[c], slope = (In<T>)pulled[channels + c];
    const In<T> by_x = (In<T>)pulled[2 * channels + c], by_first = (In<T>)pulled[3 * channels + c];
    for (u32 row = first_row(); row < rows; row += row_stride()) {
        const u32 at = row * channels + c;
        const In<T> x = get(xs, at), x0 = x - by.mean, x1 = get(x1s, at) - m1;
        const In<T> h = by.pass(relu, x, get(hs, at)) - shift;
        put(out, at, slope * h + by_x * x0 + by_first * x1);
        put(out1, at, by.scale * h + by_first * x0);
    }
}
