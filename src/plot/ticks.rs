//! Where ticks lie on an axis and what is written at them.

/// The ticks of one axis; positions are on the axis' scale.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ticks {
    /// Position and label.
    pub major: Vec<(f64, String)>,
    /// Ticks without a label.
    pub minor: Vec<f64>,
    /// The power of ten that is taken out of all labels and belongs beside the axis' own.
    pub exponent: i32,
}

/// Ticks at multiples of 1, 2 or 5 times a power of ten, at most `at_most` of them, between `low` and `high`.
pub(super) fn linear(low: f64, high: f64, at_most: usize) -> Ticks {
    let (mantissa, power) = step(low, high, at_most.max(1));
    let unit = ten_to(power) * mantissa as f64;
    let (first, last) = ((low / unit - 1e-9).ceil() as i64, (high / unit + 1e-9).floor() as i64);
    let largest = first.abs().max(last.abs()).saturating_mul(mantissa);
    let exponent = common_exponent(largest, power);
    let tick = |i: i64| {
        let count = i * mantissa;
        (format!("{count}e{power}").parse().unwrap_or(0.0), decimal(count, power - exponent))
    };
    Ticks { major: (first..=last).map(tick).collect(), minor: Vec::new(), exponent }
}

/// The smallest step, as a mantissa and a power of ten, that gives at most `at_most` ticks.
fn step(low: f64, high: f64, at_most: usize) -> (i64, i32) {
    let mut power = libm::floor(libm::log10((high - low) / (at_most as f64 + 1.0))) as i32;
    loop {
        for mantissa in [1, 2, 5] {
            let unit = ten_to(power) * mantissa as f64;
            let count = (high / unit + 1e-9).floor() - (low / unit - 1e-9).ceil() + 1.0;
            if count <= at_most as f64 {
                return (mantissa, power);
            }
        }
        power += 1;
    }
}

/// Parsed, since `powi` may differ between machines.
fn ten_to(power: i32) -> f64 {
    format!("1e{power}").parse().unwrap_or(f64::MIN_POSITIVE)
}

/// A multiple of three if labels would otherwise be longer than five digits or begin with 0.000.
fn common_exponent(largest: i64, power: i32) -> i32 {
    if largest == 0 {
        return 0;
    }
    let magnitude = power + largest.ilog10().cast_signed();
    if (-3..5).contains(&magnitude) { 0 } else { magnitude.div_euclid(3) * 3 }
}

/// Ticks at powers of ten between the logarithms `low` and `high`; if there are fewer than two, at 1, 2 and 5 times
/// powers of ten, and if these are fewer than two as well, at round values.
pub(super) fn log(low: f64, high: f64, at_most: usize) -> Ticks {
    let (first, last) = ((low - 1e-9).ceil() as i32, (high + 1e-9).floor() as i32);
    if last > first {
        return decades(low, high, (first, last), at_most.max(2));
    }
    let within = |at: f64| at >= low - 1e-9 && at <= high + 1e-9;
    let multiples = |factors: &'static [i64]| {
        (first - 1..=last + 1).flat_map(move |power| factors.iter().map(move |&factor| (factor, power)))
    };
    let at = |(factor, power): (i64, i32)| f64::from(power) + libm::log10(factor as f64);
    let major: Vec<_> = multiples(&[1, 2, 5]).filter(|&tick| within(at(tick))).collect();
    if major.len() < 2 || major.len() > at_most {
        let ticks = linear(libm::exp10(low), libm::exp10(high), at_most);
        let major = ticks.major.into_iter().map(|(value, label)| (libm::log10(value), label)).collect();
        return Ticks { major, ..ticks };
    }
    let minor = multiples(&[3, 4, 6, 7, 8, 9]).map(at).filter(|&at| within(at)).collect();
    Ticks { major: major.into_iter().map(|tick| (at(tick), multiple(tick))).collect(), minor, exponent: 0 }
}

fn decades(low: f64, high: f64, (first, last): (i32, i32), at_most: usize) -> Ticks {
    let stride = [1, 2, 3, 5, 10, 20, 30, 50]
        .into_iter()
        .find(|stride| (last.div_euclid(*stride) - (first - 1).div_euclid(*stride)) as usize <= at_most);
    let stride = stride.unwrap_or(100);
    let (labelled, plain): (Vec<i32>, Vec<i32>) = (first..=last).partition(|power| power.rem_euclid(stride) == 0);
    let major = labelled.into_iter().map(|power| (f64::from(power), format!("10{}", superscript(power)))).collect();
    let mut minor: Vec<f64> = plain.into_iter().map(f64::from).collect();
    if stride == 1 {
        let between =
            (first - 1..=last).flat_map(|power| (2..=9).map(move |k| f64::from(power) + libm::log10(k.into())));
        minor.extend(between.filter(|at| (low..=high).contains(at)));
    }
    Ticks { major, minor, exponent: 0 }
}

/// `factor · 10^power` in words: a decimal if it is short.
fn multiple((factor, power): (i64, i32)) -> String {
    match (factor, power) {
        (_, -3..=3) => decimal(factor, power),
        (1, _) => format!("10{}", superscript(power)),
        _ => format!("{factor}×10{}", superscript(power)),
    }
}

/// A power in superscript digits.
pub(super) fn superscript(power: i32) -> String {
    let raised = |character| match character {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(u32::from('⁰') + u32::from(digit) - u32::from('0')).unwrap_or(digit),
    };
    power.to_string().chars().map(raised).collect()
}

/// `count · 10^power` written out, with a true minus sign and thin spaces between thousands.
fn decimal(count: i64, power: i32) -> String {
    let mut digits = count.unsigned_abs().to_string();
    let places = usize::try_from(-power).unwrap_or(0);
    if count != 0 {
        digits.extend(std::iter::repeat_n('0', usize::try_from(power).unwrap_or(0)));
    }
    while digits.len() <= places {
        digits.insert(0, '0');
    }
    let fraction = digits.split_off(digits.len() - places);
    let mut text = String::from(if count < 0 { "−" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && digits.len() > 4 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(&fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &Ticks) -> Vec<&str> {
        ticks.major.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_exact() {
        let ticks = linear(-0.04, 1.04, 6);
        assert_eq!(labels(&ticks), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        let values: Vec<f64> = ticks.major.iter().map(|tick| tick.0).collect();
        assert_eq!(values, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    }

    #[test]
    fn iterations_have_thin_spaces() {
        let expected = ["0", "5000", "10\u{2009}000", "15\u{2009}000", "20\u{2009}000"];
        assert_eq!(labels(&linear(-800.0, 21_600.0, 6)), expected);
    }

    #[test]
    fn negative_labels_have_a_true_minus() {
        assert_eq!(labels(&linear(-3.0, 3.0, 4)), ["−2", "0", "2"]);
    }

    #[test]
    fn large_and_small_values_share_a_power_of_ten() {
        let ticks = linear(0.0, 4.2e6, 5);
        assert_eq!((labels(&ticks), ticks.exponent), (vec!["0", "1", "2", "3", "4"], 6));
        let ticks = linear(0.0, 1e-4, 6);
        assert_eq!((labels(&ticks), ticks.exponent), (vec!["0", "20", "40", "60", "80", "100"], -6));
    }

    #[test]
    fn decades_are_powers_of_ten_with_eight_ticks_between() {
        let ticks = log(-3.2, 0.1, 6);
        assert_eq!(labels(&ticks), ["10⁻³", "10⁻²", "10⁻¹", "10⁰"]);
        assert_eq!(ticks.minor.iter().filter(|at| (-3.0..0.0).contains(*at)).count(), 24);
    }

    #[test]
    fn many_decades_are_thinned() {
        let ticks = log(-100.0, 100.0, 5);
        assert_eq!(labels(&ticks), ["10⁻¹⁰⁰", "10⁻⁵⁰", "10⁰", "10⁵⁰", "10¹⁰⁰"]);
    }

    #[test]
    fn less_than_a_decade_is_labelled_in_between() {
        assert_eq!(labels(&log(1.2, 1.9, 6)), ["20", "50"]);
        assert_eq!(labels(&log(-5.9, -5.1, 6)), ["2×10⁻⁶", "5×10⁻⁶"]);
        assert_eq!(labels(&log(1.50, 1.56, 5)), ["32", "33", "34", "35", "36"]);
    }

    #[test]
    fn a_range_far_from_zero_keeps_its_digits() {
        assert_eq!(labels(&linear(1000.1, 1000.5, 5)), ["1000.1", "1000.2", "1000.3", "1000.4", "1000.5"]);
    }

    #[test]
    fn never_more_ticks_than_asked() {
        for at_most in 1..9 {
            for (low, high) in [(0.0, 1.0), (-7.3, 12.9), (1e-9, 3e-9), (5.0, 5.1), (-1e100, 1e100)] {
                assert!(linear(low, high, at_most).major.len() <= at_most);
            }
        }
    }
}
