//! Duplicates over all rows of a run: exact by a 128-bit hash, near by `MinHash` bands.
//!
//! Each thread feeds an [`Adder`] of its own; [`Dedup::finish`] sorts what they saw and joins rows
//! into clusters. Of each cluster the row with the lowest (unit, row) stays. The outcome depends on
//! the rows only: not on threads, the order of adding, or how much memory there is.

mod besides;
mod clusters;
mod duplicates;
mod minhash;
mod plan;
mod signatures;
mod spill;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_128_with_seed;

pub use besides::Besides;
use clusters::Clusters;
pub use duplicates::{Duplicate, Duplicates, Reason};
use minhash::MinHasher;
pub use plan::{DedupPlan, NearPlan};
use signatures::{SignatureWriter, Signatures};
use spill::{Merge, Sorter};

use crate::{CleanError, Wrong};

/// Leaders of a group that a candidate is compared with before it becomes one itself.
const MAX_LEADERS: usize = 32;

/// Where a row is; the order of rows is that of (unit, row).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    /// The unit of work.
    pub unit: u32,
    /// The row in the unit.
    pub row: u32,
}

impl RowRef {
    const fn pack(self) -> u64 {
        (self.unit as u64) << 32 | self.row as u64
    }

    #[allow(clippy::cast_possible_truncation, reason = "two halves")]
    const fn unpack(packed: u64) -> Self {
        Self { unit: (packed >> 32) as u32, row: packed as u32 }
    }
}

/// A search for duplicates.
pub struct Dedup {
    plan: DedupPlan,
    folder: PathBuf,
    share: usize,
    adders: AtomicUsize,
}

impl Dedup {
    /// Start a search by `threads` threads. Files are made in `folder`, which has to exist and
    /// should hold nothing of an earlier search.
    ///
    /// # Errors
    /// When the plan asks for nothing, or for something impossible.
    pub fn new(plan: &DedupPlan, folder: &Path, threads: usize) -> Result<Self, CleanError> {
        if let Some(problem) = plan.problem() {
            return Err(CleanError::Plan(vec![Wrong::new("dedup", problem)]));
        }
        let share = usize::try_from(plan.memory_bytes).unwrap_or(usize::MAX) / threads.max(1);
        Ok(Self { plan: plan.clone(), folder: folder.into(), share, adders: AtomicUsize::new(0) })
    }

    /// A handle for one thread.
    #[must_use]
    pub fn adder(&self) -> Adder {
        let number = self.adders.fetch_add(1, Ordering::Relaxed);
        let path = |what: &str| self.folder.join(format!("{what}-{number}.spill"));
        let parts = usize::from(self.plan.exact) + self.plan.near.as_ref().map_or(0, |_| 3);
        let near = self.plan.near.as_ref().map(|near| NearAdder {
            hasher: MinHasher::new(near.bands, near.rows, near.shingle, near.seed),
            bands: Sorter::new(&path("bands"), self.share / parts * 3),
            signatures: (near.threshold > 0.0)
                .then(|| SignatureWriter::new(&path("signatures"), near.bands * near.rows)),
        });
        Adder {
            plan: self.plan.clone(),
            exact: self.plan.exact.then(|| Sorter::new(&path("exact"), self.share / parts)),
            near,
            units: FxHashMap::default(),
            canonical: String::new(),
        }
    }

    /// Find the duplicates among everything that was added.
    ///
    /// # Errors
    /// When a file can't be written or read.
    pub fn finish(self, adders: Vec<Adder>) -> Result<Duplicates, CleanError> {
        self.join(adders).map_err(|error| CleanError::Io { path: self.folder.clone(), error })
    }

    fn join(&self, adders: Vec<Adder>) -> io::Result<Duplicates> {
        let memory = usize::try_from(self.plan.memory_bytes).unwrap_or(usize::MAX);
        let mut clusters = Clusters::new(adders.iter().flat_map(|adder| &adder.units))?;
        let (mut exact, mut bands, mut writers) = (Vec::new(), Vec::new(), Vec::new());
        for adder in adders {
            if let Some(sorter) = adder.exact {
                exact.extend(sorter.finish()?);
            }
            if let Some(near) = adder.near {
                bands.extend(near.bands.finish()?);
                writers.extend(near.signatures);
            }
        }
        let mut merge = Merge::new(exact, memory)?;
        let mut first = [0; 3];
        let mut begun = false;
        while let Some(record) = merge.next()? {
            if begun && record[..2] == first[..2] {
                clusters.join_exact(first[2], record[2]);
            } else {
                (first, begun) = (record, true);
            }
        }
        drop(merge);
        let merge = Merge::new(bands, memory)?;
        let threshold = self.plan.near.as_ref().map_or(0.0, |near| near.threshold);
        if writers.is_empty() {
            join_all(merge, &mut clusters)?;
        } else {
            join_alike(merge, &mut Signatures::new(writers)?, threshold, &mut clusters)?;
        }
        Ok(clusters.duplicates())
    }
}

/// Join all rows that agree in a band.
fn join_all(mut merge: Merge<2>, clusters: &mut Clusters) -> io::Result<()> {
    let mut first: Option<[u64; 2]> = None;
    while let Some(record) = merge.next()? {
        match first {
            Some([key, row]) if key == record[0] => clusters.join(row, record[1]),
            _ => first = Some(record),
        }
    }
    Ok(())
}

/// Join rows that agree in a band with the first row of the group that they are alike to.
fn join_alike(
    mut merge: Merge<2>,
    signatures: &mut Signatures,
    threshold: f64,
    clusters: &mut Clusters,
) -> io::Result<()> {
    let mut key = None;
    let mut leaders: Vec<(u64, Option<Vec<u16>>)> = Vec::new();
    while let Some([next, row]) = merge.next()? {
        if key != Some(next) {
            key = Some(next);
            leaders.clear();
            leaders.push((row, None));
            continue;
        }
        let own = signatures.of(row)?;
        let mut found = false;
        for (leader, kept) in &mut leaders {
            if clusters.joined(*leader, row) {
                found = true;
                break;
            }
            if kept.is_none() {
                *kept = Some(signatures.of(*leader)?);
            }
            let values = kept.as_deref().unwrap_or_default();
            if signatures::similarity(values, &own) >= threshold {
                clusters.join(*leader, row);
                found = true;
                break;
            }
        }
        if !found && leaders.len() < MAX_LEADERS {
            leaders.push((row, Some(own)));
        }
    }
    Ok(())
}

struct NearAdder {
    hasher: MinHasher,
    bands: Sorter<2>,
    signatures: Option<SignatureWriter>,
}

/// One thread's handle: takes rows in any order, each row once.
pub struct Adder {
    plan: DedupPlan,
    exact: Option<Sorter<3>>,
    near: Option<NearAdder>,
    units: FxHashMap<u32, u32>,
    canonical: String,
}

impl Adder {
    /// Take in the text of a row, and what the row is besides.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn add(&mut self, row: RowRef, text: &str, besides: Besides) -> io::Result<()> {
        let exact = self.exact.is_some().then(|| {
            if !self.plan.ignore_case && !self.plan.ignore_whitespace {
                return xxh3_128_with_seed(text.as_bytes(), besides.whole);
            }
            self.canonical.clear();
            canonical(text, &self.plan, &mut self.canonical);
            xxh3_128_with_seed(self.canonical.as_bytes(), besides.whole)
        });
        let near = self.near.as_mut().is_some_and(|near| near.hasher.read(text));
        self.note(row);
        if let Some((sorter, hash)) = self.exact.as_mut().zip(exact) {
            #[allow(clippy::cast_possible_truncation, reason = "two halves")]
            sorter.push([(hash >> 64) as u64, hash as u64, row.pack()])?;
        }
        let Some(adder) = self.near.as_mut().filter(|_| near) else { return Ok(()) };
        for key in adder.hasher.bands(besides.core) {
            adder.bands.push([key, row.pack()])?;
        }
        if let Some(signatures) = &mut adder.signatures {
            signatures.push(row.pack(), adder.hasher.signature())?;
        }
        Ok(())
    }

    fn note(&mut self, row: RowRef) {
        let rows = self.units.entry(row.unit).or_default();
        *rows = (*rows).max(row.row.saturating_add(1));
    }
}

/// `text` as `exact` sees it.
fn canonical(text: &str, plan: &DedupPlan, out: &mut String) {
    let mut put = |text: &str| {
        if plan.ignore_case {
            out.extend(text.chars().flat_map(char::to_lowercase));
        } else {
            out.push_str(text);
        }
    };
    if !plan.ignore_whitespace {
        return put(text);
    }
    for (index, word) in text.split_whitespace().enumerate() {
        if index > 0 {
            put(" ");
        }
        put(word);
    }
}
