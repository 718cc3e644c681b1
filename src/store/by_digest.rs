//! Hundreds of thousands of things by digest. Digests are spread evenly, so their first two bytes say nearly where in their order they lie.

use crate::key::Digest;

/// How many different first two bytes there are.
const BEGINNINGS: usize = 1 << 16;

/// Values by digest, in order; a digest may have several.
pub(super) struct ByDigest<V> {
    sorted: Vec<(Digest, V)>,
    /// Where the digests begin that have each first two bytes, and the end.
    begins: Vec<u32>,
}

impl<V: Send> ByDigest<V> {
    /// # Panics
    /// Never: more than 2³² things do not fit into memory.
    pub(super) fn of(mut sorted: Vec<(Digest, V)>) -> Self {
        sorted.sort_by_key(|(digest, _)| *digest);
        let mut begins = vec![0_u32; BEGINNINGS + 1];
        for (digest, _) in &sorted {
            begins[beginning(digest) + 1] += 1;
        }
        let mut sum = 0;
        for begin in &mut begins {
            sum += *begin;
            *begin = sum;
        }
        assert_eq!(usize::try_from(sum), Ok(sorted.len()), "invariant: they were counted");
        Self { sorted, begins }
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// All, in order of digest.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &V)> {
        self.sorted.iter().map(|(digest, value)| (digest, value))
    }

    pub(super) fn at(&self, place: usize) -> &V {
        &self.sorted[place].1
    }

    pub(super) fn at_mut(&mut self, place: usize) -> &mut V {
        &mut self.sorted[place].1
    }

    /// Where a digest's values are.
    pub(super) fn places(&self, digest: &Digest) -> std::ops::Range<usize> {
        let beginning = beginning(digest);
        let [begin, end] = [beginning, beginning + 1].map(|at| self.begins[at] as usize);
        let like = &self.sorted[begin..end];
        let first = like.partition_point(|(other, _)| other < digest);
        let count = like[first..].iter().take_while(|(other, _)| other == digest).count();
        begin + first..begin + first + count
    }

    /// Where a digest's first value is.
    pub(super) fn place(&self, digest: &Digest) -> Option<usize> {
        self.places(digest).next()
    }
}

impl<V> Default for ByDigest<V> {
    fn default() -> Self {
        Self { sorted: Vec::new(), begins: vec![0; BEGINNINGS + 1] }
    }
}

fn beginning(digest: &Digest) -> usize {
    let [first, second, ..] = digest.as_bytes();
    usize::from(*first) << 8 | usize::from(*second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_found_where_it_is_and_nothing_else() {
        let digests: Vec<Digest> = (0..3000_u32).map(|i| Digest::of(&(i / 3 * 2).to_le_bytes())).collect();
        let all = ByDigest::of(digests.iter().copied().zip(0..).collect());
        assert_eq!(all.len(), 3000);
        for (i, digest) in digests.iter().enumerate() {
            let mut found: Vec<usize> = all.places(digest).map(|place| *all.at(place)).collect();
            found.sort_unstable();
            assert_eq!(found, [i / 3 * 3, i / 3 * 3 + 1, i / 3 * 3 + 2]);
        }
        for i in 0..1000_u32 {
            assert_eq!(all.place(&Digest::of(&(2 * i + 1).to_le_bytes())), None);
        }
        assert!(all.iter().map(|(digest, _)| digest).is_sorted());
        assert_eq!(ByDigest::<()>::default().place(&digests[0]), None);
    }
}
