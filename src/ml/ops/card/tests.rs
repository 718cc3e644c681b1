//! Every operation on a card beside itself on the CPU in f64, from the same numbers. Here the card is a simulated one, whose kernels are the
//! program's own; where there is a real one, `just test-cuda` runs the same cases on it.

use super::super::conv::{After, Gate, Geometry, conv2d, conv2d_input, conv2d_sum, conv2d_weight};
use super::super::norm::{self, Along, Then};
use super::super::softmax::{self, Targets};
use super::super::{axes, channels, concat, elementwise, matmul, pool, reduce};
use crate::ml::Result;
use crate::ml::card::{Card, Cards, Numeric, Simulated};
use crate::ml::optim::Sgd;
use crate::ml::tensor::{DType, Device, Tensor};

/// Where the operands of a case are, and in what type.
struct Place<'a> {
    device: &'a Device,
    dtype: DType,
    /// The type that numbers are rounded to before anything is computed, wherever that is.
    of: DType,
    /// How many times larger than for the simulated card.
    factor: usize,
}

impl Place<'_> {
    fn tensor(&self, dims: &[usize], seed: f64) -> Tensor {
        let values: Vec<f64> =
            (0..dims.iter().product()).map(|i| (0.37 * i as f64 + seed).sin() * (1.0 + seed)).collect();
        let here = Tensor::from_vec(values, dims, &Device::Cpu).unwrap().host().unwrap();
        let rounded = here.to_dtype(DType::F32).unwrap().to_dtype(self.of).unwrap().to_dtype(DType::F64).unwrap();
        let there = Tensor::from(rounded).to_device(self.device).unwrap();
        there.to_dtype(self.dtype).unwrap()
    }

    fn labels(&self, count: usize, classes: u32) -> Tensor {
        Tensor::from_vec((0..count as u32).map(|i| i * 7 % classes).collect(), count, self.device).unwrap()
    }
}

type Case = (&'static str, fn(&Place<'_>) -> Result<Vec<Tensor>>);

/// Cases whose products are rounded, in `tf32`.
const PRODUCTS: [&str; 3] = ["products", "convolutions", "convolutions with a stride"];

fn cases() -> Vec<Case> {
    [of_elements(), of_layers(), of_products()].concat()
}

fn of_elements() -> Vec<Case> {
    vec![
        ("elementwise", |p| {
            let (x, y) = (p.tensor(&[7, 333 * p.factor], 0.1), p.tensor(&[7, 333 * p.factor], 0.7));
            let sum = x.copy()?;
            elementwise::accumulate(&sum, &y)?;
            let factor = Tensor::new(-1.5f64, p.device)?;
            Ok(vec![
                elementwise::add_scaled(&x, &y, -0.25)?,
                elementwise::mul(&x, &y)?,
                elementwise::scale(&x, 3.0)?,
                elementwise::scale_by(&x, &factor)?,
                elementwise::gate(&x, &y)?,
                elementwise::tanh(&x)?,
                elementwise::one_minus_square(&x)?,
                elementwise::tanh_adjoint(&x, &y)?,
                elementwise::inverse_root(&elementwise::mul(&y, &y)?, 0.5)?,
                sum,
            ])
        }),
        ("sums", |p| {
            let (x, y) = (p.tensor(&[3001 * p.factor], 0.1), p.tensor(&[3001 * p.factor], 0.7));
            Ok(vec![reduce::inner(&x, &y)?, reduce::inner(&x, &x)?])
        }),
        ("channels", |p| {
            let mut all = Vec::new();
            for (rows, width) in [(90, 3), (300 * p.factor, 40), (700, 1)] {
                let (x, y, c) = (p.tensor(&[rows, width], 0.1), p.tensor(&[rows, width], 0.7), p.tensor(&[width], 0.3));
                all.extend([
                    channels::add_channels(&x, &c)?,
                    channels::mul_channels(&x, &c)?,
                    channels::broadcast_channels(&c, &[rows, width])?,
                    channels::sum_channels(&x)?,
                    channels::dot_channels(&x, &y)?,
                ]);
            }
            Ok(all)
        }),
        ("axes and concatenation", |p| {
            let (x, y) = (p.tensor(&[2, 5, 7, 33], 0.1), p.tensor(&[2, 5, 7, 6], 0.7));
            let wide = concat::concat(&x, &y)?;
            Ok(vec![
                axes::channels_first(&x)?,
                axes::channels_last(&x)?,
                concat::take_channels(&wide, 30, 5)?,
                concat::pad_channels(&y, 2, 3)?,
                wide,
            ])
        }),
    ]
}

fn of_layers() -> Vec<Case> {
    vec![
        ("pools", |p| {
            let x = p.tensor(&[2 * p.factor, 7, 9, 5], 0.1);
            let (largest, selection) = pool::max_pool(&x, (2, 3))?;
            let mean = pool::avg_pool(&x, (2, 3))?;
            Ok(vec![
                pool::select(&p.tensor(&[2 * p.factor, 7, 9, 5], 0.6), &selection)?,
                pool::scatter(&p.tensor(&[2 * p.factor, 3, 3, 5], 0.4), &selection)?,
                pool::avg_pool_adjoint(&p.tensor(&[2 * p.factor, 3, 3, 5], 0.4), [2 * p.factor, 7, 9, 5], (2, 3))?,
                largest,
                mean,
            ])
        }),
        ("batch norm", |p| {
            let mut all = Vec::new();
            for (dims, then) in [([3, 5, 6, 20], Then::Relu), ([2 * p.factor, 4, 4, 3], Then::Nothing)] {
                let c = dims[3];
                let (x, w, b, g) =
                    (p.tensor(&dims, 0.1), p.tensor(&[c], 0.5), p.tensor(&[c], 0.2), p.tensor(&dims, 0.9));
                let (y, moments) = norm::batch_norm(&x, &w, &b, then)?;
                all.extend(norm::batch_norm_adjoint(&g, &x, [&w, &b], &moments, then)?);
                let (x1, x2) = (p.tensor(&dims, 1.3), p.tensor(&dims, 1.7));
                let small = [1.1, 1.2, 1.4, 1.6].map(|seed| p.tensor(&[c], seed));
                let [w1, w2, b1, b2] = small.each_ref().map(Some);
                let along = Along { first: &x1, second: Some(&x2), weight: [w1, w2], bias: [b1, b2] };
                let (y1, y2, _) = norm::batch_norm_line(&x, [&w, &b], along, &moments, then, true)?;
                let bare = Along { second: None, weight: [None; 2], bias: [None; 2], ..along };
                let (z1, z2, lines) = norm::batch_norm_line(&x, [&w, &b], bare, &moments, then, false)?;
                assert!(z2.is_none());
                all.extend(norm::batch_norm_first_adjoint(&g, &x, [&w, &b], along, (&moments, &lines), then)?);
                all.extend([y, y1, z1, moments.mean.clone(), moments.variance.clone()]);
                all.extend(y2);
            }
            Ok(all)
        }),
        ("softmax and losses", |p| {
            let (rows, classes) = (70 * p.factor, 10);
            let (z, t, g) =
                (p.tensor(&[rows, classes], 2.1), p.tensor(&[rows, classes], 0.7), p.tensor(&[rows, classes], 0.3));
            let labels = p.labels(rows, classes as u32);
            let own = softmax::softmax(&z)?;
            let mut all = vec![
                softmax::softmax_tangent(&own, &t)?,
                softmax::softmax_tangent_adjoint(&own, &t, &g)?,
                softmax::residual_square(&z, &t)?,
                own,
            ];
            for smoothing in [0.0, 0.1] {
                let targets = Targets { labels: &labels, smoothing };
                for (loss, residual) in [softmax::cross_entropy(&z, targets)?, softmax::squared_error(&z, targets)?] {
                    all.extend([loss, residual]);
                }
            }
            let correct = softmax::count_correct(&z, &labels)? as f64;
            all.push(Tensor::new(correct, &Device::Cpu)?);
            Ok(all)
        }),
    ]
}

fn of_products() -> Vec<Case> {
    vec![
        ("products", |p| {
            let (m, k, n) = (9 * p.factor, 21, 6);
            let mut all = Vec::new();
            for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
                let a = p.tensor(&if ta { [k, m] } else { [m, k] }, 0.1);
                let b = p.tensor(&if tb { [n, k] } else { [k, n] }, 0.7);
                all.push(matmul::matmul(&a, &b, ta, tb)?);
            }
            Ok(all)
        }),
        ("convolutions", |p| convolutions(p, Geometry { stride: 1, padding: 1 }, 3)),
        ("convolutions with a stride", |p| convolutions(p, Geometry { stride: 2, padding: 0 }, 2)),
        ("vectors", |p| {
            let (theta, g, b) = (p.tensor(&[1001], 0.1), p.tensor(&[1001], 0.5), p.tensor(&[1001], 0.9));
            let mut all = Vec::new();
            for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
                let sgd = Sgd { momentum, nesterov, weight_decay: 0.01, ..Sgd::default() };
                let (moved, kept) = sgd.step(0.1, &theta, &g, None)?;
                let (again, more) = sgd.step(0.1, &moved, &g, kept.as_ref().map(|_| &b))?;
                all.extend([moved, again]);
                all.extend(kept.into_iter().chain(more));
            }
            Ok(all)
        }),
        ("rows and parts", |p| {
            let x = p.tensor(&[13, 3, 5], 0.1);
            let numbers = Tensor::new(&[12u32, 0, 5, 5], p.device)?;
            let parts = [p.tensor(&[4], 0.3), p.tensor(&[700], 0.4), p.tensor(&[1], 0.6)];
            Ok(vec![
                x.rows(&numbers)?,
                p.labels(20, 7).rows(&numbers)?,
                Tensor::cat(&parts, 0)?,
                p.tensor(&[9, 4], 0.2).narrow(0, 3, 4)?.copy()?,
            ])
        }),
    ]
}

fn convolutions(p: &Place<'_>, geometry: Geometry, side: usize) -> Result<Vec<Tensor>> {
    let (samples, inputs, outputs) = (3 * p.factor, 5, 4);
    let (x, w) = (p.tensor(&[samples, 6, 7, inputs], 0.1), p.tensor(&[outputs, inputs, side, side], 0.5));
    let (x1, w1) = (p.tensor(&[samples, 6, 7, inputs], 0.2), p.tensor(&[outputs, inputs, side, side], 0.6));
    let y = conv2d(&x, &w, geometry)?;
    let dims = y.dims().to_vec();
    let (g, plus, bias) = (p.tensor(&dims, 0.8), p.tensor(&dims, 0.3), p.tensor(&[outputs], 0.4));
    let terms = [(&x, &w1, 1.0), (&x1, &w, 2.0)];
    let mut all = Vec::new();
    for gate in [Gate::Open, Gate::Relu, Gate::Of(&y)] {
        all.push(conv2d_sum(&terms, &After { plus: Some(&plus), bias: Some(&bias), gate }, geometry)?);
    }
    all.push(conv2d_input(&g, &w, x.dims4()?, geometry)?);
    all.push(conv2d_weight(&g, &x, w.dims4()?, geometry)?);
    all.push(y);
    Ok(all)
}

/// The largest difference from the exact result, as a share of its largest number, over all results of a case.
fn off(case: &Case, there: &Place<'_>) -> f64 {
    let (name, run) = case;
    let exact = Place { device: &Device::Cpu, dtype: DType::F64, ..*there };
    let list = |place: &Place<'_>| -> Vec<Vec<f64>> {
        let results = run(place).unwrap_or_else(|error| panic!("{name}: {error}"));
        let numbers = |tensor: &Tensor| {
            tensor.host().unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        results.iter().map(numbers).collect()
    };
    let (found, exact) = (list(there), list(&exact));
    assert_eq!(found.len(), exact.len(), "{name}");
    let mut worst = 0.0f64;
    for (result, (found, exact)) in found.iter().zip(&exact).enumerate() {
        assert_eq!(found.len(), exact.len(), "{name}, result {result}");
        let scale = exact.iter().fold(1e-300f64, |scale, value| scale.max(value.abs()));
        for (found, exact) in found.iter().zip(exact) {
            assert!(found.is_finite(), "{name}, result {result}: {found} is not {exact}");
            worst = worst.max((found - exact).abs() / scale);
        }
    }
    worst
}

/// What may be off, as a share of a result's largest number: roundings of a few operations, more where products are rounded.
fn bound(dtype: DType, numeric: Numeric, case: &str) -> f64 {
    match (dtype, numeric) {
        (DType::F64, _) => 1e-12,
        (DType::BF16, _) => 3e-2,
        (_, Numeric::Tf32) if PRODUCTS.contains(&case) => 1e-2,
        _ => 5e-6,
    }
}

/// All cases in all types on a card.
pub(in crate::ml) fn check(card: &Card, factor: usize) {
    let modes = [
        (DType::F64, Numeric::F32),
        (DType::F32, Numeric::F32),
        (DType::F32, Numeric::Tf32),
        (DType::BF16, Numeric::Bf16),
    ];
    for (dtype, numeric) in modes {
        let device = Device::Card(card.with_numeric(numeric));
        let place = Place { device: &device, dtype, of: dtype, factor };
        for case in cases() {
            // Roundings of sums add up as steps of a walk do.
            let bound = bound(dtype, numeric, case.0) * (factor as f64).sqrt();
            let found = off(&case, &place);
            assert!(
                found <= bound,
                "{} in {} ({numeric}): off by {found:e}, {bound:e} at most",
                case.0,
                dtype.as_str()
            );
        }
    }
}

#[test]
fn operations_on_a_card_are_those_of_the_cpu() {
    check(&Simulated::new(1 << 30).strict().card(), 1);
    check(&Simulated::new(1 << 30).strict().with_convolutions().card(), 1);
}

/// The bytes of all cases.
fn bytes(card: &Card, dtype: DType, factor: usize) -> Vec<u64> {
    let place = Place { device: &Device::Card(card.clone()), dtype, of: dtype, factor };
    let run = |(_, run): Case| run(&place).unwrap();
    let numbers = |tensor: Tensor| -> Vec<f64> {
        let host = tensor.host().unwrap().to_dtype(DType::F64).unwrap();
        host.flatten_all().unwrap().to_vec1().unwrap()
    };
    cases().into_iter().flat_map(run).flat_map(numbers).map(f64::to_bits).collect()
}

#[test]
fn the_bytes_do_not_depend_on_the_order_in_which_blocks_and_threads_run() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let in_order = bytes(&Simulated::new(1 << 30).card(), dtype, 1);
        let shuffled = bytes(&Simulated::new(1 << 30).shuffled(5).card(), dtype, 1);
        assert!(in_order == shuffled, "{dtype:?}");
    }
}

#[test]
fn operands_on_a_card_and_elsewhere_do_not_mix() {
    let there = Device::Card(Simulated::new(1 << 20).card());
    let other = Device::Card(Simulated::new(1 << 20).card());
    let ones = |device: &Device, dtype| Tensor::ones((2, 2), dtype, device).unwrap();
    let x = ones(&there, DType::F32);
    for y in [ones(&other, DType::F32), ones(&Device::Cpu, DType::F32), ones(&there, DType::F64)] {
        for (a, b) in [(&x, &y), (&y, &x)] {
            assert!(elementwise::mul(a, b).is_err() && matmul::matmul(a, b, false, false).is_err());
            assert!(concat::concat(a, b).is_err() && elementwise::accumulate(a, b).is_err());
        }
    }
    assert!(elementwise::scale_by(&x, &Tensor::new(1.0f64, &Device::Cpu).unwrap()).is_err());
}

/// Where there is a card: the same on it, at sizes that fill it.
#[test]
#[ignore = "wants a card: `just test-cuda`"]
fn on_cuda_operations_are_those_of_the_cpu() {
    check(&Cards::Cuda.open(0).unwrap(), 40);
}

#[test]
#[ignore = "wants a card: `just test-cuda`"]
fn on_cuda_two_runs_give_the_same_bytes() {
    let card = Cards::Cuda.open(0).unwrap();
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        for numeric in [Numeric::F32, Numeric::Tf32] {
            let card = card.with_numeric(numeric);
            assert!(bytes(&card, dtype, 40) == bytes(&card, dtype, 40), "{dtype:?} {numeric}");
        }
    }
}
