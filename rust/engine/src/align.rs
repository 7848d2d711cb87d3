//! Alignment for Python: what rows become, which format they look like, which columns are not read.

use fastft_pipeline::align;
use fastft_pipeline::format::{self, Format};
use fastft_pipeline::plan::Rows;
use fastft_record::{Document, Message};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Add the functions of this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(align_rows, module)?)?;
    module.add_function(wrap_pyfunction!(guess_format, module)?)?;
    module.add_function(wrap_pyfunction!(unused_columns, module)?)
}

/// What each row of a JSON list becomes, as a JSON list: a document, or `{"code", "reason", "at"}`.
///
/// A document is `{"text"}`, or `{"messages", "tools"}`, with `"answers"` (best first) where rows
/// are preferences, `"desirable"` where they have labels, and `"weights"` where messages have them.
#[pyfunction]
fn align_rows(py: Python<'_>, mapping: &str, rows: &str) -> PyResult<String> {
    let format: Format = read(mapping)?;
    let rows: Vec<&RawValue> = read(rows)?;
    let align = |row: &&RawValue| {
        let aligned = serde_json::from_str(row.get()).map_err(|error| error.to_string());
        Ok(match align::row(aligned?, row.get(), &format) {
            Ok(document) => show(&document),
            Err(error) => json!({"code": error.code.as_str(), "reason": error.reason, "at": error.at}),
        })
    };
    let aligned: Result<Vec<Value>, String> = py.detach(|| rows.iter().map(align).collect());
    aligned.map(|rows| Value::Array(rows).to_string()).map_err(PyValueError::new_err)
}

/// The format that a JSON list of rows has, for a stage that wants `rows`; None when like nothing known.
#[pyfunction]
fn guess_format(rows: &str, wanted: &str) -> PyResult<Option<String>> {
    let rows: Vec<Value> = read(rows)?;
    let wanted: Rows = read(&Value::from(wanted).to_string())?;
    let found = Format::guess_all(&rows, wanted);
    found.map(|format| serde_json::to_string(&format).map_err(invalid)).transpose()
}

/// The columns of a row that a format does not read.
#[pyfunction]
fn unused_columns(mapping: &str, row: &str) -> PyResult<Vec<String>> {
    Ok(format::unused_columns(&read(mapping)?, &read(row)?))
}

fn show(document: &Document) -> Value {
    let mut shown = match document {
        Document::Text(text) => return json!({"text": text}),
        Document::Conversation(conversation) => json!(conversation),
        Document::Ranked { conversation, answers } => {
            json!({"messages": conversation.messages, "tools": conversation.tools, "answers": answers})
        }
        Document::Labelled { conversation, desirable } => {
            json!({"messages": conversation.messages, "tools": conversation.tools, "desirable": desirable})
        }
    };
    let weights: Vec<Option<f32>> = document.messages().map(|message: &Message| message.weight).collect();
    if weights.iter().any(Option::is_some) {
        shown["weights"] = json!(weights);
    }
    shown
}

fn read<'a, T: serde::Deserialize<'a>>(json: &'a str) -> PyResult<T> {
    serde_json::from_str(json).map_err(invalid)
}

#[allow(clippy::needless_pass_by_value, reason = "map_err hands errors over by value")]
fn invalid(error: serde_json::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}
