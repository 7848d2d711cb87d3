//! Counter-based random numbers: every value is a pure function of a key and a counter, so the
//! order of the data is a function of (seed, epoch) and needs no state and no O(n) array.

/// `splitmix64`'s finaliser (Steele, Lea, Flood 2014): a bijection of 64-bit words.
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in [0, 1) that depends on the key and the bytes alone.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
pub fn keyed_fraction(key: u64, bytes: &[u8]) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(bytes);
    let digest = hasher.finalize();
    let mut word = [0; 8];
    word.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_le_bytes(word) >> 11) as f64 / (1u64 << 53) as f64
}

/// A permutation of `0..len`: a Feistel network over the next even power of two, walked until the
/// value falls inside (format-preserving encryption by cycle walking; at most 4 rounds on average).
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; 6],
}

impl Permutation {
    /// The permutation of `0..len` that belongs to (seed, epoch).
    #[must_use]
    pub fn new(len: u64, seed: u64, epoch: u64) -> Self {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        let mut keys = [0; 6];
        let mut state = mix(seed ^ mix(epoch.wrapping_add(0x5851_f42d_4c95_7f2d)));
        for key in &mut keys {
            state = mix(state);
            *key = state;
        }
        Self { len, half_bits, keys }
    }

    /// Where `index` goes.
    ///
    /// # Panics
    /// When `index` is not below the length.
    #[must_use]
    pub fn apply(&self, index: u64) -> u64 {
        assert!(index < self.len, "{index} is not below {}", self.len);
        let mut value = index;
        loop {
            value = self.rounds(value);
            if value < self.len {
                return value;
            }
        }
    }

    fn rounds(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_index_appears_once(len in 1u64..3000, seed: u64, epoch in 0u64..5) {
            let permutation = Permutation::new(len, seed, epoch);
            let mut seen: Vec<u64> = (0..len).map(|index| permutation.apply(index)).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len));
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order =
            |seed, epoch| (0..100).map(|i| Permutation::new(100, seed, epoch).apply(i)).collect::<Vec<_>>();
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        assert_eq!(order(1, 0), order(1, 0));
    }

    #[test]
    fn the_first_place_is_uniform() {
        let mut counts = [0u32; 10];
        for seed in 0..10_000 {
            counts[usize::try_from(Permutation::new(10, seed, 0).apply(0)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
