//! Packing: whole documents in windows of `max_length`, by best fit decreasing.
//!
//! Ding et al., "Fewer Truncations Improve Language Modeling", ICML 2024. Documents are sorted by
//! length (counting sort, so ties keep the epoch's order) and each goes into the fullest window that
//! has room: windows are kept in lists by free space, and a bitset finds the next list that is not
//! empty. Linear but for that search, which reads words of 64 lengths. The number of windows depends
//! on the lengths alone, so it is the same in every epoch.

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
}

/// One document a window, in the order given.
#[must_use]
pub fn one_each(documents: Vec<u32>) -> Windows {
    let starts = (0..=to_u32(documents.len())).collect();
    Windows { documents, starts }
}

const NONE: u32 = u32::MAX;

/// Pack documents, given in the epoch's order, into windows of `capacity` tokens.
///
/// Windows come in the order of their first document in `documents`.
///
/// # Panics
/// When a document is longer than `capacity`.
#[must_use]
pub fn best_fit(documents: &[u32], length: impl Fn(u32) -> u32, capacity: u32) -> Windows {
    let sorted = by_length(documents, &length, capacity);
    let mut free = FreeSpace::new(capacity);
    let mut window_of = vec![0u32; documents.len()];
    let mut next: Vec<u32> = Vec::new(); // links windows of equal free space
    for &place in &sorted {
        let need = length(documents[place as usize]);
        let window = if let Some((window, space)) = free.take(need, &next) {
            free.put(window, space - need, &mut next);
            window
        } else {
            let window = to_u32(next.len());
            next.push(NONE);
            free.put(window, capacity - need, &mut next);
            window
        };
        window_of[place as usize] = window;
    }
    gather(documents, &window_of, next.len())
}

/// Places in `documents`, longest first, equals in order.
fn by_length(documents: &[u32], length: &impl Fn(u32) -> u32, capacity: u32) -> Vec<u32> {
    let mut begin = vec![0u32; capacity as usize + 2];
    for &document in documents {
        let length = length(document);
        assert!(length <= capacity, "a document of {length} tokens in windows of {capacity}");
        begin[(capacity - length) as usize + 1] += 1;
    }
    for index in 1..begin.len() {
        begin[index] += begin[index - 1];
    }
    let mut sorted = vec![0; documents.len()];
    for (place, &document) in documents.iter().enumerate() {
        let slot = &mut begin[(capacity - length(document)) as usize];
        sorted[*slot as usize] = to_u32(place);
        *slot += 1;
    }
    sorted
}

/// Windows numbered by their first document's place, documents within one in order.
fn gather(documents: &[u32], window_of: &[u32], count: usize) -> Windows {
    let mut number = vec![NONE; count];
    let mut starts = vec![0u32; count + 1];
    let mut seen = 0u32;
    for &window in window_of {
        let number = &mut number[window as usize];
        if *number == NONE {
            *number = seen;
            seen += 1;
        }
        starts[*number as usize + 1] += 1;
    }
    for index in 1..starts.len() {
        starts[index] += starts[index - 1];
    }
    let mut cursor = starts.clone();
    let mut packed = vec![0; documents.len()];
    for (&document, &window) in documents.iter().zip(window_of) {
        let slot = &mut cursor[number[window as usize] as usize];
        packed[*slot as usize] = document;
        *slot += 1;
    }
    Windows { documents: packed, starts }
}

/// Lists of windows by free space, and a bitset of the lists that are not empty.
struct FreeSpace {
    heads: Vec<u32>,
    bits: Vec<u64>,
}

impl FreeSpace {
    fn new(capacity: u32) -> Self {
        let sizes = capacity as usize + 1;
        Self { heads: vec![NONE; sizes], bits: vec![0; sizes.div_ceil(64)] }
    }

    /// The fullest window with at least `need` free, and how much it has; it leaves its list.
    fn take(&mut self, need: u32, next: &[u32]) -> Option<(u32, u32)> {
        let mut word = need as usize / 64;
        let mut bits = self.bits.get(word)? & (u64::MAX << (need % 64));
        while bits == 0 {
            word += 1;
            bits = *self.bits.get(word)?;
        }
        let space = word * 64 + bits.trailing_zeros() as usize;
        let window = self.heads[space];
        self.heads[space] = next[window as usize];
        if self.heads[space] == NONE {
            self.bits[word] &= !(1 << (space % 64));
        }
        Some((window, to_u32(space)))
    }

    fn put(&mut self, window: u32, space: u32, next: &mut [u32]) {
        if space == 0 {
            return; // full: never looked for again
        }
        let space = space as usize;
        next[window as usize] = self.heads[space];
        self.heads[space] = window;
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
            for window in 0..windows.len() {
                let content = windows.get(window).unwrap();
                let used: u32 = content.iter().map(|document| lengths[*document as usize]).sum();
                prop_assert!(used <= capacity && !content.is_empty());
                free.push(capacity - used);
                packed.extend_from_slice(content);
            }
            packed.sort_unstable();
            free.sort_unstable();
            prop_assert_eq!(packed, documents);
            prop_assert_eq!(free, naive(&lengths, capacity));
        }
    }

    #[test]
    fn without_packing_each_document_has_a_window() {
        let windows = one_each(vec![4, 2]);
        assert_eq!((windows.len(), windows.get(1), windows.get(2)), (2, Some(&[2][..]), None));
    }
}
