//! Columns of numbers and words, written and read as CSV (RFC 4180 with line feeds).
//!
//! A table that is read back equals the one that was written: floats are in their shortest form that reads as the same
//! bits and always look like floats, and a text that looks like a number, or is empty, is quoted.

use std::fmt::Write;

/// Why a table cannot be written or read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A row does not have one cell for each column.
    #[error("row {row} has {found} cells for {expected} columns")]
    Ragged {
        /// The row, counted from 1 below the header.
        row: usize,
        /// How many cells it has.
        found: usize,
        /// How many columns there are.
        expected: usize,
    },
    /// There is no such column.
    #[error("there is no column `{name}`; {instead}")]
    NoColumn {
        /// The name that was asked for.
        name: String,
        /// The column that was meant, or all that there are.
        instead: String,
    },
    /// A cell that was to be a number is none.
    #[error("row {row} of column `{column}` is not a number")]
    NotNumber {
        /// The row, counted from 1 below the header.
        row: usize,
        /// The column's name.
        column: String,
    },
    /// The text is not CSV.
    #[error("line {line}: {what}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A named column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What it holds.
    pub name: String,
    /// In which unit, if any.
    pub unit: Option<String>,
}

impl Column {
    /// A column without a unit.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), unit: None }
    }

    /// The same column in this unit.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// Its name, with its unit in parentheses.
    pub fn header(&self) -> String {
        match &self.unit {
            Some(unit) => format!("{} ({unit})", self.name),
            None => self.name.clone(),
        }
    }

    /// The last parenthesis after a space is the unit, so that `Tr(H)` has none.
    fn parse(header: &str) -> Self {
        match header.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) {
            Some((name, unit)) => Self { name: name.to_owned(), unit: Some(unit.to_owned()) },
            None => Self::new(header),
        }
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A real number.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// Words.
    Text(String),
    /// Nothing.
    Empty,
}

impl Cell {
    /// Whether it holds what this text says: the same words, or the number that they write.
    pub fn reads_as(&self, text: &str) -> bool {
        let number = |value: f64| text.parse::<f64>().is_ok_and(|other| other.to_bits() == value.to_bits());
        match self {
            Self::Text(own) => own == text,
            Self::Number(value) => number(*value),
            Self::Integer(value) => number(*value as f64),
            Self::Empty => text.is_empty(),
        }
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// Rows under named columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The rows, each with one cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// The place of the column `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumn`].
    pub fn column(&self, name: &str) -> Result<usize, Error> {
        let place = self.columns.iter().position(|column| column.name == name);
        place.ok_or_else(|| Error::NoColumn { name: name.to_owned(), instead: self.instead_of(name) })
    }

    /// The column that was meant by a name, if one is near, else all of them.
    fn instead_of(&self, name: &str) -> String {
        let names = self.columns.iter().map(|column| column.name.as_str());
        let far = |known: &str| strsim::damerau_levenshtein(name, known);
        match names.clone().min_by_key(|known| far(known)).filter(|known| far(known) <= name.len().max(3) / 3) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
        }
    }

    /// The values of the column `name`, in its unit; an empty cell is NaN.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumn`], [`Error::NotNumber`] for words, [`Error::Ragged`].
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, Error> {
        let column = self.column(name)?;
        self.check()?;
        let number = |(row, cells): (usize, &Vec<Cell>)| match cells[column] {
            Cell::Number(value) => Ok(value),
            Cell::Integer(value) => Ok(value as f64),
            Cell::Empty => Ok(f64::NAN),
            Cell::Text(_) => Err(Error::NotNumber { row: row + 1, column: name.to_owned() }),
        };
        self.rows.iter().enumerate().map(number).collect()
    }

    /// The table as CSV: a header of `name` or `name (unit)`, then the rows.
    ///
    /// # Errors
    ///
    /// [`Error::Ragged`].
    pub fn to_csv(&self) -> Result<String, Error> {
        self.check()?;
        let mut csv = String::new();
        let headers = self.columns.iter().map(|column| quoted_if_needed(&column.header(), false));
        write_row(&mut csv, headers);
        for row in &self.rows {
            write_row(&mut csv, row.iter().map(field));
        }
        Ok(csv)
    }

    /// Reads what [`Table::to_csv`] writes, and other CSV with a header; lines may end in CR LF. A name that ends in
    /// parentheses after a space is taken for a name with its unit.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for misplaced quotes or a missing header, [`Error::Ragged`].
    pub fn from_csv(csv: &str) -> Result<Self, Error> {
        let mut records = records(csv)?.into_iter();
        let header = records.next().ok_or(Error::Syntax { line: 1, what: "there is no header" })?;
        let columns = header.iter().map(|field| Column::parse(&field.text)).collect();
        let rows = records.map(|record| record.into_iter().map(Field::cell).collect()).collect();
        let table = Self { columns, rows };
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<(), Error> {
        let expected = self.columns.len();
        let ragged = self.rows.iter().enumerate().find(|(_, row)| row.len() != expected);
        ragged.map_or(Ok(()), |(row, cells)| Err(Error::Ragged { row: row + 1, found: cells.len(), expected }))
    }
}

fn write_row(csv: &mut String, fields: impl Iterator<Item = String>) {
    for (i, field) in fields.enumerate() {
        if i > 0 {
            csv.push(',');
        }
        csv.push_str(&field);
    }
    csv.push('\n');
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Number(value) => format!("{value:?}"),
        Cell::Integer(value) => value.to_string(),
        Cell::Text(text) => quoted_if_needed(text, text.is_empty() || unquoted(text) != Cell::Text(text.clone())),
        Cell::Empty => String::new(),
    }
}

fn quoted_if_needed(text: &str, always: bool) -> String {
    if !always && !text.contains([',', '"', '\n', '\r']) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    // Writing to a string cannot fail.
    let _ = write!(quoted, "{}\"", text.replace('"', "\"\""));
    quoted
}

/// What a field without quotes means.
fn unquoted(text: &str) -> Cell {
    if text.is_empty() {
        return Cell::Empty;
    }
    if let Ok(integer) = text.parse() {
        return Cell::Integer(integer);
    }
    text.parse().map_or_else(|_| Cell::Text(text.to_owned()), Cell::Number)
}

struct Field {
    text: String,
    quoted: bool,
}

impl Field {
    fn cell(self) -> Cell {
        if self.quoted { Cell::Text(self.text) } else { unquoted(&self.text) }
    }
}

/// The text in records of fields; an empty last line is none.
fn records(csv: &str) -> Result<Vec<Vec<Field>>, Error> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut rest = csv;
    let mut line = 1;
    while !rest.is_empty() || !record.is_empty() {
        let (field, after) =
            if rest.starts_with('"') { quoted_field(rest, &mut line)? } else { bare_field(rest, line)? };
        record.push(field);
        rest = after;
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
            if !rest.is_empty() {
                continue;
            }
            record.push(Field { text: String::new(), quoted: false });
        }
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
        records.push(std::mem::take(&mut record));
        line += 1;
    }
    Ok(records)
}

fn bare_field(rest: &str, line: usize) -> Result<(Field, &str), Error> {
    let end = rest.find([',', '\n']).unwrap_or(rest.len());
    let end = if rest[end..].starts_with('\n') && rest[..end].ends_with('\r') { end - 1 } else { end };
    let (text, after) = rest.split_at(end);
    if text.contains('"') {
        return Err(Error::Syntax { line, what: "a quote inside a field that is not quoted" });
    }
    Ok((Field { text: text.to_owned(), quoted: false }, after))
}

fn quoted_field<'a>(rest: &'a str, line: &mut usize) -> Result<(Field, &'a str), Error> {
    let mut text = String::new();
    let mut rest = &rest[1..];
    loop {
        let end = rest.find('"').ok_or(Error::Syntax { line: *line, what: "a quoted field without an end" })?;
        text.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                text.push('"');
                rest = after;
            }
            None => break,
        }
    }
    *line += text.matches('\n').count();
    if rest.is_empty() || rest.starts_with([',', '\n']) || rest.starts_with("\r\n") {
        return Ok((Field { text, quoted: true }, rest));
    }
    Err(Error::Syntax { line: *line, what: "something after the end of a quoted field" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table =
            Table::new(vec![Column::new("epoch"), Column::new("time, wall").unit("s"), Column::new("Tr(H)")]);
        table.rows.push(vec![Cell::Integer(-3), Cell::Number(0.1), Cell::Text("a \"b\"\nc, d".into())]);
        table.rows.push(vec![Cell::Number(3.0), Cell::Number(f64::INFINITY), Cell::Text("12".into())]);
        table.rows.push(vec![Cell::Empty, Cell::Number(-0.0), Cell::Text(String::new())]);
        table.rows.push(vec![Cell::Number(1e-300), Cell::Number(1e300), Cell::Empty]);
        table
    }

    #[test]
    fn csv_is_as_rfc_4180_says() {
        let expected =
            "epoch,\"time, wall (s)\",Tr(H)\n-3,0.1,\"a \"\"b\"\"\nc, d\"\n3.0,inf,\"12\"\n,-0.0,\"\"\n1e-300,1e300,\n";
        assert_eq!(sample().to_csv().as_deref(), Ok(expected));
    }

    #[test]
    fn a_table_read_back_is_the_table_written() {
        let csv = sample().to_csv().expect("the sample is rectangular");
        assert_eq!(Table::from_csv(&csv), Ok(sample()));
        assert_eq!(
            Table::from_csv(&csv.trim_end_matches('\n').replace('\n', "\r\n")).map(|table| table.rows.len()),
            Ok(4)
        );
    }

    #[test]
    fn a_float_keeps_its_bits() {
        for value in [0.1 + 0.2, f64::MIN_POSITIVE, f64::MAX, 5e-324, 1.0 / 3.0] {
            let table = Table { columns: vec![Column::new("x")], rows: vec![vec![Cell::Number(value)]] };
            let read = Table::from_csv(&table.to_csv().expect("one row")).expect("what was written can be read");
            assert_eq!(read.numbers("x").map(|values| values[0].to_bits()), Ok(value.to_bits()));
        }
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let syntax = |line, what| Err(Error::Syntax { line, what });
        assert_eq!(Table::from_csv("a\n1\n\"2\n"), syntax(3, "a quoted field without an end"));
        assert_eq!(Table::from_csv("a\n\"2\"x\n"), syntax(2, "something after the end of a quoted field"));
        assert_eq!(Table::from_csv("a,b\n1,2\n3\n"), Err(Error::Ragged { row: 2, found: 1, expected: 2 }));
        assert_eq!(Table::from_csv(""), syntax(1, "there is no header"));
    }

    #[test]
    fn words_are_no_numbers() {
        assert_eq!(sample().numbers("Tr(H)"), Err(Error::NotNumber { row: 1, column: "Tr(H)".into() }));
        let no_column = |name: &str| sample().numbers(name).expect_err("there is none").to_string();
        assert_eq!(no_column("epohc"), "there is no column `epohc`; did you mean `epoch`?");
        assert_eq!(no_column("loss"), "there is no column `loss`; there are `epoch`, `time, wall`, `Tr(H)`");
    }
}
