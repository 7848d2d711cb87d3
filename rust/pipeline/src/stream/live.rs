//! Documents that are made from the files while they are wanted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastft_record::{Books, SourceBooks, mix};
use fastft_source::Row;

use super::files::Files;
use super::{Backend, Options, Reader, RowItems, Tokenized, Unit};
use crate::encode::{Encoded, Encoder, EncoderError};
use crate::error::EngineError;
use crate::plan::{Plan, Truncate};
use crate::quarantine::Rejected;
use crate::store::Place;
use crate::worker::{self, Done, Input, Progress, Rules};

/// Rows that a thread takes at least, in bytes: less is not worth another thread.
const SHARE_BYTES: usize = 1 << 12;
/// Bytes that are read for a token before there is a measure.
const FIRST_GUESS: u64 = 4;

/// Files, and what makes documents of their rows.
pub struct Live {
    plan: Plan,
    files: Files,
    encoder: Encoder,
    progress: Progress,
    ledger: Mutex<Ledger>,
    tokens: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Ledger {
    books: Vec<SourceBooks>,
    rejected: Vec<Rejected>,
}

impl Live {
    /// Open the files of a plan; no row is made yet.
    ///
    /// # Errors
    /// When a file can't be read, or the tokenizer or template can't be used.
    pub fn open(
        plan: Plan,
        options: &Options,
        encoder: impl FnOnce(&Plan) -> Result<Encoder, EncoderError>,
    ) -> Result<Self, EngineError> {
        let files = Files::open(&plan, options)?;
        let encoder = encoder(&plan)?;
        let books = vec![SourceBooks::default(); plan.sources.len()];
        let ledger = Mutex::new(Ledger { books, rejected: Vec::new() });
        let (tokens, bytes) = (AtomicU64::new(1 << 10), AtomicU64::new(FIRST_GUESS << 10));
        Ok(Self { plan, files, encoder, progress: Progress::default(), ledger, tokens, bytes })
    }

    /// The units of the files.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        self.files.units()
    }

    /// What stands for plan and content.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.files.key
    }

    /// What the sources are.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// What became of the rows that were read for the first time so far.
    ///
    /// # Errors
    /// When rows were lost.
    pub fn books(&self) -> Result<Books, EngineError> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.plan.sources.iter().map(|source| source.name.clone());
        Ok(Books::close(names.zip(ledger.books.iter().cloned()))?)
    }

    /// Rows that could not be used, since this was asked last.
    pub fn rejected(&self) -> Vec<Rejected> {
        std::mem::take(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner).rejected)
    }

    /// Make documents of some rows with all threads, in order.
    fn make(&self, unit: &Unit, rows: Vec<Row>, first: u64) -> Result<Vec<Done>, EngineError> {
        let file = &self.files.files[unit.file as usize];
        let source = &self.plan.sources[unit.source as usize];
        let input = Input {
            bytes: &file.map,
            layout: file.layout,
            format: &self.files.opened[unit.source as usize].format,
            path: &file.path,
            source_name: &source.name,
            source: unit.source,
            file: unit.file,
        };
        let rules = Rules {
            encoder: &self.encoder,
            truncate: self.plan.truncate,
            max_length: self.plan.max_length as usize,
            vocab_size: self.plan.tokenizer.vocab_size,
        };
        let place = || format!("{} (rows from {first} of a piece)", file.path);
        let chunk = |(first, rows): (u64, Vec<Row>)| {
            catch_unwind(AssertUnwindSafe(|| rules.chunk(&input, rows, first, &self.progress)))
                .map_err(|_| EngineError::Worker(place()))
        };
        let mut shares = share(rows, first, self.plan.num_threads());
        let own = shares.pop();
        std::thread::scope(|scope| {
            let others: Vec<_> = shares.into_iter().map(|rows| scope.spawn(|| chunk(rows))).collect();
            let own = own.map(chunk);
            let mut done = Vec::new();
            for other in others {
                done.push(other.join().unwrap_or_else(|_| Err(EngineError::Worker(place())))?);
            }
            done.extend(own.transpose()?);
            Ok(done)
        })
    }

    /// Enter what became of rows into the books, or end the run.
    fn account(&self, unit: &Unit, done: &mut Done, counted: bool) -> Result<(), EngineError> {
        if !done.rejected.is_empty() {
            let before = self.files.files[unit.file as usize].lines_before(unit.piece);
            done.rejected.iter_mut().for_each(|rejected| rejected.line += before);
        }
        let fatal = |rejected: &&Rejected| {
            self.plan.fail_on_bad || (rejected.code == "E_TOO_LONG" && self.plan.truncate == Truncate::Error)
        };
        if let Some(rejected) = done.rejected.iter().find(fatal) {
            return Err(EngineError::Row {
                code: rejected.code.clone(),
                reason: rejected.reason.clone(),
                path: PathBuf::from(&rejected.file),
                line: rejected.line,
            });
        }
        self.tokens.fetch_add(done.books.tokens, Ordering::Relaxed);
        self.bytes.fetch_add(done.books.bytes, Ordering::Relaxed);
        if counted {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.books[unit.source as usize].merge(&done.books);
            ledger.rejected.append(&mut done.rejected);
        }
        Ok(())
    }
}

/// Rows in runs of about the same bytes, one a thread, each with the number of its first.
fn share(rows: Vec<Row>, first: u64, threads: usize) -> Vec<(u64, Vec<Row>)> {
    let bytes: usize = rows.iter().map(|row| row.end - row.start).sum();
    let each = (bytes / threads.max(1) + 1).max(SHARE_BYTES);
    let mut shares = vec![(first, Vec::new())];
    let mut size = 0;
    for (number, row) in (first..).zip(rows) {
        if size >= each {
            shares.push((number, Vec::new()));
            size = 0;
        }
        size += row.end - row.start;
        if let Some((_, rows)) = shares.last_mut() {
            rows.push(row);
        }
    }
    shares
}

impl Backend for Live {
    fn open(self: Arc<Self>, unit: &Unit, from: u64, counted: bool) -> Result<Box<dyn Reader>, EngineError> {
        let file = &self.files.files[unit.file as usize];
        let (part, parts) = unit.part;
        let mine = |row: &(u64, Row)| {
            let hash = || worker::hash(&file.map[row.1.start..row.1.end]);
            row.0 >= from && (parts == 1 || mix(hash()) % u64::from(parts) == u64::from(part))
        };
        let limit = usize::try_from(unit.rows).unwrap_or(usize::MAX);
        let rows: Vec<(u64, Row)> = (0..).zip(file.rows(unit.piece)).take(limit).filter(mine).collect();
        let rows = rows.into_iter().peekable();
        Ok(Box::new(LiveReader { unit: *unit, rows, counted, live: self }))
    }
}

struct LiveReader {
    live: Arc<Live>,
    unit: Unit,
    rows: std::iter::Peekable<std::vec::IntoIter<(u64, Row)>>,
    counted: bool,
}

impl Reader for LiveReader {
    fn read(&mut self, tokens: u64) -> Result<Vec<RowItems>, EngineError> {
        // How much is read ahead changes no order, so that the measure may.
        let (seen, bytes) =
            (self.live.tokens.load(Ordering::Relaxed), self.live.bytes.load(Ordering::Relaxed));
        let wanted = u128::from(tokens) * u128::from(bytes) / u128::from(seen.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        let (mut numbers, mut rows, mut size) = (Vec::new(), Vec::new(), 0u64);
        while size < wanted.max(1) {
            let Some((number, row)) = self.rows.next() else { break };
            size += (row.end - row.start) as u64;
            numbers.push((number, (row.end - row.start) as u64));
            rows.push(row);
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut made: Vec<RowItems> =
            numbers.iter().map(|&(row, bytes)| RowItems { row, bytes, items: Vec::new() }).collect();
        for mut done in self.live.make(&self.unit, rows, 0)? {
            self.live.account(&self.unit, &mut done, self.counted)?;
            let mut last: Option<Place> = None;
            for (encoded, place) in done.documents {
                let row = &mut made[crate::order::to_usize(place.row)];
                let joins = last.is_some_and(|last| {
                    last.row == place.row && last.variant == place.variant && last.rank < place.rank
                });
                match row.items.last_mut().filter(|_| joins) {
                    Some(item) => item.push(tokenized(encoded, place)),
                    None => row.items.push(vec![tokenized(encoded, place)]),
                }
                last = Some(place);
            }
        }
        Ok(made)
    }
}

fn tokenized(encoded: Encoded, place: Place) -> Tokenized {
    Tokenized {
        spans: encoded.trained.iter().flat_map(|run| [run.0, run.1]).collect(),
        weights: encoded.weights,
        rank: place.rank,
        ids: encoded.ids,
    }
}
