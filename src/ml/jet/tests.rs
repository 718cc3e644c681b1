//! Rules whose closed form is short; the others are tested through the models.

use candle_core::{Device, Tensor};

use super::{Jet, Order};
use crate::ml::Result;
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
