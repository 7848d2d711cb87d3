//! A look at every row that keeps nothing: what is wrong, where, and what was probably meant.
//!
//! Rows are parsed and aligned, by as many threads as the plan says, and with an encoder rendered and
//! tokenized as well. What is found is told at once, in the order of the data.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fastft_record::RowError;
use fastft_source::Layout;
use serde::Serialize;

use crate::error::EngineError;
use crate::format::Format;
use crate::inputs::{self, Opened};
use crate::key::Files;
use crate::plan::{Plan, SourcePlan};
use crate::truncate::Cut;
use crate::units::{self, Drive, Input, Task};
use crate::worker::{self, Progress, Rules};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The source's name.
    pub source: String,
    /// The file, None when the trouble is with no single file.
    pub file: Option<String>,
    /// 1-based line on which the row begins, None when the whole source is meant.
    pub line: Option<u64>,
    /// The JSON path in the row.
    pub path: Option<String>,
    /// Stable code.
    pub code: String,
    /// One sentence with what was expected.
    pub reason: String,
    /// What to do, where the source as a whole can't be used.
    pub hint: Option<String>,
    /// How many rows of the unit, then of the file, come before it.
    #[serde(skip)]
    before: u64,
}

/// What a source is and how many of its rows are in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// The source's name.
    pub name: String,
    /// Its format, None when it can't be told.
    pub format: Option<Format>,
    /// Whether the format was found from rows.
    pub guessed: bool,
    /// Columns that hold something in the first rows and that the format does not read.
    pub unused: Vec<String>,
    /// How many files it has.
    pub files: usize,
    /// Rows read.
    pub read: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Rows that can't be used, by code.
    pub bad: BTreeMap<String, u64>,
    /// Rows longer than `max_length`; 0 unless rows are tokenized.
    pub too_long: u64,
    /// Sentences for the user.
    pub warnings: Vec<String>,
}

#[derive(Default)]
struct Seen {
    findings: Vec<Finding>,
    read: u64,
    bytes: u64,
    lines: u64,
    too_long: u64,
}

/// Check every row of every source; `tell` is given what is found and says whether to go on.
///
/// With `rules` rows are tokenized too.
///
/// # Errors
/// When a file can't be read; a source that can't be used as a whole is a finding.
pub fn check(
    plan: &Plan,
    rules: Option<&Rules<'_>>,
    progress: &Progress,
    mut tell: impl FnMut(&[Finding]) -> bool,
) -> Result<Vec<Checked>, EngineError> {
    let mut checked: Vec<Checked> = plan
        .sources
        .iter()
        .map(|source| Checked { name: source.name.clone(), ..Checked::default() })
        .collect();
    let mut inputs = Vec::new();
    for (index, source) in (0u32..).zip(&plan.sources) {
        let of = &mut checked[index as usize];
        let mut findings = Vec::new();
        if let Some(opened) = open(plan, source, of, &mut findings)? {
            of.format = Some(opened.format.clone());
            of.guessed = opened.guessed;
            // a file that breaks off is told when its rows are read
            of.unused = inputs::unused(&opened).unwrap_or_default();
            of.warnings.clone_from(&opened.warnings);
            inputs.extend(opened.inputs(source, index));
        }
        for finding in &findings {
            *of.bad.entry(finding.code.clone()).or_default() += 1;
        }
        if !findings.is_empty() && !tell(&findings) {
            return Ok(checked);
        }
    }
    let total = inputs.iter().map(|input| input.data.bytes).sum();
    progress.total_bytes.store(total, Ordering::Relaxed);
    let unit_bytes = units::unit_bytes(plan.unit_bytes, total);
    let units = match units::list(&inputs, unit_bytes) {
        Err(EngineError::Source(_)) => {
            let mut good = Vec::new();
            for input in std::mem::take(&mut inputs) {
                match units::list(std::slice::from_ref(&input), unit_bytes) {
                    Ok(_) => good.push(input),
                    Err(error) => {
                        let finding = whole(&input.source_name, error)?;
                        *checked[input.source as usize].bad.entry(finding.code.clone()).or_default() += 1;
                        if !tell(&[finding]) {
                            return Ok(checked);
                        }
                    }
                }
            }
            inputs = good;
            units::list(&inputs, unit_bytes)?
        }
        listed => listed?,
    };
    let threads = plan.num_threads();
    let drive = Drive { inputs: &inputs, units: &units, unit_bytes, threads, progress };
    let mut lines = (None, 0, 0); // the file, and its lines and rows so far
    drive.ordered(
        |task| look(rules, task, progress),
        |input, mut seen| {
            if lines.0 != Some(std::ptr::from_ref(input)) {
                lines = (Some(std::ptr::from_ref(input)), 0, 0);
            }
            for finding in &mut seen.findings {
                finding.line = finding.line.map(|line| line + lines.1);
                finding.before += lines.2;
                if input.data.layout == Layout::JsonArray && finding.line.is_some() {
                    // many rows of an array may stand on one line
                    finding.reason = format!("{} (row {} of the array)", finding.reason, finding.before + 1);
                }
            }
            lines.1 += seen.lines;
            lines.2 += seen.read;
            account(&mut checked[input.source as usize], &seen);
            seen.findings.is_empty() || tell(&seen.findings)
        },
    )?;
    Ok(checked)
}

/// The files of a source that can be read, opened together; of those that can't, each is a finding.
fn open(
    plan: &Plan,
    source: &SourcePlan,
    of: &mut Checked,
    findings: &mut Vec<Finding>,
) -> Result<Option<Opened>, EngineError> {
    let files = match inputs::names(source) {
        Ok(files) => files,
        Err(error) => {
            findings.push(whole(&source.name, error)?);
            return Ok(None);
        }
    };
    of.files = files.len();
    let error = match inputs::open(plan, source, &files) {
        Ok(opened) => return Ok(Some(opened)),
        Err(error) => error,
    };
    let mut good = Files::new();
    if matches!(error, EngineError::Source(_)) && files.len() > 1 {
        for file in files {
            match inputs::open(plan, source, &vec![file.clone()]) {
                Err(error @ EngineError::Source(_)) => findings.push(whole(&source.name, error)?),
                // what else is wrong with it alone, as that it has no row, is nothing beside others
                Ok(_) | Err(_) => good.push(file),
            }
        }
    }
    let error = if good.is_empty() || findings.is_empty() {
        error
    } else {
        match inputs::open(plan, source, &good) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => error,
        }
    };
    if !matches!(error, EngineError::Source(_)) || findings.is_empty() {
        findings.push(whole(&source.name, error)?);
    }
    Ok(None)
}

/// A source that can't be used as a finding; trouble that is not the source's stays an error.
fn whole(source: &str, error: EngineError) -> Result<Finding, EngineError> {
    let (file, line, code, reason, hint) = match error {
        EngineError::Format { message, hint, path } => {
            (Some(path), None, "E_FORMAT".to_owned(), message, Some(hint))
        }
        EngineError::Row { code, reason, path, line } => (Some(path), Some(line), code, reason, None),
        EngineError::Source(error) => {
            (Some(error.path().to_owned()), None, "E_SOURCE".to_owned(), error.to_string(), None)
        }
        other => return Err(other),
    };
    let file = file.map(|file| file.to_string_lossy().into_owned());
    Ok(Finding { source: source.to_owned(), file, line, path: None, code, reason, hint, before: 0 })
}

fn look(rules: Option<&Rules<'_>>, mut task: Task<'_>, progress: &Progress) -> Result<Seen, EngineError> {
    let mut seen = Seen::default();
    match rows(rules, &mut task, progress, &mut seen).and_then(|()| task.num_lines()) {
        Ok(lines) => seen.lines = lines,
        // the other files are looked at all the same
        Err(error @ EngineError::Source(_)) => {
            seen.findings.push(whole(&task.input.source_name, error)?);
        }
        Err(error) => return Err(error),
    }
    Ok(seen)
}

fn rows(
    rules: Option<&Rules<'_>>,
    task: &mut Task<'_>,
    progress: &Progress,
    seen: &mut Seen,
) -> Result<(), EngineError> {
    let input = task.input;
    for chunk in task.chunks()? {
        let chunk = chunk?;
        for row in &chunk.rows {
            if progress.cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            let bytes = chunk.bytes(row);
            seen.read += 1;
            seen.bytes += bytes.len() as u64;
            let document = worker::aligned(bytes, row, input);
            let result = match rules {
                None => document.map(|_| false),
                Some(rules) => document
                    .and_then(|document| rules.encode(&document))
                    .map(|(cut, _)| matches!(cut, Cut::Dropped)),
            };
            match result {
                Ok(too_long) => seen.too_long += u64::from(too_long),
                Err(error) => {
                    seen.findings.push(Finding { before: seen.read - 1, ..finding(input, row.line, error) });
                }
            }
            progress.rows.fetch_add(1, Ordering::Relaxed);
            progress.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn finding(input: &Input, line: u64, error: RowError) -> Finding {
    Finding {
        source: input.source_name.clone(),
        file: Some(input.path.clone()),
        line: Some(line),
        path: error.at,
        code: error.code.as_str().to_owned(),
        reason: error.reason,
        hint: None,
        before: 0,
    }
}

fn account(checked: &mut Checked, seen: &Seen) {
    checked.read += seen.read;
    checked.bytes += seen.bytes;
    checked.too_long += seen.too_long;
    for finding in &seen.findings {
        *checked.bad.entry(finding.code.clone()).or_default() += 1;
    }
}
