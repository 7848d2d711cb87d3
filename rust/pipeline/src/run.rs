//! A run of the engine: from a plan to a token store, or to the one that is there already.
//!
//! Pieces of the data are done in any order by any number of threads, processes or machines; what each
//! became lies in the folder and stays there when the run ends early. `commit` makes a store of it when
//! all are done.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use fastft_record::{Books, SourceBooks};

use crate::dedup;
use crate::encode::{Encoder, EncoderError};
use crate::error::EngineError;
use crate::extend::Extension;
use crate::job::{Job, Opening};
use crate::key;
use crate::lists::{self, LeftOut, Rejected};
use crate::options::Tools;
use crate::piece::Record;
use crate::plan::Plan;
use crate::store::{self, LEFT_OUT, MANIFEST, Manifest, Part, REJECTED, Section, Source, Stamps, Store};
use crate::units::{Drive, Piece, Wanted};
use crate::work::Workplace;
use crate::worker::Rules;

pub use crate::inputs::looks;
pub use crate::worker::Progress;

/// Where the tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The store's folder.
    pub folder: PathBuf,
    /// Its key.
    pub key: String,
    /// Whether it was there already.
    pub cached: bool,
    /// The files as the plan names them, in order; a store that was there may name them otherwise.
    pub files: Vec<String>,
}

/// Part `index` of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Below `count`.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// Whether a piece is its own. Pieces of one unit are spread as well: a large file that is read forward is no
    /// shard's alone.
    const fn has(self, piece: Piece) -> bool {
        piece.unit.wrapping_add(piece.number) % self.count == self.index
    }
}

/// What an earlier run had done of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct There {
    /// Rows.
    pub rows: u64,
    /// Tokens made of them.
    pub tokens: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The only part.
pub const WHOLE: Shard = Shard { index: 0, count: 1 };

/// Make the plan's token store, unless it is there. What another run of the same plan has done is kept.
///
/// # Errors
/// `EngineError`; what was done until then stays for the next run.
pub fn prepare(
    plan: Plan,
    encoder: impl FnOnce(&Plan) -> Result<Encoder, EncoderError>,
    progress: &Progress,
) -> Result<Prepared, EngineError> {
    let job = Job::new(plan)?;
    let passes = if job.plan.dedup.is_some() { 2 } else { 1 };
    progress.total_bytes.store(job.total_bytes() * passes, Ordering::Relaxed);
    let (folder, key) = (job.folder(), job.key.clone());
    let files = job.listed().into_iter().map(|file| file.path).collect();
    let is_there = || match Store::open(&folder) {
        Ok(store) => store.manifest().key == key,
        Err(_) => false,
    };
    if folder.exists() && is_there() {
        return Ok(Prepared { folder, key, cached: true, files });
    }
    let tools = Tools::of(&job.plan)?;
    let from = match Extension::find(&job)? {
        Some(extension) => From::Store(Box::new(extension)),
        None => From::Sources(job.open()?),
    };
    let stores = job.plan.cache.join("tokens");
    let workplace = Workplace::open(&stores, &key, progress)?;
    if folder.exists() {
        if is_there() {
            workplace.discard()?; // another process made it while we waited
            return Ok(Prepared { folder, key, cached: true, files });
        }
        remove(&folder)?; // damaged: made anew
    }
    let encoder = encoder(&job.plan)?;
    match from {
        From::Store(extension) => {
            let manifest = extension.make(&job, &encoder, workplace.folder(), progress)?;
            write_manifest(workplace.folder(), &manifest)?;
        }
        From::Sources(opening) => {
            match make(&job, &opening, WHOLE, tools, &encoder, workplace.folder(), progress) {
                // the row has to be mended, and what was made of the file as it is helps nobody
                Err(error @ EngineError::Row { .. }) => {
                    workplace.discard()?;
                    return Err(error);
                }
                made => made?,
            };
            gather(&job, &opening, workplace.folder())?;
        }
    }
    workplace.publish(&folder)?;
    fs::File::open(&stores).and_then(|dir| dir.sync_all()).map_err(EngineError::io(&stores))?;
    Ok(Prepared { folder, key, cached: false, files })
}

/// What a store is made of.
enum From {
    /// The sources.
    Sources(Opening),
    /// A store without the copies that were made beforehand.
    Store(Box<Extension>),
}

/// Do one shard of the job that `folder` tells of. What is done already is not done again, and told.
///
/// # Errors
/// `EngineError`; what was done until then stays.
pub fn run_shard(
    folder: &Path,
    shard: Shard,
    encoder: impl FnOnce(&Plan) -> Result<Encoder, EncoderError>,
    progress: &Progress,
) -> Result<There, EngineError> {
    let job = Job::read(folder)?;
    progress.total_bytes.store(job.total_bytes() / u64::from(shard.count), Ordering::Relaxed);
    let tools = Tools::of(&job.plan)?;
    let opening = job.open()?;
    let encoder = encoder(&job.plan)?;
    make(&job, &opening, shard, tools, &encoder, folder, progress)
}

/// Make a store of what the shards in `folder` have done: its key. No token is moved.
///
/// # Errors
/// When a piece is missing, or the books do not balance.
pub fn commit(folder: &Path) -> Result<String, EngineError> {
    let job = Job::read(folder)?;
    if !folder.join(MANIFEST).exists() {
        gather(&job, &job.open()?, folder)?;
    }
    Ok(job.key)
}

/// Remove a store, which another process may be removing as well.
fn remove(folder: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io(folder)(error)),
        _ => Ok(()),
    }
}

/// The pieces of a shard that are not done.
struct Missing {
    shard: Shard,
    done: HashSet<Piece>,
    whole: HashSet<u32>,
}

impl Wanted for Missing {
    fn piece(&self, piece: Piece) -> bool {
        self.shard.has(piece) && !self.done.contains(&piece)
    }

    fn unit(&self, unit: u32) -> bool {
        !self.whole.contains(&unit)
    }
}

fn make(
    job: &Job,
    opening: &Opening,
    shard: Shard,
    tools: Tools,
    encoder: &Encoder,
    folder: &Path,
    progress: &Progress,
) -> Result<There, EngineError> {
    let rules = Rules {
        cleaner: tools.cleaner,
        augmenter: tools.augmenter,
        duplicates: dedup::find(job, opening, folder, progress)?,
        ..Rules::new(&job.plan, encoder)
    };
    let found = done(folder)?;
    let mut there = There::default();
    for record in found.values().filter(|record| shard.has(record.piece)) {
        there.rows += record.rows;
        there.tokens += record.books.tokens;
        there.bytes += record.books.bytes;
    }
    progress.rows.fetch_add(there.rows, Ordering::Relaxed);
    progress.tokens.fetch_add(there.tokens, Ordering::Relaxed);
    progress.bytes_read.fetch_add(there.bytes, Ordering::Relaxed);
    let units = 0..u32::try_from(opening.units.len()).unwrap_or(u32::MAX);
    let whole = units.filter(|unit| of_unit(&found, *unit).is_ok()).collect();
    let missing = Missing { shard, done: found.into_keys().collect(), whole };
    let drive = Drive {
        inputs: &opening.inputs,
        units: &opening.units,
        unit_bytes: opening.unit_bytes,
        threads: job.plan.num_threads(),
        progress,
    };
    drive.run(&missing, |task| {
        rules.piece(task, folder, progress)?;
        Ok(encoder.proven()?)
    })?;
    Ok(there)
}

/// The records in a folder.
fn done(folder: &Path) -> Result<BTreeMap<Piece, Record>, EngineError> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(EngineError::io(folder))? {
        let name = entry.map_err(EngineError::io(folder))?.file_name();
        let piece = name.to_str().and_then(Piece::of_record);
        if let Some(record) = piece.and_then(|piece| Record::read(folder, piece)) {
            found.insert(record.piece, record);
        }
    }
    Ok(found)
}

/// The records of a unit in order, or the piece that is missing.
fn of_unit(found: &BTreeMap<Piece, Record>, unit: u32) -> Result<Vec<&Record>, Piece> {
    let mut records = Vec::new();
    for number in 0.. {
        let piece = Piece { unit, number };
        let record = found.get(&piece).ok_or(piece)?;
        records.push(record);
        if record.last {
            break;
        }
    }
    Ok(records)
}

/// Make a store of the pieces in `folder`, which have to be all there.
fn gather(job: &Job, opening: &Opening, folder: &Path) -> Result<(), EngineError> {
    let found = done(folder)?;
    let mut books = vec![SourceBooks::default(); job.plan.sources.len()];
    let mut parts = Vec::new();
    let (mut rejected, mut left_out) = (Vec::new(), Vec::new());
    let mut first_row = vec![0; books.len()];
    let mut rows_before = Vec::new();
    let mut missing = Vec::new();
    let mut line_of = (u32::MAX, 0); // the input, and lines of it so far
    for (unit, of) in (0u32..).zip(&opening.units) {
        let records = match of_unit(&found, unit) {
            Ok(records) => records,
            Err(piece) => {
                missing.push(piece.name());
                continue;
            }
        };
        let input = &opening.inputs[of.input as usize];
        let source = input.source as usize;
        if line_of.0 != of.input {
            line_of = (of.input, 0);
        }
        rows_before.push((input.source_name.clone(), first_row[source]));
        for record in records {
            let name = record.piece.name();
            if let Some(part) = &record.part {
                parts.push(Section {
                    part: part.clone(),
                    source: input.source,
                    file: of.input,
                    first_row: first_row[source],
                    first_line: line_of.1,
                });
            }
            if record.lists.rejected {
                rejected.push((lists::rejected_name(&name), line_of.1));
            }
            if record.lists.left_out {
                left_out.push((lists::left_out_name(&name), line_of.1));
            }
            books[source].merge(&record.books);
            first_row[source] = first_row[source].saturating_add(record.rows);
            line_of.1 = line_of.1.saturating_add(record.lines);
        }
    }
    if let Some(first) = missing.first() {
        let reason = format!(
            "{} of {} units are not done, the first is {first}; run the shards that are missing",
            missing.len(),
            opening.units.len()
        );
        return Err(EngineError::store(folder, reason));
    }
    let rows_before = |unit: u32| rows_before.get(unit as usize).cloned();
    lists::join::<Rejected>(folder, REJECTED, rejected.into_iter(), &rows_before)?;
    lists::join::<LeftOut>(folder, LEFT_OUT, left_out.into_iter(), &rows_before)?;
    let lists = vec![Part::describe(folder, REJECTED, 0)?, Part::describe(folder, LEFT_OUT, 0)?];
    let names = job.plan.sources.iter().map(|source| source.name.clone());
    let books = Books::close(names.zip(books))?;
    write_manifest(folder, &manifest(job, opening, parts, lists, books))?;
    for record in found.values() {
        record.remove(folder)?;
    }
    dedup::forget(folder)
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), EngineError> {
    let path = folder.join(MANIFEST);
    let write = || -> std::io::Result<()> {
        let parts = manifest.parts.iter().map(|section| &section.part);
        Stamps::write(folder, parts.chain(&manifest.lists))?;
        let temporary = folder.join(format!("{MANIFEST}.tmp"));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(EngineError::io(&path))
}

fn manifest(job: &Job, opening: &Opening, parts: Vec<Section>, lists: Vec<Part>, books: Books) -> Manifest {
    let sources = job.plan.sources.iter().zip(&opening.opened).map(|(source, opened)| Source {
        name: source.name.clone(),
        format: opened.format.clone(),
        guessed: opened.guessed,
    });
    Manifest {
        version: key::FORMAT_VERSION,
        key: job.key.clone(),
        id_bits: store::id_bits(job.plan.tokenizer.vocab_size),
        max_length: job.plan.max_length,
        documents: books.total.pieces + books.total.augmented,
        parts,
        lists,
        key_fields: job.key_fields.clone(),
        files: job.listed(),
        sources: sources.collect(),
        notes: books.total.notes.clone(),
        books,
        warnings: opening.opened.iter().flat_map(|source| source.warnings.clone()).collect(),
    }
}
