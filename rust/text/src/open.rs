//! Pairs that wait to be merged: the lowest rank first, of one rank the leftmost.
//!
//! A long word has few ranks and many places of each, which are found nearly in order: so places stand in lists by rank,
//! read from the front, and a heap holds ranks only. What comes out of order waits in a heap of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

/// Places by rank.
#[derive(Default)]
pub struct Open {
    ranks: BinaryHeap<Reverse<u32>>,
    places: FxHashMap<u32, Places>,
}

#[derive(Default)]
struct Places {
    sorted: Vec<u32>,
    /// How many of those are taken.
    taken: usize,
    late: BinaryHeap<Reverse<u32>>,
}

impl Open {
    /// Add a place.
    pub fn push(&mut self, rank: u32, place: u32) {
        let places = self.places.entry(rank).or_default();
        if places.is_empty() {
            self.ranks.push(Reverse(rank));
        }
        if places.sorted.last().is_none_or(|last| *last <= place) {
            places.sorted.push(place);
        } else {
            places.late.push(Reverse(place));
        }
    }

    /// Take the leftmost place of the lowest rank.
    pub fn pop(&mut self) -> Option<(u32, u32)> {
        let Reverse(rank) = *self.ranks.peek()?;
        let places = self.places.get_mut(&rank)?;
        let place = places.pop()?;
        if places.is_empty() {
            self.ranks.pop();
            places.sorted.clear();
            places.taken = 0;
        }
        Some((rank, place))
    }
}

impl Places {
    fn is_empty(&self) -> bool {
        self.taken == self.sorted.len() && self.late.is_empty()
    }

    fn pop(&mut self) -> Option<u32> {
        let next = self.sorted.get(self.taken);
        match self.late.peek() {
            Some(Reverse(late)) if next.is_none_or(|next| late < next) => self.late.pop().map(|late| late.0),
            _ => {
                self.taken += 1;
                next.copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_come_in_the_order_of_a_heap(steps in prop::collection::vec((any::<bool>(), 0..6_u32, 0..40_u32), 0..300)) {
            let (mut open, mut heap) = (Open::default(), BinaryHeap::new());
            for (pops, rank, place) in steps {
                if pops {
                    prop_assert_eq!(open.pop(), heap.pop().map(|Reverse(pair)| pair));
                } else {
                    open.push(rank, place);
                    heap.push(Reverse((rank, place)));
                }
            }
            while let Some(Reverse(pair)) = heap.pop() {
                prop_assert_eq!(open.pop(), Some(pair));
            }
            prop_assert_eq!(open.pop(), None);
        }
    }
}
