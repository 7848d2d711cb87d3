//! Units: the pieces of the data that are read, encoded and stored independently of one another.
//!
//! The list of units is a function of the files and of `unit_bytes` alone, so any machine makes the same
//! one. A file that can be read from the middle is several units; one that can only be read forward
//! (compressed, an array, a table) is one, whose rows are handed on in pieces of `unit_bytes`. A piece is
//! named `<unit>-<piece>`; what becomes of it depends on nothing but itself. So threads, shards and
//! interruptions change no byte of a store.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use fastft_source::{Chunk, DataFile, SourceError, Span, count_lines, read, spans};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::format::Format;
use crate::worker::Progress;

/// Bytes of a chunk of rows.
pub const CHUNK_BYTES: usize = 1 << 18;
const SMALLEST_UNIT: u64 = 1 << 20;
const LARGEST_UNIT: u64 = 1 << 25;
/// Units that a data set is cut into, where their size allows.
const WANTED_UNITS: u64 = 256;

/// A file that is read.
#[derive(Debug)]
pub struct Input {
    /// Where its rows are.
    pub data: DataFile,
    /// Which fields are which.
    pub format: Format,
    /// As reports name it.
    pub path: String,
    /// The source's name.
    pub source_name: String,
    /// Index of the source.
    pub source: u32,
    /// The first so many rows of the source only.
    pub limit: Option<u64>,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index of the input.
    pub input: u32,
    /// Which rows of it.
    pub span: Span,
}

/// A unit, and which piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Piece {
    /// Index of the unit.
    pub unit: u32,
    /// 0 for units that can be read alone.
    pub number: u32,
}

impl Piece {
    /// What files of it are called, without an ending.
    #[must_use]
    pub fn name(self) -> String {
        format!("{:06}-{:05}", self.unit, self.number)
    }

    /// The piece whose record has this name.
    #[must_use]
    pub fn of_record(name: &str) -> Option<Self> {
        let (unit, number) = name.strip_suffix(".json")?.split_once('-')?;
        Some(Self { unit: unit.parse().ok()?, number: number.parse().ok()? })
    }
}

/// How large units are: `wanted`, or what suits files of `total` bytes.
#[must_use]
pub fn unit_bytes(wanted: u64, total: u64) -> u64 {
    if wanted > 0 { wanted } else { (total / WANTED_UNITS).clamp(SMALLEST_UNIT, LARGEST_UNIT) }
}

/// The units of the inputs, in order.
///
/// # Errors
/// When a file can't be read.
pub fn list(inputs: &[Input], unit_bytes: u64) -> Result<Vec<Unit>, EngineError> {
    let mut units = Vec::new();
    for (input, file) in (0u32..).zip(inputs) {
        // how many rows a part has is known when it was read, so a limit is kept by reading forward
        let parts = if file.limit.is_some() { vec![Span::Whole] } else { spans(&file.data, unit_bytes)? };
        units.extend(parts.into_iter().map(|span| Unit { input, span }));
    }
    Ok(units)
}

/// What a worker is given.
pub struct Task<'a> {
    /// Which piece.
    pub piece: Piece,
    /// Its file.
    pub input: &'a Input,
    /// Rows of the unit before it.
    pub first_row: u64,
    /// Whether it is the last piece of its unit.
    pub last: bool,
    content: Content,
}

enum Content {
    Span(Span),
    /// Where reading failed, the last one is why.
    Chunks(Vec<Result<Chunk, SourceError>>),
}

impl Task<'_> {
    /// The rows, chunk by chunk.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn chunks(
        &mut self,
    ) -> Result<Box<dyn Iterator<Item = Result<Chunk, SourceError>> + Send>, EngineError> {
        Ok(match &mut self.content {
            Content::Span(span) => Box::new(read(&self.input.data, span, CHUNK_BYTES)?),
            Content::Chunks(chunks) => Box::new(std::mem::take(chunks).into_iter()),
        })
    }

    /// Lines of the file in it, as those of the next piece are counted from its end; 0 where lines are
    /// counted from the file's beginning.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn num_lines(&self) -> Result<u64, EngineError> {
        match &self.content {
            Content::Span(span) => Ok(count_lines(&self.input.data, span)?),
            Content::Chunks(_) => Ok(0),
        }
    }

    /// Lines of the file before it.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn lines_before(&self) -> Result<u64, EngineError> {
        let before = match &self.content {
            Content::Span(Span::Bytes { start, .. }) => Span::Bytes { start: 0, end: *start },
            Content::Span(Span::Groups { start, .. }) => Span::Groups { start: 0, end: *start },
            Content::Span(Span::Whole) | Content::Chunks(_) => return Ok(0),
        };
        Ok(count_lines(&self.input.data, &before)?)
    }
}

/// Which pieces are to be done.
pub trait Wanted: Sync {
    /// Whether this one is.
    fn piece(&self, piece: Piece) -> bool;

    /// Whether any piece of a unit is: what is read forward is not read in vain.
    fn unit(&self, _unit: u32) -> bool {
        true
    }
}

/// Every piece.
pub struct All;

impl Wanted for All {
    fn piece(&self, _piece: Piece) -> bool {
        true
    }
}

/// How to go through the units.
pub struct Drive<'a> {
    /// The files.
    pub inputs: &'a [Input],
    /// All units of them.
    pub units: &'a [Unit],
    /// Bytes of a piece of a unit that is read forward.
    pub unit_bytes: u64,
    /// Workers.
    pub threads: usize,
    /// Told when to stop.
    pub progress: &'a Progress,
}

impl Drive<'_> {
    /// Hand each piece that is `wanted` to `work`, on several threads and in no order.
    ///
    /// # Errors
    /// The error of the first piece, in the order of the data, that has one.
    pub fn run(
        &self,
        wanted: &impl Wanted,
        work: impl Fn(Task<'_>) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        let failed: Mutex<Option<(Piece, EngineError)>> = Mutex::default();
        let stop = AtomicU64::new(u64::MAX); // the unit from which on nothing is done any more
        let fail = |piece: Piece, error: EngineError| {
            stop.fetch_min(u64::from(piece.unit), Ordering::Relaxed);
            let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if failed.as_ref().is_none_or(|(first, _)| piece < *first) {
                *failed = Some((piece, error));
            }
        };
        let stopped = |unit: u32| {
            u64::from(unit) > stop.load(Ordering::Relaxed) || self.progress.cancelled.load(Ordering::Relaxed)
        };
        std::thread::scope(|scope| {
            let (sender, receiver): (Sender<Task<'_>>, Receiver<Task<'_>>) = bounded(1);
            for _ in 0..self.threads {
                let receiver = receiver.clone();
                let (work, fail, stopped) = (&work, &fail, &stopped);
                scope.spawn(move || {
                    for task in receiver {
                        let (piece, path) = (task.piece, task.input.path.as_str());
                        if stopped(piece.unit) {
                            continue;
                        }
                        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(task)));
                        match done {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => fail(piece, error),
                            Err(_) => fail(piece, EngineError::Worker(path.to_owned())),
                        }
                    }
                });
            }
            drop(receiver);
            self.feed(wanted, &stopped, &fail, &sender);
        });
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None if self.progress.cancelled.load(Ordering::Relaxed) => Err(EngineError::Cancelled),
            None => Ok(()),
        }
    }

    /// Hand each piece to `work`, and what it makes of it to `take` in the order of the data.
    ///
    /// `take` says whether to go on.
    ///
    /// # Errors
    /// The error of the first piece that has one.
    pub fn ordered<T: Send>(
        &self,
        work: impl Fn(Task<'_>) -> Result<T, EngineError> + Sync,
        mut take: impl FnMut(&Input, T) -> bool,
    ) -> Result<(), EngineError> {
        let (sender, receiver) = unbounded();
        let mut stopped = false;
        std::thread::scope(|scope| {
            let work = &work;
            let running = scope.spawn(move || {
                self.run(&All, |task| {
                    let (piece, last) = (task.piece, task.last);
                    let _ = sender.send((piece, (last, work(task)?))); // nobody listens after a stop
                    Ok(())
                })
            });
            let (mut waiting, mut next) = (BTreeMap::new(), Piece { unit: 0, number: 0 });
            for (piece, made) in receiver {
                waiting.insert(piece, made);
                while let Some((last, made)) = waiting.remove(&next) {
                    let input = &self.inputs[self.units[next.unit as usize].input as usize];
                    next = if last {
                        Piece { unit: next.unit + 1, number: 0 }
                    } else {
                        Piece { number: next.number + 1, ..next }
                    };
                    if !stopped && !take(input, made) {
                        stopped = true;
                        self.progress.cancelled.store(true, Ordering::Relaxed);
                    }
                }
            }
            match running.join().unwrap_or_else(|_| Err(EngineError::Worker("a file".to_owned()))) {
                Err(EngineError::Cancelled) if stopped => Ok(()),
                ran => ran,
            }
        })
    }

    fn feed<'a>(
        &'a self,
        wanted: &impl Wanted,
        stopped: &impl Fn(u32) -> bool,
        fail: &impl Fn(Piece, EngineError),
        sender: &Sender<Task<'a>>,
    ) {
        let mut rows_of =
            vec![0; self.inputs.iter().map(|input| input.source as usize + 1).max().unwrap_or(0)];
        for (number, unit) in (0u32..).zip(self.units) {
            if stopped(number) {
                return;
            }
            let piece = Piece { unit: number, number: 0 };
            let input = &self.inputs[unit.input as usize];
            if unit.span == Span::Whole {
                // a limit counts the rows of the files before as well
                if input.limit.is_none() && !wanted.unit(number) {
                    continue;
                }
                if let Err((piece, error)) = self.forward(number, input, &mut rows_of, wanted, sender) {
                    fail(piece, error);
                }
            } else if wanted.piece(piece) {
                let content = Content::Span(unit.span.clone());
                // fails when all workers are gone, which their errors tell
                let _ = sender.send(Task { piece, input, first_row: 0, last: true, content });
            }
        }
    }

    /// Read a file forward and hand on its pieces.
    fn forward<'a>(
        &'a self,
        unit: u32,
        input: &'a Input,
        rows_of: &mut [u64],
        wanted: &impl Wanted,
        sender: &Sender<Task<'a>>,
    ) -> Result<(), (Piece, EngineError)> {
        let (mut piece, mut first_row) = (Piece { unit, number: 0 }, 0);
        let seen = &mut rows_of[input.source as usize];
        let limit = input.limit.unwrap_or(u64::MAX);
        let chunk_bytes = usize::try_from(self.unit_bytes).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let read: Box<dyn Iterator<Item = _>> = match read(&input.data, &Span::Whole, chunk_bytes) {
            Ok(chunks) => Box::new(chunks),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        let mut chunks = read.peekable();
        loop {
            let (mut held, mut size, mut rows) = (Vec::new(), 0, 0);
            let mut failed = false;
            while *seen < limit
                && size < self.unit_bytes
                && !failed
                && !self.progress.cancelled.load(Ordering::Relaxed)
                && let Some(mut chunk) = chunks.next()
            {
                match &mut chunk {
                    Ok(chunk) => {
                        chunk.rows.truncate(usize::try_from(limit - *seen).unwrap_or(usize::MAX));
                        rows += chunk.rows.len() as u64;
                        *seen += chunk.rows.len() as u64;
                        size += chunk.size() as u64;
                    }
                    Err(_) => failed = true,
                }
                held.push(chunk);
            }
            if self.progress.cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            let last = failed || *seen >= limit || chunks.peek().is_none();
            if wanted.piece(piece) {
                // who does the piece meets the error behind its rows
                let content = Content::Chunks(held);
                let _ = sender.send(Task { piece, input, first_row, last, content });
            } else if let Some(Err(error)) = held.pop() {
                return Err((piece, error.into()));
            }
            first_row += rows;
            if last {
                return Ok(());
            }
            piece.number += 1;
        }
    }
}
