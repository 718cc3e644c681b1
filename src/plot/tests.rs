//! Whole figures: their bytes, their size, and what they do with data that cannot be drawn.

use super::*;

/// Two panels as in the study: a loss on segments over six decades with its threshold, and raw
/// losses in the inset; a trace with error bars, a control arm, and the early phase shaded.
fn sample() -> Figure {
    let noise = |i: i32, seed: i32| f64::from((i * 7919 + seed * 104_729) % 1009) / 1009.0;
    let segments: Vec<_> = (0..1200)
        .map(|i| {
            let x = f64::from(i) * 2.25;
            let falls = 0.004 / (1.0 + x / 900.0);
            (x, falls * (0.55 + 0.6 * noise(i, 3)) + if i < 40 { 0.02 * (1.0 - f64::from(i) / 40.0) } else { 0.0 })
        })
        .collect();
    let minima: Vec<_> = (0..60).map(|i| (f64::from(i) * 45.0, 0.0028 / (1.0 + f64::from(i) / 22.0))).collect();
    let decay = |floor: f64, rate: f64, seed: i32| -> Vec<(f64, f64)> {
        (0..=60).map(|i| (f64::from(i), floor + 1.8 / (1.0 + rate * f64::from(i)) + 0.03 * noise(i, seed))).collect()
    };
    let losses = |title: &str| Panel {
        title: Some(title.to_owned()),
        ..Panel::new(
            Axis::linear("epoch"),
            Axis::linear("loss"),
            vec![Series::line("training", decay(0.5, 0.9, 5)), Series::line("validation", decay(0.62, 0.7, 11))],
        )
    };
    let first = Panel {
        title: Some("MLP 64–64–10".to_owned()),
        marks: vec![Mark::horizontal(0.01, "threshold")],
        inset: Some(Inset::new(Panel { title: None, ..losses("") })),
        ..Panel::new(
            Axis::linear("iteration"),
            Axis::log("excess loss L − L*"),
            vec![
                Series { opacity: 0.5, ..Series::points("on segments", segments) },
                Series { size: Some(2.6), ..Series::points("projected minima", minima) },
            ],
        )
    };
    let path = |start: f64, fall: f64, seed: i32| -> Vec<(f64, f64)> {
        let value = |t: f64| start - fall * (1.0 - 1.0 / (1.0 + t / 15.0));
        (0..20).map(|i| (f64::from(3 * i + 3), value(f64::from(3 * i)) + 1.5 * (noise(i, seed) - 0.5))).collect()
    };
    let second = Panel {
        title: Some("trace along the projected path".to_owned()),
        marks: vec![Mark::span(0.0, 5.0, "early phase")],
        inset: Some(Inset::new(losses(""))),
        ..Panel::new(
            Axis::linear("epoch").range(0.0, 62.0),
            Axis::linear("Tr(H)"),
            vec![
                Series::line_points("SGD", path(37.7, 22.0, 2)).with_errors(&[1.2; 20]),
                Series { hollow: true, dashed: true, ..Series::line_points("control (GD)", path(37.7, 1.0, 4)) }
                    .with_errors(&[1.0; 20]),
            ],
        )
    };
    let note = "Points on the straight segments between neighbouring projected minima; error bars are standard \
                deviations over 40 probes. η\u{a0}=\u{a0}0.1, μ\u{a0}=\u{a0}0.9, ε\u{a0}=\u{a0}0.1.";
    Figure { note: Some(note.to_owned()), ..Figure::new(vec![first, second]) }
}

fn decoded(bytes: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("the header is valid");
    let mut pixels = vec![0; reader.output_buffer_size().expect("the picture is small")];
    let info = reader.next_frame(&mut pixels).expect("the pixels are valid");
    (info.width, info.height, pixels)
}

#[test]
fn two_renders_have_the_same_bytes() {
    assert_eq!(sample().to_svg().expect("the sample can be drawn"), sample().to_svg().expect("and again"));
    assert_eq!(sample().to_png(100).expect("the sample can be drawn"), sample().to_png(100).expect("and again"));
}

#[test]
fn an_svg_has_outlines_and_no_text() {
    let svg = sample().to_svg().expect("the sample can be drawn");
    assert!(!svg.contains("<text"));
    assert!(!svg.contains("font-family"));
    assert!(svg.contains(r#"<path aria-label="Tr(H)" d="M"#));
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
}

#[test]
fn a_png_has_the_size_that_its_millimetres_ask_for() {
    let figure = Figure { width_mm: 127.0, height_mm: Some(50.8), ..sample() };
    let (width, height, pixels) = decoded(&figure.to_png(100).expect("the sample can be drawn"));
    assert_eq!((width, height), (500, 200));
    assert!(pixels.iter().any(|&byte| byte < 0x40), "there is ink");
}

#[test]
fn the_sample_is_drawn_without_a_warning() {
    assert_eq!(sample().draw().expect("the sample can be drawn").warnings, Vec::new());
}

#[test]
fn the_same_ink_is_in_both_outputs() {
    let picture = sample().draw().expect("the sample can be drawn");
    let svg = picture.to_svg();
    let drawn = svg.matches("<path ").count() + svg.matches("<circle ").count();
    assert_eq!(drawn, picture.shapes.len());
}

/// A panel with this one series on these axes.
fn panel_of(x: Axis, y: Axis, points: Vec<(f64, f64)>) -> Figure {
    Figure::new(vec![Panel::new(x, y, vec![Series::line_points("s", points)])])
}

#[test]
fn data_that_cannot_be_drawn_are_counted_and_left_out() {
    let points = vec![(1.0, 1.0), (f64::NAN, 2.0), (2.0, -1.0), (3.0, f64::INFINITY), (4.0, 0.0), (5.0, 3.0)];
    let figure = panel_of(Axis::linear("x"), Axis::log("y"), points);
    let (place, series) = ("panel 1".to_owned(), "s".to_owned());
    let expected = vec![
        Warning::NotFinite { place: place.clone(), series: series.clone(), count: 2 },
        Warning::NotPositive { place, series, count: 2 },
    ];
    assert_eq!(figure.draw().expect("two points are left").warnings, expected);
}

#[test]
fn pathological_data_are_drawn_without_a_panic() {
    let cases: [Vec<(f64, f64)>; 9] = [
        vec![],
        vec![(f64::NAN, f64::NAN)],
        vec![(0.0, 0.0)],
        vec![(5.0, 7.0); 3],
        vec![(1e99, -1e99), (-1e99, 1e99)],
        vec![(1e-300, 1e-300), (2e-300, 3e-300)],
        vec![(1.0, 1.0), (1.0 + 1e-15, 1.0 - 1e-15)],
        vec![(f64::MAX, f64::MIN), (1.0, 2.0)],
        vec![(1e15, 1.0), (1e15 + 1e4, 2.0)],
    ];
    for points in cases {
        for (x, y) in [(Axis::linear("x"), Axis::linear("y")), (Axis::log("x"), Axis::log("y"))] {
            let mut figure = panel_of(x, y, points.clone());
            figure.panels[0].series[0].errors = Some(vec![(f64::NEG_INFINITY, 2.0); points.len()]);
            figure.panels[0].series[0].band = Some(vec![(-1.0, f64::INFINITY); points.len() + 1]);
            figure.panels[0].marks =
                vec![Mark::horizontal(f64::NAN, "n"), Mark::span(-1.0, 1.0, "s"), Mark::vertical(0.0, "v")];
            assert!(figure.to_png(50).is_ok(), "{points:?}");
        }
    }
}

#[test]
fn a_series_at_the_edge_stretches_no_axis_and_is_drawn_all_the_same() {
    let far = vec![(1.0, 50.0), (2.0, f64::INFINITY)];
    let crosses = Series { at_edge: true, marker: Some(Marker::Cross), ..Series::points("far", far) };
    let near = Series::points("near", vec![(1.0, 1.0), (2.0, 2.0)]);
    let alone = Figure::new(vec![Panel::new(Axis::linear("x"), Axis::linear("y"), vec![near.clone()])]);
    let both = Figure::new(vec![Panel::new(Axis::linear("x"), Axis::linear("y"), vec![near, crosses])]);
    let (alone, both) = (alone.draw().expect("it can be drawn"), both.draw().expect("it can be drawn"));
    assert_eq!(both.warnings, Vec::new());
    let crosses = |picture: &Picture| {
        let corners =
            |shape: &canvas::Shape| matches!(shape, canvas::Shape::Polygon { points, .. } if points.len() == 12);
        picture.shapes.iter().filter(|shape| corners(shape)).count()
    };
    // Two in the panel and one in the legend.
    assert_eq!((crosses(&alone), crosses(&both)), (0, 3));
    assert!(!both.to_svg().contains(r#"aria-label="50""#) && both.to_svg().contains(r#"aria-label="2.0""#));
}

#[test]
fn an_axis_with_one_end_given_finds_the_other() {
    let axis = Axis { low: Some(0.0), ..Axis::linear("y") };
    let picture = panel_of(Axis::linear("x"), axis, vec![(0.0, 30.0), (1.0, 40.0)]).draw().expect("it can be drawn");
    assert_eq!(picture.warnings, Vec::new());
    assert!(picture.to_svg().contains(r#"aria-label="0""#));
    let beyond = Axis { low: Some(50.0), ..Axis::linear("y") };
    let picture = panel_of(Axis::linear("x"), beyond, vec![(0.0, 30.0), (1.0, 40.0)]).draw().expect("it can be drawn");
    assert_eq!(picture.warnings, vec![Warning::Outside { place: "panel 1".into(), series: "s".into(), count: 2 }]);
}

#[test]
fn a_line_beyond_its_axis_is_warned_of() {
    let mut figure = panel_of(Axis::linear("x"), Axis::linear("y").range(0.0, 1.0), vec![(0.0, 0.5), (1.0, 0.6)]);
    figure.panels[0].marks = vec![Mark::horizontal(2.0, "threshold")];
    let expected = Warning::Mark { place: "panel 1".into(), label: "threshold".into() };
    assert_eq!(figure.draw().expect("the data can be drawn").warnings, vec![expected]);
}

#[test]
fn an_empty_series_is_said_to_be_empty() {
    let picture = panel_of(Axis::linear("x"), Axis::linear("y"), vec![]).draw().expect("the axes can be drawn");
    assert_eq!(picture.warnings, vec![Warning::Empty { place: "panel 1".into(), series: "s".into() }]);
}

#[test]
fn points_outside_a_given_range_are_counted() {
    let axis = Axis::linear("x").range(0.0, 1.0);
    let picture =
        panel_of(axis, Axis::linear("y"), vec![(0.5, 1.0), (2.0, 2.0), (3.0, 0.0)]).draw().expect("one is in");
    assert_eq!(picture.warnings, vec![Warning::Outside { place: "panel 1".into(), series: "s".into(), count: 2 }]);
}

#[test]
fn impossible_wishes_are_errors() {
    assert!(matches!(Figure::new(Vec::new()).draw(), Err(Error::NoPanels)));
    let tiny = Figure { width_mm: 5.0, ..sample() };
    assert!(matches!(tiny.draw(), Err(Error::Size { .. })));
    for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0)] {
        let figure = panel_of(Axis::linear("x").range(low, high), Axis::linear("y"), vec![]);
        assert!(matches!(figure.draw(), Err(Error::Range { .. })));
    }
    let figure = panel_of(Axis::linear("x"), Axis::log("y").range(0.0, 1.0), vec![]);
    assert!(matches!(figure.draw(), Err(Error::Range { .. })));
    assert!(matches!(sample().to_png(7), Err(Error::Resolution { dots_per_inch: 7 })));
}

#[test]
fn a_character_without_a_glyph_is_named() {
    let picture = panel_of(Axis::linear("損失"), Axis::linear("y"), vec![(0.0, 0.0)]).draw().expect("it can be drawn");
    let glyph = |character| Warning::Glyph { character };
    assert_eq!(picture.warnings, vec![glyph('失'), glyph('損')]);
}

/// Writes the sample to the folder for temporary files, to be looked at.
#[test]
fn the_sample_can_be_written_and_looked_at() {
    let folder = std::env::temp_dir().join("thalweg-plot-sample");
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    let picture = sample().draw().expect("the sample can be drawn");
    std::fs::write(folder.join("sample.svg"), picture.to_svg()).expect("the folder can be written");
    let single = Figure { note: None, ..Figure::new(vec![sample().panels.remove(1)]) };
    let png = single.to_png(200).expect("the resolution is sound");
    std::fs::write(folder.join("single.png"), &png).expect("the folder can be written");
    let png = picture.to_png(300).expect("the resolution is sound");
    std::fs::write(folder.join("sample.png"), &png).expect("the folder can be written");
    assert_eq!(decoded(&png).0, 2055);
}
