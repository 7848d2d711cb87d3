//! Tools and calls of tools: JSON, or JSON in a string, in the form that templates take.

use fastft_record::{Code, RowError};
use serde_json::{Map, Value, json};

use super::wrong_type;

/// What becomes of a schema without the envelope `{"type": "function", "function": ...}`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// It gets one: templates are written for it.
    Wrap,
    /// It stays as it is.
    Keep,
}

/// The tools of a row; an empty list, string or null is none.
pub(super) fn column(row: &mut Map<String, Value>, key: &str, bare: Bare) -> Result<Option<Value>, RowError> {
    let tools = match row.get_mut(key).map(Value::take) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => parse(&text, key)?,
        Some(other) => other,
    };
    let tools = match tools {
        Value::Null => return Ok(None),
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Array(list) => list,
        object @ Value::Object(_) => vec![object],
        other => return Err(wrong_type(key, &other, "a list of tools")),
    };
    if let Some(wrong) = tools.iter().find(|tool| !tool.is_object()) {
        return Err(wrong_type(key, wrong, "a list of objects"));
    }
    let envelope = |tool: Value| match bare {
        Bare::Wrap if tool.get("function").is_none() => json!({"type": "function", "function": tool}),
        _ => tool,
    };
    Ok(Some(Value::Array(tools.into_iter().map(envelope).collect())))
}

/// One call or several, written as JSON in a message's text, with the envelope that templates take.
pub(super) fn calls(text: &str, key: &str) -> Result<Value, RowError> {
    let calls = match parse(text, key)? {
        Value::Array(list) => list,
        other => vec![other],
    };
    if calls.is_empty() {
        return Err(RowError::new(Code::Empty, format!("`{key}` calls no tool")));
    }
    let mut found = Vec::with_capacity(calls.len());
    for call in calls {
        if call.get("function").is_some_and(Value::is_object) {
            found.push(call);
        } else if call.get("name").is_some_and(Value::is_string) {
            found.push(json!({"type": "function", "function": call}));
        } else {
            return Err(RowError::new(Code::Missing, format!("a call in `{key}` has no `name`")));
        }
    }
    Ok(Value::Array(found))
}

fn parse(text: &str, key: &str) -> Result<Value, RowError> {
    serde_json::from_str(text)
        .map_err(|error| RowError::new(Code::Type, format!("`{key}` holds no JSON: {error}")))
}
