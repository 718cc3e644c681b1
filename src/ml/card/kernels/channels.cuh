// Sums and products per channel of `[rows, channels]`.

extern "C" __global__ void NAMED(add_channels)(T *out, const T *xs, const T *cs, u32 rows, u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    const In<T> own = get(cs, c);
    for (u32 row = first_row(); row < rows; row += row_stride()) {
        const u32 at = row * channels + c;
        put(out, at, get(xs, at) + own);
    }
}

extern "C" __global__ void NAMED(mul_channels)(T *out, const T *xs, const T *cs, u32 rows, u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    const In<T> own = get(cs, c);
    for (u32 row = first_row(); row < rows; row += row_stride()) {
        const u32 at = row * channels + c;
        put(out, at, get(xs, at) * own);
    }
}

extern "C" __global__ void NAMED(broadcast_channels)(T *out, const T *cs, u32 rows, u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    for (u32 row = first_row(); row < rows; row += row_stride()) out[row * channels + c] = cs[c];
}

// Σ x·y, or Σ x where there is no y.
extern "C" __global__ void NAMED(dot_channels)(double *shares, const T *xs, const T *ys, u32 rows, u32 channels,
                                               u32 together) {
    const u32 c = own_channel();
    const Strip strip(rows, together);
    double sums[1] = {0};
    if (c < channels) {
        for (u32 row = strip.start + threadIdx.y; row < strip.end; row += blockDim.y) {
            const u32 at = row * channels + c;
            sums[0] += ys ? (double)get(xs, at) * (double)get(ys, at) : (double)get(xs, at);
        }
    }
    keep_shares(shares, sums, channels);
}

extern "C" __global__ void NAMED(sum_strips)(T *out, const double *shares, u32 channels, u32 strips) {
    const u32 c = first();
    if (c < channels) put(out, c, all_strips(shares, 1, 0, channels, strips, c));
}

// What follows a sum of convolutions, in place: a bias where there is one, and a gate: 0 none, 1 a ReLU, 2 by a mask.
extern "C" __global__ void NAMED(after)(T *out, const T *bias, const T *mask, u32 gate, u32 rows, u32 channels) {
    const u32 c = own_channel();
    if (c >= channels) return;
    const In<T> own = bias ? get(bias, c) : (In<T>)0;
    for (u32 row = first_row(); row < rows; row += row_stride()) {
        const u32 at = row * channels + c;
        const In<T> sum = get(out, at) + own, by = gate == 2 ? get(mask, at) : sum;
        put(out, at, gate && by <= (In<T>)0 ? (In<T>)0 : sum);
    }
}
