// Values put elsewhere: axes swapped, channels put side by side or taken apart, rows chosen, patches laid out for a product.

#define SIDE 32

// Each sample's matrix of `rows × columns` transposed, tile by tile through shared memory.
extern "C" __global__ void NAMED(transpose)(T *out, const T *xs, u32 rows, u32 columns) {
    __shared__ T tile[SIDE][SIDE + 1];
    const u32 sample = blockIdx.z * rows * columns, x = blockIdx.x * SIDE, y = blockIdx.y * SIDE;
    for (u32 row = threadIdx.y; row < SIDE; row += blockDim.y)
        if (y + row < rows && x + threadIdx.x < columns)
            tile[row][threadIdx.x] = xs[sample + (y + row) * columns + x + threadIdx.x];
    __syncthreads();
    for (u32 row = threadIdx.y; row < SIDE; row += blockDim.y)
        if (x + row < columns && y + threadIdx.x < rows)
            out[sample + (x + row) * rows + y + threadIdx.x] = tile[threadIdx.x][row];
}

// `[rows, left + right]` of `[rows, left]` and `[rows, right]`.
extern "C" __global__ void NAMED(concat)(T *out, const T *as, const T *bs, u32 left, u32 right, u32 count) {
    const u32 width = left + right;
    for (u32 i = first(); i < count; i += stride()) {
        const u32 row = i / width, c = i % width;
        out[i] = c < left ? as[row * left + c] : bs[row * right + c - left];
    }
}

// `[rows, width]`: the channels of `[rows, channels]` from `from` on; zeros where there are none, as before a negative `from`.
extern "C" __global__ void NAMED(window)(T *out, const T *xs, int from, u32 channels, u32 width, u32 count) {
    for (u32 i = first(); i < count; i += stride()) {
        const u32 row = i / width;
        const int c = (int)(i % width) + from;
        put(out, i, c >= 0 && c < (int)channels ? get(xs, row * channels + c) : (In<T>)0);
    }
}

// Rows of `[…, width]` by their numbers.
extern "C" __global__ void NAMED(rows)(T *out, const T *xs, const u32 *which, u32 width, u32 count) {
    for (u32 i = first(); i < count; i += stride()) out[i] = xs[which[i / width] * width + i % width];
}

// One convolution: images `height × width × inputs`, kernels `down × across`, results `rows × columns`.
struct NAMED(Patches) {
    u32 samples, height, width, inputs, down, across, rows, columns, steps, padding;
};

// `[samples·rows·columns, down·across·inputs]`: what each output pixel sees, zeros beyond the image.
extern "C" __global__ void NAMED(patches)(T *out, const T *xs, NAMED(Patches) by, u32 count) {
    for (u32 i = first(); i < count; i += stride()) {
        const u32 c = i % by.inputs, tap = i / by.inputs % (by.down * by.across), pixel = i / by.inputs / (by.down * by.across);
        const u32 column = pixel % by.columns, row = pixel / by.columns % by.rows, sample = pixel / by.columns / by.rows;
        const u32 y = row * by.steps + tap / by.across, x = column * by.steps + tap % by.across;
        const bool inside = y >= by.padding && y < by.padding + by.height && x >= by.padding && x < by.padding + by.width;
        const u32 at = ((sample * by.height + y - by.padding) * by.width + x - by.padding) * by.inputs + c;
        put(out, i, inside ? get(xs, at) : (In<T>)0);
    }
}

// The adjoint: what all output pixels that see an input pixel have for it, summed in order of the taps.
extern "C" __global__ void NAMED(patches_adjoint)(T *out, const T *gs, NAMED(Patches) by, u32 count) {
    const u32 width = by.down * by.across * by.inputs;
    for (u32 i = first(); i < count; i += stride()) {
        const u32 c = i % by.inputs, pixel = i / by.inputs;
        const u32 x = pixel % by.width + by.padding, y = pixel / by.width % by.height + by.padding;
        const u32 sample = pixel / by.width / by.height;
        In<T> sum = 0;
        for (u32 tap = 0; tap < by.down * by.across; tap++) {
            const u32 down = tap / by.across, across = tap % by.across;
            if (y < down || x < across || (y - down) % by.steps || (x - across) % by.steps) continue;
            const u32 row = (y - down) / by.steps, column = (x - across) / by.steps;
            if (row < by.rows && column < by.columns)
                sum += get(gs, ((sample * by.rows + row) * by.columns + column) * width + tap * by.inputs + c);
        }
        put(out, i, sum);
    }
}

// Parts put one after the other: part `blockIdx.y` has three numbers in the table, its address, how many elements it has, and where it
// goes. The flat vector is of its own type, which the parts' values are rounded to.
extern "C" __global__ void NAMED(join_to_f32)(float *out, const unsigned long long *table) {
    const T *xs = (const T *)table[3 * blockIdx.y];
    const u32 count = (u32)table[3 * blockIdx.y + 1], place = (u32)table[3 * blockIdx.y + 2];
    for (u32 i = first(); i < count; i += stride()) put(out, place + i, get(xs, i));
}

extern "C" __global__ void NAMED(join_to_f64)(double *out, const unsigned long long *table) {
    const T *xs = (const T *)table[3 * blockIdx.y];
    const u32 count = (u32)table[3 * blockIdx.y + 1], place = (u32)table[3 * blockIdx.y + 2];
    for (u32 i = first(); i < count; i += stride()) put(out, place + i, get(xs, i));
}

#undef SIDE
