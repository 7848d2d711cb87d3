//! Cutting files into chunks of whole rows.

use fastft_record::RowError;
use memchr::{memchr, memchr_iter};

use crate::array::Elements;
use crate::detect::{BOM, Layout, TextUnit};

/// One row: where it lies, and what is wrong with how it was cut.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// 1-based line on which it begins.
    pub line: u64,
    /// First byte in the file.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Set when the row could not be cut cleanly.
    pub fault: Option<RowError>,
}

/// Whole rows that lie one after the other.
#[derive(Debug, Default)]
pub struct Chunk {
    /// In file order.
    pub rows: Vec<Row>,
}

/// Cuts a file into chunks of about `chunk_bytes`, at most `MAX_ROWS` rows each.
#[derive(Debug)]
pub struct Chunks<'a> {
    bytes: &'a [u8],
    cutter: Cutter<'a>,
    chunk_bytes: usize,
    line: u64,
    counted: usize,
}

#[derive(Debug)]
enum Cutter<'a> {
    Lines { at: usize },
    Paragraphs { at: usize },
    File { at: usize },
    Array(Elements<'a>),
}

const MAX_ROWS: usize = 4096;

impl<'a> Chunks<'a> {
    /// Cut `bytes`, a whole file.
    #[must_use]
    pub fn new(bytes: &'a [u8], layout: Layout, chunk_bytes: usize) -> Self {
        let at = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
        let cutter = match layout {
            Layout::Jsonl | Layout::Text(TextUnit::Line) => Cutter::Lines { at },
            Layout::Text(TextUnit::Paragraph) => Cutter::Paragraphs { at },
            Layout::Text(TextUnit::File) => Cutter::File { at },
            Layout::JsonArray => Cutter::Array(Elements::new(bytes, at)),
        };
        Self { bytes, cutter, chunk_bytes, line: 1, counted: 0 }
    }

    /// The next row that is not blank.
    fn row(&mut self) -> Option<Row> {
        let bytes = self.bytes;
        let (start, end, fault) = match &mut self.cutter {
            Cutter::Lines { at } => loop {
                if *at >= bytes.len() {
                    return None;
                }
                let start = *at;
                let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |found| start + found);
                *at = end + 1;
                if let Some((start, end)) = trimmed(bytes, start, end) {
                    break (start, end, None);
                }
            },
            Cutter::Paragraphs { at } => {
                let mut whole: Option<(usize, usize)> = None;
                while *at < bytes.len() {
                    let start = *at;
                    let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |found| start + found);
                    *at = end + 1;
                    match (trimmed(bytes, start, end), &mut whole) {
                        (Some((_, end)), Some(whole)) => whole.1 = end,
                        (Some((_, end)), None) => whole = Some((start, end)),
                        (None, Some(_)) => break,
                        (None, None) => {}
                    }
                }
                let (start, end) = whole?;
                (start, end, None)
            }
            Cutter::File { at } => {
                let start = std::mem::replace(at, bytes.len());
                if start >= bytes.len() || bytes[start..].trim_ascii().is_empty() {
                    return None;
                }
                (start, start + bytes[start..].trim_ascii_end().len(), None)
            }
            Cutter::Array(elements) => {
                let element = elements.next()?;
                (element.start, element.end, element.fault)
            }
        };
        self.line += memchr_iter(b'\n', &bytes[self.counted..start]).count() as u64;
        self.counted = start;
        Some(Row { line: self.line, start, end, fault })
    }
}

/// The line without white space at its end (where CR is), or None when it is blank; text keeps its indent.
fn trimmed(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let length = bytes[start..end].trim_ascii_end().len();
    (length > 0).then_some((start, start + length))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, layout: Layout, chunk_bytes: usize) -> Vec<(u64, String)> {
        Chunks::new(text.as_bytes(), layout, chunk_bytes)
            .flat_map(|chunk| chunk.rows)
            .map(|row| (row.line, text[row.start..row.end].to_owned()))
            .collect()
    }

    #[test]
    fn lines_keep_their_numbers_over_blank_lines_bom_and_crlf() {
        let text = "\u{feff}a\r\n\r\n  b \nc";
        let want = [(1, "a".into()), (3, "  b".into()), (4, "c".into())];
        assert_eq!(cut(text, Layout::Jsonl, 1 << 20), want);
    }

    #[test]
    fn units_of_text_differ() {
        let text = "one\ntwo\n\n\nthree\n";
        assert_eq!(cut(text, Layout::Text(TextUnit::Line), 9).len(), 3);
        assert_eq!(
            cut(text, Layout::Text(TextUnit::Paragraph), 9),
            [(1, "one\ntwo".into()), (5, "three".into())]
        );
        assert_eq!(cut(text, Layout::Text(TextUnit::File), 9), [(1, "one\ntwo\n\n\nthree".into())]);
    }

    #[test]
    fn rows_of_an_array_know_their_lines() {
        assert_eq!(cut("[\n1,\n\n2\n]", Layout::JsonArray, 1), [(2, "1".into()), (4, "2".into())]);
    }

    proptest! {
        #[test]
        fn chunk_size_changes_no_row(lines in prop::collection::vec("[a-c\r ]{0,6}", 0..30), size in 1usize..20) {
            let text = lines.join("\n");
            prop_assert_eq!(cut(&text, Layout::Jsonl, size), cut(&text, Layout::Jsonl, 1 << 20));
        }
    }
}
