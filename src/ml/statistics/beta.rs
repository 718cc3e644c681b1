//! The regularised incomplete beta function, on which Student's t and the binomial interval stand.

/// Iₓ(a, b) = ∫₀ˣ tᵃ⁻¹ (1 − t)ᵇ⁻¹ dt / B(a, b), for a, b > 0 and x in [0, 1].
///
/// The continued fraction of DLMF 8.17.22 times xᵃ (1 − x)ᵇ / (a B(a, b)), by the modified method of Lentz (Press et al.,
/// Numerical Recipes, 6.4). It converges fast for x < (a + 1) / (a + b + 2); elsewhere Iₓ(a, b) = 1 − I₁₋ₓ(b, a).
///
/// # Panics
/// If an argument is outside its range.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    assert!(a > 0.0 && b > 0.0 && (0.0..=1.0).contains(&x), "I_x(a, b) takes positive a and b and x in [0, 1]");
    by_both_sides([a, b], [x, 1.0 - x])
}

/// Iₓ(a, b) given x and 1 − x apart, so that neither loses its digits where the other is near 1.
fn by_both_sides([a, b]: [f64; 2], [x, y]: [f64; 2]) -> f64 {
    if x <= 0.0 {
        0.0
    } else if y <= 0.0 {
        1.0
    } else if x < (a + 1.0) / (a + b + 2.0) {
        libm::exp(ln_front([a, b], [x, y])) * fraction(a, b, x) / a
    } else {
        1.0 - libm::exp(ln_front([a, b], [x, y])) * fraction(b, a, y) / b
    }
}

/// ln(xᵃ yᵇ / B(a, b)) for x + y = 1. Logarithms of Γ of large arguments would cancel, so from [`LARGE`] on Stirling's formula
/// is put in and its large terms are cancelled on paper.
fn ln_front([a, b]: [f64; 2], [x, y]: [f64; 2]) -> f64 {
    if a > b {
        return ln_front([b, a], [y, x]);
    }
    let total = a + b;
    let (ln_x, ln_y) = if x < y { (libm::log(x), libm::log1p(-x)) } else { (libm::log1p(-y), libm::log(y)) };
    if b < LARGE {
        a * ln_x + b * ln_y - libm::lgamma(a) - libm::lgamma(b) + libm::lgamma(total)
    } else if a < LARGE {
        let ln_ratio = (total - 0.5) * libm::log1p(a / b) + a * libm::log(b) - a + stirling(total) - stirling(b);
        a * ln_x + b * ln_y - libm::lgamma(a) + ln_ratio
    } else {
        // The distance of x from the mode a / (a + b), in parts of it.
        let apart = x * b - y * a;
        let ln_of = |part: f64, direct: f64| if part.abs() < 0.5 { libm::log1p(part) } else { libm::log(direct) };
        a * ln_of(apart / a, x * total / a)
            + b * ln_of(-apart / b, y * total / b)
            + 0.5 * libm::log(a / (std::f64::consts::TAU * total) * b)
            + stirling(total)
            - stirling(a)
            - stirling(b)
    }
}

/// From here on six terms of Stirling's series are exact to 10⁻¹⁵.
const LARGE: f64 = 10.0;

/// ln Γ(z) − ((z − 1/2) ln z − z + ln √2π), by Stirling's series (DLMF 5.11.1).
fn stirling(z: f64) -> f64 {
    let square = 1.0 / (z * z);
    let series = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    series.iter().rev().fold(0.0, |sum, term| sum * square + term) / z
}

/// 1/(1 + d₁/(1 + d₂/(1 + …))), with d₂ₘ = m(b − m)x / ((a + 2m − 1)(a + 2m)) and
/// d₂ₘ₊₁ = −(a + m)(a + b + m)x / ((a + 2m)(a + 2m + 1)).
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // The number of terms grows with √max(a, b); this bound is reached at some 10⁸.
    for m in 1..100_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            value *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

/// The x at which Iₓ(a, b) is `p`, by halving: monotone, so nothing can go wrong, and exact to the last bit or two.
pub(super) fn inverse_incomplete_beta(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if incomplete_beta(a, b, middle) < p { low = middle } else { high = middle }
    }
}

/// P(T ≤ t) for Student's distribution with `df` > 0 degrees of freedom. The tail beyond |t| is Iₓ(df/2, 1/2) / 2 with
/// x = df / (df + t²); it is computed itself, so that a p of 10⁻²⁰ keeps its digits.
pub fn student_t_cdf(t: f64, df: f64) -> f64 {
    let whole = df + t * t;
    let tail = 0.5 * by_both_sides([0.5 * df, 0.5], [df / whole, t * t / whole]);
    if t > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms_hold() {
        for x in [0.0, 1e-9, 0.1, 0.5, 0.9, 1.0] {
            // I_x(1, b) = 1 − (1 − x)^b and I_x(a, 1) = x^a.
            assert!((incomplete_beta(1.0, 3.0, x) - (1.0 - (1.0 - x).powi(3))).abs() < 1e-14);
            assert!((incomplete_beta(4.0, 1.0, x) - x.powi(4)).abs() < 1e-14);
            // I_x(1/2, 1/2) = (2/π) arcsin √x.
            let arcsine = x.sqrt().asin() * std::f64::consts::FRAC_2_PI;
            assert!((incomplete_beta(0.5, 0.5, x) - arcsine).abs() < 1e-14, "{x}");
        }
        // With one degree of freedom t is Cauchy's: P = 1/2 + arctan(t)/π.
        for t in [-1e6, -2.0, 0.0, 0.3, 40.0] {
            let cauchy: f64 = 0.5 + f64::atan(t) / std::f64::consts::PI;
            assert!((student_t_cdf(t, 1.0) - cauchy).abs() < 1e-14, "{t}");
        }
    }

    #[test]
    fn the_inverse_gives_back_its_argument() {
        for (a, b) in [(0.5, 7.0), (3.0, 1.0), (50.0, 950.0)] {
            for p in [1e-6, 0.025, 0.5, 0.999] {
                let x = inverse_incomplete_beta(a, b, p);
                assert!((incomplete_beta(a, b, x) - p).abs() < 1e-12 * p.max(0.01), "{a} {b} {p}");
            }
        }
    }
}
