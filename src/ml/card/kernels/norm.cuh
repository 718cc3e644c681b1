// Batch normalisation in training mode: moments, the normalised batch and its adjoint. Moments and what is summed are f64, `[channels]`.

// Σ x and Σ x² of each strip, of its values less its first.
extern "C" __global__ void NAMED(spread)(double *shares, const T *xs, u32 rows, u32 channels, u32 together) {
    const u32 c = own_channel();
    const Strip strip(rows, together);
    double sums[2] = {0, 0};
    if (c < channels) {
        const double near = get(xs, strip.start * channels + c);
        for (u32 row = strip.start + threadIdx.y; row < strip.end; row += blockDim.y) {
            const double x = (double)get(xs, row * channels + c) - near;
            sums[0] += x;
            sums[1] += x * x;
        }
    }
    keep_shares(shares, sums, channels);
}

// Mean and variance of each strip put together in order (Chan, Golub and LeVeque 1983).
extern "C" __global__ void NAMED(moments)(double *mean, double *variance, const double *shares, const T *xs, u32 rows,
                                          u32 channels, u32 together, u32 strips) {
    const u32 c = first();
    if (c >= channels) return;
    double centre = 0, squares = 0;
    for (u32 strip = 0; strip < strips; strip++) {
        const Stretch own(strip, together, rows);
        const double sum = shares[strip * 2 * channels + c], square = shares[(strip * 2 + 1) * channels + c];
        const double own_mean = (double)get(xs, own.start * channels + c) + sum / own.rows;
        const double share = (double)own.rows / (own.start + own.rows), apart = own_mean - centre;
        centre += apart * share;
        squares += square - sum * sum / own.rows + apart * apart * share * own.start;
    }
    mean[c] = centre;
    variance[c] = squares / rows;
}

extern "C" __global__ void NAMED(normalise)(T *out, const T *xs, const T *w, const T *b, const double *mean,
                                            const double *variance, double epsilon, u32 relu, u32 rows, u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    const Channel<T> by(w, b, mean, variance, epsilon, c);
    for (u32 row = first_row(); row < rows; row += row_stride()) {
        const In<T> y = by.value(get(xs, row * channels + c));
        put(out, row * channels + c, relu && y <= (In<T>)0 ? (In<T>)0 : y);
    }
}

// Σ g and Σ g·(x − mean) of what the ReLU lets through.
extern "C" __global__ void NAMED(pull)(double *shares, const T *gs, const T *xs, const T *w, const T *b, const double *mean,
                                       const double *variance, double epsilon, u32 relu, u32 rows, u32 channels,
                                       u32 together) {
    const u32 c = own_channel();
    const Strip strip(rows, together);
    double sums[2] = {0, 0};
    if (c < channels) {
        const Channel<T> by(w, b, mean, variance, epsilon, c);
        const double centre = mean[c];
        for (u32 row = strip.start + threadIdx.y; row < strip.end; row += blockDim.y) {
            const In<T> x = get(xs, row * channels + c);
            const double g = by.pass(relu, x, get(gs, row * channels + c));
            sums[0] += g;
            sums[1] += g * ((double)x - centre);
        }
    }
    keep_shares(shares, sums, channels);
}

// The gradients in w and b, and what the gradient in x reads of each channel: a shift and a slope, `[2, channels]`.
extern "C" __global__ void NAMED(pulled)(double *by, T *to_w, T *to_b, const double *shares, const double *variance,
                                         double epsilon, u32 rows, u32 channels, u32 strips) {
    const u32 c = first();
    if (c >= channels) return;
    const double r = 1.0 / sqrt(variance[c] + epsilon);
    const double bias = all_strips(shares, 2, 0, channels, strips, c);
    const double weight = all_strips(shares, 2, 1, channels, strips, c) * r;
    by[c] = bias / rows;
    by[channels + c] = weight * r / rows;
    put(to_w, c, weight);
    put(to_b, c, bias);
}

extern "C" __global__ void NAMED(push)(T *out, const T *gs, const T *xs, const T *w, const T *b, const double *mean,
                                       const double *variance, const double *pulled, double epsilon, u32 relu, u32 rows,
                                       u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    const Channel<T> by(w, b, mean, variance, epsilon, c);
    const In<T> shift = (In<T>)pulled[c], slope = (In<T>)pulled[channels + c];
    for (u32 row = first_row(); row < rows; row += row_stride()) {
        const u32 at = row * channels + c;
        const In<T> x = get(xs, at), g = by.pass(relu, x, get(gs, at));
        put(out, at, by.scale * (g - shift - (x - by.mean) * slope));
    }
}
