//! Rows in, rows out: those that cleaning and the search for duplicates keep in one file, the others with their
//! reasons in another. A kept row is what it was, byte for byte, unless a repair changed it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastft_clean::{Cleaner, Duplicates, RowRef};
use fastft_record::{Document, RowError};
use fastft_source::{Layout, Row};
use serde::Serialize;
use serde_json::json;

use crate::dedup;
use crate::error::EngineError;
use crate::inputs;
use crate::mend::Mender;
use crate::options;
use crate::plan::Plan;
use crate::units::{self, Drive, Input, Task};
use crate::worker::{self, Judged, Progress};

/// What became of a source's rows: `read = kept + filtered + duplicates + quarantined`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sifted {
    /// The source's name.
    pub name: String,
    /// Rows read.
    pub read: u64,
    /// Rows in the file of kept ones.
    pub kept: u64,
    /// Kept rows that were changed, by repair; a row may be counted under several.
    pub repaired: BTreeMap<String, u64>,
    /// Kept rows that a repair would change and that can't be written changed in their format.
    pub unrepaired: u64,
    /// Rows that a rule left out.
    pub filtered: BTreeMap<String, u64>,
    /// Rows like an earlier one, by `exact` or `near`.
    pub duplicates: BTreeMap<String, u64>,
    /// Rows that can't be used, by code.
    pub quarantined: BTreeMap<String, u64>,
}

/// What a piece became; lines are relative to it.
#[derive(Default)]
struct Made {
    books: Sifted,
    kept: Vec<u8>,
    dropped: Vec<Dropped>,
    /// Lines of rows of which others are duplicates.
    originals: Vec<(RowRef, u64)>,
    lines: u64,
}

struct Dropped {
    line: u64,
    rule: String,
    reason: String,
    row: String,
    of: Option<RowRef>,
}

/// The rules that hold for every row.
struct Rules {
    cleaner: Option<(Arc<Cleaner>, Mender)>,
    duplicates: Duplicates,
    originals: HashSet<RowRef>,
}

/// Write the rows that the plan's `clean` and `dedup` keep to `kept` and the others, one object a line, to `dropped`;
/// `spill` is an empty folder for what finding duplicates writes on the way.
///
/// # Errors
/// When a source or an option can't be used, or a file can't be written.
pub fn sift(
    plan: &Plan,
    [kept, dropped, spill]: [&Path; 3],
    progress: &Progress,
) -> Result<Vec<Sifted>, EngineError> {
    let mut inputs = Vec::new();
    for (index, source) in (0u32..).zip(&plan.sources) {
        let files = inputs::names(source)?;
        inputs.extend(inputs::open(plan, source, &files)?.inputs(source, index));
    }
    let total: u64 = inputs.iter().map(|input| input.data.bytes).sum();
    progress.total_bytes.store(total * if plan.dedup.is_some() { 2 } else { 1 }, Ordering::Relaxed);
    let unit_bytes = units::unit_bytes(plan.unit_bytes, total);
    let units = units::list(&inputs, unit_bytes)?;
    let drive = Drive { inputs: &inputs, units: &units, unit_bytes, threads: plan.num_threads(), progress };
    let mender = plan.clean.as_ref().map(Mender::new).transpose()?;
    let mut rules = Rules {
        cleaner: options::cleaner(plan.clean.as_ref())?.zip(mender),
        duplicates: Duplicates::default(),
        originals: HashSet::new(),
    };
    if let Some(wanted) = &plan.dedup {
        let cleaner = rules.cleaner.as_ref().map(|(cleaner, _)| cleaner.as_ref());
        rules.duplicates = dedup::search(wanted, cleaner, &drive, spill)?;
        rules.originals = rules.duplicates.iter().map(|duplicate| duplicate.of).collect();
    }
    let mut books: Vec<Sifted> =
        plan.sources.iter().map(|source| Sifted { name: source.name.clone(), ..Sifted::default() }).collect();
    let mut out = Out::create(kept, dropped)?;
    let mut failed = None;
    drive.ordered(
        |task| piece(&rules, task, progress),
        |input, made| {
            books[input.source as usize].merge(&made.books);
            failed = out.write(input, made).err();
            failed.is_none()
        },
    )?;
    match failed {
        Some(error) => Err(error),
        None => out.finish().map(|()| books),
    }
}

/// The two files.
struct Out<'a> {
    kept: (&'a Path, BufWriter<File>),
    dropped: (&'a Path, BufWriter<File>),
    /// Lines of the file that is being read, before the next piece.
    lines: (String, u64),
    originals: HashMap<RowRef, (String, u64)>,
}

impl<'a> Out<'a> {
    fn create(kept: &'a Path, dropped: &'a Path) -> Result<Self, EngineError> {
        let create = |path: &'a Path| -> Result<_, EngineError> {
            Ok((path, BufWriter::new(File::create(path).map_err(EngineError::io(path))?)))
        };
        Ok(Self {
            kept: create(kept)?,
            dropped: create(dropped)?,
            lines: (String::new(), 0),
            originals: HashMap::new(),
        })
    }

    fn write(&mut self, input: &Input, made: Made) -> Result<(), EngineError> {
        if self.lines.0 != input.path {
            self.lines = (input.path.clone(), 0);
        }
        let before = self.lines.1;
        self.lines.1 += made.lines;
        self.kept.1.write_all(&made.kept).map_err(EngineError::io(self.kept.0))?;
        let places = made.originals.into_iter().map(|(row, line)| (row, (input.path.clone(), before + line)));
        self.originals.extend(places);
        for Dropped { line, rule, reason, row, of } in made.dropped {
            let mut entry = json!({"file": input.path, "line": before + line, "source": input.source_name,
                "rule": rule, "reason": reason, "row": row});
            if let Some((file, line)) = of.and_then(|of| self.originals.get(&of)) {
                entry["of"] = json!({"file": file, "line": line});
            }
            writeln!(self.dropped.1, "{entry}").map_err(EngineError::io(self.dropped.0))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), EngineError> {
        for (path, file) in [self.kept, self.dropped] {
            let file = file.into_inner().map_err(|error| EngineError::io(path)(error.into_error()))?;
            file.sync_all().map_err(EngineError::io(path))?;
        }
        Ok(())
    }
}

fn piece(rules: &Rules, mut task: Task<'_>, progress: &Progress) -> Result<Made, EngineError> {
    let mut made = Made::default();
    let (input, mut number) = (task.input, task.first_row);
    for chunk in task.chunks()? {
        let chunk = chunk?;
        for row in &chunk.rows {
            if progress.cancelled.load(Ordering::Relaxed) {
                return Ok(made);
            }
            let here = dedup::reference(task.piece.unit, number);
            number += 1;
            one(rules, input, row, chunk.bytes(row), here, &mut made);
            progress.rows.fetch_add(1, Ordering::Relaxed);
            progress.bytes_read.fetch_add((row.end - row.start) as u64, Ordering::Relaxed);
        }
    }
    made.lines = task.num_lines()?;
    Ok(made)
}

fn one(rules: &Rules, input: &Input, row: &Row, bytes: &[u8], here: RowRef, made: &mut Made) {
    made.books.read += 1;
    if rules.originals.contains(&here) {
        made.originals.push((here, row.line));
    }
    let dropped = |rule: &str, reason: String, of| Dropped {
        line: row.line,
        rule: rule.to_owned(),
        reason,
        row: String::from_utf8_lossy(bytes).into_owned(),
        of,
    };
    let (changed, mended) = match fate(rules, input, row, bytes) {
        Err(error) => {
            count(&mut made.books.quarantined, error.code.as_str());
            return made.dropped.push(dropped(error.code.as_str(), error.reason, None));
        }
        Ok(Outcome::Filtered(rule, detail)) => {
            count(&mut made.books.filtered, &rule);
            return made.dropped.push(dropped(&rule, detail, None));
        }
        Ok(Outcome::Kept(changed, mended)) => (changed, mended),
    };
    if let Some(duplicate) = rules.duplicates.get(here) {
        let kind = duplicate.reason.as_str();
        count(&mut made.books.duplicates, kind);
        return made.dropped.push(dropped(&format!("duplicate.{kind}"), String::new(), Some(duplicate.of)));
    }
    made.books.kept += 1;
    if let Some(row) = mended {
        for name in &changed {
            count(&mut made.books.repaired, name);
        }
        made.kept.extend_from_slice(row.as_bytes());
    } else {
        made.books.unrepaired += u64::from(!changed.is_empty());
        push_row(&mut made.kept, bytes, input.data.layout);
    }
    made.kept.push(b'\n');
}

enum Outcome {
    /// It stays: what changed it, and how it is written then; None when nothing did, or when it can't be.
    Kept(Vec<&'static str>, Option<String>),
    Filtered(String, String),
}

fn fate(rules: &Rules, input: &Input, row: &Row, bytes: &[u8]) -> Result<Outcome, RowError> {
    let before = worker::aligned(bytes, row, input)?;
    let Some((cleaner, mender)) = &rules.cleaner else { return Ok(Outcome::Kept(Vec::new(), None)) };
    Ok(match worker::judge(Some(cleaner), before.clone()) {
        Judged::Drop(rule, detail) => Outcome::Filtered(rule, detail),
        Judged::Keep(_, changed) if changed.is_empty() => Outcome::Kept(changed, None),
        Judged::Keep(after, changed) => {
            let mended = match &after {
                Document::Text(text) if input.data.layout.is_text() => {
                    Some(json!({"text": text}).to_string())
                }
                _ => mender.mend(bytes, before, &after, input.data.layout, &input.format),
            };
            Outcome::Kept(changed, mended)
        }
    })
}

/// A row as one line of JSONL. Line ends can only stand between the tokens of valid JSON.
fn push_row(kept: &mut Vec<u8>, bytes: &[u8], layout: Layout) {
    if layout.is_text() {
        kept.extend_from_slice(json!({"text": String::from_utf8_lossy(bytes)}).to_string().as_bytes());
    } else {
        kept.extend(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

impl Sifted {
    fn merge(&mut self, other: &Self) {
        self.read += other.read;
        self.kept += other.kept;
        self.unrepaired += other.unrepaired;
        for (mine, theirs) in [
            (&mut self.repaired, &other.repaired),
            (&mut self.filtered, &other.filtered),
            (&mut self.duplicates, &other.duplicates),
            (&mut self.quarantined, &other.quarantined),
        ] {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
    }
}
