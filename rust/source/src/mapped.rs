//! Cutting a file that is mapped into memory: what the pipeline calls until it reads spans.

use std::path::Path;

use crate::SourceError;
use crate::array::Array;
use crate::detect::by_head;
use crate::input::without_bom;
use crate::layout::{Compression, Layout, TextUnit};
use crate::lines::{Everything, Lines, Paragraphs};
use crate::rows::{MAX_ROWS, Row};
use crate::window::{Cutter, Step};

/// What was found, and a warning where content and ending disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// How rows lie in the file.
    pub layout: Layout,
    /// One sentence naming both sides of a disagreement.
    pub warning: Option<String>,
}

/// Look at a file's first bytes.
///
/// # Errors
/// When it is none that can be cut where it lies.
pub fn detect(path: &Path, bytes: &[u8], unit: TextUnit) -> Result<Detected, SourceError> {
    let (layout, warning) = by_head(path, &bytes[..bytes.len().min(1 << 20)], unit, Compression::None)?;
    if layout.is_columnar() || matches!(layout, Layout::Csv { .. }) || bytes.starts_with(b"\x1f\x8b") {
        let found = format!("{layout:?}, not JSONL, a JSON array or UTF-8 text");
        return Err(SourceError::Unsupported { path: path.to_owned(), found });
    }
    Ok(Detected { layout, warning })
}

/// Whole rows that lie one after the other.
#[derive(Debug, Default)]
pub struct Chunk {
    /// In file order; their bytes are those of the file.
    pub rows: Vec<Row>,
}

/// Cuts a file into chunks of about `chunk_bytes`.
#[derive(Debug)]
pub struct Chunks<'a> {
    bytes: &'a [u8],
    cutter: Kind,
    at: usize,
    chunk_bytes: usize,
    line: u64,
    counted: usize,
}

#[derive(Debug)]
enum Kind {
    Lines(Lines),
    Paragraphs(Paragraphs),
    Everything(Everything),
    Array(Array),
}

impl<'a> Chunks<'a> {
    /// Cut `bytes`, a whole file.
    #[must_use]
    pub fn new(bytes: &'a [u8], layout: Layout, chunk_bytes: usize) -> Self {
        let cutter = match layout {
            Layout::Text(TextUnit::Paragraph) => Kind::Paragraphs(Paragraphs::default()),
            Layout::Text(TextUnit::File) => Kind::Everything(Everything::default()),
            Layout::JsonArray => Kind::Array(Array::default()),
            _ => Kind::Lines(Lines::within(u64::MAX, false)),
        };
        let at = bytes.len() - without_bom(bytes).len();
        Self { bytes, cutter, at, chunk_bytes, line: 1, counted: 0 }
    }

    fn row(&mut self) -> Option<Row> {
        let step = match &mut self.cutter {
            Kind::Lines(cutter) => cutter.step(self.bytes, &mut self.at, true),
            Kind::Paragraphs(cutter) => cutter.step(self.bytes, &mut self.at, true),
            Kind::Everything(cutter) => cutter.step(self.bytes, &mut self.at, true),
            Kind::Array(cutter) => cutter.step(self.bytes, &mut self.at, true),
        };
        let Step::Row(cut) = step else { return None };
        self.line += memchr::memchr_iter(b'\n', &self.bytes[self.counted..cut.start]).count() as u64;
        self.counted = cut.start;
        Some(Row { line: self.line, start: cut.start, end: cut.end, fault: cut.fault })
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let mut chunk = Chunk::default();
        let mut size = 0;
        while size < self.chunk_bytes && chunk.rows.len() < MAX_ROWS {
            let Some(row) = self.row() else { break };
            size += row.end - row.start;
            chunk.rows.push(row);
        }
        (!chunk.rows.is_empty()).then_some(chunk)
    }
}
