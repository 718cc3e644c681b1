// Pooling over windows that do not overlap, of images with channels last. A thread makes one output element, or one of the gradient.

// Where things lie: images of `height × width × channels`, windows of `down × across`.
struct NAMED(Windows) {
    u32 samples, height, width, channels, down, across;
    __device__ __forceinline__ u32 rows() const { return height / down; }
    __device__ __forceinline__ u32 columns() const { return width / across; }
    __device__ __forceinline__ u32 outputs() const { return samples * rows() * columns() * channels; }
    __device__ __forceinline__ u32 inputs() const { return samples * height * width * channels; }
    // The input at the first pixel of an output's window.
    __device__ __forceinline__ u32 corner(u32 output) const {
        const u32 c = output % channels, pixel = output / channels;
        const u32 x = pixel % columns(), y = pixel / columns() % rows(), sample = pixel / columns() / rows();
        return ((sample * height + y * down) * width + x * across) * channels + c;
    }
    __device__ __forceinline__ u32 pixel(u32 corner, u32 y, u32 x) const { return corner + (y * width + x) * channels; }
    // The output whose window has this input, and its place in it; none beyond the last whole window.
    __device__ __forceinline__ bool window(u32 input, u32 &output, u32 &place) const {
        const u32 c = input % channels, pixel = input / channels;
        const u32 x = pixel % width, y = pixel / width % height, sample = pixel / width / height;
        const u32 row = y / down, column = x / across;
        output = ((sample * rows() + row) * columns() + column) * channels + c;
        place = (y % down) * across + x % across;
        return row < rows() && column < columns();
    }
};

extern "C" __global__ void NAMED(max_pool)(T *out, u32 *pixels, const T *xs, NAMED(Windows) by) {
    for (u32 i = first(); i < by.outputs(); i += stride()) {
        const u32 corner = by.corner(i);
        In<T> largest = get(xs, corner);
        u32 place = 0;
        for (u32 y = 0; y < by.down; y++) {
            for (u32 x = 0; x < by.across; x++) {
                const In<T> next = get(xs, by.pixel(corner, y, x));
                // What is no number is not exceeded, and exceeds all numbers.
                if (next > largest || (next != next && largest == largest)) {
                    largest = next;
                    place = y * by.across + x;
                }
            }
        }
        put(out, i, largest);
        pixels[i] = place;
    }
}

extern "C" __global__ void NAMED(select)(T *out, const T *xs, const u32 *pixels, NAMED(Windows) by) {
    for (u32 i = first(); i < by.outputs(); i += stride())
        out[i] = xs[by.pixel(by.corner(i), pixels[i] / by.across, pixels[i] % by.across)];
}

extern "C" __global__ void NAMED(scatter)(T *out, const T *gs, const u32 *pixels, NAMED(Windows) by) {
    for (u32 i = first(); i < by.inputs(); i += stride()) {
        u32 output, place;
        const bool inside = by.window(i, output, place);
        put(out, i, inside && pixels[output] == place ? get(gs, output) : (In<T>)0);
    }
}

extern "C" __global__ void NAMED(avg_pool)(T *out, const T *xs, NAMED(Windows) by) {
    const In<T> share = (In<T>)(1.0 / (by.down * by.across));
    for (u32 i = first(); i < by.outputs(); i += stride()) {
        const u32 corner = by.corner(i);
        In<T> sum = 0;
        for (u32 y = 0; y < by.down; y++)
            for (u32 x = 0; x < by.across; x++) sum += get(xs, by.pixel(corner, y, x));
        put(out, i, sum * share);
    }
}

extern "C" __global__ void NAMED(avg_pool_adjoint)(T *out, const T *gs, NAMED(Windows) by) {
    const In<T> share = (In<T>)(1.0 / (by.down * by.across));
    for (u32 i = first(); i < by.inputs(); i += stride()) {
        u32 output, place;
        put(out, i, by.window(i, output, place) ? get(gs, output) * share : (In<T>)0);
    }
}
