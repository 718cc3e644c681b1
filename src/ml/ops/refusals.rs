//! What does not fit: every operation says so, with its name, what it was given and what it takes. And what is empty or not a number: no
//! sample gives none, and what is not a number is not lost.

use crate::ml::tensor::{DType, Device, Tensor};

use super::conv::{After, Gate, Geometry, conv2d, conv2d_input, conv2d_sum, conv2d_weight};
use super::norm::{self, Along, Moments, Then};
use super::softmax::Targets;
use super::{axes, band, channels, concat, elementwise, matmul, pool, reduce, softmax};
use crate::ml::Result;

const SAME: Geometry = Geometry { stride: 1, padding: 1 };

fn ones(dims: &[usize]) -> Tensor {
    Tensor::ones(dims, DType::F64, &Device::Cpu).unwrap()
}

fn single(dims: &[usize]) -> Tensor {
    ones(dims).to_dtype(DType::F32).unwrap()
}

fn classes_of(labels: &[u32]) -> Tensor {
    Tensor::new(labels, &Device::Cpu).unwrap()
}

/// A square of each pair of axes swapped: the dims stay, the order in memory does not.
fn turned(dims: &[usize]) -> Tensor {
    let last = dims.len() - 1;
    let turned = [&dims[..last - 1], &[dims[last], dims[last - 1]]].concat();
    ones(&turned).host().unwrap().transpose(last - 1, last).unwrap().into()
}

/// That an operation refuses with its name and these words.
fn refused<T>(result: Result<T>, operation: &str, words: &[&str]) {
    let Err(error) = result else { panic!("`{operation}` took what {words:?} says it does not take") };
    let message = error.to_string();
    for word in [&[&*format!("`{operation}`")], words].concat() {
        assert!(message.contains(word), "`{operation}`, `{word}`: {message}");
    }
}

#[test]
fn convolutions_refuse_what_does_not_fit() {
    let (x, w) = (ones(&[2, 4, 5, 3]), ones(&[6, 3, 3, 3]));
    let takes = "images `[S, H, W, C]`, a kernel `[O, C, h, w]` that fits in them";
    let at = |stride, padding| Geometry { stride, padding };
    let shapes: [(&[usize], &[usize]); 10] = [
        (&[2, 4, 5, 3], &[6, 2, 3, 3]),
        (&[2, 4, 5, 3], &[0, 3, 3, 3]),
        (&[2, 4, 5, 3], &[6, 3, 0, 3]),
        (&[2, 4, 5, 3], &[6, 3, 7, 3]),
        (&[2, 0, 5, 3], &[6, 3, 3, 3]),
        (&[2, 4, 0, 3], &[6, 3, 3, 3]),
        (&[2, 4, 5, 0], &[6, 0, 3, 3]),
        (&[4, 5, 3], &[6, 3, 3, 3]),
        (&[2, 4, 5, 3], &[6, 3, 3]),
        (&[], &[]),
    ];
    for (x, w) in shapes {
        let named = [format!("{x:?}"), format!("{w:?}")];
        let words = [takes, &named[0], &named[1], "at stride 1 with padding 1"];
        refused(conv2d(&ones(x), &ones(w), SAME), "conv2d", &words);
        let g = ones(&[2, 4, 5, 6]);
        if let Ok(x) = <[usize; 4]>::try_from(x) {
            refused(conv2d_input(&g, &ones(w), x, SAME), "conv2d_input", &words);
        }
        if let Ok(w) = <[usize; 4]>::try_from(w) {
            let words = if x.len() == 4 { &words[..] } else { &["images `[S, H, W, C]`", &named[0]] };
            refused(conv2d_weight(&g, &ones(x), w, SAME), "conv2d_weight", words);
        }
    }
    for padding in [6, 1 << 20, 1 << 40, usize::MAX / 2, usize::MAX] {
        refused(conv2d(&x, &w, at(1, padding)), "conv2d", &["a padding no larger", &format!("with padding {padding}")]);
        refused(
            conv2d_input(&x, &w, [2, 4, 5, 3], at(1, padding)),
            "conv2d_input",
            &[&format!("with padding {padding}")],
        );
        refused(
            conv2d_weight(&x, &x, [6, 3, 3, 3], at(1, padding)),
            "conv2d_weight",
            &[&format!("with padding {padding}")],
        );
    }
    refused(conv2d(&x, &w, at(0, 1)), "conv2d", &["a stride of at least 1", "at stride 0"]);
    refused(conv2d_input(&x, &w, [2, 4, 5, 3], at(0, 1)), "conv2d_input", &["at stride 0"]);
    refused(conv2d_input(&x, &w, [2, usize::MAX, usize::MAX, 3], SAME), "conv2d_input", &["fits in them"]);
    refused(conv2d_weight(&x, &x, [usize::MAX, 3, usize::MAX, 3], SAME), "conv2d_weight", &["fits in them"]);
    refused(
        conv2d_input(&x, &w, [2, 4, 5, 3], SAME),
        "conv2d_input",
        &["the gradient [2, 4, 5, 6] of [2, 4, 5, 3]", "got [2, 4, 5, 3]"],
    );
    refused(conv2d_sum(&[], &After::default(), SAME), "conv2d", &["at least one image and kernel", "got nothing"]);
    refused(conv2d(&x, &single(&[6, 3, 3, 3]), SAME), "conv2d", &["one dtype, `f64`", "`f32`"]);
    refused(conv2d(&x.to_dtype(DType::U32).unwrap(), &w, SAME), "conv2d", &["`f32` or `f64`", "`u32`"]);
    let (g, contiguous) = (ones(&[2, 4, 5, 6]), "contiguous tensors, got");
    refused(conv2d(&turned(&[2, 4, 5, 3]), &w, SAME), "conv2d", &[contiguous, "[2, 4, 5, 3]"]);
    refused(conv2d(&x, &turned(&[6, 3, 3, 3]), SAME), "conv2d", &[contiguous, "[6, 3, 3, 3]"]);
    let sum = |after| conv2d_sum(&[(&x, &w, 1.0)], &after, SAME);
    let (square, flat) = (ones(&[2, 5, 4, 6]), turned(&[2, 4, 5, 6]));
    let plus = |plus| sum(After { plus: Some(plus), ..After::default() });
    refused(plus(&square), "conv2d", &["an addend of the result's shape, [2, 4, 5, 6]", "got [2, 5, 4, 6]"]);
    refused(plus(&flat), "conv2d", &[contiguous]);
    let mask = |mask| sum(After { gate: Gate::Of(mask), ..After::default() });
    refused(mask(&square), "conv2d", &["a mask of the result's shape, [2, 4, 5, 6]", "got [2, 5, 4, 6]"]);
    refused(mask(&flat), "conv2d", &[contiguous]);
    let bias = |bias| sum(After { bias: Some(bias), ..After::default() });
    let (few, other) = (ones(&[3]), single(&[6]));
    refused(bias(&few), "conv2d", &["6 values of a bias, one a channel", "got [3]"]);
    refused(bias(&other), "conv2d", &["one dtype, `f64`", "`f32`"]);
    refused(conv2d_input(&turned(&[2, 4, 5, 6]), &w, [2, 4, 5, 3], SAME), "conv2d_input", &[contiguous]);
    refused(conv2d_weight(&g, &turned(&[2, 4, 5, 3]), [6, 3, 3, 3], SAME), "conv2d_weight", &[contiguous]);
}

#[test]
fn a_stride_beyond_the_kernel_leaves_pixels_without_gradient() {
    let (x, w) = (ones(&[1, 4, 4, 1]), ones(&[1, 1, 2, 2]));
    for stride in [5, 1 << 20, usize::MAX] {
        let geometry = Geometry { stride, padding: 0 };
        let y = conv2d(&x, &w, geometry).unwrap();
        assert_eq!(y.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [4.0]);
        let back =
            conv2d_input(&y, &w, [1, 4, 4, 1], geometry).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let corner = |at: usize| if at / 4 < 2 && at % 4 < 2 { 4.0 } else { 0.0 };
        assert_eq!(back, (0..16).map(corner).collect::<Vec<_>>());
    }
}

#[test]
fn pools_refuse_what_does_not_fit() {
    let x = ones(&[2, 4, 5, 3]);
    for window in [(0, 2), (2, 0), (5, 2), (2, 6), (usize::MAX, usize::MAX)] {
        let words = [format!("a window of {} × {}", window.0, window.1), "[2, 4, 5, 3]".to_owned()];
        let words = [&words[0][..], &words[1]];
        refused(pool::max_pool(&x, window), "max_pool", &words);
        refused(pool::avg_pool(&x, window), "avg_pool", &words);
        let words = [&*format!("windows of {} × {}", window.0, window.1), "images [2, 4, 5, 3]"];
        refused(pool::avg_pool_adjoint(&x, [2, 4, 5, 3], window), "avg_pool_adjoint", &words);
    }
    for dims in [&[2, 4, 5][..], &[2, 0, 5, 3], &[2, 4, 5, 0], &[]] {
        refused(pool::max_pool(&ones(dims), (2, 2)), "max_pool", &[&format!("{dims:?}")]);
        refused(pool::avg_pool(&ones(dims), (2, 2)), "avg_pool", &[&format!("{dims:?}")]);
    }
    let (_, selection) = pool::max_pool(&x, (2, 2)).unwrap();
    refused(pool::select(&ones(&[2, 5, 4, 3]), &selection), "select", &["[2, 4, 5, 3]", "[2, 5, 4, 3]"]);
    refused(pool::scatter(&x, &selection), "scatter", &["[2, 2, 2, 3]", "[2, 4, 5, 3]"]);
    refused(pool::avg_pool_adjoint(&x, [usize::MAX; 4], (2, 2)), "avg_pool_adjoint", &["[2, 4, 5, 3]"]);
    refused(pool::max_pool(&turned(&[2, 4, 5, 3]), (2, 2)), "max_pool", &["contiguous"]);
    refused(pool::select(&turned(&[2, 4, 5, 3]), &selection), "select", &["contiguous"]);
    refused(pool::scatter(&turned(&[2, 2, 2, 3]), &selection), "scatter", &["contiguous"]);
    refused(pool::avg_pool(&turned(&[2, 4, 5, 3]), (2, 2)), "avg_pool", &["contiguous"]);
}

#[test]
fn batch_norm_refuses_what_does_not_fit() {
    let (x, c) = (ones(&[4, 3]), ones(&[3]));
    let none = Then::Nothing;
    let moments = norm::moments(&x).unwrap();
    let other = norm::moments(&ones(&[4, 2])).unwrap();
    let along = Along { first: &x, second: None, weight: [None; 2], bias: [None; 2] };
    let line = |along: Along<'_>, moments: &Moments| norm::batch_norm_line(&x, [&c, &c], along, moments, none, true);
    let (_, _, lines) = line(along, &moments).unwrap();
    for dims in [&[1, 3][..], &[0, 3], &[1, 1, 1, 3]] {
        let (few, named) = (ones(dims), format!("{dims:?}"));
        let words = ["at least two values a channel", &named];
        refused(norm::moments(&few), "batch_norm", &words);
        refused(norm::batch_norm(&few, &c, &c, none), "batch_norm", &words);
        refused(norm::batch_norm_adjoint(&few, &few, [&c, &c], &moments, none), "batch_norm_adjoint", &words);
    }
    for dims in [&[3][..], &[4, 0], &[]] {
        refused(norm::batch_norm(&ones(dims), &c, &c, none), "batch_norm", &["`[…, C]`", &format!("{dims:?}")]);
    }
    refused(norm::batch_norm(&x, &ones(&[2]), &c, none), "batch_norm", &["3 weights and biases", "[2]"]);
    refused(norm::batch_norm(&x, &c, &ones(&[3, 1]), none), "batch_norm", &["3 weights and biases", "[3, 1]"]);
    refused(norm::batch_norm(&x, &single(&[3]), &c, none), "batch_norm", &["`f64`", "`f32`"]);
    refused(norm::batch_norm(&turned(&[4, 3]), &c, &c, none), "batch_norm", &["contiguous"]);
    refused(norm::batch_norm_adjoint(&ones(&[3, 4]), &x, [&c, &c], &moments, none), "batch_norm_adjoint", &["[3, 4]"]);
    let channels = ["what is known of 3 channels", "means of 2"];
    refused(norm::batch_norm_adjoint(&x, &x, [&c, &c], &other, none), "batch_norm_adjoint", &channels);
    refused(line(along, &other), "batch_norm_line", &channels);
    let (long, short) = (ones(&[5, 3]), ones(&[2]));
    for (wrong, named) in [
        (Along { first: &long, ..along }, "[5, 3]"),
        (Along { second: Some(&long), ..along }, "[5, 3]"),
        (Along { weight: [Some(&short), None], ..along }, "[2]"),
        (Along { bias: [None, Some(&short)], ..along }, "[2]"),
    ] {
        refused(line(wrong, &moments), "batch_norm_line", &["derivatives of the shapes", named]);
        let adjoint = norm::batch_norm_first_adjoint(&x, &x, [&c, &c], wrong, (&moments, &lines), none);
        refused(adjoint, "batch_norm_first_adjoint", &["derivatives of the shapes", named]);
    }
    let adjoint =
        |h: &Tensor, moments: &Moments| norm::batch_norm_first_adjoint(h, &x, [&c, &c], along, (moments, &lines), none);
    refused(adjoint(&x, &other), "batch_norm_first_adjoint", &channels);
    refused(adjoint(&long, &moments), "batch_norm_first_adjoint", &["[5, 3]"]);
}

#[test]
fn losses_refuse_what_does_not_fit() {
    let z = ones(&[2, 3]);
    let loss = |z: &Tensor, labels: &[u32], smoothing| {
        softmax::cross_entropy(z, Targets { labels: &classes_of(labels), smoothing })
    };
    let square = |z: &Tensor, labels: &[u32], smoothing| {
        softmax::squared_error(z, Targets { labels: &classes_of(labels), smoothing })
    };
    for labels in [&[0][..], &[0, 1, 2], &[0, 3], &[0, u32::MAX], &[]] {
        let words = ["one label below 3 for each of 2 samples", "[2, 3]", &*format!("{} labels", labels.len())];
        refused(loss(&z, labels, 0.1), "cross_entropy", &words);
        refused(square(&z, labels, 0.0), "squared_error", &words);
        refused(softmax::count_correct(&z, &classes_of(labels)), "count_correct", &words);
    }
    for smoothing in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        refused(loss(&z, &[0, 1], smoothing), "cross_entropy", &["smoothing of at least 0 and below 1"]);
        refused(square(&z, &[0, 1], smoothing), "squared_error", &["smoothing of at least 0 and below 1"]);
    }
    for dims in [&[2][..], &[2, 0], &[2, 3, 1], &[]] {
        let (z, named) = (ones(dims), format!("{dims:?}"));
        refused(loss(&z, &[0, 1], 0.1), "cross_entropy", &["`[S, K]`", &named]);
        refused(softmax::softmax(&z), "softmax", &["`[S, K]`", &named]);
        refused(softmax::softmax_tangent(&z, &z), "softmax_tangent", &[&named]);
        refused(softmax::residual_square(&z, &z), "residual_square", &[&named]);
    }
    let other = ones(&[3, 2]);
    refused(softmax::softmax_tangent(&z, &other), "softmax_tangent", &["[2, 3] and [3, 2]"]);
    refused(softmax::softmax_tangent_adjoint(&z, &z, &other), "softmax_tangent_adjoint", &["[3, 2]"]);
    refused(softmax::softmax_tangent(&z, &single(&[2, 3])), "softmax_tangent", &["`f32`"]);
    refused(softmax::softmax(&turned(&[2, 3])), "softmax", &["contiguous"]);
    refused(loss(&turned(&[2, 3]), &[0, 1], 0.1), "cross_entropy", &["contiguous"]);
}

type Two = fn(&Tensor, &Tensor) -> Result<Tensor>;

#[test]
fn operations_on_elements_and_channels_refuse_what_does_not_fit() {
    let of_two: [(&str, Two); 5] = [
        ("add_scaled", |a, b| elementwise::add_scaled(a, b, 2.0)),
        ("mul", elementwise::mul),
        ("gate", elementwise::gate),
        ("tanh_adjoint", elementwise::tanh_adjoint),
        ("dot", |a, b| reduce::dot(a, b).map(|dot| Tensor::new(dot, &Device::Cpu).unwrap())),
    ];
    let accumulate: Two = |a, b| elementwise::accumulate(a, b).map(|()| a.clone());
    let x = ones(&[2, 3]);
    for (name, operation) in
        of_two.into_iter().chain([("accumulate", accumulate), ("dot_channels", channels::dot_channels as Two)])
    {
        refused(operation(&x, &ones(&[3, 2])), name, &["one shape", "[2, 3] and [3, 2]"]);
        refused(operation(&x, &turned(&[2, 3])), name, &["contiguous", "[2, 3]"]);
        refused(operation(&turned(&[2, 3]), &x), name, &["contiguous", "[2, 3]"]);
        refused(operation(&x, &single(&[2, 3])), name, &["dtype"]);
    }
    assert!(elementwise::accumulate(&x, &x).is_err(), "an operand may not be what it is added to");
    for (name, result) in [
        ("scale", elementwise::scale(&turned(&[2, 3]), 2.0)),
        ("tanh", elementwise::tanh(&turned(&[2, 3]))),
        ("one_minus_square", elementwise::one_minus_square(&turned(&[2, 3]))),
        ("inverse_root", elementwise::inverse_root(&turned(&[2, 3]), 1.0)),
        ("sum_channels", channels::sum_channels(&turned(&[2, 3]))),
        ("matmul", matmul::matmul(&turned(&[2, 3]), &x, true, false)),
        ("concat", concat::concat(&x, &turned(&[2, 3]))),
        ("take_channels", concat::take_channels(&turned(&[2, 3]), 0, 1)),
        ("pad_channels", concat::pad_channels(&turned(&[2, 3]), 0, 1)),
        ("channels_first", axes::channels_first(&turned(&[2, 4, 5, 3]))),
        ("channels_last", axes::channels_last(&turned(&[2, 4, 5, 3]))),
    ] {
        refused(result, name, &["contiguous"]);
    }
    for (name, operation) in [("add_channels", channels::add_channels as Two), ("mul_channels", channels::mul_channels)]
    {
        refused(operation(&x, &ones(&[2])), name, &["3 values, one a channel", "[2, 3] and [2]"]);
        refused(operation(&ones(&[3]), &ones(&[3])), name, &["`[…, C]`", "[3]"]);
        refused(operation(&ones(&[2, 0]), &ones(&[0])), name, &["[2, 0]"]);
        refused(operation(&x, &single(&[3])), name, &["`f32`"]);
    }
    for dims in [&[2, 2][..], &[], &[usize::MAX, 3]] {
        refused(channels::broadcast_channels(&ones(&[3]), dims), "broadcast_channels", &[&format!("{dims:?}"), "[3]"]);
    }
    refused(channels::sum_channels(&ones(&[])), "sum_channels", &["`[…, C]`", "[]"]);
    refused(concat::take_channels(&x, usize::MAX, 1), "take_channels", &["[2, 3]"]);
    refused(concat::take_channels(&x, 1, usize::MAX), "take_channels", &["[2, 3]"]);
    refused(concat::pad_channels(&x, usize::MAX, 1), "pad_channels", &["[2, 3]"]);
    refused(concat::pad_channels(&x, 1 << 60, 1 << 60), "pad_channels", &["[2, 3]"]);
    refused(concat::concat(&ones(&[2, 0]), &x), "concat", &["[2, 0]"]);
    refused(axes::channels_first(&x), "channels_first", &["four axes", "[2, 3]"]);
    refused(axes::channels_last(&x), "channels_last", &["four axes", "[2, 3]"]);
    refused(matmul::matmul(&x, &x, false, false), "matmul", &["not 2 × 3 by 2 × 3", "[2, 3] and [2, 3]"]);
    refused(matmul::matmul(&x, &ones(&[3]), false, false), "matmul", &["two matrices", "[3]"]);
    refused(matmul::matmul(&x, &single(&[3, 2]), false, false), "matmul", &["`f32`"]);
    for (count, n) in [(3, 2), (0, 1 << 32), (4, usize::MAX)] {
        refused(
            band::tridiagonal(vec![0.0; count], n, || Ok(())),
            "tridiagonal",
            &[&n.to_string(), &format!("{count} elements")],
        );
    }
}

/// With batch norm, which needs two values a channel, the exception.
#[test]
fn no_samples_give_results_of_none_and_gradients_of_zero() {
    let w = ones(&[6, 3, 3, 3]);
    let (x, g) = (ones(&[0, 4, 5, 3]), ones(&[0, 4, 5, 6]));
    assert_eq!(conv2d(&x, &w, SAME).unwrap().dims(), [0, 4, 5, 6]);
    assert_eq!(conv2d_input(&g, &w, [0, 4, 5, 3], SAME).unwrap().dims(), [0, 4, 5, 3]);
    let zero = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().all(|&x| x == 0.0);
    assert!(zero(&conv2d_weight(&g, &x, [6, 3, 3, 3], SAME).unwrap()));
    // Of as many channels as Winograd takes, and of a large weight.
    for channels in [16, 128] {
        let (x, w) = (ones(&[0, 4, 4, channels]), ones(&[channels, channels, 3, 3]));
        assert_eq!(conv2d(&x, &w, SAME).unwrap().dims(), [0, 4, 4, channels]);
        assert_eq!(conv2d_input(&x, &w, [0, 4, 4, channels], SAME).unwrap().dims(), [0, 4, 4, channels]);
        assert!(zero(&conv2d_weight(&x, &x, [channels, channels, 3, 3], SAME).unwrap()));
    }
    let (_, selection) = pool::max_pool(&x, (2, 2)).unwrap();
    let pooled = pool::select(&x, &selection).unwrap();
    assert_eq!(pooled.dims(), [0, 2, 2, 3]);
    assert_eq!(pool::scatter(&pooled, &selection).unwrap().dims(), [0, 4, 5, 3]);
    assert_eq!(pool::avg_pool(&x, (2, 2)).unwrap().dims(), [0, 2, 2, 3]);
    assert_eq!(pool::avg_pool_adjoint(&pooled, [0, 4, 5, 3], (2, 2)).unwrap().dims(), [0, 4, 5, 3]);
    assert_eq!(axes::channels_first(&x).unwrap().dims(), [0, 3, 4, 5]);
    assert_eq!(axes::channels_last(&x).unwrap().dims(), [0, 5, 3, 4]);
    let (rows, c) = (ones(&[0, 3]), ones(&[3]));
    for result in [
        channels::add_channels(&rows, &c),
        channels::broadcast_channels(&c, &[0, 3]),
        elementwise::mul(&rows, &rows),
        elementwise::tanh(&rows),
        softmax::softmax(&rows),
        softmax::softmax_tangent(&rows, &rows),
        concat::take_channels(&concat::concat(&rows, &rows).unwrap(), 1, 3),
        concat::take_channels(&concat::pad_channels(&rows, 2, 0).unwrap(), 1, 3),
        matmul::matmul(&rows, &ones(&[3, 3]), false, false),
    ] {
        assert_eq!(result.unwrap().dims(), [0, 3]);
    }
    elementwise::accumulate(&rows, &ones(&[0, 3])).unwrap();
    assert!(zero(&channels::sum_channels(&rows).unwrap()) && zero(&channels::dot_channels(&rows, &rows).unwrap()));
    assert!(reduce::dot(&rows, &rows).unwrap() == 0.0);
    // A sum over no inner index.
    let sum = matmul::matmul(&rows, &ones(&[0, 2]), true, false).unwrap();
    assert!(sum.dims() == [3, 2] && zero(&sum));
    let (loss, residual) = softmax::cross_entropy(&rows, Targets { labels: &classes_of(&[]), smoothing: 0.1 }).unwrap();
    assert!(loss.to_scalar::<f64>().unwrap() == 0.0 && residual.dims() == [0, 3]);
    assert_eq!(softmax::count_correct(&rows, &classes_of(&[])).unwrap(), 0);
    assert!(band::tridiagonal(vec![], 0, || Ok(())).unwrap().0.is_empty());
}

/// Losses are looked at by the objective, which refuses what is not finite; so no operation may lose it on the way.
#[test]
fn what_is_not_a_number_stays_so() {
    let lost = |dims: &[usize]| {
        let count: usize = dims.iter().product();
        let values = (0..count).map(|i| if i == count / 2 { f64::NAN } else { 1.0 + i as f64 }).collect::<Vec<_>>();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    };
    let kept = |result: Result<Tensor>| {
        assert!(result.unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().any(|x| x.is_nan()));
    };
    for channels in [3, 16, 128] {
        let (x, w) = ([1, 4, 4, channels], [channels, channels, 3, 3]);
        for (x_of, w_of) in [(lost(&x), ones(&w)), (ones(&x), lost(&w))] {
            kept(conv2d(&x_of, &w_of, SAME));
            kept(conv2d_input(&x_of, &w_of, x, SAME));
        }
        kept(conv2d_weight(&lost(&x), &ones(&x), w, SAME));
        kept(conv2d_weight(&ones(&x), &lost(&x), w, SAME));
    }
    let (x, images, c) = (lost(&[4, 3]), lost(&[1, 4, 4, 3]), ones(&[3]));
    for then in [Then::Nothing, Then::Relu] {
        kept(norm::batch_norm(&x, &c, &c, then).map(|(y, _)| y));
        kept(norm::batch_norm(&ones(&[4, 3]), &lost(&[3]), &c, then).map(|(y, _)| y));
        kept(norm::batch_norm(&ones(&[4, 3]), &c, &lost(&[3]), then).map(|(y, _)| y));
    }
    let (_, selection) = pool::max_pool(&images, (2, 2)).unwrap();
    kept(pool::select(&images, &selection));
    kept(pool::scatter(&lost(&[1, 2, 2, 3]), &selection));
    kept(pool::avg_pool(&images, (2, 2)));
    kept(pool::avg_pool_adjoint(&lost(&[1, 2, 2, 3]), [1, 4, 4, 3], (2, 2)));
    kept(elementwise::gate(&x, &x));
    kept(elementwise::tanh(&x));
    kept(elementwise::add_scaled(&ones(&[4, 3]), &ones(&[4, 3]), f64::NAN));
    kept(channels::add_channels(&x, &c));
    kept(channels::sum_channels(&x));
    kept(concat::concat(&c.reshape((1, 3)).unwrap(), &lost(&[1, 2])));
    kept(matmul::matmul(&x, &ones(&[3, 2]), false, false));
    kept(softmax::softmax(&x));
    kept(softmax::softmax_tangent(&ones(&[4, 3]), &x));
    assert!(reduce::dot(&x, &x).unwrap().is_nan());
    for smoothing in [0.0, 0.1] {
        for logit in [f64::NAN, f64::INFINITY] {
            for place in 0..3 {
                let z = Tensor::from_vec(
                    (0..3).map(|i| if i == place { logit } else { 0.0 }).collect(),
                    (1, 3),
                    &Device::Cpu,
                )
                .unwrap();
                let labels = classes_of(&[0]);
                let targets = Targets { labels: &labels, smoothing };
                let finite = |loss: Tensor| loss.to_scalar::<f64>().unwrap().is_finite();
                assert!(!finite(softmax::cross_entropy(&z, targets).unwrap().0), "{logit} at {place}");
                assert!(!finite(softmax::squared_error(&z, targets).unwrap().0), "{logit} at {place}");
            }
        }
    }
    for label in 0..3 {
        let z = Tensor::new(&[[0.0, f64::NAN, 0.0]], &Device::Cpu).unwrap();
        assert_eq!(softmax::count_correct(&z, &classes_of(&[label])).unwrap(), 0);
    }
}
