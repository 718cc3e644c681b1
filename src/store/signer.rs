//! Signatures of what a shared cache holds: a keyed BLAKE3 over an object's name and bytes, so that whoever may write there, and has not the
//! secret, cannot hand out results. Bytes under their digest need none.

use blake3::Hash;

/// What stands before the signature, on a line of its own behind the object's bytes.
const MARK: &[u8] = b"thalweg-signed ";
const FOR_SIGNATURES: &str = "thalweg 2026-11-26 signatures of objects in a shared cache";
const FOR_NAMES: &str = "thalweg 2026-11-26 names of signers in a shared cache";
const NAME_DIGITS: usize = 8;

/// Whoever has a secret.
#[derive(Clone)]
pub struct Signer {
    key: [u8; 32],
    name: String,
}

impl Signer {
    /// The signer with this secret.
    pub fn new(secret: &str) -> Self {
        let name = Hash::from_bytes(blake3::derive_key(FOR_NAMES, secret.as_bytes())).to_hex();
        Self { key: blake3::derive_key(FOR_SIGNATURES, secret.as_bytes()), name: name[..NAME_DIGITS].to_owned() }
    }

    /// How many bytes a signature adds.
    pub(super) const BYTES: usize = MARK.len() + 2 * blake3::OUT_LEN + 1;

    /// What the names of signed objects end with: one signer's objects never stand in another's place.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of the object `name` with their signature behind them.
    pub(super) fn sign(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        [bytes, MARK, self.signature(name, bytes).to_hex().as_bytes(), b"\n"].concat()
    }

    /// The bytes of the object `name` without their signature; `None` where there is none or it does not fit.
    pub(super) fn verified<'b>(&self, name: &str, object: &'b [u8]) -> Option<&'b [u8]> {
        let (bytes, signature) = apart(object);
        let signature = Hash::from_hex(signature?).ok()?;
        // Compared in a time that does not depend on where they differ.
        (self.signature(name, bytes) == signature).then_some(bytes)
    }

    fn signature(&self, name: &str, bytes: &[u8]) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(bytes);
        hasher.finalize()
    }
}

/// An object's bytes without a signature, whoever signed.
pub(super) fn unsigned(object: &[u8]) -> &[u8] {
    apart(object).0
}

fn apart(object: &[u8]) -> (&[u8], Option<&[u8]>) {
    let digits = 2 * blake3::OUT_LEN;
    let split = object.len().checked_sub(MARK.len() + digits + 1).map(|at| object.split_at(at));
    match split.and_then(|(bytes, tail)| Some((bytes, tail.strip_prefix(MARK)?.strip_suffix(b"\n")?))) {
        Some((bytes, signature)) => (bytes, Some(signature)),
        None => (object, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_under_the_same_name_by_the_same_secret_are_verified() {
        let (ours, theirs) = (Signer::new("ours"), Signer::new("theirs"));
        assert_ne!(ours.name(), theirs.name());
        for bytes in [&b""[..], b"a record\n", b"thalweg-signed "] {
            let object = ours.sign("records/ab/abc", bytes);
            assert_eq!(ours.verified("records/ab/abc", &object), Some(bytes));
            assert_eq!(unsigned(&object), bytes);
            assert_eq!(ours.verified("records/ab/abd", &object), None);
            assert_eq!(theirs.verified("records/ab/abc", &object), None);
            assert_eq!(ours.verified("records/ab/abc", bytes), None);
            for at in 0..object.len() {
                let mut changed = object.clone();
                changed[at] ^= 1;
                assert_eq!(ours.verified("records/ab/abc", &changed), None, "byte {at}");
                assert_eq!(ours.verified("records/ab/abc", &object[..at]), None, "cut at {at}");
            }
        }
        assert_eq!(unsigned(b"a record\n"), b"a record\n");
    }
}
