// One step of SGD in one pass, as `optim/sgd` writes it, and what directions are made of.

// `buffer` is null at the first step, `kept` without momentum.
extern "C" __global__ void NAMED(sgd)(T *moved, T *kept, const T *theta, const T *gradient, const T *buffer, double lr_,
                                      double momentum_, double gain_, double decay_, u32 nesterov, u32 count) {
    const In<T> lr = (In<T>)lr_, momentum = (In<T>)momentum_, gain = (In<T>)gain_, decay = (In<T>)decay_;
    for (u32 i = first(); i < count; i += stride()) {
        const In<T> at = get(theta, i), d = get(gradient, i) + decay * at;
        In<T> update = d;
        if (kept) {
            const In<T> own = buffer ? momentum * get(buffer, i) + gain * d : d;
            put(kept, i, own);
            update = nesterov ? d + momentum * own : own;
        }
        put(moved, i, at - lr * update);
    }
}

// +1 where a bit is set, else −1: the first sign is the lowest bit of the first word.
extern "C" __global__ void NAMED(signs)(T *out, const u32 *words, u32 skip, u32 count) {
    for (u32 i = first(); i < count; i += stride()) {
        const u32 at = i + skip;
        put(out, i, (In<T>)(words[at / 32] >> (at % 32) & 1 ? 1 : -1));
    }
}
