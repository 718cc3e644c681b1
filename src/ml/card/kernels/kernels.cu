// Every kernel for every type of values: `all.cuh` is read once a type.
#include "normal.cuh"
#include "sums.cuh"

#define T float
#define NAMED(NAME) NAME##_f32
#include "all.cuh"
#undef T
#undef NAMED

#define T double
#define NAMED(NAME) NAME##_f64
#include "all.cuh"
#undef T
#undef NAMED

#define T bf16
#define NAMED(NAME) NAME##_bf16
#include "all.cuh"
