//! Rules whose closed form is short; the others are tested through the models.

use crate::ml::tensor::{DType, Device, Tensor};

use super::{Jet, Order, Tangent};
use crate::ml::Result;
use crate::ml::ops::conv::Geometry;
use crate::ml::rng::Stream;
use crate::ml::tape::{Tape, Var};

fn tensor(values: &[f64], dims: &[usize]) -> Tensor {
    Tensor::from_slice(values, dims, &Device::Cpu).unwrap()
}

fn list(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Σ w∘y², which has the derivatives 2Σ w∘y∘y′ and 2Σ w∘(y′² + y∘y″).
fn weighted_square(y: &Jet, weights: &Tensor) -> Result<Jet> {
    let weights = Jet::constant(Var::constant(weights.clone()));
    y.bilinear(y, Var::mul)?.bilinear(&weights, Var::dot)
}

#[test]
fn a_concatenation_has_the_derivatives_of_its_halves_where_one_of_them_has_none() {
    let (moving, still) = (tensor(&[1.0, -2.0, 3.0, 0.5], &[2, 2]), tensor(&[4.0, -1.0], &[2, 1]));
    let (direction, weights) = (tensor(&[0.3, 1.0, -2.0, 0.7], &[2, 2]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for moving_is_left in [true, false] {
        let tape = Tape::new();
        let (a, b) = (tape.leaf(moving.clone()), tape.leaf(still.clone()));
        let (jet, constant) =
            (Jet::line(a.clone(), [Var::constant(direction.clone())], Order::Two), Jet::constant(b.clone()));
        let y = if moving_is_left { jet.concat(&constant) } else { constant.concat(&jet) }.unwrap();
        let place = |row: usize, column: usize| 3 * row + column + usize::from(!moving_is_left);
        let still_at = |row: usize| 3 * row + if moving_is_left { 2 } else { 0 };
        let all = weighted_square(&y, &tensor(&weights, &[2, 3])).unwrap();
        let (x, v, other) = (list(&moving), list(&direction), list(&still));
        let w: Vec<f64> = (0..4).map(|i| weights[place(i / 2, i % 2)]).collect();
        let value: f64 = (0..4).map(|i| w[i] * x[i] * x[i]).sum::<f64>()
            + (0..2).map(|row| weights[still_at(row)] * other[row] * other[row]).sum::<f64>();
        let first: f64 = (0..4).map(|i| 2.0 * w[i] * x[i] * v[i]).sum();
        let second: f64 = (0..4).map(|i| 2.0 * w[i] * v[i] * v[i]).sum();
        let found = &all.tangents()[0];
        assert!((all.value().scalar().unwrap() - value).abs() < 1e-12);
        assert!((found.first.as_ref().unwrap().scalar().unwrap() - first).abs() < 1e-12);
        assert!((found.second.as_ref().unwrap().scalar().unwrap() - second).abs() < 1e-12);
        // Of the first derivative the gradient is 2w∘v in what moves and 0 in what does not.
        let gradients = tape.backward(found.first.as_ref().unwrap(), &[a, b]).unwrap();
        let expected: Vec<f64> = (0..4).map(|i| 2.0 * w[i] * v[i]).collect();
        assert!(list(&gradients[0]).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12));
        assert_eq!(list(&gradients[1]), [0.0, 0.0]);
    }
}

#[test]
fn a_concatenation_gives_each_half_its_own_gradient() {
    let tape = Tape::new();
    let (a, b) = (tape.leaf(tensor(&[1.0, -2.0], &[1, 2])), tape.leaf(tensor(&[3.0], &[1, 1])));
    let y = Jet::constant(a.clone()).concat(&Jet::constant(b.clone())).unwrap();
    assert_eq!(list(y.value().value()), [1.0, -2.0, 3.0]);
    let square = weighted_square(&y, &tensor(&[1.0, 10.0, 100.0], &[1, 3])).unwrap();
    let gradients = tape.backward(square.value(), &[a, b]).unwrap();
    assert_eq!((list(&gradients[0]), list(&gradients[1])), (vec![2.0, -40.0], vec![600.0]));
}

/// The derivatives of a convolution of 1,152 products, with an addend and a bias that move too; by three convolutions, unless its kernel is
/// recorded or the bias far too large. `scale` is that of the image's derivatives.
fn deep(recorded: bool, stride: usize, (scale, bias): (f64, f64), dtype: DType) -> [Tensor; 2] {
    let mut draws = Stream::new(7, "deep").at(0, 0);
    let mut constant = |dims: &[usize], scale: f64| {
        let values: Vec<f64> = (0..dims.iter().product()).map(|_| scale * draws.normal()).collect();
        Var::constant(tensor(&values, dims).to_dtype(dtype).unwrap())
    };
    let mut line = |dims: &[usize], scale: f64, slope: f64| {
        let mut jet = Jet::line(constant(dims, scale), [constant(dims, slope)], Order::Two);
        jet.tangents[0].second = Some(constant(dims, slope));
        jet
    };
    let side = 8 / stride;
    let (x, plus) = (line(&[2, 8, 8, 128], 1.0, scale), line(&[2, side, side, 24], 1.0, 3.0));
    let (mut w, bias) = (line(&[24, 128, 3, 3], 0.02, 1.0), line(&[24], bias, 1.0));
    if recorded {
        w.value = Tape::new().leaf(w.value.value().clone());
    }
    let y = x.conv2d(&w, Geometry { stride, padding: 1 }, (Some(&plus), Some(&bias)), None).unwrap();
    let Tangent { first, second } = &y.tangents()[0];
    [first, second].map(|part| part.as_ref().unwrap().value().to_dtype(DType::F64).unwrap())
}

/// In f32 they lose no more than a sum of as many products does, whatever the scale of the derivatives.
#[test]
fn three_convolutions_give_what_four_do() {
    let apart = |a: &Tensor, b: &Tensor| {
        let largest = list(b).iter().fold(0f64, |most, x| most.max(x.abs()));
        list(a).iter().zip(list(b)).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max)
    };
    for (stride, scale) in [(1, (1.0, 0.1)), (2, (50.0, 0.1)), (1, (1e-3, 3.0)), (1, (1e5, 0.1)), (1, (1.0, 1e3))] {
        let exact = deep(true, stride, scale, DType::F64);
        for (part, (three, exact)) in deep(false, stride, scale, DType::F64).iter().zip(&exact).enumerate() {
            let apart = apart(three, exact);
            let is_another_way = apart > 0.0 || part == 1;
            assert!(is_another_way != (scale.1 > 100.0) || part == 1, "order {part} at {scale:?}");
            assert!(apart < 1e-12, "order {part} at {scale:?}: {apart}");
        }
        let rounded = |recorded| {
            let found = deep(recorded, stride, scale, DType::F32);
            [0, 1].map(|part: usize| apart(&found[part], &exact[part]))
        };
        for (three, four) in rounded(false).into_iter().zip(rounded(true)) {
            assert!(three < 3.0 * four && four < 2e-5, "at {scale:?} in f32: {three} by three, {four} by four");
        }
    }
}
