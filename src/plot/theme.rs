//! How everything looks: sizes in units of the fine canvas, of which a typographic point has a hundred.

/// Units of the canvas in a typographic point (1/72 inch).
pub(super) const POINT: i32 = 100;
/// Units of the canvas in an inch.
pub(super) const UNITS_PER_INCH: f64 = 7200.0;

/// A colour with its opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Paint {
    pub rgb: [u8; 3],
    /// 0 to 1.
    pub alpha: f64,
}

impl Paint {
    pub(super) const fn opaque(rgb: [u8; 3]) -> Self {
        Self { rgb, alpha: 1.0 }
    }

    pub(super) fn fade(self, factor: f64) -> Self {
        Self { rgb: self.rgb, alpha: self.alpha * factor }
    }
}

pub(super) const WHITE: Paint = Paint::opaque([0xff; 3]);
pub(super) const INK: Paint = Paint::opaque([0x1a; 3]);
pub(super) const SOFT_INK: Paint = Paint::opaque([0x4d; 3]);
pub(super) const GRID: Paint = Paint::opaque([0xe8; 3]);
pub(super) const SHADE: Paint = Paint::opaque([0xec, 0xec, 0xee]);

/// The font's height of capitals and digits, in ems.
pub(super) const CAPITAL: f64 = 0.729;
/// How far letters reach below the baseline, in ems.
pub(super) const DESCENT: f64 = 0.236;

pub(super) const AXIS_WIDTH: i32 = 60;
pub(super) const GRID_WIDTH: i32 = 40;
pub(super) const MARK_WIDTH: i32 = 80;
pub(super) const BAR_WIDTH: i32 = 70;
pub(super) const LINE_WIDTH: i32 = 120;
pub(super) const DASH: (f64, f64) = (400.0, 240.0);
pub(super) const TITLE_SIZE: i32 = 850;
pub(super) const LETTER_SIZE: i32 = 1000;
pub(super) const NOTE_SIZE: i32 = 700;

/// Sizes that differ between a panel and its inset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Height of an em of tick labels and of the legend.
    pub tick_text: i32,
    /// Height of an em of axis labels.
    pub label_text: i32,
    /// Length of a tick.
    pub tick: i32,
    /// Length of a tick without a label.
    pub minor_tick: i32,
    /// Between a tick and its label.
    pub tick_gap: i32,
    /// Between tick labels and the axis label.
    pub label_gap: i32,
    /// The width of lines and diameter of points in hundredths of the usual.
    pub strength: i32,
}

pub(super) const PANEL: Sizes =
    Sizes { tick_text: 720, label_text: 820, tick: 300, minor_tick: 170, tick_gap: 170, label_gap: 330, strength: 100 };

pub(super) const INSET: Sizes =
    Sizes { tick_text: 600, label_text: 620, tick: 200, minor_tick: 110, tick_gap: 120, label_gap: 260, strength: 75 };
