//! What is done with the rows of one piece: parse, align, encode, truncate, count, store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fastft_augment::Augmenter;
use fastft_clean::{Cleaner, Duplicate, Duplicates, RowRef, Verdict};
use fastft_record::{Code, Document, RowError, SourceBooks};
use fastft_source::{Layout, Row};

use crate::encode::{Encoded, Encoder, take_noted};
use crate::error::EngineError;
use crate::format::Format;
use crate::lists::{LeftOut, Lists, Rejected, Why};
use crate::piece::Record;
use crate::plan::{Plan, Truncate};
use crate::store::{PartWriter, Place};
use crate::truncate::{self, Cut};
use crate::units::{Input, Task};
use crate::{align, dedup, json};

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

/// The rules that hold for every row.
pub struct Rules<'a> {
    /// Documents to ids.
    pub encoder: &'a Encoder,
    /// What rows are held to.
    pub cleaner: Option<Arc<Cleaner>>,
    /// Which copies are made of them.
    pub augmenter: Option<Arc<Augmenter>>,
    /// Which rows are like an earlier one.
    pub duplicates: Duplicates,
    /// What becomes of long rows.
    pub truncate: Truncate,
    /// Tokens of the longest document.
    pub max_length: usize,
    /// Ids are below this.
    pub vocab_size: u32,
    /// Whether the first bad row ends the run.
    pub fail_on_bad: bool,
}

/// What cleaning says of a row.
pub enum Judged {
    /// It stays, and what changed it.
    Keep(Document, Vec<&'static str>),
    /// It goes: the rule, and what was found.
    Drop(String, String),
}

/// What some rows became.
#[derive(Default)]
pub struct Done {
    /// Documents in order.
    pub documents: Vec<(Encoded, Place)>,
    /// Rows that could not be used, in order.
    pub rejected: Vec<Rejected>,
    /// Good rows that were left out, in order.
    pub left_out: Vec<LeftOut>,
    /// Counts.
    pub books: SourceBooks,
}

/// What became of a row that could be used.
enum Fate {
    /// It is in the store, and so are its copies.
    Kept {
        cut: Cut,
        /// Tokens of its longest document before it was cut.
        length: usize,
        hash: u64,
        changed: Vec<&'static str>,
        copies: Vec<(u16, Cut)>,
    },
    /// A rule left it out.
    Filtered(String, String),
    /// It is like an earlier row.
    Duplicate(Duplicate),
}

impl<'a> Rules<'a> {
    /// The plan's rules about tokens: nothing is cleaned, looked up or copied.
    #[must_use]
    pub fn new(plan: &Plan, encoder: &'a Encoder) -> Self {
        Self {
            encoder,
            cleaner: None,
            augmenter: None,
            duplicates: Duplicates::default(),
            truncate: plan.truncate,
            max_length: plan.max_length as usize,
            vocab_size: plan.tokenizer.vocab_size,
            fail_on_bad: plan.fail_on_bad,
        }
    }

    /// Do a piece: its part, its lists and its record are in `folder` when this returns.
    ///
    /// # Errors
    /// When its file can't be read, something can't be written, or a bad row ends the run.
    pub fn piece(&self, mut task: Task<'_>, folder: &Path, progress: &Progress) -> Result<(), EngineError> {
        let name = task.piece.name();
        let mut part = PartWriter::new(folder, &format!("{name}.arrow"), self.vocab_size);
        let mut lists = Lists::new(folder, &name);
        let mut books = SourceBooks::default();
        let (mut rows, unit) = (0, task.piece.unit);
        for chunk in task.chunks()? {
            let chunk = chunk?;
            let numbered = (rows..).zip(&chunk.rows).map(|(number, row)| (number, row, chunk.bytes(row)));
            let done = self.rows(task.input, numbered, Some((unit, task.first_row)), progress);
            if progress.cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            if let Some(rejected) = done.rejected.iter().find(|rejected| self.is_fatal(rejected)) {
                // a file that can't be read again still has its row told
                return Err(rejected.clone().into_error(task.lines_before().unwrap_or(0)));
            }
            rows += chunk.rows.len() as u64;
            books.merge(&done.books);
            done.documents.iter().try_for_each(|(document, place)| part.push(document, *place))?;
            done.rejected.iter().try_for_each(|rejected| lists.reject(rejected))?;
            done.left_out.iter().try_for_each(|left_out| lists.leave_out(left_out))?;
        }
        let record = Record {
            piece: task.piece,
            last: task.last,
            part: part.finish()?,
            lists: lists.finish()?,
            rows,
            lines: task.num_lines()?,
            books,
        };
        record.write(folder)
    }

    /// Whether a row ends the run that can't be used.
    #[must_use]
    pub fn is_fatal(&self, rejected: &Rejected) -> bool {
        let too_long = rejected.code == Code::TooLong.as_str() && self.truncate == Truncate::Error;
        self.fail_on_bad || too_long
    }

    /// Do some rows, given with their numbers; fewer when the run is cancelled.
    ///
    /// `unit` is which unit they are of and how many rows of it come before row 0; without it no
    /// duplicates are looked up.
    pub fn rows<'r>(
        &self,
        input: &Input,
        rows: impl Iterator<Item = (u64, &'r Row, &'r [u8])>,
        unit: Option<(u32, u64)>,
        progress: &Progress,
    ) -> Done {
        let mut done = Done::default();
        let _ = take_noted(); // what a row before noticed that ended in a panic
        for (number, row, bytes) in rows {
            if progress.cancelled.load(Ordering::Relaxed) {
                break;
            }
            done.books.read += 1;
            done.books.bytes += bytes.len() as u64;
            let before = done.books.tokens;
            let place = Place { source: input.source, row: number, line: row.line, ..Place::default() };
            let reference = unit.map(|(unit, first)| dedup::reference(unit, first + number));
            match self.row(bytes, row, input, reference) {
                Ok(fate) => {
                    if let Some(why) = account(fate, place, self.encoder.options().needs_target, &mut done) {
                        done.left_out.push(LeftOut::new(input, row.line, why));
                    }
                }
                Err(error) => {
                    done.books.quarantine(error.code);
                    done.rejected.push(Rejected::new(input, row.line, bytes, &error));
                }
            }
            progress.rows.fetch_add(1, Ordering::Relaxed);
            progress.tokens.fetch_add(done.books.tokens - before, Ordering::Relaxed);
            progress.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        done.books.notes = take_noted();
        done
    }

    fn row(
        &self,
        bytes: &[u8],
        row: &Row,
        input: &Input,
        reference: Option<RowRef>,
    ) -> Result<Fate, RowError> {
        let (document, changed) = match judge(self.cleaner.as_deref(), aligned(bytes, row, input)?) {
            Judged::Keep(document, changed) => (document, changed),
            Judged::Drop(rule, detail) => return Ok(Fate::Filtered(rule, detail)),
        };
        if let Some(duplicate) = reference.and_then(|reference| self.duplicates.get(reference)) {
            return Ok(Fate::Duplicate(duplicate));
        }
        let (cut, length) = self.encode(&document)?;
        let hash = hash(bytes);
        let mut copies = Vec::new();
        if let Some(augmenter) = &self.augmenter {
            let made = augmenter.copies(&document, hash);
            for copy in made.map_err(|error| RowError::new(Code::Json, error.to_string()))? {
                // a copy that can't be encoded is no row that is lost
                if let Ok((cut, _)) = self.encode(&copy.document) {
                    copies.push((copy.variant, cut));
                }
            }
        }
        Ok(Fate::Kept { cut, length, hash, changed, copies })
    }

    /// A document to tokens that fit, and how many its longest one had before it was cut.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn encode(&self, document: &Document) -> Result<(Cut, usize), RowError> {
        let encoded = self.encoder.encode(document)?;
        let length = encoded.iter().map(|encoded| encoded.ids.len()).max().unwrap_or(0);
        let ids = encoded.iter().flat_map(|encoded| &encoded.ids);
        if let Some(id) = ids.copied().find(|id| *id >= self.vocab_size) {
            let reason = format!("the tokenizer made id {id}, the vocabulary has {} ids", self.vocab_size);
            return Err(RowError::new(Code::Tokenizer, reason));
        }
        let cut = truncate::truncate(encoded, document, self.encoder, self.truncate, self.max_length)?;
        let documents = cut.documents();
        let needs_target = self.encoder.options().needs_target;
        if needs_target
            && !documents.is_empty()
            && documents.iter().map(truncate::num_targets).sum::<u64>() == 0
        {
            return Err(RowError::new(Code::NoTarget, "no token of the row carries a loss"));
        }
        Ok((cut, length))
    }
}

/// Repair and judge a row.
#[must_use]
pub fn judge(cleaner: Option<&Cleaner>, mut document: Document) -> Judged {
    match cleaner.map(|cleaner| cleaner.apply(&mut document)) {
        None => Judged::Keep(document, Vec::new()),
        Some(Verdict::Keep { changed }) => Judged::Keep(document, changed),
        Some(Verdict::Drop { rule, detail }) => Judged::Drop(rule.into_owned(), detail),
    }
}

/// Note what became of a row, and keep what is left of it; why when nothing is.
fn account(fate: Fate, place: Place, needs_target: bool, done: &mut Done) -> Option<Why> {
    let books = &mut done.books;
    let (cut, length, hash, changed, copies) = match fate {
        Fate::Kept { cut, length, hash, changed, copies } => (cut, length, hash, changed, copies),
        Fate::Filtered(rule, detail) => {
            books.filter(&rule);
            return Some(Why { rule, detail: (!detail.is_empty()).then_some(detail), of: None });
        }
        Fate::Duplicate(Duplicate { of, reason, .. }) => {
            books.duplicate(reason.as_str());
            let rule = format!("duplicate.{}", reason.as_str());
            return Some(Why { rule, detail: None, of: Some((of.unit, of.row)) });
        }
    };
    books.lengths.add(length);
    let cut_before = books.cut_tokens;
    let documents = match cut {
        Cut::Dropped => {
            books.drop_row("too_long");
            return Some(Why { rule: "too_long".to_owned(), ..Why::default() });
        }
        Cut::Whole(documents) => documents,
        Cut::Shortened(documents, tokens) => {
            books.cut_tokens += tokens;
            documents
        }
    };
    books.used += 1;
    for name in changed {
        books.repair(name);
    }
    for document in documents {
        if needs_target && truncate::num_targets(&document) == 0 {
            done.books.cut_tokens += document.ids.len() as u64;
            continue;
        }
        done.books.pieces += 1;
        keep(document, Place { hash, ..place }, done);
    }
    // a row that was split has lost nothing
    done.books.cut_rows += u64::from(done.books.cut_tokens > cut_before);
    for (variant, cut) in copies {
        let (Cut::Whole(documents) | Cut::Shortened(documents, _)) = cut else { continue };
        for document in documents.into_iter().filter(|document| truncate::num_targets(document) > 0) {
            done.books.augmented += 1;
            keep(document, Place { hash, variant, ..place }, done);
        }
    }
    None
}

fn keep(document: Encoded, place: Place, done: &mut Done) {
    done.books.tokens += document.ids.len() as u64;
    done.books.trained_tokens += truncate::num_targets(&document);
    let place = Place { rank: document.rank, ..place };
    done.documents.push((Encoded { text: String::new(), ..document }, place));
}

/// Read one row as its input says.
///
/// # Errors
/// What is wrong with it.
pub fn aligned(bytes: &[u8], row: &Row, input: &Input) -> Result<Document, RowError> {
    match &row.fault {
        Some(fault) => Err(fault.clone()),
        None => document(bytes, input.data.layout, &input.format),
    }
}

/// Parse and align the bytes of one row.
///
/// # Errors
/// What is wrong with them.
pub fn document(bytes: &[u8], layout: Layout, format: &Format) -> Result<Document, RowError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        RowError::new(Code::Utf8, format!("byte {} of the row is no UTF-8", error.valid_up_to() + 1))
    })?;
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(RowError::new(Code::Nul, format!("byte {} of the row is NUL", at + 1)));
    }
    if layout.is_text() {
        return align::text_document(text.to_owned());
    }
    align::row(json::parse(text)?, text, format)
}

/// The hash of a row's bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(word)
}
