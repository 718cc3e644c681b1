//! Small text files that carry their own checksum: lists and the memo.

use crate::key::Digest;

/// The file's bytes: a line with name, format number and the checksum of the rest, then the body.
pub(super) fn seal(format: &str, body: &str) -> Vec<u8> {
    format!("{format} {}\n{body}", Digest::of(body.as_bytes())).into_bytes()
}

/// The body of a file that `seal` wrote, or nothing where it is damaged or of another format.
pub(super) fn unseal<'b>(format: &str, bytes: &'b [u8]) -> Option<&'b str> {
    let (head, body) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let checksum = head.strip_prefix(format)?.strip_prefix(' ')?;
    (Digest::of(body.as_bytes()).to_string() == checksum).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = seal("thalweg-list 1", "one\ntwo\n");
        assert_eq!(unseal("thalweg-list 1", &bytes), Some("one\ntwo\n"));
        assert_eq!(unseal("thalweg-list 2", &bytes), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(unseal("thalweg-list 1", &damaged), None, "byte {at}");
            assert_eq!(unseal("thalweg-list 1", &bytes[..at]), None, "cut at {at}");
        }
    }
}
