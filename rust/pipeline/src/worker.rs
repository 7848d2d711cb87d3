//! What is done with one chunk of rows: parse, align, encode, truncate, count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fastft_record::{Code, Document, RowError, SourceBooks};
use fastft_source::{Layout, Row};
use serde_json::Value;

use crate::align;
use crate::encode::{Encoded, Encoder};
use crate::format::Format;
use crate::plan::Truncate;
use crate::quarantine::Rejected;
use crate::store::Place;
use crate::truncate::{self, Cut};

/// Counters that another thread polls.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows done.
    pub rows: AtomicU64,
    /// Tokens made.
    pub tokens: AtomicU64,
    /// Bytes of rows done.
    pub bytes_read: AtomicU64,
    /// Bytes of all files.
    pub total_bytes: AtomicU64,
    /// Set to stop the run.
    pub cancelled: AtomicBool,
}

/// A file that is being read.
pub struct Input<'a> {
    /// Its content.
    pub bytes: &'a [u8],
    /// How rows lie in it.
    pub layout: Layout,
    /// Which fields are which.
    pub format: &'a Format,
    /// As reports name it.
    pub path: &'a str,
    /// The source's name.
    pub source_name: &'a str,
    /// Index of the source.
    pub source: u32,
    /// Index of the file.
    pub file: u32,
}

/// What a chunk became.
#[derive(Default)]
pub struct Done {
    /// Documents in order.
    pub documents: Vec<(Encoded, Place)>,
    /// Rows that could not be used, in order.
    pub rejected: Vec<Rejected>,
    /// Counts.
    pub books: SourceBooks,
}

/// The rules that hold for every row.
pub struct Rules<'a> {
    /// Documents to ids.
    pub encoder: &'a Encoder,
    /// What becomes of long rows.
    pub truncate: Truncate,
    /// Tokens of the longest document.
    pub max_length: usize,
    /// Ids are below this.
    pub vocab_size: u32,
}

impl Rules<'_> {
    /// Do the rows of a chunk, of which the first is row `first` of its source.
    pub fn chunk(&self, input: &Input<'_>, rows: Vec<Row>, first: u64, progress: &Progress) -> Done {
        let mut done = Done::default();
        for (row, number) in rows.into_iter().zip(first..) {
            if progress.cancelled.load(Ordering::Relaxed) {
                break;
            }
            let bytes = &input.bytes[row.start..row.end];
            done.books.read += 1;
            done.books.bytes += bytes.len() as u64;
            let place = Place {
                source: input.source,
                file: input.file,
                row: number,
                line: row.line,
                hash: hash(bytes),
                rank: 0,
                variant: 0,
            };
            let before = done.books.tokens;
            let result = match row.fault {
                Some(fault) => Err(fault),
                None => self.row(bytes, input).map(|(cut, length)| {
                    done.books.lengths.add(length);
                    self.account(cut, place, &mut done);
                }),
            };
            if let Err(error) = result {
                done.books.quarantine(error.code);
                let rejected =
                    Rejected::new(input.path, input.source_name, row.line, row.start, bytes, &error);
                done.rejected.push(rejected);
            }
            progress.rows.fetch_add(1, Ordering::Relaxed);
            progress.tokens.fetch_add(done.books.tokens - before, Ordering::Relaxed);
            progress.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        done
    }

    /// One row to tokens, and how many its longest document had before it was cut.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn row(&self, bytes: &[u8], input: &Input<'_>) -> Result<(Cut, usize), RowError> {
        let document = document(bytes, input.layout, input.format)?;
        let encoded = self.encoder.encode(&document)?;
        if let Some(id) = encoded.iter().flat_map(|encoded| &encoded.ids).find(|id| **id >= self.vocab_size) {
            let reason = format!("the tokenizer made id {id}, the vocabulary has {} ids", self.vocab_size);
            return Err(RowError::new(Code::Tokenizer, reason));
        }
        let length = encoded.iter().map(|encoded| encoded.ids.len()).max().unwrap_or(0);
        let cut = truncate::truncate(encoded, &document, self.encoder, self.truncate, self.max_length)?;
        let targets: u64 = match &cut {
            Cut::Dropped => 1,
            kept => kept.documents().iter().map(truncate::num_targets).sum(),
        };
        if targets == 0 {
            return Err(RowError::new(Code::NoTarget, "no token of the row carries a loss"));
        }
        Ok((cut, length))
    }

    #[allow(clippy::unused_self, reason = "reads as a step of the rules")]
    fn account(&self, cut: Cut, place: Place, done: &mut Done) {
        let books = &mut done.books;
        let pieces = match cut {
            Cut::Dropped => return books.drop_row("too_long"),
            Cut::Whole(pieces) => pieces,
            Cut::Shortened(pieces, tokens) => {
                books.cut_rows += 1;
                books.cut_tokens += tokens;
                pieces
            }
        };
        books.used += 1;
        for piece in pieces {
            books.pieces += 1;
            books.tokens += piece.ids.len() as u64;
            books.trained_tokens += truncate::num_targets(&piece);
            let place = Place { rank: piece.rank, ..place };
            done.documents.push((Encoded { text: String::new(), ..piece }, place));
        }
    }
}

/// Parse and align one row.
///
/// # Errors
/// What is wrong with it.
pub fn document(bytes: &[u8], layout: Layout, format: &Format) -> Result<Document, RowError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        RowError::new(Code::Utf8, format!("byte {} of the row is no UTF-8", error.valid_up_to() + 1))
    })?;
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(RowError::new(Code::Nul, format!("byte {} of the row is NUL", at + 1)));
    }
    match layout {
        Layout::Text(_) => align::text_document(text.to_owned()),
        _ => align::row(parse(text)?, text, format), // tables and columns are handed on as JSON
    }
}

/// Parse one row.
///
/// # Errors
/// `E_JSON` when it is none.
pub fn parse(text: &str) -> Result<Value, RowError> {
    serde_json::from_str(text).map_err(|error| {
        let reason = if text.starts_with('\u{feff}') {
            "a byte order mark inside the file; were files joined?".to_owned()
        } else {
            format!("not JSON: {error}")
        };
        RowError::new(Code::Json, reason)
    })
}

/// The hash of a row's bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(word)
}
