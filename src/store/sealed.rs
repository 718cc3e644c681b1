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

/// Whether bytes that should be a file of `format` are damaged, rather than whole or of a later number of the same format.
pub(super) fn is_damaged(format: &str, bytes: &[u8]) -> bool {
    let number_of = |head: &str| -> Option<u32> {
        let name = format.rsplit_once(' ')?.0;
        head.strip_prefix(name)?.strip_prefix(' ')?.split_once(' ')?.0.parse().ok()
    };
    let head = bytes.split(|byte| *byte == b'\n').next().and_then(|head| std::str::from_utf8(head).ok());
    let other = head.and_then(number_of).is_some_and(|number| !format.ends_with(&format!(" {number}")));
    unseal(format, bytes).is_none() && !other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = seal("thalweg-list 1", "one\ntwo\n");
        assert_eq!(unseal("thalweg-list 1", &bytes), Some("one\ntwo\n"));
        assert_eq!(unseal("thalweg-list 2", &bytes), None);
        assert!(!is_damaged("thalweg-list 1", &bytes) && !is_damaged("thalweg-list 2", &bytes));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(unseal("thalweg-list 1", &damaged), None, "byte {at}");
            assert_eq!(unseal("thalweg-list 1", &bytes[..at]), None, "cut at {at}");
            assert!(is_damaged("thalweg-list 1", &bytes[..at]), "cut at {at}");
        }
    }
}
