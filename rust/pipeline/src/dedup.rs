//! The pass that finds duplicates: it reads all rows once, before any is encoded.
//!
//! Which row is the first of its like is known only when all are read, so the rows to leave out are
//! written down, and shards and interrupted runs read them.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fastft_clean::{Adder, Besides, Cleaner, Dedup, DedupPlan, Duplicates, RowRef};

use crate::error::EngineError;
use crate::job::{Job, Opening};
use crate::options;
use crate::units::{All, Drive, Task};
use crate::worker::{self, Judged, Progress};

const FOUND: &str = "duplicates.bin";

/// The rows to leave out: those found before, or found now and written into `folder`.
///
/// # Errors
/// When the plan can't be followed, or a file can't be read or written.
pub fn find(
    job: &Job,
    opening: &Opening,
    folder: &Path,
    progress: &Progress,
) -> Result<Duplicates, EngineError> {
    let Some(plan) = &job.plan.dedup else { return Ok(Duplicates::default()) };
    let path = folder.join(FOUND);
    if path.exists() {
        return Duplicates::read(&path).map_err(EngineError::io(&path));
    }
    let cleaner = options::cleaner(job.plan.clean.as_ref())?;
    let spill = folder.join("spill");
    if spill.exists() {
        fs::remove_dir_all(&spill).map_err(EngineError::io(&spill))?;
    }
    fs::create_dir(&spill).map_err(EngineError::io(&spill))?;
    let drive = Drive {
        inputs: &opening.inputs,
        units: &opening.units,
        unit_bytes: opening.unit_bytes,
        threads: job.plan.num_threads(),
        progress,
    };
    let found = search(plan, cleaner.as_deref(), &drive, &spill)?;
    fs::remove_dir_all(&spill).map_err(EngineError::io(&spill))?;
    let temporary = path.with_extension("tmp");
    found.write(&temporary).and_then(|()| fs::rename(&temporary, &path)).map_err(EngineError::io(&path))?;
    Ok(found)
}

/// Read all rows and find those that are like an earlier one; `spill` is an empty folder for what does not fit in
/// memory.
///
/// # Errors
/// When the plan can't be followed, or a file can't be read or written.
pub fn search(
    plan: &DedupPlan,
    cleaner: Option<&Cleaner>,
    drive: &Drive<'_>,
    spill: &Path,
) -> Result<Duplicates, EngineError> {
    let search = Dedup::new(plan, spill, drive.threads)?;
    let adders: Mutex<Vec<Adder>> = Mutex::default();
    let free = || adders.lock().unwrap_or_else(PoisonError::into_inner);
    drive.run(&All, |task| {
        let found = free().pop();
        let mut adder = found.unwrap_or_else(|| search.adder());
        read(task, cleaner, &mut adder, spill)?;
        free().push(adder);
        Ok(())
    })?;
    let adders = std::mem::take(&mut *free());
    Ok(search.finish(adders)?)
}

/// Remove what was found, when the store is made.
///
/// # Errors
/// When it can't be removed.
pub fn forget(folder: &Path) -> Result<(), EngineError> {
    let path = folder.join(FOUND);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io(&path)(error)),
        _ => Ok(()),
    }
}

fn read(
    mut task: Task<'_>,
    cleaner: Option<&Cleaner>,
    adder: &mut Adder,
    folder: &Path,
) -> Result<(), EngineError> {
    let mut number = task.first_row;
    for chunk in task.chunks()? {
        let chunk = chunk?;
        for row in &chunk.rows {
            let reference = reference(task.piece.unit, number);
            number += 1;
            let Ok(document) = worker::aligned(chunk.bytes(row), row, task.input) else { continue };
            if let Judged::Keep(document, _) = worker::judge(cleaner, document) {
                adder
                    .add(reference, &document.text_for_rules(), Besides::of(&document))
                    .map_err(EngineError::io(folder))?;
            }
        }
    }
    Ok(())
}

/// A row's place, as duplicates are told by it.
///
/// # Panics
/// When a unit has more than 2^32 rows.
#[must_use]
pub fn reference(unit: u32, row: u64) -> RowRef {
    RowRef { unit, row: u32::try_from(row).expect("a unit has less than 2^32 rows") }
}
