//! Files as published come plain or gzipped; which, their first bytes say.

use std::borrow::Cow;
use std::io::Read;

use crate::ml::{Error, Result};

/// How many times its own size a gzipped file may come to, beside [`ALWAYS`]: published images come to ten times, and gzip can be made to
/// promise a thousand.
const TIMES: usize = 100;

/// Bytes that any gzipped file may come to.
const ALWAYS: usize = 64 << 20;

/// The content of `bytes`: inflated if they begin as gzip does (RFC 1952), as they are otherwise. `name` is for the error.
pub(super) fn inflated<'a>(name: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let wrong = |problem: String| Error::Data { place: name.to_owned(), problem };
    let most = bytes.len().saturating_mul(TIMES).saturating_add(ALWAYS);
    let mut plain = Vec::new();
    // One byte more than may come shows that there is one.
    let read = flate2::read::MultiGzDecoder::new(bytes).take(most as u64 + 1).read_to_end(&mut plain);
    read.map_err(|error| wrong(format!("the gzip stream is damaged: {error}")))?;
    if plain.len() > most {
        let problem = format!("its {} bytes inflate to more than {most}, which no data set does", bytes.len());
        return Err(wrong(problem));
    }
    Ok(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzipped(zeros: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; zeros]).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_inflates_beyond_all_measure_is_refused_before_it_is_all_there() {
        let small = gzipped(1 << 20);
        assert_eq!(inflated("small", &small).unwrap().len(), 1 << 20);
        let bomb = gzipped(200 << 20);
        let most = bomb.len() * TIMES + ALWAYS;
        let error = inflated("bomb", &bomb).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("bomb: its {} bytes inflate to more than {most}, which no data set does", bomb.len())
        );
        assert!(most < 100 << 20);
        // Many small ones behind each other are one stream.
        let many = gzipped(1 << 20).repeat(200);
        assert!(inflated("many", &many).is_err());
    }
}
