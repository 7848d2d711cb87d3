//! How long rows are, in buckets fine enough to say what a shorter `max_length` would cut.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Steps between two powers of two: a bucket is at most 1/16 wider than what is in it.
const STEPS: u32 = 16;

/// Rows and tokens of each bucket, by the longest length that belongs in it.
///
/// Powers of two, and sixteen steps between them, are bounds, so that the counts below and above them are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lengths(BTreeMap<u32, (u64, u64)>);

impl Lengths {
    /// Count a row of so many tokens.
    pub fn add(&mut self, tokens: usize) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let bucket = self.0.entry(bound(tokens)).or_default();
        bucket.0 += 1;
        bucket.1 += u64::from(tokens);
    }

    /// Add the counts of other rows.
    pub fn merge(&mut self, other: &Self) {
        for (bound, (rows, tokens)) in &other.0 {
            let bucket = self.0.entry(*bound).or_default();
            bucket.0 = bucket.0.saturating_add(*rows);
            bucket.1 = bucket.1.saturating_add(*tokens);
        }
    }

    /// Rows and tokens by bound, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64, u64)> + '_ {
        self.0.iter().map(|(bound, (rows, tokens))| (*bound, *rows, *tokens))
    }
}

/// The longest length of the bucket in which a length is.
fn bound(tokens: u32) -> u32 {
    if tokens <= 2 * STEPS {
        return tokens;
    }
    let power = 1 << (tokens - 1).ilog2();
    let step = power / STEPS;
    power.saturating_add((tokens - power).div_ceil(step).saturating_mul(step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_of_two_are_bounds() {
        for length in [1, 31, 32, 64, 512, 2048, 3072, 1 << 20, u32::MAX] {
            assert_eq!(bound(length), length);
        }
        assert_eq!((bound(33), bound(513), bound(2049)), (34, 544, 2176));
    }

    proptest! {
        #[test]
        fn a_bucket_is_close_to_what_is_in_it(tokens in 0u32..1 << 31) {
            let found = bound(tokens);
            prop_assert!(found >= tokens && found - tokens <= tokens / STEPS + 1);
            prop_assert_eq!(bound(found), found);
        }

        #[test]
        fn merged_counts_are_those_of_all_rows(one in prop::collection::vec(0usize..5000, 0..40), two in prop::collection::vec(0usize..5000, 0..40)) {
            let of = |lengths: &[usize]| {
                let mut counted = Lengths::default();
                for length in lengths {
                    counted.add(*length);
                }
                counted
            };
            let mut merged = of(&one);
            merged.merge(&of(&two));
            prop_assert_eq!(merged, of(&[one, two].concat()));
        }
    }
}
