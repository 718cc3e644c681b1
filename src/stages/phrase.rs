//! Numbers in words: in the sentence of a claim, in a figure's legend.

/// `3 of 7 segments are`, `1 of 7 segments is`, `1 of 1 segment is`.
pub(super) fn part(part: u64, of: u64, noun: &str) -> String {
    let (plural, verb) = (if of == 1 { "" } else { "s" }, if part == 1 { "is" } else { "are" });
    format!("{part} of {of} {noun}{plural} {verb}")
}

/// A share to the hundredth of a per cent: `99 %`, `98.97 %`.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// With a true minus, to so many decimals.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}").replace('-', "−")
}

/// To so many significant digits as say something to people, whole numbers in full: `6.012`, `−13235`, `0.0087`.
pub(super) fn significant(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return signed(value, 0);
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..7.0).contains(&magnitude) {
        return format!("{value:.3e}").replace('-', "−");
    }
    let text = signed(value, (3.0 - magnitude).max(0.0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `p = 0.012`, `p = 4.8·10⁻⁵`.
pub(super) fn probability(p: f64) -> String {
    if p < 1e-300 {
        return "p < 10⁻³⁰⁰".to_owned();
    }
    if p >= 1e-3 {
        return format!("p = {p:.3}");
    }
    let text = format!("{p:.1e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let raised = |c: char| match c.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
        None => '⁻',
    };
    format!("p = {digits}·10{}", exponent.chars().map(raised).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [part(3, 7, "segment"), part(1, 7, "segment"), part(1, 1, "segment")],
            ["3 of 7 segments are", "1 of 7 segments is", "1 of 1 segment is"]
        );
        assert_eq!([0.99, 1.0, 0.98969].map(percent), ["99 %", "100 %", "98.97 %"]);
        assert_eq!([signed(-15.67, 1), signed(0.5, 2)], ["−15.7", "0.50"]);
        let numbers = [6.012_34, -13_235.4, 0.008_71, 3.0, 0.5, 1.2e-7, 12_345_678.9];
        let words = ["6.012", "−13235", "0.00871", "3", "0.5", "1.200e−7", "1.235e7"];
        assert_eq!(numbers.map(significant), words);
        assert_eq!(
            [0.0123, 4.85e-5, 2e-11, 0.0].map(probability),
            ["p = 0.012", "p = 4.8·10⁻⁵", "p = 2.0·10⁻¹¹", "p < 10⁻³⁰⁰"]
        );
    }
}
