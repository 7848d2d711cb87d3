//! The block order: windows of packed documents that follow from the manifest alone, without a pass
//! over the data before the first one.
//!
//! Files are cut into *units* of about a megabyte. An epoch's units are permuted and dealt to *lanes*
//! so that each has about as many bytes. A lane draws documents from its units (from each source by its
//! share, where sources take turns), shuffles a *group* of them, packs it by best fit and gives its
//! windows in a keyed order; groups begin with a few windows and grow, so that the first batch comes
//! soon. Windows of the whole come from the lanes in turn. A lane that is through with the epoch is left out
//! until all are: then the epoch is over, and each row came as often as the mixture says.
//! So the order is a function of (units, options, seed); where the documents come from, from files that are
//! read now or from a store, makes no difference.
//!
//! How many windows a lane has is known from its rows alone, but it is all that the order needs to know of them. So
//! each of several readers makes some lanes, tells the others how many windows these have for certain, and is told
//! the same of theirs: see `ahead`.
//!
//! A place in a lane is where its group began: epoch, group, and for each source the pass, unit and row.
//! To go on there, the group is made again.

mod ahead;
mod count;
pub mod deal;
mod estimate;
mod feed;
pub mod files;
mod lane;
pub mod live;
mod open;
pub mod stored;
mod windows;

pub use ahead::{Ahead, Known};
pub use estimate::Estimate;
pub use lane::{Cursor, Group, Place};
pub use open::{LaneState, Next};
pub use windows::{Passed, State, Stream};

use std::sync::Arc;

use serde::Deserialize;

use crate::batch::Tokens;
use crate::error::EngineError;
use crate::mix::{Mix, Mixing};
use crate::store::Document;

/// A piece of the data that is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index of the source.
    pub source: u32,
    /// Index of the file, over all sources.
    pub file: u32,
    /// Which piece of the file.
    pub piece: u32,
    /// Of a piece that can't be cut, the rows whose hash is `.0` modulo `.1`.
    pub part: (u32, u32),
    /// Of the piece, only the first so many rows.
    pub rows: u64,
    /// About how much text it has.
    pub bytes: u64,
}

/// One document in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokenized {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Begin, end, begin, end of trained runs.
    pub spans: Vec<u32>,
    /// The weight of each run; empty when all are 1.
    pub weights: Vec<f32>,
    /// See `store`.
    pub rank: u8,
}

/// Documents that stay together.
pub type Item = Vec<Tokenized>;

/// What a row became.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowItems {
    /// 0-based row of the unit.
    pub row: u64,
    /// Its bytes.
    pub bytes: u64,
    /// In order; none when the row can't be used.
    pub items: Vec<Item>,
}

/// Where documents come from.
pub trait Backend: Send + Sync {
    /// Read a unit from a row on. Only rows that are `counted` enter the books.
    ///
    /// # Errors
    /// When it can't be read.
    fn open(self: Arc<Self>, unit: &Unit, from: u64, counted: bool) -> Result<Box<dyn Reader>, EngineError>;
}

/// A unit that is being read.
pub trait Reader: Send {
    /// The next rows, of about so many tokens; empty at the end of the unit.
    ///
    /// # Errors
    /// When they can't be read, or a row can't be used and the options say that this ends the run.
    fn read(&mut self, tokens: u64) -> Result<Vec<RowItems>, EngineError>;
}

/// What decides the order, beside the units.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How sources are mixed.
    #[serde(default)]
    pub mix: Mix,
    /// Lanes, at most.
    pub lanes: u32,
    /// Bytes of a unit, at most.
    pub unit_bytes: u64,
    /// Tokens of a window.
    pub max_length: u32,
    /// Whether documents share windows.
    pub pack: bool,
    /// Whether units and documents are shuffled.
    pub shuffle: bool,
    /// Of the order.
    pub seed: u64,
}

/// Tokens of the largest groups: about 8 MB of text.
const GROUP_TOKENS: u64 = 1 << 21;

impl Options {
    /// Tokens after which group number `group` of a lane ends.
    #[must_use]
    pub fn group_tokens(&self, group: u64) -> u64 {
        let window = u64::from(self.max_length);
        (window << group.saturating_add(1).min(20)).min(GROUP_TOKENS.max(32 * window))
    }

    /// Which sources' documents are drawn from one list of units: all, or one each.
    fn streams(&self, units: &[Unit]) -> Vec<Vec<u32>> {
        let sources = units.iter().map(|unit| unit.source + 1).max().unwrap_or(0) as usize;
        if self.mix.mixing == Mixing::Concat {
            let repeat = |number: u32| self.mix.repeat(units[number as usize].source as usize) as usize;
            let numbers = 0..crate::order::count(units);
            return vec![numbers.flat_map(|number| std::iter::repeat_n(number, repeat(number))).collect()];
        }
        let of = |source: usize| -> Vec<u32> {
            (0..)
                .zip(units)
                .filter(|(_, unit)| unit.source as usize == source)
                .map(|(number, _)| number)
                .collect()
        };
        (0..sources).map(of).collect()
    }
}

/// Documents of some windows, to be laid into buffers.
#[derive(Debug, Default)]
pub struct Shelf {
    /// In order.
    pub documents: Vec<Tokenized>,
}

impl Tokens for Shelf {
    fn ids(&self, document: u32) -> Document<'_> {
        Document::Long(&self.documents[document as usize].ids)
    }

    fn spans(&self, document: u32) -> &[u32] {
        &self.documents[document as usize].spans
    }

    fn weights(&self, document: u32) -> &[f32] {
        &self.documents[document as usize].weights
    }

    fn rank(&self, document: u32) -> u8 {
        self.documents[document as usize].rank
    }
}

#[cfg(test)]
mod tests;
