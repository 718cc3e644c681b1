//! The lines of running stages: `train[model=mlp]  34/150 epochs  50 s left  2.3/s  ━━━━━╸`. What matters least is last, where a
//! terminal's edge cuts.

use super::pace::Pace;
use super::paint::{Paint, Tone};
use super::words;

/// Cells of a bar.
const CELLS: usize = 24;

/// Names are padded to the longest that runs, so that columns line up, and cut beyond this.
const NAME_WIDTH: usize = 32;

/// A running stage.
pub(super) struct Row {
    since: f64,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    pub(super) unit: String,
    pub(super) pace: Pace,
}

impl Row {
    /// A stage that begins now.
    pub(super) fn new(now: f64) -> Self {
        Self { since: now, done: 0, total: None, unit: String::new(), pace: Pace::default() }
    }

    /// Name, count, time and rate.
    fn columns(&self, name: &str, now: f64) -> [String; 4] {
        let name = match name.char_indices().nth(NAME_WIDTH) {
            Some(_) => name.chars().take(NAME_WIDTH - 1).chain(['…']).collect(),
            None => name.to_owned(),
        };
        let count = match self.total {
            _ if self.unit.is_empty() => String::new(),
            Some(total) => format!("{}/{total} {}", self.done, self.unit),
            None => format!("{} {}", self.done, self.unit),
        };
        let time = match self.total.and_then(|total| self.pace.left(now, total)) {
            Some(left) => format!("{} left", words::about(left)),
            None => words::about(now - self.since),
        };
        let rate = self.pace.rate(now).map(|rate| match rate {
            1.0.. => format!("{rate:.1}/s"),
            _ => format!("{} each", words::seconds(1.0 / rate)),
        });
        [name, count, time, rate.unwrap_or_default()]
    }
}

/// The lines of all that runs, in columns that line up, no wider than the room.
pub(super) fn lines(rows: &[(&str, &Row)], now: f64, (room, paint): (usize, Paint)) -> Vec<String> {
    let all: Vec<[String; 4]> = rows.iter().map(|(name, row)| row.columns(name, now)).collect();
    let widest = |column: usize| all.iter().map(|columns| columns[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(widest);
    let line = |((_, row), columns): (&(&str, &Row), &[String; 4])| {
        let shown = columns.iter().zip(widths).filter(|(_, width)| *width > 0);
        let padded: Vec<String> = shown.map(|(column, width)| format!("{column:width$}  ")).collect();
        let text = padded.concat();
        let bar = row.total.map_or_else(String::new, |total| cells(row.done, total));
        let left = room.saturating_sub(text.chars().count());
        let bar = paint.paint(Tone::Busy, &cut(&bar, left));
        format!("{}{bar}", cut(&text, room)).trim_end().to_owned()
    };
    rows.iter().zip(&all).map(line).collect()
}

/// As much of a text as there is room for.
pub(super) fn cut(text: &str, room: usize) -> String {
    text.chars().take(room).collect()
}

/// A bar of [`CELLS`] cells, drawn to half a cell.
fn cells(done: u64, total: u64) -> String {
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) };
    let halves = (share * (2 * CELLS) as f64) as usize;
    let mut bar = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        bar.push('╸');
    }
    let drawn = bar.chars().count();
    bar + &"·".repeat(CELLS - drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint { is_on: false };

    #[test]
    fn a_row_tells_the_time_left_once_it_means_something() {
        let mut row = Row::new(0.0);
        (row.total, row.unit) = (Some(150), "epochs".to_owned());
        row.pace.begin(0.0);
        let line = |row: &Row, now| lines(&[("train", row)], now, (100, PLAIN)).remove(0);
        insta::assert_snapshot!(line(&row, 1.0), @"train  0/150 epochs  1 s  ························");
        for unit in 1..=30 {
            row.done = unit;
            row.pace.note(unit as f64 / 3.0, unit);
        }
        insta::assert_snapshot!(line(&row, 10.0), @"train  30/150 epochs  40 s left  3.0/s  ━━━━╸···················");
        row.total = None;
        insta::assert_snapshot!(line(&row, 10.0), @"train  30 epochs  10 s  3.0/s");
    }

    #[test]
    fn the_columns_of_all_rows_line_up() {
        let mut rows = [Row::new(0.0), Row::new(0.0), Row::new(50.0)];
        for (row, (done, total, unit)) in rows.iter_mut().zip([(5, 15, "epochs"), (1200, 4000, "probes"), (0, 0, "")]) {
            (row.done, row.unit) = (done, unit.to_owned());
            row.total = Some(total).filter(|&total| total > 0);
        }
        let named: Vec<(&str, &Row)> = ["control[seed=1]", "trace", "fig3"].into_iter().zip(&rows).collect();
        insta::assert_snapshot!(lines(&named, 70.0, (74, PLAIN)).join("\n"), @r"
        control[seed=1]  5/15 epochs       1 min 10 s  ━━━━━━━━················
        trace            1200/4000 probes  1 min 10 s  ━━━━━━━·················
        fig3                               20 s
        ");
        assert!(lines(&named, 70.0, (30, PLAIN)).iter().all(|line| line.chars().count() <= 30));
    }

    #[test]
    fn a_bar_has_always_as_many_cells() {
        for (done, total) in [(0, 0), (0, 7), (1, 7), (3, 7), (7, 7), (9, 7)] {
            assert_eq!(cells(done, total).chars().count(), CELLS, "{done} of {total}");
        }
        assert!(!cells(6, 7).ends_with('━') && cells(7, 7).ends_with('━'));
    }
}
