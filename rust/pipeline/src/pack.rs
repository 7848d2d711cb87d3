//! Packing: whole documents in windows of `max_length`, by best fit decreasing.
//!
//! Ding et al., "Fewer Truncations Improve Language Modeling", ICML 2024. Each document, longest first,
//! goes into the fullest window that has room. Documents of one length are alike, and so are windows of
//! one free space, so they are placed by runs: a run of `k` documents a window for a run of windows,
//! which is the same packing at a fraction of the steps; what is left a document is counting. The number
//! of windows depends on the lengths alone, so it is the same in every epoch.
//!
//! What is packed is an *item*: a document, or a group of them (the answers to one prompt) named by its
//! first, which is never split. An item longer than a window has one of its own.

use fastft_record::Permutation;

use crate::order::to_u32;

/// Which documents share a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Documents, window after window.
    documents: Vec<u32>,
    /// Where each window begins in `documents`, and the end.
    starts: Vec<u32>,
}

impl Windows {
    /// How many windows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The documents of a window.
    #[must_use]
    pub fn get(&self, window: usize) -> Option<&[u32]> {
        let range = *self.starts.get(window)? as usize..*self.starts.get(window + 1)? as usize;
        self.documents.get(range)
    }

    /// The windows with every item's documents in its place: `size(item)` of them, numbered from it.
    #[must_use]
    pub fn expanded(self, size: impl Fn(u32) -> u32) -> Self {
        let mut expanded = Self { documents: Vec::with_capacity(self.documents.len()), starts: vec![0] };
        for window in 0..self.len() {
            for &item in self.get(window).unwrap_or_default() {
                expanded.documents.extend(item..item + size(item));
            }
            expanded.starts.push(to_u32(expanded.documents.len()));
        }
        expanded
    }

    /// Add the windows of `other` in the order of a permutation, or in theirs.
    fn append(&mut self, other: &Self, order: Option<&Permutation>) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        for place in 0..other.len() {
            let window = order.map_or(place, |order| crate::order::to_usize(order.apply(place as u64)));
            self.documents.extend_from_slice(other.get(window).unwrap_or_default());
            self.starts.push(to_u32(self.documents.len()));
        }
    }
}

/// One item a window, in the order given.
#[must_use]
pub fn one_each(items: Vec<u32>) -> Windows {
    let starts = (0..=to_u32(items.len())).collect();
    Windows { documents: items, starts }
}

/// Pack each `block` items of the list by themselves, so that windows follow the list's order but for
/// the windows of one block, which come in the order of the permutation that `shuffle` makes of them.
#[must_use]
pub fn best_fit_blocks(
    items: &[u32],
    length: impl Fn(u32) -> u32,
    capacity: u32,
    block: usize,
    shuffle: impl Fn(u64, u64) -> Option<Permutation>,
) -> Windows {
    let mut all = Windows::default();
    for (number, items) in (0..).zip(items.chunks(block)) {
        let windows = best_fit(items, &length, capacity);
        all.append(&windows, shuffle(number, windows.len() as u64).as_ref());
    }
    all
}

const NONE: u32 = u32::MAX;

/// Pack items, given in the epoch's order, into windows of `capacity` tokens.
///
/// Windows come in the order of their first item in `items`, items within one in order.
#[must_use]
pub fn best_fit(items: &[u32], length: impl Fn(u32) -> u32, capacity: u32) -> Windows {
    let capacity = capacity.max(1);
    // an item longer than a window fills one
    let lengths: Vec<u32> = items.iter().map(|&item| length(item).clamp(1, capacity)).collect();
    let mut counts = vec![0u32; capacity as usize + 1];
    for &length in &lengths {
        counts[length as usize] += 1;
    }
    let placed = place(&counts, capacity);
    // The n-th item of a length, in order, has the n-th place among its equals.
    let mut next = counts;
    let mut seen = 0;
    for count in next.iter_mut().rev() {
        seen += std::mem::replace(count, seen);
    }
    let mut position = vec![NONE; placed.sizes.len()];
    let mut starts = Vec::with_capacity(placed.sizes.len() + 1);
    starts.push(0);
    let mut end = 0;
    let window_of: Vec<u32> = lengths
        .iter()
        .map(|&length| {
            let slot = &mut next[length as usize];
            let window = placed.windows[*slot as usize];
            *slot += 1;
            let position = &mut position[window as usize];
            if *position == NONE {
                *position = end;
                end += placed.sizes[window as usize];
                starts.push(end);
            }
            window
        })
        .collect();
    let mut packed = vec![0; items.len()];
    for (&item, &window) in items.iter().zip(&window_of) {
        let slot = &mut position[window as usize];
        packed[*slot as usize] = item;
        *slot += 1;
    }
    Windows { documents: packed, starts }
}

/// Windows of all items, longest first, and how many items each window has.
struct Placed {
    windows: Vec<u32>,
    sizes: Vec<u32>,
}

/// Place `counts[length]` items of each length.
fn place(counts: &[u32], capacity: u32) -> Placed {
    let items: usize = counts.iter().map(|&count| count as usize).sum();
    let mut placed = Placed { windows: Vec::with_capacity(items), sizes: Vec::new() };
    let mut free = FreeSpace::new(capacity);
    for length in (1..=capacity).rev() {
        let mut left = counts[length as usize];
        while left > 0 {
            let (run, space) = free.take(length).unwrap_or_else(|| {
                let count = left.div_ceil(capacity / length);
                let first = to_u32(placed.sizes.len());
                placed.sizes.resize(placed.sizes.len() + count as usize, 0);
                (Run { first, count }, capacity)
            });
            // A window that took one and has room for another is now the fullest that has.
            let each = space / length;
            let full = run.count.min(left / each);
            placed.put(run.first, full, each);
            free.put(Run { count: full, ..run }, space - each * length);
            left -= full * each;
            let mut rest = Run { first: run.first + full, count: run.count - full };
            if rest.count > 0 && left > 0 {
                placed.put(rest.first, 1, left);
                free.put(Run { count: 1, ..rest }, space - left * length);
                rest = Run { first: rest.first + 1, count: rest.count - 1 };
                left = 0;
            }
            free.put(rest, space);
        }
    }
    placed
}

impl Placed {
    /// The next items go into `count` windows from `first`, `each` into one.
    fn put(&mut self, first: u32, count: u32, each: u32) {
        for window in first..first + count {
            self.windows.extend(std::iter::repeat_n(window, each as usize));
            self.sizes[window as usize] += each;
        }
    }
}

/// Windows that follow one another and have the same free space.
#[derive(Clone, Copy)]
struct Run {
    first: u32,
    count: u32,
}

/// Runs of windows by free space, and a bitset of the spaces that have one.
struct FreeSpace {
    runs: Vec<Vec<Run>>,
    bits: Vec<u64>,
}

impl FreeSpace {
    fn new(capacity: u32) -> Self {
        let sizes = capacity as usize + 1;
        Self { runs: vec![Vec::new(); sizes], bits: vec![0; sizes.div_ceil(64)] }
    }

    /// A run of the fullest windows with at least `need` free, and how much they have; it leaves its list.
    fn take(&mut self, need: u32) -> Option<(Run, u32)> {
        let mut word = need as usize / 64;
        let mut bits = self.bits.get(word)? & (u64::MAX << (need % 64));
        while bits == 0 {
            word += 1;
            bits = *self.bits.get(word)?;
        }
        let space = word * 64 + bits.trailing_zeros() as usize;
        let run = self.runs[space].pop()?;
        if self.runs[space].is_empty() {
            self.bits[word] &= !(1 << (space % 64));
        }
        Some((run, to_u32(space)))
    }

    fn put(&mut self, run: Run, space: u32) {
        if space == 0 || run.count == 0 {
            return; // full: never looked for again
        }
        let space = space as usize;
        self.runs[space].push(run);
        self.bits[space / 64] |= 1 << (space % 64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Best fit decreasing as the definition says it, in quadratic time.
    fn naive(lengths: &[u32], capacity: u32) -> Vec<u32> {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let mut free: Vec<u32> = Vec::new();
        for length in sorted {
            match free.iter_mut().filter(|space| **space >= length).min() {
                Some(space) => *space -= length,
                None => free.push(capacity - length),
            }
        }
        free.sort_unstable();
        free
    }

    proptest! {
        #[test]
        fn every_document_is_packed_once_as_tightly_as_by_definition(
            lengths in prop::collection::vec(1u32..=100, 0..300), capacity in 100u32..200,
        ) {
            let documents: Vec<u32> = (0..to_u32(lengths.len())).collect();
            let windows = best_fit(&documents, |document| lengths[document as usize], capacity);
            let mut free = Vec::new();
            let mut packed = Vec::new();
            let mut firsts = Vec::new();
            for window in 0..windows.len() {
                let content = windows.get(window).unwrap();
                let used: u32 = content.iter().map(|document| lengths[*document as usize]).sum();
                prop_assert!(used <= capacity && !content.is_empty() && content.is_sorted());
                free.push(capacity - used);
                firsts.push(content[0]);
                packed.extend_from_slice(content);
            }
            packed.sort_unstable();
            free.sort_unstable();
            prop_assert!(firsts.is_sorted());
            prop_assert_eq!(packed, documents);
            prop_assert_eq!(free, naive(&lengths, capacity));
        }

        #[test]
        fn groups_stay_whole_and_in_order(
            sizes in prop::collection::vec(1u32..=4, 1..60), capacity in 20u32..60,
        ) {
            let mut heads = Vec::new();
            let mut end = 0;
            for &size in &sizes {
                heads.push(end);
                end += size;
            }
            let size = |head: u32| sizes[heads.binary_search(&head).unwrap()];
            let windows = best_fit(&heads, |head| 9 * size(head), capacity).expanded(size);
            let mut seen = Vec::new();
            for window in 0..windows.len() {
                let documents = windows.get(window).unwrap();
                let mut at = 0;
                while at < documents.len() {
                    let group = size(documents[at]);
                    prop_assert!(documents[at..at + group as usize].iter().copied().eq(documents[at]..documents[at] + group));
                    at += group as usize;
                }
                prop_assert!(9 * to_u32(documents.len()) <= capacity || documents.len() == size(documents[0]) as usize);
                seen.extend_from_slice(documents);
            }
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..end));
        }
    }

    #[test]
    fn blocks_are_packed_by_themselves_and_shuffled_inside() {
        let items: Vec<u32> = (0..100).collect();
        let windows =
            best_fit_blocks(&items, |_| 4, 8, 40, |block, len| Some(Permutation::new(len, 7, block)));
        assert_eq!(windows.len(), 50);
        let blocks: Vec<u32> = (0..50).map(|window| windows.get(window).unwrap()[0] / 40).collect();
        assert!(blocks.is_sorted());
        assert!(!(0..20).map(|window| windows.get(window).unwrap()[0]).is_sorted());
    }

    #[test]
    fn without_packing_each_document_has_a_window() {
        let windows = one_each(vec![4, 2]);
        assert_eq!((windows.len(), windows.get(1), windows.get(2)), (2, Some(&[2][..]), None));
    }
}
