//! The UCI optical digits: 1,797 images of 8×8 in the program itself (see `ATTRIBUTION.md` beside this file), and any file of
//! the same form. A line is 64 pixel counts 0..16 in row-major order and the label 0..9, separated by commas.

use super::inflate::inflated;
use super::{Dataset, Splits};
use crate::ml::rng::Stream;
use crate::ml::{Error, Result};

/// The bundled file, gzipped CSV (CC BY 4.0, doi:10.24432/C50P49).
pub const BUNDLED: &[u8] = include_bytes!("digits.csv.gz");

const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
const CLASSES: usize = 10;
const BRIGHTEST: u32 = 16;

/// Decodes CSV, gzipped or not, into images `[1, 8, 8]` with values `count / 16` in [0, 1], in the file's order. `name` is
/// what errors call the file.
///
/// # Errors
/// [`Error::Data`] at `name:line` for a line that is not 64 counts in 0..16 and a label in 0..9, or at `name` for a file
/// without a line.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Dataset> {
    let plain = inflated(name, bytes)?;
    let mut set = Dataset { inputs: Vec::new(), labels: Vec::new(), shape: [1, SIDE, SIDE], classes: CLASSES };
    let lines = plain.strip_suffix(b"\n").unwrap_or(&plain);
    for (number, line) in (1..).zip(lines.split(|&byte| byte == b'\n')) {
        let place = || format!("{name}:{number}");
        let text = std::str::from_utf8(line)
            .map_err(|_| Error::Data { place: place(), problem: "the line is not text".to_owned() })?;
        read_line(text.trim_end_matches('\r'), &mut set).map_err(|problem| Error::Data { place: place(), problem })?;
    }
    Ok(set)
}

fn read_line(line: &str, set: &mut Dataset) -> Result<(), String> {
    let fields: Vec<&str> = line.split(',').collect();
    if fields.len() != PIXELS + 1 {
        return Err(format!("expected {} fields, got {}", PIXELS + 1, if line.is_empty() { 0 } else { fields.len() }));
    }
    let (pixels, label) = fields.split_at(PIXELS);
    for (column, field) in (1..).zip(pixels) {
        set.inputs.push(read_field(field, column, BRIGHTEST)? as f32 / BRIGHTEST as f32);
    }
    set.labels.push(read_field(label[0], PIXELS + 1, CLASSES as u32 - 1)?);
    Ok(())
}

fn read_field(field: &str, column: usize, highest: u32) -> Result<u32, String> {
    match field.trim().parse::<u32>() {
        Ok(value) if value <= highest => Ok(value),
        _ => Err(format!("expected a whole number from 0 to {highest} in column {column}, got `{}`", field.trim())),
    }
}

/// Cuts a decoded file into its training and its validation part: four fifths (rounded down, so 1,437 of 1,797) and the rest
/// of one fixed random order, the shuffle of `Stream::new(0, "digits split")` at (0, 0). The file itself is ordered by
/// writer; its last part would be other hands than the first.
pub fn split(set: &Dataset) -> Splits {
    let mut order: Vec<usize> = (0..set.len()).collect();
    Stream::new(0, "digits split").at(0, 0).shuffle(&mut order);
    let (train, validation) = order.split_at(set.len() * 4 / 5);
    Splits { train: set.select(train), validation: set.select(validation) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str) -> String {
        format!("{}{label}\n", "16,".repeat(PIXELS))
    }

    #[test]
    fn the_bundled_file_holds_1797_digits_split_1437_to_360() {
        let set = decode("digits", BUNDLED).unwrap();
        assert_eq!((set.len(), set.shape, set.inputs.len()), (1797, [1, 8, 8], 1797 * 64));
        assert_eq!(set.labels[..3], [0, 1, 2]);
        assert_eq!(set.sample(0)[2..5], [5.0 / 16.0, 13.0 / 16.0, 9.0 / 16.0]);
        // The class counts that the set's documentation gives for its test part.
        let count = |class| set.labels.iter().filter(|&&label| label == class).count();
        assert_eq!((0..10).map(count).collect::<Vec<_>>(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let splits = split(&set);
        assert_eq!((splits.train.len(), splits.validation.len()), (1437, 360));
    }

    #[test]
    fn the_split_loses_no_sample_and_mixes_the_order() {
        let set = decode("digits", BUNDLED).unwrap();
        let splits = split(&set);
        let key =
            |set: &Dataset, i: usize| (set.sample(i).iter().map(|x| x.to_bits()).collect::<Vec<_>>(), set.labels[i]);
        let mut both: Vec<_> = (0..1437).map(|i| key(&splits.train, i)).collect();
        assert_ne!(both[..5], (0..5).map(|i| key(&set, i)).collect::<Vec<_>>()[..]);
        both.extend((0..360).map(|i| key(&splits.validation, i)));
        let mut whole: Vec<_> = (0..1797).map(|i| key(&set, i)).collect();
        both.sort_unstable();
        whole.sort_unstable();
        assert!(both == whole);
    }

    #[test]
    fn a_malformed_line_is_named_with_its_column() {
        let message = |text: &str| decode("mine.csv", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(message(&format!("{}1,2\n", line("3"))), "mine.csv:2: expected 65 fields, got 2");
        assert_eq!(message(&format!("{}\n", line("3"))), "mine.csv:2: expected 65 fields, got 0");
        assert_eq!(message(&line("10")), "mine.csv:1: expected a whole number from 0 to 9 in column 65, got `10`");
        assert_eq!(
            message(&line("3").replacen("16", "x", 1)),
            "mine.csv:1: expected a whole number from 0 to 16 in column 1, got `x`"
        );
        assert_eq!(message(""), "mine.csv:1: expected 65 fields, got 0");
        assert!(decode("mine.csv.gz", &BUNDLED[..5000]).unwrap_err().to_string().starts_with("mine.csv.gz: the gzip"));
    }

    #[test]
    fn plain_text_with_carriage_returns_decodes_too() {
        let set = decode("mine.csv", line("7").replace('\n', "\r\n").as_bytes()).unwrap();
        assert_eq!((set.labels, set.inputs), (vec![7], vec![1.0; 64]));
    }
}
