//! Which documents a view of a store has: the split, repeats, and their order in an epoch.

use fastft_record::{Permutation, mix};

use crate::mix::{Mix, Mixing, interleave};
use crate::store::Store;

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
/// is left, where there are two different rows. A copy that was made of a row has that row's hash:
/// copies of rows that are set aside are on no side.
#[must_use]
pub fn choose(hashes: &[u64], is_copy: impl Fn(u32) -> bool, split: Split) -> Vec<u32> {
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
    (0..to_u32(hashes.len()))
        .filter(|&index| aside(hashes[index as usize]) == eval && !(eval && is_copy(index)))
        .collect()
}

/// Documents that stay together: the answers to one prompt, best first.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// Documents of the group that begins at each document, 0 inside one; empty when no group has two.
    sizes: Vec<u8>,
}

impl Groups {
    /// Find the groups of `count` documents, of which some join the one before.
    #[must_use]
    pub fn new(count: u32, joins: impl Fn(u32) -> bool) -> Self {
        let mut sizes: Vec<u8> = Vec::new();
        let mut head = 0;
        for document in 0..count {
            if document > 0 && joins(document) && sizes.get(head).is_none_or(|&size| size < u8::MAX) {
                sizes.resize(document as usize, 1);
                sizes[head] += 1;
                sizes.push(0);
            } else {
                head = document as usize;
                if !sizes.is_empty() {
                    sizes.push(1);
                }
            }
        }
        Self { sizes }
    }

    /// Whether some group has two documents.
    #[must_use]
    pub const fn any(&self) -> bool {
        !self.sizes.is_empty()
    }

    /// Documents of the group that begins at `document`, which is 0 inside one.
    #[must_use]
    pub fn size(&self, document: u32) -> u32 {
        self.sizes.get(document as usize).map_or(1, |&size| u32::from(size))
    }
}

/// The groups of a store: documents of one row, or of one copy of it, with rising ranks.
#[must_use]
pub fn groups(store: &Store) -> Groups {
    let joins = |document: u32| {
        let rank = store.rank(document);
        rank > 0 && {
            let (here, before) = (store.place(document), store.place(document - 1));
            (here.file, here.row, here.variant) == (before.file, before.row, before.variant)
                && before.rank < rank
        }
    };
    Groups::new(count(store.lengths()), joins)
}

/// Items of an epoch, each as often as its source is repeated, in the epoch's order.
///
/// `shuffle` is (seed, epoch). None when there would be more than 2^32.
#[must_use]
pub fn epoch(
    items: &[u32],
    source_of: impl Fn(u32) -> usize,
    rule: &Mix,
    shuffle: Option<(u64, u64)>,
) -> Option<Vec<u32>> {
    let limit = u64::from(u32::MAX);
    if rule.mixing != Mixing::Concat {
        let mut sources: Vec<Vec<u32>> = Vec::new();
        for &item in items {
            let source = source_of(item);
            if sources.len() <= source {
                sources.resize_with(source + 1, Vec::new);
            }
            sources[source].push(item);
        }
        return interleave(&sources, rule, shuffle, limit);
    }
    let times = |&item: &u32| rule.repeat(source_of(item));
    if items.iter().map(|item| u64::from(times(item))).sum::<u64>() > limit {
        return None;
    }
    let all: Vec<u32> =
        items.iter().flat_map(|item| std::iter::repeat_n(*item, times(item) as usize)).collect();
    Some(match shuffle {
        None => all,
        Some((seed, epoch)) => {
            let permutation = Permutation::new(all.len() as u64, seed, epoch);
            (0..all.len() as u64).map(|index| all[to_usize(permutation.apply(index))]).collect()
        }
    })
}

/// How many there are.
#[must_use]
pub const fn count<T>(all: &[T]) -> u32 {
    to_u32(all.len())
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
            let train = choose(&hashes, |_| false, Split::Train { fraction, seed });
            let eval = choose(&hashes, |_| false, Split::Eval { fraction, seed });
            let mut both = [train.clone(), eval.clone()].concat();
            both.sort_unstable();
            prop_assert_eq!(both, (0..to_u32(hashes.len())).collect::<Vec<_>>());
            prop_assert!(!train.is_empty() && !eval.is_empty());
            let mut more = hashes.clone();
            more.push(extra);
            let after = choose(&more, |_| false, Split::Eval { fraction, seed });
            let moved = eval.iter().filter(|index| !after.contains(index)).count();
            prop_assert!(moved <= 1, "only the row that kept a side from being empty may move");
        }
    }

    #[test]
    fn a_copy_of_a_row_that_is_set_aside_is_on_no_side() {
        let hashes: Vec<u64> = (0..100).map(|n| mix(n / 2)).collect();
        let is_copy = |index: u32| index % 2 == 1;
        let (fraction, seed) = (0.3, 4);
        let eval = choose(&hashes, is_copy, Split::Eval { fraction, seed });
        let train = choose(&hashes, is_copy, Split::Train { fraction, seed });
        assert!(!eval.is_empty() && eval.iter().all(|&index| index % 2 == 0));
        assert!(eval.iter().all(|index| !train.contains(index) && !train.contains(&(index + 1))));
        assert_eq!(train.len() + 2 * eval.len(), 100);
    }

    #[test]
    fn repeats_and_epochs_have_an_effect() {
        let documents = [0, 1, 2];
        let rule = Mix { repeats: vec![1, 2, 3], ..Mix::default() };
        let of = |document: u32| document as usize;
        assert_eq!(epoch(&documents, of, &rule, None).unwrap(), [0, 1, 1, 2, 2, 2]);
        let many: Vec<u32> = (0..50).collect();
        let plain = |shuffle| epoch(&many, |_| 0, &Mix::default(), shuffle);
        assert_ne!(plain(Some((7, 0))), plain(Some((7, 1))));
        let huge = Mix { repeats: vec![u32::MAX], ..Mix::default() };
        assert_eq!(epoch(&documents, |_| 0, &huge, None), None);
    }

    #[test]
    fn groups_begin_where_a_document_does_not_join_the_one_before() {
        let groups = Groups::new(7, |document| [1, 4, 5].contains(&document));
        assert_eq!((0..7).map(|document| groups.size(document)).collect::<Vec<_>>(), [2, 0, 1, 3, 0, 0, 1]);
        let single = Groups::new(3, |_| false);
        assert!(!single.any() && single.size(2) == 1);
    }
}
