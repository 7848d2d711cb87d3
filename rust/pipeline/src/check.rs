//! A look at every row that keeps nothing: what is wrong, where, and what was probably meant.
//!
//! Rows are parsed and aligned, by as many threads as the plan says, and with an encoder rendered and
//! tokenized as well. What is found is told at once, in the order of the data.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use fastft_record::RowError;
use fastft_source::mapped::Chunks;
use fastft_source::{FileMap, Row};
use serde::Serialize;

use crate::error::EngineError;
use crate::format::Format;
use crate::inputs::{self, Opened};
use crate::key::Files;
use crate::near;
use crate::plan::Plan;
use crate::truncate::Cut;
use crate::worker::{self, Input, Progress, Rules};

const CHUNK_BYTES: usize = 1 << 18;
const CHUNKS_A_WORKER: usize = 4;

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
    /// What was probably meant.
    pub nearest: Option<String>,
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
    too_long: u64,
}

type Task<'a> = (u64, &'a Input<'a>, Vec<Row>);
type Answer = (u64, Result<(u32, Seen), EngineError>);

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
    let mut usable: Vec<(u32, Files, Opened)> = Vec::new();
    for (index, (source, checked)) in (0u32..).zip(plan.sources.iter().zip(&mut checked)) {
        let found = inputs::names(source)
            .and_then(|files| inputs::open(plan, source, &files).map(|opened| (files, opened)));
        match found {
            Ok((files, opened)) => {
                checked.files = files.len();
                checked.format = Some(opened.format.clone());
                checked.guessed = opened.guessed;
                checked.warnings.clone_from(&opened.warnings);
                usable.push((index, files, opened));
            }
            Err(error) => {
                let finding = whole(&source.name, error)?;
                checked.bad.insert(finding.code.clone(), 1);
                if !tell(&[finding]) {
                    progress.cancelled.store(true, Ordering::Relaxed);
                }
            }
        }
    }
    let maps = open_all(&usable, progress)?;
    let inputs = list(plan, &usable, &maps);
    let threads = plan.num_threads();
    std::thread::scope(|scope| {
        let (task_sender, tasks) = bounded::<Task<'_>>(threads);
        let (result_sender, results) = unbounded();
        let (credits, credit_receiver) = bounded(threads * CHUNKS_A_WORKER);
        for _ in 0..threads * CHUNKS_A_WORKER {
            let _ = credits.send(());
        }
        let inputs = &inputs;
        scope.spawn(move || cut(plan, inputs, progress, &task_sender, &credit_receiver));
        for _ in 0..threads {
            let (tasks, results) = (tasks.clone(), result_sender.clone());
            scope.spawn(move || work(rules, &tasks, &results, progress));
        }
        drop((tasks, result_sender));
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (number, result) in results {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&next) {
                next += 1;
                let (source, seen) =
                    result.inspect_err(|_| progress.cancelled.store(true, Ordering::Relaxed))?;
                account(&mut checked[source as usize], &seen);
                if !seen.findings.is_empty() && !tell(&seen.findings) {
                    progress.cancelled.store(true, Ordering::Relaxed);
                }
                let _ = credits.send(()); // fails when everything is cut already
            }
        }
        Ok(checked)
    })
}

/// A source that can't be used as a finding; trouble that is not the source's stays an error.
fn whole(source: &str, error: EngineError) -> Result<Finding, EngineError> {
    let (file, line, code, reason, nearest) = match error {
        EngineError::Format { message, hint, path } => {
            (Some(path), None, "E_FORMAT".to_owned(), message, Some(hint))
        }
        EngineError::Row { code, reason, path, line } => (Some(path), Some(line), code, reason, None),
        EngineError::Source(error) => (None, None, "E_SOURCE".to_owned(), error.to_string(), None),
        other => return Err(other),
    };
    let file = file.map(|file| file.to_string_lossy().into_owned());
    Ok(Finding { source: source.to_owned(), file, line, path: None, code, reason, nearest })
}

fn open_all(usable: &[(u32, Files, Opened)], progress: &Progress) -> Result<Vec<FileMap>, EngineError> {
    let maps = usable
        .iter()
        .flat_map(|(_, files, _)| files)
        .map(|file| FileMap::open(&file.0))
        .collect::<Result<Vec<_>, _>>()?;
    let total: usize = maps.iter().map(|map| map.len()).sum();
    progress.total_bytes.store(total as u64, Ordering::Relaxed);
    Ok(maps)
}

fn list<'a>(plan: &'a Plan, usable: &'a [(u32, Files, Opened)], maps: &'a [FileMap]) -> Vec<Input<'a>> {
    let files = usable.iter().flat_map(|(index, files, opened)| {
        files.iter().zip(&opened.layouts).map(move |(file, layout)| (*index, file, *layout, &opened.format))
    });
    (0u32..)
        .zip(files.zip(maps))
        .map(|(number, ((source, file, layout, format), map))| Input {
            bytes: map,
            layout,
            format,
            path: file.0.to_str().unwrap_or("(a name that is no UTF-8)"),
            source_name: &plan.sources[source as usize].name,
            source,
            file: number,
        })
        .collect()
}

fn cut<'a>(
    plan: &Plan,
    inputs: &'a [Input<'a>],
    progress: &Progress,
    tasks: &Sender<Task<'a>>,
    credits: &Receiver<()>,
) {
    let mut number = 0;
    let mut left: Vec<u64> = plan.sources.iter().map(|source| source.rows.unwrap_or(u64::MAX)).collect();
    for input in inputs {
        let left = &mut left[input.source as usize];
        let mut chunks = Chunks::new(input.bytes, input.layout, CHUNK_BYTES);
        while *left > 0
            && !progress.cancelled.load(Ordering::Relaxed)
            && let Some(chunk) = chunks.next()
        {
            let mut rows = chunk.rows;
            rows.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= rows.len() as u64;
            if credits.recv().is_err() || tasks.send((number, input, rows)).is_err() {
                return;
            }
            number += 1;
        }
    }
}

fn work(
    rules: Option<&Rules<'_>>,
    tasks: &Receiver<Task<'_>>,
    results: &Sender<Answer>,
    progress: &Progress,
) {
    for (number, input, rows) in tasks {
        let place = rows.first().map_or_else(String::new, |row| format!("{}:{}", input.path, row.line));
        let seen = catch_unwind(AssertUnwindSafe(|| look(rules, input, rows)));
        if let Ok(seen) = &seen {
            progress.rows.fetch_add(seen.read, Ordering::Relaxed);
            progress.bytes_read.fetch_add(seen.bytes, Ordering::Relaxed);
        }
        let result = seen.map(|seen| (input.source, seen)).map_err(|_| EngineError::Worker(place));
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

fn look(rules: Option<&Rules<'_>>, input: &Input<'_>, rows: Vec<Row>) -> Seen {
    let mut seen = Seen::default();
    for row in rows {
        let bytes = &input.bytes[row.start..row.end];
        seen.read += 1;
        seen.bytes += bytes.len() as u64;
        let result = match (row.fault, rules) {
            (Some(fault), _) => Err(fault),
            (None, None) => worker::document(bytes, input.layout, input.format).map(|_| false),
            (None, Some(rules)) => rules.row(bytes, input).map(|(cut, _)| matches!(cut, Cut::Dropped)),
        };
        match result {
            Ok(too_long) => seen.too_long += u64::from(too_long),
            Err(error) => seen.findings.push(finding(input, row.line, bytes, error)),
        }
    }
    seen
}

fn finding(input: &Input<'_>, line: u64, bytes: &[u8], error: RowError) -> Finding {
    let path = near::path(&error);
    let nearest = path.as_deref().and_then(|path| near::nearest(bytes, path, error.code));
    Finding {
        source: input.source_name.to_owned(),
        file: Some(input.path.to_owned()),
        line: Some(line),
        path,
        code: error.code.as_str().to_owned(),
        reason: error.reason,
        nearest,
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
