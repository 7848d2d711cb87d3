//! Clusters of rows: a forest over all rows in which every root is the lowest row of its tree.

use std::io;

use rustc_hash::FxHashMap;

use super::RowRef;
use super::duplicates::{Duplicate, Duplicates, Reason};

/// Rows in their order, numbered without gaps.
pub(super) struct Clusters {
    /// Units in order, each with the number of its first row.
    units: Vec<(u32, u32)>,
    parents: Vec<u32>,
    exact: Vec<u64>,
}

impl Clusters {
    /// Every row by itself; `units` says how many rows a unit has, in parts as threads saw them.
    pub(super) fn new<'a>(units: impl Iterator<Item = (&'a u32, &'a u32)>) -> io::Result<Self> {
        let mut rows: FxHashMap<u32, u32> = FxHashMap::default();
        for (&unit, &count) in units {
            let most = rows.entry(unit).or_default();
            *most = (*most).max(count);
        }
        let mut rows: Vec<(u32, u32)> = rows.into_iter().collect();
        rows.sort_unstable();
        let mut total = 0_u32;
        for (_, count) in &mut rows {
            let first = total;
            total = total
                .checked_add(*count)
                .ok_or_else(|| io::Error::other("more than 4,294,967,295 rows: search in parts"))?;
            *count = first;
        }
        let exact = vec![0; total.div_ceil(64) as usize];
        Ok(Self { units: rows, parents: (0..total).collect(), exact })
    }

    fn number(&self, packed: u64) -> u32 {
        let RowRef { unit, row } = RowRef::unpack(packed);
        let at = self.units.partition_point(|&(other, _)| other < unit);
        self.units[at].1 + row
    }

    fn row(&self, number: u32) -> RowRef {
        let at = self.units.partition_point(|&(_, first)| first <= number) - 1;
        let (unit, first) = self.units[at];
        RowRef { unit, row: number - first }
    }

    fn root(&mut self, mut number: u32) -> u32 {
        loop {
            let parent = self.parents[number as usize];
            if parent == number {
                return number;
            }
            let above = self.parents[parent as usize];
            self.parents[number as usize] = above;
            number = above;
        }
    }

    /// Whether two rows are in one cluster.
    pub(super) fn joined(&mut self, one: u64, other: u64) -> bool {
        let (one, other) = (self.number(one), self.number(other));
        self.root(one) == self.root(other)
    }

    /// Put two rows into one cluster.
    pub(super) fn join(&mut self, one: u64, other: u64) {
        let (one, other) = (self.number(one), self.number(other));
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one.max(other) as usize] = one.min(other);
    }

    /// Put `other` into the cluster of `one`, a row before it with the same text.
    pub(super) fn join_exact(&mut self, one: u64, other: u64) {
        self.join(one, other);
        let number = self.number(other);
        self.exact[number as usize / 64] |= 1 << (number % 64);
    }

    /// All rows but the first of each cluster.
    pub(super) fn duplicates(mut self) -> Duplicates {
        let mut found = Vec::new();
        for number in 0..u32::try_from(self.parents.len()).unwrap_or(u32::MAX) {
            let root = self.root(number);
            if root != number {
                let exact = self.exact[number as usize / 64] >> (number % 64) & 1 == 1;
                let reason = if exact { Reason::Exact } else { Reason::Near };
                found.push(Duplicate { row: self.row(number), of: self.row(root), reason });
            }
        }
        Duplicates::new(found)
    }
}
