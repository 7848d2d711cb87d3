//! A window that moves forward over a stream: what is being cut is in memory, what was cut is handed on.

use std::io::Read;
use std::path::Path;

use fastft_record::RowError;
use memchr::memchr_iter;

use crate::input::without_bom;
use crate::rows::{Chunk, Row};
use crate::{SourceError, input};

/// One row as a cutter finds it: bytes of the window, and what is wrong with how it was cut.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Set when the row could not be cut cleanly.
    pub fault: Option<RowError>,
}

impl Cut {
    /// A row without fault.
    pub fn clean(start: usize, end: usize) -> Self {
        Self { start, end, fault: None }
    }
}

/// What a cutter finds at its place in the window.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A row; the place is behind it.
    Row(Cut),
    /// The row at this place does not end within the window.
    More,
    /// No row follows.
    End,
    /// The file can't be read at all, for this reason.
    Refuse(String),
}

/// Finds rows one after the other.
pub trait Cutter: Send {
    /// The row at or after `at`, which moves behind it. With `last` nothing follows `bytes`, and `More` is no answer.
    fn step(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step;

    /// Whether the byte order mark that may open a file is nothing to the cutter.
    const SKIPS_BOM: bool = true;

    /// Whether rows leave in other bytes than they came in.
    const REWRITES: bool = false;

    /// Write a row in those other bytes; returns what is wrong with it, and then writes it as it came.
    fn rewrite(&mut self, _row: &[u8], _out: &mut Vec<u8>) -> Option<RowError> {
        None
    }
}

/// The stream and the part of it that is in memory.
pub struct Window {
    input: Box<dyn Read + Send>,
    /// What is in memory.
    pub bytes: Vec<u8>,
    /// Where the cutter stands in it.
    pub at: usize,
    /// Whether nothing follows.
    pub last: bool,
    /// Bytes that were read.
    pub read: u64,
    block: usize,
    line: u64,
    counted: usize,
}

impl Window {
    /// A window over a stream, read in blocks of about `block` bytes.
    pub fn new(input: Box<dyn Read + Send>, block: usize) -> Self {
        let block = block.max(1);
        Self { input, bytes: Vec::new(), at: 0, last: false, read: 0, block, line: 1, counted: 0 }
    }

    /// Read on: a block, or as much again as is in memory, so that a row of any size is looked at a few times only.
    pub fn fill(&mut self, path: &Path, skips_bom: bool) -> Result<(), SourceError> {
        self.forget();
        let first = self.read == 0;
        let wanted = self.block.max(self.bytes.len()).max(if first { 16 } else { 1 });
        self.bytes.reserve_exact(wanted);
        let before = self.bytes.len();
        let result = (&mut self.input).take(wanted as u64).read_to_end(&mut self.bytes);
        let count = self.bytes.len() - before;
        self.read += count as u64;
        result.map_err(|error| input::failed(path, self.read, error))?;
        self.last = count < wanted;
        if first && skips_bom {
            self.at = self.bytes.len() - without_bom(&self.bytes).len();
        }
        Ok(())
    }

    /// Let go of what was cut.
    fn forget(&mut self) {
        self.line += memchr_iter(b'\n', &self.bytes[self.counted..self.at]).count() as u64;
        self.bytes.drain(..self.at);
        self.at = 0;
        self.counted = 0;
    }

    /// The row of a cut, with its line.
    pub fn row(&mut self, cut: Cut) -> Row {
        self.line += memchr_iter(b'\n', &self.bytes[self.counted..cut.start]).count() as u64;
        self.counted = cut.start;
        Row { line: self.line, start: cut.start, end: cut.end, fault: cut.fault }
    }

    /// Hand on the rows of this window with its bytes; what follows them stays.
    pub fn take(&mut self, rows: Vec<Row>) -> Chunk {
        let rest = self.bytes[self.at..].to_vec();
        self.line += memchr_iter(b'\n', &self.bytes[self.counted..self.at]).count() as u64;
        let mut data = std::mem::replace(&mut self.bytes, rest);
        self.at = 0;
        self.counted = 0;
        data.truncate(rows.last().map_or(0, |row| row.end));
        if data.capacity() > 2 * data.len() + self.block {
            data.shrink_to_fit(); // a row that was given up takes its window with it
        }
        Chunk { rows, data }
    }
}
