//! Figures: the same bytes from an empty cache, and files that other programs can open.

use super::lab::{Lab, TINY};

/// Checks that tags nest and attributes are quoted; the names of all elements, in order.
fn elements(svg: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut names = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>') && text.matches('&').count() == entities(text), "text {text:?}");
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('?') || tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            continue;
        }
        let name = tag.split([' ', '\n', '/']).next().unwrap().to_owned();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag:?}");
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        names.push(name);
    }
    assert!(open.is_empty(), "left open: {open:?}");
    names
}

fn entities(text: &str) -> usize {
    ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"].iter().map(|entity| text.matches(entity).count()).sum()
}

#[test]
fn a_figure_drawn_again_from_an_empty_cache_is_the_same_and_well_formed() {
    let manifest = TINY.replace(
        "kind = \"plot\"",
        "kind = \"plot\"\ntitle = \"SGD < GD & \\\"noise\\\"\"\nnote = \"digits → valley\"",
    );
    let manifest = manifest.replace("epochs = 6", "epochs = 2");
    let (a, b) = (Lab::new(&manifest), Lab::new(&manifest));
    a.run(&["--jobs 1"]);
    b.run(&["--jobs 3"]);
    for name in ["figure.svg", "figure.png", "figure.csv"] {
        assert!(a.result(name) == b.result(name), "{name}");
    }
    let svg = String::from_utf8(a.result("figure.svg")).unwrap();
    let names = elements(&svg);
    assert_eq!(names[0], "svg");
    assert!(names.len() > 20, "{names:?}");
    assert!(!svg.contains("NaN") && !svg.contains("inf\""));
    let png = a.result("figure.png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert!(frame.width > 600 && frame.height > 300, "{frame:?}");
    let dark = pixels.chunks(frame.line_size / frame.width as usize).filter(|pixel| pixel[0] < 100).count();
    assert!(dark > 500, "something is drawn");
    let inside = String::from_utf8(a.result("figure.csv")).unwrap();
    assert_eq!(inside.lines().count(), 1 + a.table("trace.csv").len());
}
