// Sums over all elements: the shares of blocks.

extern "C" __global__ void NAMED(dot)(double *shares, const T *xs, const T *ys, u32 count) {
    double sum = 0;
    for (u32 i = first(); i < count; i += stride()) sum += (double)get(xs, i) * (double)get(ys, i);
    sum = block_sum(sum);
    if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

extern "C" __global__ void NAMED(square_distance)(double *shares, const T *xs, const T *ys, u32 count) {
    double sum = 0;
    for (u32 i = first(); i < count; i += stride()) {
        const double apart = (double)get(xs, i) - (double)get(ys, i);
        sum += apart * apart;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}
