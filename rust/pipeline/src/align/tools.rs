//! Tools and calls of tools: JSON, or JSON in a string, in the form that templates take.

use fastft_record::{Code, RowError};
use serde_json::{Map, Value, json};

use super::at::{At, take};
use super::exact;

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
    let at = At::ROW.key(key);
    let tools = match take(row, key) {
        None => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => parse(&text, &at)?,
        Some(other) => other,
    };
    let tools = match tools {
        Value::Null => return Ok(None),
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Array(list) => list,
        object @ Value::Object(_) => vec![object],
        other => return Err(at.wrong_type(&other, "a list of tools")),
    };
    if let Some((index, wrong)) = tools.iter().enumerate().find(|(_, tool)| !tool.is_object()) {
        return Err(at.index(index).wrong_type(wrong, "an object that describes a tool"));
    }
    let envelope = |tool: Value| match bare {
        Bare::Wrap if tool.get("function").is_none() => json!({"type": "function", "function": tool}),
        _ => tool,
    };
    Ok(Some(Value::Array(tools.into_iter().map(envelope).collect())))
}

/// One call or several, written as JSON in a message's text, with the envelope that templates take.
pub(super) fn written(text: &str, at: &At<'_>) -> Result<Value, RowError> {
    let found = match parse(text, at)? {
        Value::Array(list) => list,
        other => vec![other],
    };
    if found.is_empty() {
        return Err(at.error(Code::Empty, "the message calls no tool"));
    }
    let envelope = |call: Value| match call.get("function") {
        Some(Value::Object(_)) => call,
        _ => json!({"type": "function", "function": call}),
    };
    calls(found, at).map(|calls| Value::Array(calls.into_iter().map(envelope).collect()))
}

/// The field `tool_calls`: a list of calls, or one as JSON in a string; None when it is empty.
pub(super) fn field(value: Value, at: &At<'_>) -> Result<Option<Value>, RowError> {
    let value = match value {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => parse(&text, at)?,
        other => other,
    };
    match value {
        Value::Null => Ok(None),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::Array(list) => calls(list, at).map(|calls| Some(Value::Array(calls))),
        other => Err(at.wrong_type(&other, "a list of calls")),
    }
}

/// The call of a time when there was one a message: `function_call`.
pub(super) fn legacy(value: Value, at: &At<'_>) -> Result<Value, RowError> {
    let call = calls(vec![value], at)?;
    Ok(Value::Array(call.into_iter().map(|call| json!({"type": "function", "function": call})).collect()))
}

/// Each call has a name, and arguments that are an object: `OpenAI` writes them as JSON in a string,
/// which a template would print as a string.
fn calls(list: Vec<Value>, at: &At<'_>) -> Result<Vec<Value>, RowError> {
    let call = |(index, mut call): (usize, Value)| {
        let at = at.index(index);
        if !call.is_object() {
            return Err(at.wrong_type(&call, "an object with `name` and `arguments`"));
        }
        let inside = at.key("function");
        let nested = call.get("function").is_some_and(Value::is_object);
        let (function, at) = if nested { (&mut call["function"], inside) } else { (&mut call, at) };
        let Some(function) = function.as_object_mut() else { return Err(at.empty()) };
        match function.get("name") {
            Some(Value::String(name)) if !name.trim().is_empty() => {}
            Some(Value::String(_)) => return Err(at.key("name").empty()),
            Some(other) if !other.is_null() => return Err(at.key("name").wrong_type(other, "a string")),
            _ => return Err(at.key("name").missing("the name of a tool", function)),
        }
        if let Some(arguments) = function.get_mut("arguments") {
            let at = at.key("arguments");
            let parsed = match &*arguments {
                Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
                Value::String(text) => parse(text, &at)?,
                _ => arguments.take(),
            };
            if !matches!(parsed, Value::Object(_) | Value::Null) {
                return Err(at.wrong_type(&parsed, "an object, or one as JSON in a string"));
            }
            *arguments = parsed;
        }
        Ok(call)
    };
    list.into_iter().enumerate().map(call).collect()
}

fn parse(text: &str, at: &At<'_>) -> Result<Value, RowError> {
    exact::parse(text)
        .map_err(|error| at.error(Code::Type, format!("a string that should hold JSON: {error}")))
}
