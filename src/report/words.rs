//! Counts, spans of time and sizes, as people say them.

/// A count with its noun: `1 stage`, `3 stages`, `2 studies`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {}", plural(noun)) }
}

/// What an action of a kind is called when it is counted: a kind is often a verb, or, as of descents, only a part of what people call so.
pub fn action(kind: &str) -> &str {
    match kind {
        "decode" => "decoding",
        "descent" => "descent block",
        "alignment-probe" => "alignment probe",
        "evaluate" => "evaluation",
        "exact-alignment" => "exact alignment",
        "eigenvalues" => "whole spectrum",
        "init" => "initialisation",
        "lanczos" => "Lanczos start",
        "layer-probe" => "probe by layer",
        "noise-pairs" => "set of minibatch pairs",
        "norm-statistics" => "batch-norm statistic",
        "relation" => "measured epoch",
        "scaled-probe" => "scaled probe",
        "square-probe" => "square probe",
        "subspace-trace" => "subspace trace",
        "trace-gradient" => "gradient of the trace",
        "walks" => "block of runs",
        "xtrace" => "XTrace estimate",
        other => other,
    }
}

/// The plural of a regular English noun.
pub fn plural(noun: &str) -> String {
    if let Some((head, rest)) =
        [" by ", " of "].iter().find_map(|word| Some((noun.find(word)?, noun))).map(|(at, noun)| noun.split_at(at))
    {
        return format!("{}{rest}", plural(head));
    }
    if noun == "whole spectrum" {
        return "whole spectra".to_owned();
    }
    let before_y = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match before_y {
        Some(stem) => format!("{stem}ies"),
        None if ["s", "x", "z", "tch", "sh"].iter().any(|end| noun.ends_with(end)) => format!("{noun}es"),
        None => format!("{noun}s"),
    }
}

/// How long something took, in seconds: `0.02 s`, `12.3 s`, `1 min 12 s`, `2 h 5 min`, `3 d 4 h`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.995 {
        format!("{:.2} s", seconds.max(0.0))
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        about(seconds)
    }
}

/// The same to the whole second, for what changes while it is read: `50 s`, `1 min 12 s`.
pub fn about(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A size in bytes: `1 byte`, `512 bytes`, `1.5 KiB`, `20.0 MiB`.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    // What would be rounded to 1024.0 is one of the next unit.
    for next in ["MiB", "GiB", "TiB", "PiB", "EiB"] {
        if size >= 1023.95 {
            (size, unit) = (size / 1024.0, next);
        }
    }
    format!("{size:.1} {unit}")
}

/// Names in a row, at most `most` of them: `a, b, c and 6 more`.
pub fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>, most: usize) -> String {
    let more = names.len().saturating_sub(most);
    let named = names.take(most).collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_is_plural() {
        let said = [(0, "stage"), (1, "stage"), (2, "study"), (3, "replay"), (2, "batch"), (2, "epoch")]
            .map(|(n, noun)| count(n, noun));
        assert_eq!(
            ["lanczos", "eigenvalues", "layer-probe", "walks"].map(|kind| plural(action(kind))),
            ["Lanczos starts", "whole spectra", "probes by layer", "blocks of runs"]
        );
        assert_eq!(said, ["0 stages", "1 stage", "2 studies", "3 replays", "2 batches", "2 epochs"]);
    }

    #[test]
    fn no_span_is_rounded_into_sixty_of_its_unit() {
        let spans = [0.0, 0.016, 0.994, 0.996, 12.34, 59.94, 59.96, 72.4, 119.6, 3_599.6, 7_530.0, 86_399.9, 273_600.0];
        let said = [
            "0.00 s",
            "0.02 s",
            "0.99 s",
            "1.0 s",
            "12.3 s",
            "59.9 s",
            "1 min 0 s",
            "1 min 12 s",
            "2 min 0 s",
            "1 h 0 min",
            "2 h 5 min",
            "1 d 0 h",
            "3 d 4 h",
        ];
        assert_eq!(spans.map(seconds), said);
        assert_eq!([0.4, 49.6, 59.6].map(about), ["0 s", "50 s", "1 min 0 s"]);
    }

    #[test]
    fn sizes_carry_the_largest_unit_that_leaves_one_or_more() {
        let sizes = [0, 1, 1023, 1024, 1536, 1_048_575, 20 << 20, u64::MAX];
        let said = ["0 bytes", "1 byte", "1023 bytes", "1.0 KiB", "1.5 KiB", "1.0 MiB", "20.0 MiB", "16.0 EiB"];
        assert_eq!(sizes.map(bytes), said);
    }

    #[test]
    fn a_long_list_says_how_many_it_leaves_out() {
        assert_eq!(list(["a", "b", "c"].into_iter(), 3), "a, b, c");
        assert_eq!(list(["a", "b", "c"].into_iter(), 2), "a, b and 1 more");
    }
}
