//! The first rows of each source as training sees them: what `prepare` does with a row is done here by the same
//! code, and shown instead of stored.
//!
//! Duplicates are not looked up: which row is the first of its like is known only when all are read.

use std::iter::once;

use fastft_record::Document;
use fastft_source::{Row, Span, read};
use serde_json::{Map, Value, json};

use crate::encode::{Encoded, Encoder};
use crate::error::EngineError;
use crate::inputs;
use crate::lists::LeftOut;
use crate::options::Tools;
use crate::plan::Plan;
use crate::store::Place;
use crate::units::Input;
use crate::worker::{self, Done, Judged, Progress, Rules};

const CHUNK_BYTES: usize = 1 << 16;

/// What is said of a row.
type Entry = Map<String, Value>;

/// The first `rows` rows of each source that can be used as JSON objects, one a document, with the rows that could
/// not be used between them.
///
/// A row that a rule leaves out is `dropped` by its name, and shown as it was.
///
/// # Errors
/// When a source can't be read, or an option can't be met.
pub fn preview(plan: &Plan, chat: &Encoder, rows: usize) -> Result<Vec<Value>, EngineError> {
    let Tools { cleaner, augmenter } = Tools::of(plan)?;
    let rules = Rules { cleaner, augmenter, ..Rules::new(plan, chat) };
    let mut shown = Vec::new();
    for (index, source) in (0u32..).zip(&plan.sources) {
        let files = inputs::names(source)?;
        let opened = inputs::open(plan, source, &files)?;
        inputs::check_template(plan, std::slice::from_ref(&files), std::slice::from_ref(&opened))?;
        let (mut number, mut good) = (0, 0);
        'files: for input in opened.inputs(source, index) {
            for chunk in read(&input.data, &Span::Whole, CHUNK_BYTES)? {
                let chunk = chunk?;
                for row in &chunk.rows {
                    if good >= rows || number >= source.rows.unwrap_or(u64::MAX) {
                        break 'files;
                    }
                    let found = one(&rules, &input, number, row, chunk.bytes(row));
                    number += 1;
                    good += usize::from(found.iter().any(|entry| !entry.contains_key("code")));
                    shown.extend(found.into_iter().map(Value::from));
                }
            }
        }
    }
    Ok(shown)
}

/// What becomes of a row: its documents, or why there are none.
fn one(rules: &Rules<'_>, input: &Input, number: u64, row: &Row, bytes: &[u8]) -> Vec<Entry> {
    let mut entry = Entry::new();
    entry.insert("source".into(), json!(input.source_name));
    entry.insert("row".into(), json!(number));
    entry.insert("file".into(), json!(input.path));
    entry.insert("line".into(), json!(row.line));
    let done = rules.rows(input, once((number, row, bytes)), None, &Progress::default());
    if let Some(rejected) = done.rejected.first() {
        entry.insert("code".into(), json!(rejected.code));
        entry.insert("reason".into(), json!(rejected.reason));
        if let Some(at) = &rejected.at {
            entry.insert("at".into(), json!(at));
        }
        return vec![entry];
    }
    if let Some(left_out) = done.left_out.first() {
        return dropped(rules, input, row, bytes, left_out, &entry);
    }
    let whole = texts(rules, input, row, bytes);
    let text = |encoded: &Encoded| match whole.iter().find(|known| known.ids == encoded.ids) {
        Some(known) => known.text.clone(),
        None => decoded(rules, encoded), // it was cut, or is a copy
    };
    let kept = done.documents.iter().map(|(encoded, place)| {
        let mut entry = entry.clone();
        describe(&mut entry, encoded, &text(encoded), &done, *place);
        entry
    });
    kept.collect()
}

fn describe(entry: &mut Entry, encoded: &Encoded, text: &str, done: &Done, place: Place) {
    entry.insert("changed".into(), json!(done.books.repaired.keys().collect::<Vec<_>>()));
    entry.insert("cut".into(), json!(if place.variant == 0 { done.books.cut_tokens } else { 0 }));
    entry.insert("copy".into(), json!(place.variant));
    entry.insert("trained".into(), json!(flags(encoded)));
    entry.insert("weights".into(), json!(weights(encoded)));
    entry.insert("rank".into(), json!(encoded.rank));
    entry.insert("ids".into(), json!(encoded.ids));
    entry.insert("text".into(), json!(text));
}

/// A row that is left out, as it was before any rule; nothing of it is trained.
fn dropped(
    rules: &Rules<'_>,
    input: &Input,
    row: &Row,
    bytes: &[u8],
    why: &LeftOut,
    entry: &Entry,
) -> Vec<Entry> {
    let Ok(document) = worker::aligned(bytes, row, input) else { return Vec::new() };
    let encoded = rules.encoder.encode(&document).unwrap_or_else(|_| {
        vec![Encoded { text: document.text_for_rules().into_owned(), ..Encoded::default() }]
    });
    let described = encoded.into_iter().map(|encoded| {
        let mut entry = entry.clone();
        let (text, nothing) = (encoded.text.clone(), Encoded { trained: Vec::new(), ..encoded });
        describe(&mut entry, &nothing, &text, &Done::default(), Place::default());
        entry.insert("dropped".into(), json!(why.rule));
        entry.insert("detail".into(), json!(why.detail));
        entry
    });
    described.collect()
}

/// The documents of a row before it is cut, which have their texts.
fn texts(rules: &Rules<'_>, input: &Input, row: &Row, bytes: &[u8]) -> Vec<Encoded> {
    let judged =
        worker::aligned(bytes, row, input).map(|row: Document| worker::judge(rules.cleaner.as_deref(), row));
    match judged {
        Ok(Judged::Keep(document, _)) => rules.encoder.encode(&document).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn decoded(rules: &Rules<'_>, encoded: &Encoded) -> String {
    use fastft_text::Tokenizer;
    rules.encoder.tokenizer().decode(&encoded.ids, false).unwrap_or_default()
}

/// What each token's loss is multiplied by.
fn weights(encoded: &Encoded) -> Vec<f32> {
    let mut weights = vec![0.0; encoded.ids.len()];
    for (index, (begin, end)) in encoded.trained.iter().enumerate() {
        let weight = encoded.weights.get(index).copied().unwrap_or(1.0);
        weights[*begin as usize..*end as usize].fill(weight);
    }
    weights
}

/// 1 for each token that carries a loss, else 0.
fn flags(encoded: &Encoded) -> Vec<u8> {
    let mut flags = vec![0; encoded.ids.len()];
    for (begin, end) in &encoded.trained {
        flags[*begin as usize..*end as usize].fill(1);
    }
    flags
}
