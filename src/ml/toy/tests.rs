//! The toys of the paper against closed forms and against the numbers of independent simulations; derivatives against those taken by hand.

use super::expression::Expression;
use super::landscape::Landscape;
use super::noise::Noise;
use super::walk::{Run, Walk};
use crate::ml::Error;
use crate::ml::objective::NoInterrupt;
use crate::ml::rng::Stream;
use crate::ml::statistics::weighted_linear_fit;

const VALLEY: &str = "abs(t3 + t4)*t1^2 + abs(t3 + 2*t4)*t2^2";
const CROSSING: &str = "(4 - 2*exp(-t3^2 - t4^2))*t1^2 + exp(-(t3 - t4)^2)*t2^2";
const BALANCE: &str = "(t2^2 + 1)*t1^2/2 + 0.0001*t2";

fn landscape(loss: &str, dimension: usize, steep: &[usize]) -> Landscape {
    Landscape::new(Expression::parse(loss, 't', dimension).unwrap(), dimension, steep.to_vec()).unwrap()
}

fn walk<'a>(landscape: &'a Landscape, start: &'a [f64], noise: &'a Noise, (rate, iterations): (f64, u64)) -> Walk<'a> {
    let (momentum, dampening, every) = (0.0, 0.0, iterations);
    Walk { landscape, start, noise, sigma: 1.0, rate, momentum, dampening, iterations, equilibrate: 0, every }
}

fn runs(walk: &Walk<'_>, count: u32) -> Vec<Run> {
    walk.runs(&Stream::new(0, "toy"), 0..count, &NoInterrupt).unwrap()
}

/// Mean and standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

fn ends(runs: &[Run], of: impl Fn(&Run) -> f64) -> (f64, f64) {
    mean(&runs.iter().map(of).collect::<Vec<_>>())
}

#[test]
fn an_expression_has_the_value_that_it_says() {
    let x = [0.7, -1.3];
    let value = |text: &str| {
        let landscape = landscape(text, 2, &[0]);
        landscape.loss(&x)
    };
    let [a, b] = x;
    for (text, expected) in [
        ("t1 - t2 - 1", a - b - 1.0),
        ("-t1^2", -a * a),
        ("2^3^2", 512.0),
        ("t1/t2/2", a / b / 2.0),
        ("2 * -t1", -2.0 * a),
        ("t1^-2", 1.0 / (a * a)),
        ("t1^0.5 + t1^t1", a.sqrt() + a.powf(a)),
        ("t2^(1 + 1) + t2^(6/2) - t2^2^2", b.powi(2) + b.powi(3) - b.powi(4)),
        ("abs(t2)^2.5 + t2^66", 1.3f64.powf(2.5) + b.powi(66)),
        ("abs(t2) + exp(t1) - log(t1) + sqrt(t1)", 1.3 + a.exp() - a.ln() + a.sqrt()),
        ("sin(pi*t1) + cos(t2) * tanh(t1)", (std::f64::consts::PI * a).sin() + b.cos() * a.tanh()),
        (" ( t1 + .5e1 ) * 1E-1 ", (a + 5.0) * 0.1),
    ] {
        assert!((value(text) - expected).abs() < 1e-14 * expected.abs().max(1.0), "{text}: {} {expected}", value(text));
    }
}

#[test]
fn what_does_not_parse_is_pointed_at() {
    let deep = "(".repeat(200);
    for (text, found, message) in [
        ("t1 + ", "", "expected a number, a variable or a parenthesis, found the end"),
        ("t1 + * t2", "*", "expected a number, a variable or a parenthesis, found `*`"),
        ("t1 t2", "t", "expected an operator or the end, found `t`"),
        ("(t1 + t2", "(", "expected a `)` for this `(`"),
        ("(t1 ; t2)", ";", "expected an operator or `)`, found `;`"),
        ("t1 + t3", "t3", "`t3` is neither of the variables `t1` to `t2`, nor `pi`, nor one of the functions"),
        ("t1 + θ", "θ", "expected a number, a variable or a parenthesis, found `θ`"),
        ("ln(t1)", "ln", "nor one of the functions `abs`, `exp`, `log`"),
        ("exp t1", "exp", "expected `(` behind `exp`"),
        ("2e", "e", "expected an operator or the end, found `e`"),
        ("1e999", "1e999", "expected a finite number"),
        ("t0", "t0", "neither of"),
        ("t01", "t01", "neither of"),
        ("", "", "found the end"),
        (&deep, "(", "no more than 100 parts inside each other"),
    ] {
        let unparsed = Expression::parse(text, 't', 2).unwrap_err();
        assert_eq!(&text[unparsed.span.clone()], found, "{text}");
        assert!(unparsed.message.contains(message), "{text}: {}", unparsed.message);
    }
}

#[test]
fn eigenvalues_and_their_slopes_are_those_taken_by_hand() {
    let valley = landscape(VALLEY, 4, &[0, 1]);
    // Wherever the steep coordinates are: the floor below is meant.
    let x = [0.3, -0.2, 1.0, 1.0];
    assert_eq!(valley.eigenvalues(&x).unwrap(), [4.0, 6.0]);
    assert_eq!(valley.trace_slope(&x), [0.0, 0.0, 4.0, 6.0]);
    assert_eq!(valley.trace_slope(&[0.0, 0.0, -1.0, -2.0]), [0.0, 0.0, -4.0, -6.0]);
    let crossing = landscape(CROSSING, 4, &[0, 1]);
    let eigenvalues = crossing.eigenvalues(&[0.0, 0.0, 0.5, -0.5]).unwrap();
    assert!((eigenvalues.iter().sum::<f64>() - 6.310).abs() < 5e-4);
    assert!((eigenvalues.iter().product::<f64>() - 4.101).abs() < 5e-4);
    // Powers that are only just twice differentiable at 0, where steep coordinates are.
    let curved = landscape("abs(t1)^2.5 + (1 + t2)*t1^(1 + 1)", 2, &[0]);
    assert_eq!(curved.eigenvalues(&[0.3, 2.0]).unwrap(), [6.0]);
    assert!(landscape("abs(t1)^1.5", 1, &[0]).eigenvalues(&[0.3]).is_err());
    // Steep coordinates that are coupled: [[2, 1], [1, 3]] times 1 + t3².
    let coupled = landscape("(t1^2 + t1*t2 + 1.5*t2^2)*(1 + t3^2)", 3, &[0, 1]);
    let found = coupled.eigenvalues(&[5.0, 7.0, 2.0]).unwrap();
    let root = 5f64.sqrt();
    for (found, expected) in found.iter().zip([5.0 * (5.0 - root) / 2.0, 5.0 * (5.0 + root) / 2.0]) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
    assert!((coupled.trace_slope(&[0.0, 0.0, 2.0])[2] - 20.0).abs() < 1e-12);
}

#[test]
fn a_walk_without_noise_is_gradient_descent_with_momentum() {
    let landscape = landscape("sin(t1)*t2^2 + exp(t1*t2) + tanh(t2)/t1 - log(t1)*sqrt(t1) + t1^1.5", 2, &[1]);
    let walk = Walk { momentum: 0.7, dampening: 0.2, ..walk(&landscape, &[0.8, 0.4], &Noise::None, (0.01, 25)) };
    let found = &runs(&walk, 1)[0];
    let ([mut a, mut b], mut v) = ([0.8f64, 0.4f64], [0.0; 2]);
    let mut sum = [0.0; 2];
    for _ in 0..25 {
        let slope = 1.0 - b.tanh().powi(2);
        let gradient = [
            a.cos() * b * b + b * (a * b).exp() - b.tanh() / (a * a) - 1.0 / a.sqrt() - a.ln() / (2.0 * a.sqrt())
                + 1.5 * a.sqrt(),
            2.0 * a.sin() * b + a * (a * b).exp() + slope / a,
        ];
        for (v, g) in v.iter_mut().zip(gradient) {
            *v = 0.7 * *v + 0.8 * g;
        }
        (a, b) = (a - 0.01 * v[0], b - 0.01 * v[1]);
        sum = [sum[0] + a, sum[1] + b];
    }
    let end = &found.recorded.last().unwrap().point;
    assert!((end[0] - a).abs() < 1e-13 && (end[1] - b).abs() < 1e-13, "{end:?} {a} {b}");
    assert!((found.mean[0] - sum[0] / 25.0).abs() < 1e-13 && (found.mean[1] - sum[1] / 25.0).abs() < 1e-13);
}

#[test]
fn a_run_depends_on_its_own_number_alone() {
    let landscape = landscape(VALLEY, 4, &[0, 1]);
    let walk = Walk { every: 7, ..walk(&landscape, &[0.0, 0.0, 1.0, 1.0], &Noise::Sgd, (0.01, 40)) };
    let all = runs(&walk, 11);
    let some = walk.runs(&Stream::new(0, "toy"), 5..10, &NoInterrupt).unwrap();
    assert_eq!(some, all[5..10]);
    assert_ne!(all[0], all[1]);
    let iterations: Vec<u64> = all[0].recorded.iter().map(|recorded| recorded.iteration).collect();
    assert_eq!(iterations, [0, 7, 14, 21, 28, 35, 40]);
    assert!(matches!(walk.runs(&Stream::new(0, "toy"), 0..1, &|| true), Err(Error::Interrupted)));
}

/// ⟨θ²⟩ = ησ²c/(λ(2 − ηλ)) in a valley that does not change.
#[test]
fn steep_coordinates_have_the_variance_of_their_noise() {
    let straight = landscape("1.5*t1^2 + 5*t2^2 + t1*t2", 2, &[0, 1]);
    for noise in [Noise::Sgd, Noise::Isotropic] {
        let walk =
            Walk { sigma: 0.7, equilibrate: 1_000, every: 25, ..walk(&straight, &[0.0, 0.0], &noise, (0.05, 11_000)) };
        let runs = runs(&walk, 40);
        let [small, large] = straight.eigenvalues(&[0.0, 0.0]).unwrap()[..] else { panic!("two") };
        let variance = |lambda: f64| {
            let c = if noise == Noise::Sgd { lambda } else { 1.0 };
            0.05 * 0.49 * c / (lambda * (2.0 - 0.05 * lambda))
        };
        // Trace of the covariance, and that of its product with the Hessian: 2⟨L⟩.
        let square = |run: &Run, of: &dyn Fn(&[f64]) -> f64| {
            let late = run.recorded.iter().filter(|recorded| recorded.iteration > 1_000);
            let values: Vec<f64> = late.map(|recorded| of(&recorded.point)).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let norm = ends(&runs, |run| square(run, &|x| x[0] * x[0] + x[1] * x[1]));
        let loss = ends(&runs, |run| square(run, &|x| 2.0 * straight.loss(x)));
        let (expected, energy) = (variance(small) + variance(large), small * variance(small) + large * variance(large));
        assert!((norm.0 - expected).abs() < 4.0 * norm.1 && norm.1 < 0.05 * expected, "{noise:?}: {norm:?} {expected}");
        assert!((loss.0 - energy).abs() < 4.0 * loss.1 && loss.1 < 0.05 * energy, "{noise:?}: {loss:?} {energy}");
    }
}

/// Fig. 2b: ΔT over 1,000 iterations against η²; at other starts and noises by the same formula.
#[test]
fn the_trace_drifts_as_the_square_of_the_rate() {
    let valley = landscape(VALLEY, 4, &[0, 1]);
    for (start, sigma) in [([0.0, 0.0, 1.0, 1.0], 1.0), ([0.0, 0.0, 2.0, -0.5], 0.8)] {
        let (mut squares, mut falls, mut weights) = (vec![], vec![], vec![]);
        let slope: f64 = valley.trace_slope(&start).iter().map(|slope| slope * slope).sum();
        for step in 0..10u32 {
            let rate = (1e-6 + 1.1e-5 * f64::from(step)).sqrt();
            let walk =
                Walk { sigma, equilibrate: 1_000, every: 2_000, ..walk(&valley, &start, &Noise::Sgd, (rate, 2_000)) };
            let runs = walk.runs(&Stream::new(u64::from(step), "toy"), 0..100, &NoInterrupt).unwrap();
            let (fall, error) = ends(&runs, |run| run.recorded[2].trace - run.recorded[1].trace);
            squares.push(rate * rate);
            falls.push(fall);
            weights.push(1.0 / (error * error));
        }
        let found = weighted_linear_fit(&squares, &falls, &weights).unwrap().slope;
        let leading = -250.0 * sigma * sigma * slope;
        // At the first start that is −13,000, and −13,235 with the rate's next order.
        assert!((found / leading - 1.018).abs() < 0.02, "{start:?}: {found} beside {leading}");
    }
}

/// Figs. 2c and 2d, from where both noises can be told apart.
#[test]
fn sgd_noise_lowers_the_trace_and_isotropic_noise_the_determinant() {
    let crossing = landscape(CROSSING, 4, &[0, 1]);
    let start = [0.0, 0.0, 0.5, -0.5];
    let by = |noise: &Noise| {
        let runs = runs(&walk(&crossing, &start, noise, (0.05, 2_000)), 50);
        let end = |run: &Run| run.recorded.last().unwrap().clone();
        (ends(&runs, |run| end(run).trace).0, ends(&runs, |run| end(run).determinant).0)
    };
    let (trace, determinant) = by(&Noise::Sgd);
    // Tolerances are three standard errors of 50 runs.
    assert!((trace - 6.012).abs() < 0.03 && trace < 6.06, "{trace}");
    assert!((determinant - 7.63).abs() < 0.3 && determinant > 7.2, "{determinant}");
    let (trace, determinant) = by(&Noise::Isotropic);
    assert!((trace - 7.925).abs() < 0.025 && trace > 7.88, "{trace}");
    assert!((determinant - 0.0087).abs() < 0.008 && determinant < 0.03, "{determinant}");
    // The noises that theorem 2 designs for trace and log-determinant are these two, to the last byte but for rounding.
    let designed = |f: &str| Noise::Designed(Expression::parse(f, 'l', 2).unwrap());
    for (noise, f) in [(Noise::Sgd, "l1 + l2"), (Noise::Isotropic, "log(l1) + log(l2)")] {
        let (plain, designed) = (by(&noise), by(&designed(f)));
        assert!((plain.0 - designed.0).abs() < 1e-9 && (plain.1 - designed.1).abs() < 1e-9, "{plain:?} {designed:?}");
    }
    // `l1` is the smaller eigenvalue: noise along it alone drives it down, as if there were no other.
    let along_smaller = by(&designed("l1"));
    assert!(along_smaller.1 < 4.1, "{along_smaller:?}");
}

/// Fig. 7.
#[test]
fn the_entropic_force_holds_against_the_energetic_one() {
    let balance = landscape(BALANCE, 2, &[0]);
    let start = [0.1, 0.1];
    let still = &runs(&walk(&balance, &start, &Noise::None, (0.01, 400_000)), 1)[0];
    let end = still.recorded.last().unwrap().point[1];
    assert!((end + 0.3005).abs() < 5e-5, "{end}");
    let noisy = Walk { equilibrate: 200_000, ..walk(&balance, &start, &Noise::Sgd, (0.01, 400_000)) };
    let (mean, _) = ends(&runs(&noisy, 8), |run| run.mean[1]);
    assert!((mean + 0.02).abs() < 0.0018, "{mean}");
}

#[test]
fn what_no_walk_can_be_is_said() {
    assert!(Landscape::new(Expression::parse("t1^2", 't', 1).unwrap(), 1, vec![]).is_err());
    assert!(Landscape::new(Expression::parse("t1^2", 't', 1).unwrap(), 1, vec![1]).is_err());
    assert!(Landscape::new(Expression::parse("t1^2", 't', 1).unwrap(), 1, vec![0, 0]).is_err());
    let hill = landscape("(1 - t2)*t1^2", 2, &[0]);
    let refused = walk(&hill, &[0.0, 2.0], &Noise::Sgd, (0.1, 10)).runs(&Stream::new(0, "toy"), 3..4, &NoInterrupt);
    let said = refused.unwrap_err().to_string();
    assert!(said.starts_with("noise of variance -2 along eigenvalue -2 of run 3 after 0 iterations"), "{said}");
    let cliff = walk(&hill, &[1.0, 2.0], &Noise::None, (10.0, 10_000)).runs(&Stream::new(0, "toy"), 0..1, &NoInterrupt);
    let said = cliff.unwrap_err().to_string();
    assert!(said.contains("of run 0 after") && said.contains("is not finite"), "{said}");
}
