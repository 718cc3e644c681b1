//! A loss of a few coordinates, its gradient, and the spectrum of its steep coordinates on the valley's floor; all exact.

use super::expression::Expression;
use super::scalar::{Dual, LANES, Lanes, Scalar};
use crate::ml::{Error, Result};

/// Rotations of Jacobi's method over all pairs, at most; a few do.
const SWEEPS: usize = 60;

/// A loss in some coordinates, of which some are steep.
#[derive(Clone, Debug)]
pub struct Landscape {
    loss: Expression,
    dimension: usize,
    steep: Vec<usize>,
}

/// Room for evaluations, so that a walk allocates little; and the spectrum that was found last.
#[derive(Default)]
pub(super) struct Room {
    first: Vec<Dual<Lanes>>,
    second: Vec<Dual<Dual<Lanes>>>,
    hessian: Vec<Lanes>,
    /// The eigenvalues of each run, ascending.
    pub(super) values: Vec<Lanes>,
    /// Orthonormal vectors to them: element `i·k + j` is coordinate `j` of the vector of eigenvalue `i`.
    pub(super) vectors: Vec<Lanes>,
}

impl Landscape {
    /// A loss of `dimension` coordinates, steep in those of these numbers, counted from 0.
    ///
    /// # Errors
    /// [`Error::Setting`] for no steep coordinate, one that there is not, or one twice.
    pub fn new(loss: Expression, dimension: usize, steep: Vec<usize>) -> Result<Self> {
        let twice = (1..steep.len()).any(|i| steep[..i].contains(&steep[i]));
        if steep.is_empty() || twice || steep.iter().any(|&i| i >= dimension) {
            let named: Vec<String> = steep.iter().map(|i| (i + 1).to_string()).collect();
            return Err(Error::Setting(format!(
                "steep coordinates [{}]: expected some of 1 to {dimension}, each once",
                named.join(", ")
            )));
        }
        Ok(Self { loss, dimension, steep })
    }

    /// How many coordinates there are.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The steep coordinates, counted from 0.
    pub fn steep(&self) -> &[usize] {
        &self.steep
    }

    /// The loss at a point.
    pub fn loss(&self, x: &[f64]) -> f64 {
        self.loss.eval(|i| Lanes::constant(x[i]), &mut Vec::new()).0[0]
    }

    /// The eigenvalues of the steep coordinates' Hessian on the floor below a point.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if they are not.
    pub fn eigenvalues(&self, x: &[f64]) -> Result<Vec<f64>> {
        let x: Vec<Lanes> = x.iter().map(|&x| Lanes::constant(x)).collect();
        let mut room = Room::default();
        let lost = |_| Error::NotFinite { what: "the Hessian of the steep coordinates".to_owned() };
        self.spectrum(&x, &mut room).map_err(lost)?;
        Ok(room.values.iter().map(|value| value.0[0]).collect())
    }

    /// ∂T/∂θ of the floor's coordinates at a point, T the sum of the eigenvalues; 0 for steep ones.
    pub fn trace_slope(&self, x: &[f64]) -> Vec<f64> {
        let mut room: Vec<Dual<Dual<Dual<Lanes>>>> = Vec::new();
        let mut along = |j: usize, a: usize| {
            let variable = |i: usize| {
                let first = Dual { value: self.on_floor(i, Lanes::constant(x[i])), slope: indicator(i == j) };
                Dual {
                    value: Dual { value: first, slope: seed(i == a) },
                    slope: Dual { value: seed(i == a), slope: seed(false) },
                }
            };
            self.loss.eval(variable, &mut room).slope.slope.slope.0[0]
        };
        let slope =
            |j: usize| if self.steep.contains(&j) { 0.0 } else { self.steep.iter().map(|&a| along(j, a)).sum() };
        (0..self.dimension).map(slope).collect()
    }

    fn on_floor(&self, i: usize, x: Lanes) -> Lanes {
        if self.steep.contains(&i) { Lanes::constant(0.0) } else { x }
    }

    /// The gradient at a point of each run.
    pub(super) fn gradient(&self, x: &[Lanes], gradient: &mut [Lanes], room: &mut Room) {
        for (j, out) in gradient.iter_mut().enumerate() {
            *out = self.loss.eval(|i| Dual { value: x[i], slope: indicator(i == j) }, &mut room.first).slope;
        }
    }

    /// The spectrum on the floor below a point of each run, which is left in the room.
    ///
    /// # Errors
    /// The first lane whose Hessian is not finite.
    pub(super) fn spectrum(&self, x: &[Lanes], room: &mut Room) -> Result<(), usize> {
        let k = self.steep.len();
        let zero = Lanes::constant(0.0);
        for list in [&mut room.hessian, &mut room.vectors] {
            list.resize(k * k, zero);
        }
        room.values.resize(k, zero);
        for a in 0..k {
            for b in 0..=a {
                let variable = |i: usize| Dual {
                    value: Dual { value: self.on_floor(i, x[i]), slope: indicator(i == self.steep[b]) },
                    slope: seed(i == self.steep[a]),
                };
                let element = self.loss.eval(variable, &mut room.second).slope.slope;
                (room.hessian[a * k + b], room.hessian[b * k + a]) = (element, element);
            }
        }
        for lane in 0..LANES {
            let own: Vec<f64> = room.hessian.iter().map(|element| element.0[lane]).collect();
            if own.iter().any(|x| !x.is_finite()) {
                return Err(lane);
            }
            let (values, vectors) = jacobi(own, k);
            for (to, value) in room.values.iter_mut().zip(values) {
                to.0[lane] = value;
            }
            for (to, value) in room.vectors.iter_mut().zip(vectors) {
                to.0[lane] = value;
            }
        }
        Ok(())
    }
}

fn indicator(is: bool) -> Lanes {
    Lanes::constant(f64::from(is))
}

fn seed(is: bool) -> Dual<Lanes> {
    Dual { value: indicator(is), slope: indicator(false) }
}

/// Eigenvalues in ascending order and orthonormal vectors, row by row, of a small symmetric matrix, by Jacobi's rotations.
fn jacobi(mut a: Vec<f64>, k: usize) -> (Vec<f64>, Vec<f64>) {
    let mut v: Vec<f64> = (0..k * k).map(|at| f64::from(at / k == at % k)).collect();
    let norm: f64 = a.iter().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..SWEEPS {
        let beside = |a: &[f64]| (0..k).flat_map(|q| (0..q).map(move |p| a[p * k + q].abs())).fold(0.0, f64::max);
        if beside(&a) <= f64::EPSILON * norm {
            break;
        }
        for (p, q) in (0..k).flat_map(|q| (0..q).map(move |p| (p, q))) {
            let apq = a[p * k + q];
            if apq.abs() <= f64::EPSILON * f64::EPSILON * norm {
                continue;
            }
            let theta = (a[q * k + q] - a[p * k + p]) / (2.0 * apq);
            let t = if theta >= 0.0 { 1.0 } else { -1.0 } / (theta.abs() + (theta * theta + 1.0).sqrt());
            let c = 1.0 / (t * t + 1.0).sqrt();
            let s = t * c;
            for i in 0..k {
                let (ip, iq) = (a[i * k + p], a[i * k + q]);
                (a[i * k + p], a[i * k + q]) = (c * ip - s * iq, s * ip + c * iq);
            }
            for i in 0..k {
                let (pi, qi) = (a[p * k + i], a[q * k + i]);
                (a[p * k + i], a[q * k + i]) = (c * pi - s * qi, s * pi + c * qi);
                let (vp, vq) = (v[p * k + i], v[q * k + i]);
                (v[p * k + i], v[q * k + i]) = (c * vp - s * vq, s * vp + c * vq);
            }
            (a[p * k + q], a[q * k + p]) = (0.0, 0.0);
        }
    }
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&i, &j| a[i * k + i].total_cmp(&a[j * k + j]));
    let vectors = order.iter().flat_map(|&i| v[i * k..(i + 1) * k].to_vec()).collect();
    (order.into_iter().map(|i| a[i * k + i]).collect(), vectors)
}
