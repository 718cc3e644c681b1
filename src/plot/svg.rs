//! A picture as SVG. The view box is the canvas itself, so that every number is an integer.

use std::fmt::Write;

use super::canvas::{Picture, Shape, units};
use super::font::{Contour, Piece};
use super::theme::Paint;

impl Picture {
    /// The picture as an SVG document in millimetres. It has no `text` element: words are outlines, named in
    /// `aria-label`.
    pub fn to_svg(&self) -> String {
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut svg);
        svg
    }

    fn write(&self, svg: &mut String) -> std::fmt::Result {
        let (width, height) = (units(self.width_mm), units(self.height_mm));
        writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{}mm" height="{}mm" viewBox="0 0 {width} {height}" role="img">"#,
            self.width_mm, self.height_mm
        )?;
        writeln!(svg, "<title>{}</title>", escape(&self.title))?;
        writeln!(svg, r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##)?;
        let mut open = String::new();
        for shape in &self.shapes {
            let group = group(shape);
            if group != open {
                if !open.is_empty() {
                    writeln!(svg, "</g>")?;
                }
                writeln!(svg, "<g {group}>")?;
                open = group;
            }
            element(svg, shape)?;
        }
        if !open.is_empty() {
            writeln!(svg, "</g>")?;
        }
        writeln!(svg, "</svg>")
    }
}

/// What neighbouring shapes have in common is said once.
fn group(shape: &Shape) -> String {
    match shape {
        Shape::Stroke { width, paint, .. } => {
            format!(r#"fill="none" stroke-linejoin="round" stroke-width="{width}" {}"#, color("stroke", *paint))
        }
        Shape::Polygon { paint, .. } | Shape::Disc { paint, .. } | Shape::Text { paint, .. } => color("fill", *paint),
    }
}

fn color(property: &str, paint: Paint) -> String {
    let [red, green, blue] = paint.rgb;
    let mut words = format!(r##"{property}="#{red:02x}{green:02x}{blue:02x}""##);
    let thousandths = (paint.alpha.clamp(0.0, 1.0) * 1000.0).round() as u32;
    if thousandths < 1000 {
        let _ = write!(words, r#" {property}-opacity="0.{thousandths:03}""#);
    }
    words
}

fn element(svg: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Stroke { points, .. } => {
            svg.push_str("<path d=\"");
            trail(svg, points)?;
            svg.push_str("\"/>\n");
        }
        Shape::Polygon { points, .. } => {
            svg.push_str("<path d=\"");
            trail(svg, points)?;
            svg.push_str("z\"/>\n");
        }
        Shape::Disc { centre, radius, .. } => {
            writeln!(svg, r#"<circle cx="{}" cy="{}" r="{radius}"/>"#, centre.0, centre.1)?;
        }
        Shape::Text { contours, words, .. } => {
            write!(svg, r#"<path aria-label="{}" d=""#, escape(words))?;
            for contour in contours {
                outline(svg, contour)?;
            }
            svg.push_str("\"/>\n");
        }
    }
    Ok(())
}

/// A path in relative steps, which are shorter than positions.
fn trail(svg: &mut String, points: &[(i32, i32)]) -> std::fmt::Result {
    let mut last = points[0];
    write!(svg, "M{} {}l", last.0, last.1)?;
    for (i, point) in points[1..].iter().enumerate() {
        if i > 0 {
            svg.push(' ');
        }
        write!(svg, "{} {}", point.0 - last.0, point.1 - last.1)?;
        last = *point;
    }
    Ok(())
}

fn outline(svg: &mut String, contour: &Contour) -> std::fmt::Result {
    let mut last = contour.start;
    write!(svg, "M{} {}", last.0, last.1)?;
    for piece in &contour.pieces {
        match *piece {
            Piece::Line(to) => {
                write!(svg, "l{} {}", to.0 - last.0, to.1 - last.1)?;
                last = to;
            }
            Piece::Curve(control, to) => {
                let (dx, dy) = (control.0 - last.0, control.1 - last.1);
                write!(svg, "q{dx} {dy} {} {}", to.0 - last.0, to.1 - last.1)?;
                last = to;
            }
        }
    }
    svg.push('z');
    Ok(())
}

/// XML's five special characters, and none of the control characters that XML forbids.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
