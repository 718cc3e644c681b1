//! Files as published come plain or gzipped; which, their first bytes say.

use std::borrow::Cow;
use std::io::Read;

use crate::ml::{Error, Result};

/// The content of `bytes`: inflated if they begin as gzip does (RFC 1952), as they are otherwise. `name` is for the error.
pub(super) fn inflated<'a>(name: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).map_err(|error| Error::Data {
        place: name.to_owned(),
        problem: format!("the gzip stream is damaged: {error}"),
    })?;
    Ok(Cow::Owned(plain))
}
