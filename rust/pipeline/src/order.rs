//! Which documents a view of a store has: the split, repeats, and their order in an epoch.

use fastft_record::{Permutation, mix};

/// Which rows of a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// Every row.
    All,
    /// All but the evaluation part.
    Train {
        /// Part of the rows set aside.
        fraction: f64,
        /// Seed of the choice.
        seed: u64,
    },
    /// The evaluation part.
    Eval {
        /// Part of the rows.
        fraction: f64,
        /// Seed of the choice.
        seed: u64,
    },
}

/// Choose documents by the hash of their row's content.
///
/// A row's side depends on its own content and the seed, so adding rows moves none, and equal rows
/// are never on both sides. With a fraction above 0 at least one row is set aside, and at least one
/// is left, where there are two different rows.
#[must_use]
pub fn choose(hashes: &[u64], split: Split) -> Vec<u32> {
    let (Split::Train { fraction, seed } | Split::Eval { fraction, seed }) = split else {
        return (0..to_u32(hashes.len())).collect();
    };
    let draw = |hash: u64| mix(hash ^ mix(seed));
    let eval = matches!(split, Split::Eval { .. });
    if fraction <= 0.0 {
        return if eval { Vec::new() } else { (0..to_u32(hashes.len())).collect() };
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "saturates"
    )]
    let limit = (fraction * u64::MAX as f64) as u64;
    let (mut least, mut most) = (u64::MAX, 0);
    for &hash in hashes {
        least = least.min(draw(hash));
        most = most.max(draw(hash));
    }
    let aside = |hash: u64| {
        let draw = draw(hash);
        draw == least || (draw < limit && draw != most)
    };
    (0..to_u32(hashes.len())).filter(|&index| aside(hashes[index as usize]) == eval).collect()
}

/// The documents of an epoch, each as often as its source is repeated, in the epoch's order.
#[must_use]
pub fn epoch(documents: &[u32], repeats: impl Fn(u32) -> u32, shuffle: Option<(u64, u64)>) -> Vec<u32> {
    let all: Vec<u32> = documents
        .iter()
        .flat_map(|&document| std::iter::repeat_n(document, repeats(document) as usize))
        .collect();
    match shuffle {
        None => all,
        Some((seed, epoch)) => {
            let permutation = Permutation::new(all.len() as u64, seed, epoch);
            (0..all.len() as u64).map(|index| all[to_usize(permutation.apply(index))]).collect()
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "an index of a vector")]
pub(crate) const fn to_usize(index: u64) -> usize {
    index as usize
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a store has less than 2^32 documents; checked when it is opened"
)]
pub(crate) const fn to_u32(index: usize) -> u32 {
    index as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_two_sides_are_the_whole_and_adding_rows_moves_none(
            hashes in prop::collection::vec(any::<u64>(), 3..200), extra: u64, seed: u64, fraction in 0.01f64..0.9,
        ) {
            let train = choose(&hashes, Split::Train { fraction, seed });
            let eval = choose(&hashes, Split::Eval { fraction, seed });
            let mut both = [train.clone(), eval.clone()].concat();
            both.sort_unstable();
            prop_assert_eq!(both, (0..to_u32(hashes.len())).collect::<Vec<_>>());
            prop_assert!(!train.is_empty() && !eval.is_empty());
            let mut more = hashes.clone();
            more.push(extra);
            let after = choose(&more, Split::Eval { fraction, seed });
            let moved = eval.iter().filter(|index| !after.contains(index)).count();
            prop_assert!(moved <= 1, "only the row that kept a side from being empty may move");
        }
    }

    #[test]
    fn repeats_and_epochs_have_an_effect() {
        let documents = [0, 1, 2];
        assert_eq!(epoch(&documents, |document| document + 1, None), [0, 1, 1, 2, 2, 2]);
        let many: Vec<u32> = (0..50).collect();
        assert_ne!(epoch(&many, |_| 1, Some((7, 0))), epoch(&many, |_| 1, Some((7, 1))));
    }
}
