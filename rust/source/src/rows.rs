//! Reading the rows of a file, or of a span of it, in chunks that own their bytes.

use std::path::PathBuf;

use fastft_record::RowError;

use crate::SourceError;
use crate::window::{Cutter, Step, Window};

/// The most bytes that one row may have.
pub const MAX_ROW_BYTES: usize = 1 << 30;
/// The most rows of a chunk, so that many small rows are still shared among workers.
pub const MAX_ROWS: usize = 4096;

/// One row: where it lies, and what is wrong with how it was cut.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// 1-based line on which it begins, counted from where the span begins; of columns, the row's number.
    pub line: u64,
    /// First byte, in its chunk.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Set when the row could not be cut cleanly.
    pub fault: Option<RowError>,
}

/// Whole rows in the order of the file, with their bytes.
#[derive(Debug, Default)]
pub struct Chunk {
    /// In file order.
    pub rows: Vec<Row>,
    pub(crate) data: Vec<u8>,
}

impl Chunk {
    /// The bytes of one of its rows: JSON, or text.
    #[must_use]
    pub fn bytes(&self, row: &Row) -> &[u8] {
        &self.data[row.start..row.end]
    }

    /// The bytes of all its rows together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len()
    }
}

/// The rows of a span, chunk by chunk. After an error nothing follows; all whole rows before it have been handed on.
pub struct Chunks(pub(crate) Box<dyn Iterator<Item = Result<Chunk, SourceError>> + Send>);

impl std::fmt::Debug for Chunks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Chunks")
    }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// Cuts what a window shows.
pub struct Cutting<C> {
    path: PathBuf,
    window: Window,
    cutter: C,
    chunk_bytes: usize,
    ended: bool,
}

impl<C: Cutter> Cutting<C> {
    /// Cut a stream into chunks of about `chunk_bytes`.
    pub fn new(path: PathBuf, input: Box<dyn std::io::Read + Send>, cutter: C, chunk_bytes: usize) -> Self {
        Self { path, window: Window::new(input, chunk_bytes), cutter, chunk_bytes, ended: false }
    }
}

impl<C: Cutter> Iterator for Cutting<C> {
    type Item = Result<Chunk, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut rows, mut size, mut out) = (Vec::new(), 0, Vec::new());
        while !self.ended && size < self.chunk_bytes && rows.len() < MAX_ROWS {
            let window = &mut self.window;
            match self.cutter.step(&window.bytes, &mut window.at, window.last) {
                Step::Row(cut) => {
                    let mut row = window.row(cut);
                    if C::REWRITES {
                        let bytes = &window.bytes[row.start..row.end];
                        let start = out.len();
                        if row.fault.is_some() {
                            out.extend_from_slice(bytes);
                        } else {
                            row.fault = self.cutter.rewrite(bytes, &mut out);
                        }
                        (row.start, row.end) = (start, out.len());
                    }
                    size += row.end - row.start;
                    rows.push(row);
                }
                Step::More if !rows.is_empty() => break,
                Step::More if window.last => self.ended = true,
                Step::More => {
                    if let Err(error) = window.fill(&self.path, C::SKIPS_BOM) {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
                Step::End => self.ended = true,
                Step::Refuse(reason) => {
                    self.ended = true;
                    return Some(Err(SourceError::Columns { path: self.path.clone(), reason }));
                }
            }
        }
        if rows.is_empty() {
            return None;
        }
        Some(Ok(if C::REWRITES { Chunk { rows, data: out } } else { self.window.take(rows) }))
    }
}
