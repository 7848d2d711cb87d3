//! Merges: of all neighbouring pairs the one that was learnt first is joined, the leftmost of equals,
//! until none is left.
//!
//! Short words go through arrays of a fixed size, of which the smallest number is looked for anew after each
//! merge; long ones through lists of places by rank (`open.rs`).

use crate::artifact::{Reader, Writer};
use crate::huge::{Table, upper};
use crate::open::Open;

/// No rank, no id.
pub const NONE: u32 = u32::MAX;
/// Symbols of a word that is merged in arrays: their places fit in the lower bits of a rank.
const SHORT: usize = 128;
/// Bits of a place in a short word.
const PLACE: u32 = 8;

/// Bits of a token in a slot.
const TOKEN: u32 = 20;
/// Ids that merges can hold: those of a vocabulary of BPE are below, or its reference makes them.
pub const MOST_TOKENS: usize = 1 << TOKEN;
/// Bits of a rank.
const RANK: u32 = 24;
const RANKS: u64 = (1 << RANK) - 1;

/// What two neighbouring tokens become, and how early it was learnt: a table with open addresses, eight bytes a
/// merge, since a word's merges are looked up all over it.
pub struct Merges {
    /// The left token, the right one, the rank; zero is nothing, so ranks here begin with 1.
    slots: Table<u64>,
    shift: u32,
    /// Bits of which one is set for each pair: most pairs that are asked for are none, which is told by a place that
    /// is near.
    some: Vec<u64>,
    some_shift: u32,
    /// What each merge makes, by rank.
    made: Vec<u32>,
}

impl Merges {
    /// The merges of two tokens into a third, those learnt first in front; None where a number is too large for a slot.
    /// Of the same two tokens the last merge counts.
    pub fn new(merges: &[[u32; 3]]) -> Option<Self> {
        let size = (merges.len() * 3 / 2).next_power_of_two().max(16);
        let bits = (merges.len() * 4).next_power_of_two().max(64);
        let mut table = Self {
            slots: Table::zeroed(size),
            shift: upper(size),
            some: vec![0; bits / 64],
            some_shift: upper(bits),
            made: merges.iter().map(|merge| merge[2]).collect(),
        };
        for (rank, [left, right, made]) in (1..).zip(merges) {
            // what a merge makes is looked up as well
            if (left | right | made) >> TOKEN != 0 || rank > RANKS {
                return None;
            }
            let slot = table.find(&table.slots, pair(*left, *right));
            table.slots[slot] = pair(*left, *right) | rank;
            let (word, bit) = table.bit(pair(*left, *right));
            table.some[word] |= bit;
        }
        Some(table)
    }

    /// Write them down.
    pub fn store(&self, to: &mut Writer) {
        to.put(&self.slots);
        to.put(&self.some);
        to.put(&self.made);
    }

    /// Those that were written down.
    pub fn restore(from: &mut Reader) -> Option<Self> {
        let (slots, some, made): (Table<u64>, Vec<u64>, _) = (from.table()?, from.values()?, from.values()?);
        let (shift, some_shift) = (upper(slots.len()), upper(some.len() * 64));
        Some(Self { slots, shift, some, some_shift, made })
    }

    /// The slot of a pair, or the one where it would be.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the upper bits, as many as there are slots")]
    const fn find(&self, slots: &[u64], pair: u64) -> usize {
        let mut at = (mixed(pair) >> self.shift) as usize;
        while slots[at] != 0 && (slots[at] ^ pair) > RANKS {
            at = (at + 1) & (slots.len() - 1);
        }
        at
    }

    /// The bit of a pair.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the upper bits, as many as there are")]
    const fn bit(&self, pair: u64) -> (usize, u64) {
        let bit = mixed(pair) >> self.some_shift;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    /// How early two tokens are merged; NONE where they stay two.
    #[inline]
    pub fn rank(&self, left: u32, right: u32) -> u32 {
        self.rank_in(&self.slots, left, right)
    }

    /// The same, with the table at hand.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "24 bits")]
    fn rank_in(&self, slots: &[u64], left: u32, right: u32) -> u32 {
        let pair = pair(left, right);
        let (word, bit) = self.bit(pair);
        if self.some[word] & bit == 0 {
            return NONE;
        }
        ((slots[self.find(slots, pair)] & RANKS) as u32).wrapping_sub(1)
    }

    /// Merge the tokens from `from` on, in place; `first` is the rank of the pair that begins at a place, before
    /// anything is merged.
    pub fn join(&self, tokens: &mut Vec<u32>, from: usize, first: impl Fn(usize) -> u32) {
        let kept = match tokens.len() - from {
            0 | 1 => return,
            2..=16 => self.short::<16>(&mut tokens[from..], first),
            17..=SHORT => self.short::<SHORT>(&mut tokens[from..], first),
            _ => return self.long(tokens, from),
        };
        tokens.truncate(from + kept);
    }

    /// Merge the tokens from `from` on, in place, of which no rank is known.
    pub fn join_unranked(&self, tokens: &mut Vec<u32>, from: usize) {
        let mut given = [0; SHORT];
        let count = (tokens.len() - from).min(SHORT);
        given[..count].copy_from_slice(&tokens[from..from + count]);
        self.join(tokens, from, |at| self.rank(given[at], given[at + 1]));
    }

    /// Merge up to N tokens to the front of the slice; how many are left.
    #[allow(clippy::cast_possible_truncation, reason = "places are less than 128")]
    fn short<const N: usize>(&self, tokens: &mut [u32], first: impl Fn(usize) -> u32) -> usize {
        let count = tokens.len();
        // a pair at the place of its left token: the rank above, the place below
        let mut order = [NONE; N];
        let (mut next, mut before) = ([0_u8; N], [0_u8; N]);
        let ordered = |rank, at: usize| if rank == NONE { NONE } else { rank << PLACE | at as u32 };
        let slots: &[u64] = &self.slots;
        let ranked = |left, right, at| ordered(self.rank_in(slots, left, right), at);
        for (at, order) in order[..count - 1].iter_mut().enumerate() {
            *order = ordered(first(at), at);
        }
        for at in 0..count {
            (next[at], before[at]) = (at as u8 + 1, (at as u8).wrapping_sub(1));
        }
        loop {
            let best = order[..count - 1].iter().fold(NONE, |best, one| best.min(*one));
            if best == NONE {
                break;
            }
            let left = (best & ((1 << PLACE) - 1)) as usize;
            let right = usize::from(next[left]);
            tokens[left] = self.made[(best >> PLACE) as usize];
            tokens[right] = NONE;
            order[right] = NONE;
            let behind = usize::from(next[right]);
            next[left] = next[right];
            order[left] = NONE;
            if behind < count {
                before[behind] = left as u8;
                order[left] = ranked(tokens[left], tokens[behind], left);
            }
            if left > 0 {
                let front = usize::from(before[left]);
                order[front] = ranked(tokens[front], tokens[left], front);
            }
        }
        let mut kept = 0;
        for at in 0..count {
            if tokens[at] != NONE {
                tokens[kept] = tokens[at];
                kept += 1;
            }
        }
        kept
    }

    #[allow(clippy::cast_possible_truncation, reason = "places of a text, which has less than 4 GiB")]
    fn long(&self, tokens: &mut Vec<u32>, from: usize) {
        // a token's place is that of its first symbol; those joined to one before are NONE
        let word = &mut tokens[from..];
        let count = word.len() as u32;
        let mut next: Vec<u32> = (1..=count).collect();
        let mut before: Vec<u32> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        // the rank of the pair that begins at a place
        let mut order: Vec<u32> = word.windows(2).map(|pair| self.rank(pair[0], pair[1])).collect();
        order.push(NONE);
        let mut open = Open::default();
        for (rank, at) in order.iter().zip(0..).filter(|(rank, _)| **rank != NONE) {
            open.push(*rank, at);
        }
        while let Some((rank, left)) = open.pop() {
            // what was pushed before a merge changed either side
            if order[left as usize] != rank {
                continue;
            }
            let right = next[left as usize];
            let behind = next[right as usize];
            word[left as usize] = self.made[rank as usize];
            (word[right as usize], order[right as usize], order[left as usize]) = (NONE, NONE, NONE);
            next[left as usize] = behind;
            if behind < count {
                before[behind as usize] = left;
            }
            let neighbours = [(before[left as usize], left), (left, behind)];
            for (left, right) in
                neighbours.into_iter().filter(|(left, right)| *left != NONE && *right < count)
            {
                let rank = self.rank(word[left as usize], word[right as usize]);
                order[left as usize] = rank;
                if rank != NONE {
                    open.push(rank, left);
                }
            }
        }
        let mut kept = from;
        for at in from..tokens.len() {
            if tokens[at] != NONE {
                tokens[kept] = tokens[at];
                kept += 1;
            }
        }
        tokens.truncate(kept);
    }
}

const fn pair(left: u32, right: u32) -> u64 {
    (left as u64) << (TOKEN + RANK) | (right as u64) << RANK
}

/// A number that spreads pairs well in its upper bits.
const fn mixed(pair: u64) -> u64 {
    (pair >> RANK).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
