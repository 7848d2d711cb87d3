//! Documents that are made from the files while they are wanted.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastft_augment::Augmenter;
use fastft_clean::Cleaner;
use fastft_record::{Books, SourceBooks, mix};
use fastft_source::{Chunks, Row};

use super::files::Files;
use super::{Backend, Options, Reader, RowItems, Tokenized, Unit};
use crate::encode::{Encoded, Encoder, EncoderError};
use crate::error::EngineError;
use crate::lists::{LeftOut, Rejected};
use crate::options::Tools;
use crate::plan::Plan;
use crate::store::Place;
use crate::worker::{self, Done, Progress, Rules};

/// Rows that a thread takes at least, in bytes: less is not worth another thread.
const SHARE_BYTES: usize = 1 << 12;
/// Bytes that are read for a token before there is a measure.
const FIRST_GUESS: u64 = 4;

/// Files, and what makes documents of their rows.
pub struct Live {
    plan: Plan,
    files: Files,
    encoder: Encoder,
    cleaner: Option<Arc<Cleaner>>,
    augmenter: Option<Arc<Augmenter>>,
    progress: Progress,
    ledger: Mutex<Ledger>,
    tokens: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Ledger {
    books: Vec<SourceBooks>,
    rejected: Vec<Rejected>,
    left_out: Vec<LeftOut>,
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
        let Tools { cleaner, augmenter } = Tools::of(&plan)?;
        let files = Files::open(&plan, options)?;
        let encoder = encoder(&plan)?;
        let books = vec![SourceBooks::default(); plan.sources.len()];
        let ledger = Mutex::new(Ledger { books, ..Ledger::default() });
        let (tokens, bytes) = (AtomicU64::new(1 << 10), AtomicU64::new(FIRST_GUESS << 10));
        let progress = Progress::default();
        Ok(Self { plan, files, encoder, cleaner, augmenter, progress, ledger, tokens, bytes })
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

    /// Good rows that were left out, since this was asked last.
    pub fn left_out(&self) -> Vec<LeftOut> {
        std::mem::take(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }

    /// Make documents of some rows with all threads, in order.
    fn make(&self, unit: &Unit, rows: &[Loose]) -> Result<Vec<Done>, EngineError> {
        let input = &self.files.files[unit.file as usize].input;
        let chunk = &|(first, rows): (u64, &[Loose])| {
            let numbered = (first..).zip(rows).map(|(number, loose)| (number, &loose.row, &*loose.bytes));
            let rules = self.rules();
            catch_unwind(AssertUnwindSafe(move || rules.rows(input, numbered, None, &self.progress)))
                .map_err(|_| EngineError::Worker(input.path.clone()))
        };
        let mut shares = share(rows, self.plan.num_threads());
        let own = shares.pop();
        std::thread::scope(|scope| {
            let others: Vec<_> = shares.into_iter().map(|rows| scope.spawn(move || chunk(rows))).collect();
            let own = own.map(chunk);
            let mut done = Vec::new();
            for other in others {
                done.push(other.join().unwrap_or_else(|_| Err(EngineError::Worker(input.path.clone())))?);
            }
            done.extend(own.transpose()?);
            self.encoder.proven()?;
            Ok(done)
        })
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            cleaner: self.cleaner.clone(),
            augmenter: self.augmenter.clone(),
            ..Rules::new(&self.plan, &self.encoder)
        }
    }

    /// Enter what became of rows into the books, or end the run.
    fn account(&self, unit: &Unit, done: &mut Done, counted: bool) -> Result<(), EngineError> {
        if !(done.rejected.is_empty() && done.left_out.is_empty()) {
            let before = self.files.files[unit.file as usize].lines_before(unit.piece)?;
            done.rejected.iter_mut().for_each(|rejected| rejected.line += before);
            done.left_out.iter_mut().for_each(|left_out| left_out.line += before);
        }
        let rules = self.rules();
        if let Some(rejected) = done.rejected.iter().find(|rejected| rules.is_fatal(rejected)) {
            return Err(rejected.clone().into_error(0));
        }
        self.tokens.fetch_add(done.books.tokens, Ordering::Relaxed);
        self.bytes.fetch_add(done.books.bytes, Ordering::Relaxed);
        if counted {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.books[unit.source as usize].merge(&done.books);
            ledger.rejected.append(&mut done.rejected);
            ledger.left_out.append(&mut done.left_out);
        }
        Ok(())
    }
}

/// A row with its bytes.
struct Loose {
    row: Row,
    bytes: Box<[u8]>,
}

/// Rows in runs of about the same bytes, one a thread, each with the number of its first.
fn share(rows: &[Loose], threads: usize) -> Vec<(u64, &[Loose])> {
    let bytes: usize = rows.iter().map(|loose| loose.bytes.len()).sum();
    let each = (bytes / threads.max(1) + 1).max(SHARE_BYTES);
    let (mut shares, mut begin, mut size) = (Vec::new(), 0, 0);
    for (at, loose) in rows.iter().enumerate() {
        if size >= each {
            shares.push((begin as u64, &rows[begin..at]));
            (begin, size) = (at, 0);
        }
        size += loose.bytes.len();
    }
    shares.push((begin as u64, &rows[begin..]));
    shares
}

impl Backend for Live {
    fn open(self: Arc<Self>, unit: &Unit, from: u64, counted: bool) -> Result<Box<dyn Reader>, EngineError> {
        let chunks = self.files.files[unit.file as usize].read(unit.piece)?;
        Ok(Box::new(LiveReader {
            unit: *unit,
            from,
            number: 0,
            chunks,
            ready: VecDeque::new(),
            counted,
            live: self,
        }))
    }
}

struct LiveReader {
    live: Arc<Live>,
    unit: Unit,
    from: u64,
    number: u64,
    chunks: Chunks,
    ready: VecDeque<(u64, Loose)>,
    counted: bool,
}

impl LiveReader {
    /// The next row of this reader, with its number in the unit.
    fn next(&mut self) -> Result<Option<(u64, Loose)>, EngineError> {
        let (part, parts) = self.unit.part;
        while self.ready.is_empty() && self.number < self.unit.rows {
            let Some(chunk) = self.chunks.next() else { break };
            let mut chunk = chunk?;
            for row in std::mem::take(&mut chunk.rows) {
                let number = self.number;
                self.number += 1;
                let bytes = chunk.bytes(&row);
                let mine = || parts == 1 || mix(worker::hash(bytes)) % u64::from(parts) == u64::from(part);
                if number >= self.from && number < self.unit.rows && mine() {
                    let bytes = bytes.into();
                    self.ready.push_back((number, Loose { row, bytes }));
                }
            }
        }
        Ok(self.ready.pop_front())
    }
}

impl Reader for LiveReader {
    fn read(&mut self, tokens: u64) -> Result<Vec<RowItems>, EngineError> {
        // How much is read ahead changes no order, so that the measure may.
        let (seen, bytes) =
            (self.live.tokens.load(Ordering::Relaxed), self.live.bytes.load(Ordering::Relaxed));
        let wanted = u128::from(tokens) * u128::from(bytes) / u128::from(seen.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        let (mut made, mut rows, mut size) = (Vec::new(), Vec::new(), 0u64);
        while size < wanted.max(1) {
            let Some((row, loose)) = self.next()? else { break };
            let bytes = loose.bytes.len() as u64;
            size += bytes;
            made.push(RowItems { row, bytes, items: Vec::new() });
            rows.push(loose);
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        for mut done in self.live.make(&self.unit, &rows)? {
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
