//! Products and convolutions by their definitions: every sum in f64, rounded once to the type of the result.

use super::super::driver::{Convolution, Numeric, Product, Sizes, Triple};
use super::super::interpreter::Memory;
use crate::ml::tensor::DType;

pub(super) fn multiply(memory: &mut Memory, product: &Product) {
    let &Product { sizes: [rows, inner, columns], transposed: [left, right], dtype, numeric, at, add } = product;
    let (a, b) = (read(memory, at[0], rows * inner, dtype), read(memory, at[1], inner * columns, dtype));
    let (a, b) = (rounded(a, dtype, numeric), rounded(b, dtype, numeric));
    let before = if add { read(memory, at[2], rows * columns, dtype) } else { vec![0.0; rows * columns] };
    let mut out = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let a = |k: usize| a[if left { k * rows + row } else { row * inner + k }];
            let b = |k: usize| b[if right { column * inner + k } else { k * columns + column }];
            out.push(before[row * columns + column] + (0..inner).map(|k| a(k) * b(k)).sum::<f64>());
        }
    }
    write(memory, at[2], &out, dtype);
}

pub(super) fn convolve(memory: &mut Memory, convolution: &Convolution) {
    let &Convolution { of, sizes, dtype, numeric, at, factor, add } = convolution;
    let images = sizes.samples * sizes.image[0] * sizes.image[1] * sizes.inputs;
    let kernels = sizes.outputs * sizes.kernel[0] * sizes.kernel[1] * sizes.inputs;
    let results = sizes.samples * sizes.result[0] * sizes.result[1] * sizes.outputs;
    let [a, b, out] = match of {
        Triple::Forward => [images, kernels, results],
        Triple::Input => [results, kernels, images],
        Triple::Weight => [results, images, kernels],
    };
    let (a, b) = (read(memory, at[0], a, dtype), read(memory, at[1], b, dtype));
    let (a, b) = (rounded(a, dtype, numeric), rounded(b, dtype, numeric));
    let mut sums = vec![0.0; out];
    each_product(&sizes, |image, kernel, result| match of {
        Triple::Forward => sums[result] += a[image] * b[kernel],
        Triple::Input => sums[image] += a[result] * b[kernel],
        Triple::Weight => sums[kernel] += a[result] * b[image],
    });
    let before = if add { read(memory, at[2], out, dtype) } else { vec![0.0; out] };
    let values: Vec<f64> = sums.iter().zip(before).map(|(sum, before)| factor * sum + before).collect();
    write(memory, at[2], &values, dtype);
}

/// Calls the body with the places of every three elements that a convolution multiplies: image, kernel, result.
fn each_product(sizes: &Sizes, mut body: impl FnMut(usize, usize, usize)) {
    let &Sizes { samples, image: [height, width], inputs, kernel: [down, across], result: [rows, columns], .. } = sizes;
    for sample in 0..samples {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for (i, j) in (0..down).flat_map(|i| (0..across).map(move |j| (i, j))) {
                let (y, x) = (row * sizes.stride + i, column * sizes.stride + j);
                let (Some(y), Some(x)) = (y.checked_sub(sizes.padding), x.checked_sub(sizes.padding)) else { continue };
                if y >= height || x >= width {
                    continue;
                }
                let pixel = ((sample * height + y) * width + x) * inputs;
                let place = ((sample * rows + row) * columns + column) * sizes.outputs;
                for output in 0..sizes.outputs {
                    let tap = ((output * down + i) * across + j) * inputs;
                    (0..inputs).for_each(|input| body(pixel + input, tap + input, place + output));
                }
            }
        }
    }
}

/// Factors of products of f32, as TF32 rounds them: 10 bits after the leading one, ties to even.
fn rounded(values: Vec<f64>, dtype: DType, numeric: Numeric) -> Vec<f64> {
    if (dtype, numeric) != (DType::F32, Numeric::Tf32) {
        return values;
    }
    let round = |value: f64| {
        let bits = (value as f32).to_bits();
        f64::from(f32::from_bits((bits + 0xfff + ((bits >> 13) & 1)) & !0x1fff))
    };
    values.into_iter().map(|value| if value.is_finite() { round(value) } else { value }).collect()
}

fn read(memory: &Memory, at: u64, count: usize, dtype: DType) -> Vec<f64> {
    let bytes = memory.read(at, count * dtype.size_in_bytes());
    match dtype {
        DType::F64 => bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        DType::F32 => bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect(),
        _ => bytes.as_chunks().0.iter().map(|&[low, high]| f64::from(f32::from_le_bytes([0, 0, low, high]))).collect(),
    }
}

fn write(memory: &mut Memory, at: u64, values: &[f64], dtype: DType) {
    let bytes: Vec<u8> = match dtype {
        DType::F64 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::F32 => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|&value| to_bf16(value as f32)).collect(),
    };
    memory.write(at, &bytes);
}

/// The upper half of an f32, rounded to nearest, ties to even.
fn to_bf16(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    let rounded = if value.is_nan() { bits | 0x40_0000 } else { bits + 0x7fff + ((bits >> 16) & 1) };
    let [.., low, high] = rounded.to_le_bytes();
    [low, high]
}
