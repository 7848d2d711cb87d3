//! Parts of a file that can be read alone, and reading them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use memchr::{memchr, memchr_iter};

use crate::array::Array;
use crate::csv::Table;
use crate::layout::{Compression, DataFile, Layout, TextUnit};
use crate::lines::{Everything, Lines, Paragraphs};
use crate::rows::{Chunks, Cutting};
use crate::{SourceError, columns, input};

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of it.
    Whole,
    /// The rows that begin in these bytes.
    Bytes {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// These row groups of a Parquet file, or record batches of an Arrow file.
    Groups {
        /// First group.
        start: usize,
        /// One past the last group.
        end: usize,
    },
}

impl Span {
    /// The groups of a file that has `count`.
    pub(crate) fn groups(&self, count: usize) -> Range<usize> {
        match self {
            Self::Groups { start, end } => (*start).min(count)..(*end).min(count),
            Self::Whole | Self::Bytes { .. } => 0..count,
        }
    }
}

/// Whether lines can be found from any place in the file.
fn is_plain_lines(file: &DataFile) -> bool {
    file.compression == Compression::None
        && file.encoding.is_none()
        && matches!(file.layout, Layout::Jsonl | Layout::Text(TextUnit::Line))
}

/// The spans of about `unit_bytes` that a file can be read in, each alone; never none, and a pure function of the file.
/// Spans of bytes begin behind a newline. What can only be read forward is one span.
///
/// # Errors
/// When the file can't be read or is damaged.
pub fn spans(file: &DataFile, unit_bytes: u64) -> Result<Vec<Span>, SourceError> {
    let unit_bytes = unit_bytes.max(1);
    if is_plain_lines(file) {
        return lines_spans(file, unit_bytes);
    }
    let Some(groups) = file.layout.is_columnar().then(|| columns::groups(file)).transpose()?.flatten() else {
        return Ok(vec![Span::Whole]);
    };
    let (mut spans, mut start, mut size) = (Vec::new(), 0, 0);
    for (at, bytes) in groups.iter().enumerate() {
        size += bytes;
        if size >= unit_bytes || at + 1 == groups.len() {
            spans.push(Span::Groups { start, end: at + 1 });
            (start, size) = (at + 1, 0);
        }
    }
    Ok(if spans.is_empty() { vec![Span::Groups { start: 0, end: 0 }] } else { spans })
}

fn lines_spans(file: &DataFile, unit_bytes: u64) -> Result<Vec<Span>, SourceError> {
    let mut opened = input::open(file)?;
    let mut spans = Vec::new();
    let mut start = 0;
    loop {
        let wanted = start + unit_bytes;
        let end = if wanted >= file.bytes { file.bytes } else { next_line(file, &mut opened, wanted)? };
        spans.push(Span::Bytes { start, end });
        if end >= file.bytes {
            return Ok(spans);
        }
        start = end;
    }
}

/// Where the first line begins at or after `from`, which is not 0.
fn next_line(file: &DataFile, opened: &mut File, from: u64) -> Result<u64, SourceError> {
    let io = |error| input::failed(&file.shown, from, error);
    let mut at = from - 1;
    opened.seek(SeekFrom::Start(at)).map_err(io)?;
    let mut block = vec![0; 1 << 14];
    loop {
        let count = opened.read(&mut block).map_err(io)?;
        if count == 0 {
            return Ok(file.bytes);
        }
        if let Some(found) = memchr(b'\n', &block[..count]) {
            return Ok(at + found as u64 + 1);
        }
        at += count as u64;
    }
}

/// The rows of a span in chunks of about `chunk_bytes`; memory holds one, or one row that is larger.
///
/// # Errors
/// When the file can't be opened, is not as large as it was, or is damaged at its head.
pub fn read(file: &DataFile, span: &Span, chunk_bytes: usize) -> Result<Chunks, SourceError> {
    if file.layout.is_columnar() {
        return Ok(Chunks(Box::new(columns::read(file, span, chunk_bytes)?)));
    }
    let path = file.shown.clone();
    if let (Span::Bytes { start, end }, true) = (span, is_plain_lines(file)) {
        let left = end.saturating_sub(*start);
        let cutter = if *start == 0 {
            Lines::opening(left)
        } else {
            let mut before = [0];
            input::content(file, start - 1)?
                .read_exact(&mut before)
                .map_err(|error| input::failed(&file.shown, *start, error))?;
            Lines::within(left, before[0] != b'\n')
        };
        return Ok(Chunks(Box::new(Cutting::new(path, input::content(file, *start)?, cutter, chunk_bytes))));
    }
    let content = input::content(file, 0)?;
    Ok(Chunks(match file.layout {
        Layout::Jsonl | Layout::Text(TextUnit::Line) => {
            Box::new(Cutting::new(path, content, Lines::opening(u64::MAX), chunk_bytes))
        }
        Layout::Text(TextUnit::Paragraph) => {
            Box::new(Cutting::new(path, content, Paragraphs::default(), chunk_bytes))
        }
        Layout::Text(TextUnit::File) => {
            Box::new(Cutting::new(path, content, Everything::default(), chunk_bytes))
        }
        Layout::JsonArray => Box::new(Cutting::new(path, content, Array::default(), chunk_bytes)),
        Layout::Csv { delimiter } => {
            Box::new(Cutting::new(path, content, Table::new(delimiter), chunk_bytes))
        }
        Layout::Parquet | Layout::ArrowFile | Layout::ArrowStream => unreachable!("columns were read above"),
    }))
}

/// What the lines of the next span are counted from: the newlines of a span of bytes or of a whole text, the rows of
/// columns.
///
/// # Errors
/// When the file can't be read or is damaged.
pub fn count_lines(file: &DataFile, span: &Span) -> Result<u64, SourceError> {
    if file.layout.is_columnar() {
        return columns::count(file, span);
    }
    let (start, length) = match span {
        Span::Bytes { start, end } if is_plain_lines(file) => (*start, end.saturating_sub(*start)),
        _ => (0, u64::MAX),
    };
    let mut content = input::content(file, start)?.take(length);
    let (mut block, mut lines, mut read) = (vec![0; 1 << 18], 0, 0);
    loop {
        let count = content.read(&mut block).map_err(|error| input::failed(&file.shown, read, error))?;
        if count == 0 {
            return Ok(lines);
        }
        read += count as u64;
        lines += memchr_iter(b'\n', &block[..count]).count() as u64;
    }
}
