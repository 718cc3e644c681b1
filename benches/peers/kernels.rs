//! Convolutions and batch norm with ReLU, and what the machine can at best: a product of matrices, and a pass over memory.

use std::hint::black_box;

use rayon::prelude::*;
use thalweg::ml::ops::conv::{Geometry, conv2d, conv2d_input, conv2d_weight};
use thalweg::ml::ops::norm::{Then, batch_norm, batch_norm_adjoint};
use thalweg::ml::rng::Stream;
use thalweg::ml::tensor::{Device, Tensor};

use crate::{Result, Run, timed};

/// Images in a batch.
const BATCH: usize = 32;

/// How many batches a pass over memory takes in turn, so that none is in the cache from its last time, as none is in a network.
const TURNS: usize = 8;

fn random(dims: &[usize], seed: u32) -> Result<Tensor> {
    let mut draws = Stream::new(0, "benchmark").at(0, seed);
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| draws.normal() as f32).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// A 3×3 convolution of a batch, `channels` to `channels`, padding 1: `forward`, to its `input`, or to its `weight`.
pub fn conv(direction: &str, channels: usize, side: usize) -> Result<Run> {
    let (images, kernels) = ([BATCH, side, side, channels], [channels, channels, 3, 3]);
    let geometry = Geometry { stride: 1, padding: 1 };
    let (x, g, w) = (random(&images, 0)?, random(&images, 1)?, random(&kernels, 2)?);
    match direction {
        "forward" => Ok(timed(move || Ok(conv2d(&x, &w, geometry)?))),
        "input" => Ok(timed(move || Ok(conv2d_input(&g, &w, images, geometry)?))),
        "weight" => Ok(timed(move || Ok(conv2d_weight(&g, &x, kernels, geometry)?))),
        _ => Err(format!("no direction `{direction}`").into()),
    }
}

/// Batch norm and ReLU of a batch, `forward`, or `backward` to the input, the weight and the bias.
pub fn norm(direction: &str, channels: usize, side: usize) -> Result<Run> {
    let images = [BATCH, side, side, channels];
    let batches: Vec<Tensor> = (0..TURNS as u32).map(|seed| random(&images, seed)).collect::<Result<_>>()?;
    let (w, b) = (random(&[channels], 100)?, random(&[channels], 101)?);
    let mut turn = 0;
    match direction {
        "forward" => Ok(timed(move || {
            turn = (turn + 1) % TURNS;
            Ok(batch_norm(&batches[turn], &w, &b, Then::Relu)?)
        })),
        "backward" => {
            let mut saved = Vec::with_capacity(TURNS);
            for (x, seed) in batches.into_iter().zip(200..) {
                let (_, moments) = batch_norm(&x, &w, &b, Then::Relu)?;
                saved.push((x, moments, random(&images, seed)?));
            }
            Ok(timed(move || {
                turn = (turn + 1) % TURNS;
                let (x, moments, g) = &saved[turn];
                Ok(batch_norm_adjoint(g, x, [&w, &b], moments, Then::Relu)?)
            }))
        }
        _ => Err(format!("no direction `{direction}`").into()),
    }
}

/// A product of square matrices by the `gemm` crate on all threads: what the machine computes at best, one product at a time.
pub fn gemm(size: usize) -> Result<Run> {
    let (a, b) = (random(&[size, size], 0)?, random(&[size, size], 1)?);
    let (a, b) = (a.host()?, b.host()?);
    Ok(timed(move || Ok(a.matmul(&b)?)))
}

/// a = b + 3c over vectors of `length` f32 on all threads (the triad of the STREAM benchmark): what memory gives
/// at best.
pub fn triad(length: usize) -> Run {
    let piece = length.div_ceil(rayon::current_num_threads()).max(1);
    let (mut a, b, c) = (vec![0.0f32; length], vec![1.0f32; length], vec![2.0f32; length]);
    timed(move || {
        a.par_chunks_mut(piece).zip(b.par_chunks(piece)).zip(c.par_chunks(piece)).for_each(|((a, b), c)| {
            a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + 3.0 * c);
        });
        black_box(a[0]);
        Ok(())
    })
}
