//! A terminal for tests: what was drawn can be read.

use std::io;
use std::sync::{Arc, Mutex};

use indicatif::TermLike;

/// A terminal as far as indicatif uses one: a grid that wraps at its edge.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    width: usize,
    grid: Arc<Mutex<Grid>>,
}

#[derive(Debug, Default)]
struct Grid {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    writes: usize,
}

impl Screen {
    pub(super) fn new(width: usize) -> Self {
        Self { width, grid: Arc::default() }
    }

    pub(super) fn text(&self) -> String {
        let grid = self.grid.lock().unwrap();
        let rows: Vec<String> =
            grid.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    pub(super) fn writes(&self) -> usize {
        self.grid.lock().unwrap().writes
    }

    #[expect(clippy::unnecessary_wraps, reason = "what indicatif asks of a terminal may fail, and this answers for it")]
    fn change(&self, change: impl FnOnce(&mut Grid)) -> io::Result<()> {
        let mut grid = self.grid.lock().unwrap();
        change(&mut grid);
        let rows = grid.rows.len().max(grid.row + 1);
        grid.rows.resize(rows, vec![' '; self.width]);
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.width as u16
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.change(|grid| grid.row = grid.row.saturating_sub(n))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.change(|grid| grid.row += n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.change(|grid| grid.column += n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.change(|grid| grid.column = grid.column.saturating_sub(n))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.change(|grid| (grid.row, grid.column) = (grid.row + 1, 0))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut signs = text.chars();
        while let Some(sign) = signs.next() {
            if sign == '\x1b' {
                // A colour: it ends with its letter and takes no room.
                signs.by_ref().find(char::is_ascii_alphabetic);
                continue;
            }
            self.change(|grid| match sign {
                '\r' => grid.column = 0,
                '\n' => (grid.row, grid.column) = (grid.row + 1, 0),
                // As terminals do: the edge is passed only when there is more to write.
                _ if grid.column == self.width => (grid.row, grid.column) = (grid.row + 1, 0),
                _ => {}
            })?;
            self.change(|grid| {
                if sign != '\r' && sign != '\n' {
                    let (row, column) = (grid.row, grid.column);
                    grid.rows[row][column] = sign;
                    grid.column += 1;
                }
                grid.writes += 1;
            })?;
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.change(|grid| {
            let row = grid.row;
            grid.rows[row].fill(' ');
            grid.column = 0;
        })
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
