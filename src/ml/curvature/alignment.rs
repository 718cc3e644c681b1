//! How far the covariance C of the gradient's noise is aligned with a matrix A of the loss, the Hessian say: the cosine
//! tr AC/√(tr A² tr C²) between the two, and the factor k = tr AC/tr A² by which kA is nearest to C.
//!
//! Without either matrix whole: ‖Av‖², Av·Cv and ‖Cv‖² have means tr A², tr AC and tr C² for probes v. A probe that serves all three
//! errs on them together, and the quotient hardly errs. Errors of quotients are the jackknife's (Tukey 1958).

use crate::ml::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::dense::Symmetric;
use super::noise::MinibatchNoise;
use super::operator::SymmetricOperator;
use crate::ml::ops::reduce;
use crate::ml::{Error, Result};

/// tr A², tr AC and tr C², or what one probe says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// tr A².
    pub square: f64,
    /// tr AC.
    pub product: f64,
    /// tr C².
    pub noise_square: f64,
}

impl Moments {
    /// What the probe `v` says, from one product with each.
    ///
    /// # Errors
    /// Those of the products.
    pub fn along(matrix: &dyn SymmetricOperator, noise: &dyn SymmetricOperator, v: &Tensor) -> Result<Self> {
        let (a, c) = (matrix.apply(v)?, noise.apply(v)?);
        Ok(Self { square: reduce::dot(&a, &a)?, product: reduce::dot(&a, &c)?, noise_square: reduce::dot(&c, &c)? })
    }

    /// Those of whole matrices.
    ///
    /// # Errors
    /// [`Error::Shape`] for matrices of different sizes.
    pub fn of(matrix: &Symmetric, noise: &Symmetric) -> Result<Self> {
        let product = |a: &Symmetric, b: &Symmetric| a.values().iter().zip(b.values()).map(|(a, b)| a * b).sum();
        if matrix.len() != noise.len() {
            let (expected, found) =
                ("matrices of one size".to_owned(), format!("{} and {}", matrix.len(), noise.len()));
            return Err(Error::Shape { operation: "alignment", expected, found });
        }
        let (square, noise_square) = (product(matrix, matrix), product(noise, noise));
        Ok(Self { square, product: product(matrix, noise), noise_square })
    }

    fn mean(all: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        Self { square: mean(|m| m.square), product: mean(|m| m.product), noise_square: mean(|m| m.noise_square) }
    }

    /// Cosine and k.
    fn quotients(&self) -> [f64; 2] {
        [self.product / (self.square * self.noise_square).sqrt(), self.product / self.square]
    }
}

/// What pairs of minibatches say of noise beside a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairMoments {
    /// dᵀAd of each pair.
    forms: Vec<f64>,
    /// (d·d′)² of each two pairs, row by row below the diagonal.
    squares: Vec<f64>,
}

impl PairMoments {
    /// Those of `noise` beside `matrix`.
    ///
    /// # Errors
    /// Those of the forms.
    pub fn of(noise: &MinibatchNoise, matrix: &dyn SymmetricOperator) -> Result<Self> {
        Ok(Self { forms: noise.forms(matrix)?, squares: noise.squares()? })
    }

    /// tr AC and tr C² as all pairs have them, and without each of them.
    fn means(&self) -> ((f64, f64), Vec<(f64, f64)>) {
        let n = self.forms.len();
        let (form, square): (f64, f64) = (self.forms.iter().sum(), self.squares.iter().sum());
        // What each pair has part in.
        let mut own = vec![0.0; n];
        let places = (0..n).flat_map(|row| (0..row).map(move |column| [row, column]));
        for (square, place) in self.squares.iter().zip(places) {
            for pair in place {
                own[pair] += square;
            }
        }
        let means = |form: f64, square: f64, n: usize| (form / n as f64, 2.0 * square / (n * (n - 1)) as f64);
        let without = self.forms.iter().zip(own).map(|(one, own)| means(form - one, square - own, n - 1));
        (means(form, square, n), without.collect())
    }
}

/// A number and its standard error; 0 where it is exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// Its standard error.
    pub stderr: f64,
}

/// How two matrices are aligned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// tr AC/√(tr A² tr C²).
    pub cosine: Measured,
    /// tr AC/tr A².
    pub factor: Measured,
    /// tr A², tr AC and tr C².
    pub moments: Moments,
}

impl Alignment {
    /// Of whole matrices.
    ///
    /// # Errors
    /// [`Error::NotFinite`], also where one of them is 0.
    pub fn exact(moments: Moments) -> Result<Self> {
        Self::new(moments, [0.0; 2])
    }

    /// From the moments of single probes.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than two; [`Error::NotFinite`], also where one of the matrices is 0.
    pub fn of_probes(probes: &[Moments]) -> Result<Self> {
        enough("probes", probes.len(), 2)?;
        let without = |out: usize| {
            let rest: Vec<Moments> = (0..probes.len()).filter(|&at| at != out).map(|at| probes[at]).collect();
            Moments::mean(&rest).quotients()
        };
        Self::new(Moments::mean(probes), jackknife(&(0..probes.len()).map(without).collect::<Vec<_>>()))
    }

    /// From ‖Av‖² of single probes and from pairs of minibatches, which err independently.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than two probes or three pairs; [`Error::NotFinite`], also where one of the matrices is 0.
    pub fn of_pairs(squares: &[f64], pairs: &PairMoments) -> Result<Self> {
        enough("probes", squares.len(), 2)?;
        enough("pairs of minibatches", pairs.forms.len(), 3)?;
        let mean = |out: Option<usize>| {
            let kept = squares.iter().enumerate().filter(|(at, _)| out != Some(*at));
            let (sum, count) = kept.fold((0.0, 0.0), |(sum, count), (_, square)| (sum + square, count + 1.0));
            sum / count
        };
        let moments = |square: f64, (product, noise_square): (f64, f64)| Moments { square, product, noise_square };
        let (whole, (noise, without)) = (mean(None), pairs.means());
        let by_probe = (0..squares.len()).map(|out| moments(mean(Some(out)), noise).quotients());
        let by_pair = without.into_iter().map(|noise| moments(whole, noise).quotients());
        let errors = [by_probe.collect::<Vec<_>>(), by_pair.collect()].map(|values| jackknife(&values));
        let both = [0, 1].map(|which| errors[0][which].hypot(errors[1][which]));
        Self::new(moments(whole, noise), both)
    }

    fn new(moments: Moments, errors: [f64; 2]) -> Result<Self> {
        let [cosine, factor] = moments.quotients();
        if ![cosine, factor, errors[0], errors[1]].iter().all(|number| number.is_finite()) {
            return Err(Error::NotFinite { what: "the alignment of two matrices".to_owned() });
        }
        let measured = |value, stderr| Measured { value, stderr };
        Ok(Self { cosine: measured(cosine, errors[0]), factor: measured(factor, errors[1]), moments })
    }
}

fn enough(what: &str, count: usize, least: usize) -> Result<()> {
    super::operator::within(what, count, (least, usize::MAX))
}

/// The standard errors of two numbers, from what each is without each of the values they rest on: √((n − 1)/n Σ (xᵢ − x̄)²).
fn jackknife(without: &[[f64; 2]]) -> [f64; 2] {
    let n = without.len() as f64;
    [0, 1].map(|which| {
        let mean = without.iter().map(|values| values[which]).sum::<f64>() / n;
        ((n - 1.0) / n * without.iter().map(|values| (values[which] - mean).powi(2)).sum::<f64>()).sqrt()
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Explicit, network_like};
    use super::super::trace::Probes;
    use super::*;
    use crate::ml::rng::Stream;

    /// A matrix, and one that shares its large directions.
    fn matrices() -> [Explicit; 2] {
        let matrix = Explicit::with_spectrum(&network_like(60), 3);
        let other = Explicit::with_spectrum(&network_like(60), 4);
        let mixed = Symmetric::from_fn(60, |i, j| 0.5 * matrix.matrix.at(i, j) + 0.2 * other.matrix.at(i, j));
        [matrix, Explicit::new(mixed)]
    }

    #[test]
    fn probes_find_what_whole_matrices_have_and_know_their_error() {
        let [matrix, noise] = matrices();
        let exact = Alignment::exact(Moments::of(&matrix.matrix, &noise.matrix).unwrap()).unwrap();
        assert!(exact.cosine.value > 0.5 && exact.cosine.value < 1.0 && exact.cosine.stderr.abs() < 1e-300);
        let repeat = |seed| {
            let probes = Probes::signs(Stream::new(seed, "probe"));
            let along = |index| {
                let v = probes.probe(index, 60, matrix.placement()).unwrap();
                Moments::along(&matrix, &noise, &v).unwrap()
            };
            Alignment::of_probes(&(0..30).map(along).collect::<Vec<_>>()).unwrap()
        };
        let repeats: Vec<Alignment> = (0..300).map(repeat).collect();
        for (of, exact) in [
            ((|alignment| alignment.cosine) as fn(&Alignment) -> Measured, exact.cosine.value),
            (|alignment| alignment.factor, exact.factor.value),
        ] {
            let values: Vec<Measured> = repeats.iter().map(of).collect();
            let covered = values.iter().filter(|m| (m.value - exact).abs() < 2.0 * m.stderr).count();
            // 0.95 for normal values; quotients of 30 have heavier tails.
            assert!(covered > 260, "{covered} of 300");
            let n = values.len() as f64;
            let mean = values.iter().map(|m| m.value).sum::<f64>() / n;
            let sd = (values.iter().map(|m| (m.value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            let claimed = values.iter().map(|m| m.stderr).sum::<f64>() / n;
            assert!((mean - exact).abs() < 0.5 * sd, "{mean} {exact} {sd}");
            assert!((0.7..1.5).contains(&(claimed / sd)), "{claimed} {sd}");
        }
    }

    #[test]
    fn pairs_of_gaussian_noise_find_its_alignment_and_know_their_error() {
        // d drawn from N(0, C) by the square root of C's diagonal form: C diagonal, so d is its scaled normals.
        let scales: Vec<f64> = (0..12).map(|i| 1.0 / f64::from(i + 1)).collect();
        let a: Vec<f64> = (0..12).map(|i| if i < 6 { 1.0 / f64::from(i + 1) } else { 0.3 }).collect();
        let product: f64 = a.iter().zip(&scales).map(|(a, c)| a * c).sum();
        let (aa, cc) = (a.iter().map(|a| a * a).sum::<f64>(), scales.iter().map(|c| c * c).sum::<f64>());
        let exact = product / (aa * cc).sqrt();
        let mut covered = 0;
        let mut sum = 0.0;
        for repeat in 0..300 {
            let mut draws = Stream::new(repeat, "pairs").at(0, 0);
            let d: Vec<Vec<f64>> =
                (0..40).map(|_| scales.iter().map(|c| c.sqrt() * draws.normal()).collect()).collect();
            let forms = d.iter().map(|d| d.iter().zip(&a).map(|(d, a)| a * d * d).sum()).collect();
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            let squares = (0..40).flat_map(|i| (0..i).map(move |j| [i, j])).map(|[i, j]| dot(&d[i], &d[j]).powi(2));
            let pairs = PairMoments { forms, squares: squares.collect() };
            let found = Alignment::of_pairs(&[aa, aa], &pairs).unwrap().cosine;
            covered += usize::from((found.value - exact).abs() < 2.0 * found.stderr);
            sum += found.value / 300.0;
        }
        assert!(covered > 255, "{covered} of 300");
        assert!((sum - exact).abs() < 0.03, "{sum} {exact}");
    }

    #[test]
    fn too_few_values_and_nothing_are_refused() {
        let one = Moments { square: 1.0, product: 1.0, noise_square: 1.0 };
        assert!(Alignment::of_probes(&[one]).is_err());
        assert!(
            Alignment::exact(Moments::default()).unwrap_err().to_string().contains("the alignment of two matrices")
        );
        let pairs = PairMoments { forms: vec![1.0, 1.0], squares: vec![1.0] };
        let message = Alignment::of_pairs(&[1.0, 1.0], &pairs).unwrap_err().to_string();
        assert_eq!(message, "2 pairs of minibatches: expected at least 3");
        let [a, b] = [3, 4].map(|n| Symmetric::from_fn(n, |_, _| 1.0));
        assert!(Moments::of(&a, &b).is_err());
    }
}
