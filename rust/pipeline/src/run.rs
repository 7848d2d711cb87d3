//! A run of the engine: from a plan to a token store, or to the one that is there already.
//!
//! One thread cuts files into chunks, `threads` workers make tokens of them, and the caller's thread
//! writes the results in the order of the chunks. At most four chunks a worker are under way, so
//! memory does not grow with the data.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use fastft_record::{Books, SourceBooks};
use fastft_source::mapped::Chunks;
use fastft_source::{FileMap, Row};

use crate::encode::{Encoder, EncoderError};
use crate::error::EngineError;
use crate::inputs::{self, Opened};
use crate::key::{self, Digests, Files};
use crate::plan::{Plan, Truncate};
use crate::quarantine::Quarantine;
use crate::store::{
    self, InputFile, LEFT_OUT, MANIFEST, Manifest, Part, PartWriter, REJECTED, Section, Source, Stamps, Store,
};
use crate::sweep::Workplace;
use crate::worker::{Done, Input, Rules};

pub use crate::inputs::formats;
pub use crate::worker::Progress;

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 1 << 18;
const CHUNKS_A_WORKER: usize = 4;

/// Where the tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The store's folder.
    pub folder: PathBuf,
    /// Its key.
    pub key: String,
    /// Whether it was there already.
    pub cached: bool,
}

/// The key that the plan's store has, without making it.
///
/// # Errors
/// When a file can't be read.
pub fn plan_key(plan: &Plan) -> Result<(String, Vec<Files>), EngineError> {
    fs::create_dir_all(&plan.cache).map_err(EngineError::io(&plan.cache))?;
    let mut digests = Digests::open(plan.cache.join("digests.json"));
    let files = inputs::files(plan, &mut digests)?;
    digests.save()?;
    Ok((key::key(&key::fields(plan, &files)), files))
}

/// Make the plan's token store, unless it is there.
///
/// # Errors
/// `EngineError`; nothing half-made is left behind.
pub fn prepare(
    plan: &Plan,
    encoder: impl FnOnce() -> Result<Encoder, EncoderError>,
    progress: &Progress,
) -> Result<Prepared, EngineError> {
    let (key, files) = plan_key(plan)?;
    let total: u64 = files.iter().flatten().map(|file| file.2).sum();
    progress.total_bytes.store(total, Ordering::Relaxed);
    let stores = plan.cache.join("tokens");
    let folder = stores.join(&key);
    if folder.exists() {
        match Store::open(&folder) {
            Ok(store) if store.manifest().key == key => return Ok(Prepared { folder, key, cached: true }),
            _ => remove(&folder)?, // damaged: made anew
        }
    }
    let opened = plan
        .sources
        .iter()
        .zip(&files)
        .map(|(source, files)| inputs::open(plan, source, files))
        .collect::<Result<Vec<_>, _>>()?;
    inputs::check_template(plan, &files, &opened)?;
    let encoder = encoder()?;
    let workplace = Workplace::create(&stores, &key)?;
    make(plan, &files, &opened, &encoder, progress, workplace.folder(), &key)?;
    publish(workplace, &folder, &stores)?;
    Ok(Prepared { folder, key, cached: false })
}

/// Remove a store, which another process may be removing as well.
fn remove(folder: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io(folder)(error)),
        _ => Ok(()),
    }
}

fn publish(workplace: Workplace, folder: &Path, stores: &Path) -> Result<(), EngineError> {
    if let Err(error) = workplace.publish(folder)
        && !folder.exists()
    {
        return Err(EngineError::io(folder)(error));
    } // else another process made the same store meanwhile
    fs::File::open(stores).and_then(|dir| dir.sync_all()).map_err(EngineError::io(stores))
}

type Task<'a> = (u64, &'a Input<'a>, Vec<Row>, u64);

/// A chunk's number, and its source with what it became.
type Answer = (u64, Result<(u32, Done), EngineError>);

struct Inbox<'a> {
    results: Receiver<Answer>,
    credits: Sender<()>,
    progress: &'a Progress,
}

fn make(
    plan: &Plan,
    files: &[Files],
    opened: &[Opened],
    encoder: &Encoder,
    progress: &Progress,
    folder: &Path,
    key: &str,
) -> Result<(), EngineError> {
    let mut writer =
        Parts { folder, vocab_size: plan.tokenizer.vocab_size, open: None, sections: Vec::new() };
    let mut quarantine = Quarantine::create(&folder.join(REJECTED))?;
    let listed: Vec<InputFile> = (0u32..)
        .zip(files)
        .flat_map(|(source, files)| {
            files.iter().map(move |(path, digest, bytes)| InputFile {
                path: path.to_string_lossy().into_owned(),
                digest: digest.clone(),
                bytes: *bytes,
                source,
            })
        })
        .collect();
    let maps = files.iter().flatten().map(|file| FileMap::open(&file.0)).collect::<Result<Vec<_>, _>>()?;
    let layouts = opened.iter().flat_map(|source| source.layouts.iter().copied());
    let inputs: Vec<Input<'_>> = (0u32..)
        .zip(listed.iter().zip(&maps).zip(layouts))
        .map(|(index, ((file, map), layout))| Input {
            bytes: map,
            layout,
            format: &opened[file.source as usize].format,
            path: &file.path,
            source_name: &plan.sources[file.source as usize].name,
            source: file.source,
            file: index,
        })
        .collect();
    let rules = Rules {
        encoder,
        truncate: plan.truncate,
        max_length: plan.max_length as usize,
        vocab_size: plan.tokenizer.vocab_size,
    };
    let mut books = vec![SourceBooks::default(); plan.sources.len()];
    let threads = plan.num_threads();
    std::thread::scope(|scope| {
        let (task_sender, tasks) = bounded::<Task<'_>>(threads);
        let (result_sender, results) = unbounded();
        let (credits, credit_receiver) = bounded(threads * CHUNKS_A_WORKER);
        for _ in 0..threads * CHUNKS_A_WORKER {
            let _ = credits.send(());
        }
        let (inputs, rules) = (&inputs, &rules);
        scope.spawn(move || cut(plan, inputs, progress, &task_sender, &credit_receiver));
        for _ in 0..threads {
            let (tasks, results) = (tasks.clone(), result_sender.clone());
            scope.spawn(move || work(rules, &tasks, &results, progress));
        }
        drop((tasks, result_sender));
        let inbox = Inbox { results, credits, progress };
        collect(plan, inbox, &mut writer, &mut quarantine, &mut books)
    })?;
    if progress.cancelled.load(Ordering::Relaxed) {
        return Err(EngineError::Cancelled);
    }
    quarantine.finish()?;
    fs::write(folder.join(LEFT_OUT), "").map_err(EngineError::io(folder))?;
    let lists = vec![Part::describe(folder, REJECTED, 0)?, Part::describe(folder, LEFT_OUT, 0)?];
    let books = Books::close(plan.sources.iter().map(|source| source.name.clone()).zip(books))?;
    writer.close()?;
    let manifest = Manifest {
        lists,
        parts: writer.sections,
        key_fields: key::fields(plan, files),
        ..manifest(plan, opened, encoder, listed, books, key)
    };
    write_manifest(folder, &manifest)
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), EngineError> {
    let path = folder.join(MANIFEST);
    let write = || -> std::io::Result<()> {
        let parts = manifest.parts.iter().map(|section| &section.part);
        Stamps::write(folder, parts.chain(&manifest.lists))?;
        let mut file = fs::File::create(&path)?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        file.sync_all()?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(EngineError::io(&path))
}

/// One part a file.
struct Parts<'a> {
    folder: &'a Path,
    vocab_size: u32,
    open: Option<(u32, u32, PartWriter)>,
    sections: Vec<Section>,
}

impl Parts<'_> {
    fn push(&mut self, encoded: &crate::encode::Encoded, place: store::Place) -> Result<(), EngineError> {
        if self.open.as_ref().is_none_or(|open| open.1 != place.file) {
            self.close()?;
            let name = format!("{:06}-00000.arrow", place.file);
            self.open =
                Some((place.source, place.file, PartWriter::new(self.folder, &name, self.vocab_size)));
        }
        match &mut self.open {
            Some((_, _, part)) => part.push(encoded, &encoded.weights, place),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), EngineError> {
        let Some((source, file, part)) = self.open.take() else { return Ok(()) };
        if let Some(part) = part.finish()? {
            self.sections.push(Section { part, source, file, first_row: 0, first_line: 0 });
        }
        Ok(())
    }
}

/// Cut the files into numbered chunks; ends when all is cut, the run is cancelled or the receivers are gone.
fn cut<'a>(
    plan: &Plan,
    inputs: &'a [Input<'a>],
    progress: &Progress,
    tasks: &Sender<Task<'a>>,
    credits: &Receiver<()>,
) {
    let mut number = 0;
    let mut rows_of: BTreeMap<u32, u64> = BTreeMap::new();
    for input in inputs {
        let first = rows_of.entry(input.source).or_default();
        let limit = plan.sources[input.source as usize].rows.unwrap_or(u64::MAX);
        let mut chunks = Chunks::new(input.bytes, input.layout, CHUNK_BYTES);
        while *first < limit
            && !progress.cancelled.load(Ordering::Relaxed)
            && let Some(chunk) = chunks.next()
        {
            let mut rows = chunk.rows;
            rows.truncate(usize::try_from(limit - *first).unwrap_or(usize::MAX));
            let count = rows.len() as u64;
            if credits.recv().is_err() || tasks.send((number, input, rows, *first)).is_err() {
                return;
            }
            number += 1;
            *first += count;
        }
    }
}

fn work(rules: &Rules<'_>, tasks: &Receiver<Task<'_>>, results: &Sender<Answer>, progress: &Progress) {
    for (number, input, rows, first) in tasks {
        let place = rows.first().map_or_else(String::new, |row| format!("{}:{}", input.path, row.line));
        let done = catch_unwind(AssertUnwindSafe(|| rules.chunk(input, rows, first, progress)));
        let result = done.map(|done| (input.source, done)).map_err(|_| EngineError::Worker(place));
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

/// Take results in the order of the chunks; on an error the workers are told to stop.
fn collect(
    plan: &Plan,
    inbox: Inbox<'_>,
    writer: &mut Parts<'_>,
    quarantine: &mut Quarantine,
    books: &mut [SourceBooks],
) -> Result<(), EngineError> {
    let Inbox { results, credits, progress } = inbox;
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    let mut take = |result: Result<(u32, Done), EngineError>| -> Result<(), EngineError> {
        let (source, done) = result?;
        for rejected in &done.rejected {
            let too_long = rejected.code == "E_TOO_LONG" && plan.truncate == Truncate::Error;
            if plan.fail_on_bad || too_long {
                return Err(EngineError::Row {
                    code: rejected.code.clone(),
                    reason: rejected.reason.clone(),
                    path: PathBuf::from(&rejected.file),
                    line: rejected.line,
                });
            }
            quarantine.push(rejected)?;
        }
        for (encoded, place) in &done.documents {
            writer.push(encoded, *place)?;
        }
        books[source as usize].merge(&done.books);
        Ok(())
    };
    for (number, result) in results {
        waiting.insert(number, result);
        while let Some(result) = waiting.remove(&next) {
            next += 1;
            if let Err(error) = take(result) {
                progress.cancelled.store(true, Ordering::Relaxed);
                return Err(error); // drops the channels: cutter and workers end
            }
            let _ = credits.send(()); // fails when everything is cut already
        }
    }
    Ok(())
}

fn manifest(
    plan: &Plan,
    opened: &[Opened],
    encoder: &Encoder,
    files: Vec<InputFile>,
    books: Books,
    key: &str,
) -> Manifest {
    let sources = plan.sources.iter().zip(opened).map(|(source, opened)| Source {
        name: source.name.clone(),
        format: opened.format.clone(),
        guessed: opened.guessed,
    });
    let counters = encoder.counters();
    let notes = [
        ("control_tokens_in_text", counters.special_in_text.load(Ordering::Relaxed)),
        ("documents_with_control_tokens", counters.documents_with_special.load(Ordering::Relaxed)),
    ];
    Manifest {
        version: key::FORMAT_VERSION,
        key: key.to_owned(),
        id_bits: store::id_bits(plan.tokenizer.vocab_size),
        max_length: plan.max_length,
        documents: books.total.pieces,
        parts: Vec::new(),
        lists: Vec::new(),
        key_fields: Vec::new(),
        files,
        sources: sources.collect(),
        books,
        notes: notes.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        warnings: opened.iter().flat_map(|source| source.warnings.clone()).collect(),
    }
}
