//! `MinHash`: signatures whose equal parts estimate how much two texts share.
//!
//! For each of `bands x rows` functions h(x) = a x + b mod 2^32 (a odd), the least value over the
//! hashes of a text's shingles. Two texts agree in one place with the probability of their Jaccard
//! similarity (Broder 1997); they become candidates when all places of one band agree, which has
//! the probability 1 - (1 - s^rows)^bands.

use pulp::Arch;

use crate::tokens::{each_run, hash_tokens, scramble};

/// Functions that are kept in registers together.
const LANES: usize = 32;

/// Makes signatures; reused for the next text.
pub(crate) struct MinHasher {
    arch: Arch,
    multipliers: Vec<[u32; LANES]>,
    offsets: Vec<[u32; LANES]>,
    minima: Vec<[u32; LANES]>,
    rows: usize,
    places: usize,
    shingle: usize,
    tokens: Vec<u64>,
    shingles: Vec<u32>,
}

impl MinHasher {
    /// `bands` of `rows` functions over runs of `shingle` tokens.
    pub(crate) fn new(bands: usize, rows: usize, shingle: usize, seed: u64) -> Self {
        let places = bands * rows;
        let blocks = places.div_ceil(LANES);
        let block = |which: u64, odd: u32| {
            let value = |place: u64| high(scramble(scramble(seed ^ which).wrapping_add(place))) | odd;
            (0..blocks as u64)
                .map(|block| std::array::from_fn(|lane| value(block * LANES as u64 + lane as u64)))
                .collect()
        };
        Self {
            arch: Arch::new(),
            multipliers: block(1, 1),
            offsets: block(2, 0),
            minima: vec![[u32::MAX; LANES]; blocks],
            rows,
            places,
            shingle,
            tokens: Vec::new(),
            shingles: Vec::new(),
        }
    }

    /// Read a text; false when it has no token, and so no signature. A text shorter than a shingle
    /// is one.
    pub(crate) fn read(&mut self, text: &str) -> bool {
        self.tokens.clear();
        hash_tokens(text, &mut self.tokens);
        self.shingles.clear();
        let length = self.shingle.min(self.tokens.len());
        let Self { tokens, shingles, .. } = self;
        each_run(tokens, length, |hash| shingles.push(high(hash)));
        if self.shingles.is_empty() {
            return false;
        }
        let functions = self.multipliers.iter().zip(&self.offsets);
        for ((multipliers, offsets), minima) in functions.zip(&mut self.minima) {
            *minima = self.arch.dispatch(Minima { multipliers, offsets, shingles: &self.shingles });
        }
        true
    }

    /// The values of the last text.
    pub(crate) fn signature(&self) -> &[u32] {
        &self.minima.as_flattened()[..self.places]
    }

    /// The hash of each band of the last text; which band it is counts, and `besides`.
    pub(crate) fn bands(&self, besides: u64) -> impl Iterator<Item = u64> {
        self.signature().chunks_exact(self.rows).zip(1_u64..).map(move |(values, band)| {
            values.iter().fold(scramble(band) ^ besides, |hash, &value| {
                scramble(hash.rotate_left(23) ^ u64::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15))
            })
        })
    }
}

struct Minima<'a> {
    multipliers: &'a [u32; LANES],
    offsets: &'a [u32; LANES],
    shingles: &'a [u32],
}

impl pulp::NullaryFnOnce for Minima<'_> {
    type Output = [u32; LANES];

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "only what is inlined is compiled for the processor's vectors")]
    fn call(self) -> [u32; LANES] {
        let (multipliers, offsets) = (*self.multipliers, *self.offsets);
        let mut minima = [u32::MAX; LANES];
        for &shingle in self.shingles {
            for lane in 0..LANES {
                let value = multipliers[lane].wrapping_mul(shingle).wrapping_add(offsets[lane]);
                minima[lane] = minima[lane].min(value);
            }
        }
        minima
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the upper half is the better one")]
const fn high(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(range: std::ops::Range<u32>) -> String {
        range.fold(String::new(), |text, word| format!("{text}w{word} "))
    }

    /// Places in which the signatures of two texts agree, of 4,096.
    fn agreement(one: &str, other: &str) -> f64 {
        let mut hasher = MinHasher::new(512, 8, 1, 7);
        assert!(hasher.read(one));
        let first = hasher.signature().to_vec();
        assert!(hasher.read(other));
        let same = first.iter().zip(hasher.signature()).filter(|(one, other)| one == other).count();
        f64::from(u32::try_from(same).unwrap()) / 4096.0
    }

    #[test]
    fn agreement_is_the_jaccard_similarity() {
        for (shared, own) in [(100, 100), (900, 50), (30, 5), (500, 500), (10, 990)] {
            let one = words(0..shared + own);
            let other = words(own..shared + 2 * own);
            let truth = f64::from(shared) / f64::from(shared + 2 * own);
            let seen = agreement(&one, &other);
            let spread = (truth * (1.0 - truth) / 4096.0).sqrt();
            assert!((seen - truth).abs() < 6.0 * spread + 0.02, "{shared} {own}: {seen} is not {truth}");
        }
    }

    #[test]
    fn a_text_without_tokens_has_no_signature() {
        let mut hasher = MinHasher::new(14, 8, 5, 1);
        assert!(!hasher.read("... !!"));
        assert!(hasher.read("two words"));
        assert_eq!(hasher.bands(0).count(), 14);
        assert_eq!(hasher.signature().len(), 112);
    }
}
