//! Counter-based random numbers: a ChaCha8 stream for each purpose, addressed by epoch and iteration, so that any draw can
//! be had without those before it. Uniform, normal, shuffle and label draws are ours: their bytes depend on no other crate's version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// All the draws of one purpose under one seed.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u8; 32],
}

impl Stream {
    /// The stream of `purpose` (such as `"shuffle"`) under `seed`. Streams of different purposes are independent.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("thalweg 2026 random stream");
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        Self { key: *hasher.finalize().as_bytes() }
    }

    /// The draws at one position; a position never draws more than 2⁶⁸ bytes, so positions do not overlap.
    pub fn at(&self, epoch: u32, iteration: u32) -> Draws {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream((u64::from(epoch) << 32) | u64::from(iteration));
        Draws { rng, spare: None }
    }
}

/// Successive draws from one position of a [`Stream`].
#[derive(Clone, Debug)]
pub struct Draws {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Draws {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform on `[0, 1)` with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform on `0..n`, without bias (Lemire 2019, rejection on the low product).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a draw below 0 has no values");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Standard normal (Box and Muller 1958; both values of a pair are used).
    pub fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let angle = 2.0 * std::f64::consts::PI * self.uniform();
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }

    /// `n` independent signs, +1 or −1 with equal probability.
    pub fn signs(&mut self, n: usize) -> Vec<f32> {
        let mut signs = Vec::with_capacity(n);
        while signs.len() < n {
            let bits = self.bits();
            let take = (n - signs.len()).min(64);
            signs.extend((0..take).map(|i| if bits >> i & 1 == 1 { 1.0 } else { -1.0 }));
        }
        signs
    }

    /// A uniformly random order (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// A class drawn from the smoothed target: `label` itself with probability 1 − ε, else uniform over all classes.
    pub fn smoothed_label(&mut self, label: u32, classes: usize, smoothing: f64) -> u32 {
        let uniform = self.uniform();
        let class = self.below(classes as u64) as u32;
        if uniform < smoothing { class } else { label }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_gives_the_same_draws_whatever_was_drawn_before() {
        let stream = Stream::new(7, "shuffle");
        let first: Vec<u64> = (0..5).map(|_| stream.at(3, 4).bits()).collect();
        assert!(first.iter().all(|&bits| bits == first[0]));
        assert_ne!(stream.at(3, 4).bits(), stream.at(4, 3).bits());
        assert_ne!(stream.at(3, 4).bits(), Stream::new(7, "labels").at(3, 4).bits());
        assert_ne!(stream.at(3, 4).bits(), Stream::new(8, "shuffle").at(3, 4).bits());
    }

    #[test]
    fn moments_are_those_of_their_distributions() {
        let mut draws = Stream::new(0, "test").at(0, 0);
        let n = 100_000;
        let normal: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 4.0 / f64::from(n).sqrt(), "{mean}");
        assert!((variance - 1.0).abs() < 4.0 * (2.0 / f64::from(n)).sqrt(), "{variance}");
        let kept = (0..n).filter(|_| draws.smoothed_label(3, 10, 0.1) == 3).count() as f64 / f64::from(n);
        assert!((kept - 0.91).abs() < 4.0 * (0.91f64 * 0.09 / f64::from(n)).sqrt(), "{kept}");
        let sum: f32 = draws.signs(n as usize).iter().sum();
        assert!(sum.abs() < 4.0 * f64::from(n).sqrt() as f32, "{sum}");
    }

    #[test]
    fn every_order_is_equally_likely() {
        let mut draws = Stream::new(1, "orders").at(0, 0);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            draws.shuffle(&mut items);
            *counts.entry(items).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&count| (880..1120).contains(&count)), "{counts:?}");
    }
}
