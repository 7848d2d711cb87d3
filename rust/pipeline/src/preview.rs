//! The first rows of each source, as the model will be shown them.

use fastft_source::{Span, read};
use serde_json::{Map, Value, json};

use crate::encode::{Encoded, Encoder};
use crate::error::EngineError;
use crate::inputs;
use crate::plan::Plan;
use crate::worker;

const CHUNK_BYTES: usize = 1 << 16;

/// `rows` good rows of each source as JSON objects, with the rows that could not be used between them.
///
/// # Errors
/// When a source can't be read.
pub fn preview(plan: &Plan, chat: &Encoder, rows: usize) -> Result<Vec<Value>, EngineError> {
    let mut shown = Vec::new();
    for source in &plan.sources {
        let files = inputs::names(source)?;
        let opened = inputs::open(plan, source, &files)?;
        inputs::check_template(plan, std::slice::from_ref(&files), std::slice::from_ref(&opened))?;
        let (mut number, mut good) = (0, 0);
        'files: for file in &opened.data {
            for chunk in read(file, &Span::Whole, CHUNK_BYTES)? {
                let chunk = chunk?;
                for row in &chunk.rows {
                    if good >= rows || number >= source.rows.unwrap_or(u64::MAX) {
                        break 'files;
                    }
                    let mut entry = Map::new();
                    entry.insert("source".into(), json!(source.name));
                    entry.insert("row".into(), json!(number));
                    entry.insert("file".into(), json!(file.shown.to_string_lossy()));
                    entry.insert("line".into(), json!(row.line));
                    number += 1;
                    let encoded = match &row.fault {
                        Some(fault) => Err(fault.clone()),
                        None => worker::document(chunk.bytes(row), file.layout, &opened.format)
                            .and_then(|document| chat.encode(&document)),
                    };
                    match encoded {
                        Ok(documents) => {
                            good += 1;
                            for encoded in documents {
                                let mut entry = entry.clone();
                                entry.insert("trained".into(), json!(flags(&encoded)));
                                entry.insert("weights".into(), json!(weights(&encoded)));
                                entry.insert("rank".into(), json!(encoded.rank));
                                entry.insert("ids".into(), json!(encoded.ids));
                                entry.insert("text".into(), json!(encoded.text));
                                shown.push(entry.into());
                            }
                        }
                        Err(error) => {
                            entry.insert("code".into(), json!(error.code.as_str()));
                            entry.insert("reason".into(), json!(error.reason));
                            if let Some(at) = error.at {
                                entry.insert("at".into(), json!(at));
                            }
                            shown.push(entry.into());
                        }
                    }
                }
            }
        }
    }
    Ok(shown)
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
