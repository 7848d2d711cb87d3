//! One source's documents in one lane: unit after unit, pass after pass.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::deal::deal;
use super::{Backend, Item, Options, Reader, RowItems, Unit};
use crate::error::EngineError;

/// Which item of a source is next in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// How often the lane's units of this epoch were seen.
    pub pass: u64,
    /// Place in the lane's list of units.
    pub unit: u32,
    /// 0-based row of the unit.
    pub row: u64,
    /// Item of the row.
    pub item: u32,
}

/// What all feeds of a lane share.
pub struct Surroundings {
    pub backend: Arc<dyn Backend>,
    pub units: Arc<[Unit]>,
    pub options: Arc<Options>,
    pub lane: u32,
    pub lanes: u32,
    /// Whether rows enter the books the first time they are seen.
    pub counted: bool,
}

/// Documents of one list of units.
pub struct Feed {
    stream: u64,
    list: Vec<u32>,
    /// The lane's units in this pass.
    mine: Vec<u32>,
    reader: Option<Box<dyn Reader>>,
    waiting: VecDeque<RowItems>,
    cursor: Cursor,
    /// Bytes of the rows behind the last item that was taken.
    bytes: u64,
    /// Passes since an item was found.
    idle: u32,
}

/// Passes without an item after which a list has none.
const IDLE_PASSES: u32 = 256;
/// The pass of a list that has no item.
pub const BARREN: u64 = u64::MAX;

impl Feed {
    /// Documents of `list` from a place of an epoch on.
    pub fn new(around: &Surroundings, stream: u64, list: Vec<u32>, epoch: u64, cursor: Cursor) -> Self {
        let mut feed = Self {
            stream,
            list,
            mine: Vec::new(),
            reader: None,
            waiting: VecDeque::new(),
            cursor,
            bytes: 0,
            idle: 0,
        };
        feed.deal(around, epoch);
        feed
    }

    fn deal(&mut self, around: &Surroundings, epoch: u64) {
        let number = fastft_record::mix(epoch ^ fastft_record::mix(self.cursor.pass));
        let pass = (around.options.seed, self.stream, number);
        self.mine = deal(&around.units, &self.list, around.lane, around.lanes, pass, around.options.shuffle);
    }

    /// Where it is.
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether the lane has a unit in this pass.
    pub fn has_units(&self) -> bool {
        !self.mine.is_empty()
    }

    /// Begin the next pass.
    pub fn again(&mut self, around: &Surroundings, epoch: u64) {
        self.idle += 1;
        let pass = if self.idle > IDLE_PASSES { BARREN } else { self.cursor.pass.saturating_add(1) };
        self.cursor = Cursor { pass, ..Cursor::default() };
        self.reader = None;
        self.waiting.clear();
        self.deal(around, epoch);
    }

    /// Have the next item at hand, reading about `tokens` where there is none; false at the end of the pass.
    pub fn ready(&mut self, around: &Surroundings, epoch: u64, tokens: u64) -> Result<bool, EngineError> {
        loop {
            while let Some(row) = self.waiting.front() {
                if (self.cursor.item as usize) < row.items.len() {
                    self.cursor.row = row.row;
                    return Ok(true);
                }
                self.bytes += row.bytes;
                self.cursor.row = row.row + 1;
                self.cursor.item = 0;
                self.waiting.pop_front();
            }
            let Some(&unit) = self.mine.get(self.cursor.unit as usize) else { return Ok(false) };
            if self.reader.is_none() {
                let counted = around.counted && epoch == 0 && self.cursor.pass == 0;
                let unit = &around.units[unit as usize];
                self.reader = Some(Arc::clone(&around.backend).open(unit, self.cursor.row, counted)?);
            }
            let rows = match &mut self.reader {
                Some(reader) => reader.read(tokens)?,
                None => Vec::new(),
            };
            if rows.is_empty() {
                self.reader = None;
                self.cursor =
                    Cursor { pass: self.cursor.pass, unit: self.cursor.unit + 1, ..Cursor::default() };
            }
            self.waiting.extend(rows);
        }
    }

    /// Take the item that is at hand.
    pub fn take(&mut self) -> Option<Item> {
        let row = self.waiting.front_mut()?;
        let item = row.items.get_mut(self.cursor.item as usize).map(std::mem::take)?;
        self.cursor.item += 1;
        self.idle = 0;
        Some(item)
    }

    /// Bytes of the rows that are behind us.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}
