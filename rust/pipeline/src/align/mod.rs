//! From a row of JSON to the canonical record, by a named format.
//!
//! What a row lacks or has wrong is told with its JSON path and what was expected; nothing is
//! repaired in silence. A format reads its row once and takes values out of it, so that texts are
//! moved and not copied.

mod answers;
mod at;
mod chat;
mod columns;
mod exact;
mod media;
mod messages;
#[cfg(test)]
mod tests;
mod tools;
mod transcript;

use fastft_record::{Code, Document, RowError};
use serde_json::{Map, Value};

use crate::format::Format;
use at::At;

/// Align one parsed row.
///
/// Numbers in tools and their calls are as `serde_json` reads them; `row` reads them exactly.
///
/// # Errors
/// `E_TYPE`, `E_MISSING`, `E_ROLE`, `E_EMPTY`, `E_NO_TARGET`, `E_MEDIA` or `E_PAIR`, with the place
/// that is wrong.
pub fn align(row: Value, format: &Format) -> Result<Document, RowError> {
    let mut row = match (row, format) {
        (Value::String(text), Format::Text(_)) => return text_document(text),
        (Value::Object(row), _) => row,
        (other, _) => return Err(At::ROW.wrong_type(&other, "an object")),
    };
    let document = object(&mut row, format)?;
    exact::refuse_large(&document)?;
    Ok(document)
}

/// Align one row of which `text` is the JSON and `value` what it was parsed to.
///
/// # Errors
/// As `align`.
pub fn row(value: Value, text: &str, format: &Format) -> Result<Document, RowError> {
    let document = align(value, format)?;
    if !exact::is_in_doubt(&document) {
        return Ok(document);
    }
    match exact::reparse(text) {
        Ok(value) => align(value, format),
        Err(error) => Err(RowError::new(Code::Json, format!("not JSON: {error}"))),
    }
}

fn object(row: &mut Map<String, Value>, format: &Format) -> Result<Document, RowError> {
    match format {
        Format::Alpaca(names) => columns::align(row, names),
        Format::ShareGpt(names) => chat::sharegpt(row, names),
        Format::OpenAi(names) => chat::openai(row, names),
        Format::Preference(names) => answers::preference(row, names),
        Format::Ranked(names) => answers::ranked(row, names),
        Format::Kto(names) => answers::kto(row, names),
        Format::Completion(names) => answers::completion(row, names),
        Format::Text(names) => text_document(at::required(row, &names.column, &At::ROW)?)
            .map_err(|error| error.at(names.column.clone())),
    }
}

/// A document of plain text.
///
/// # Errors
/// `E_EMPTY` when there is nothing but white space.
pub fn text_document(text: String) -> Result<Document, RowError> {
    if text.trim().is_empty() {
        return Err(RowError::new(Code::Empty, "the text is empty"));
    }
    Ok(Document::Text(text))
}
