//! Where in a row something is wrong, and the words for it.

use std::fmt;

use fastft_record::{Code, RowError};
use serde_json::{Map, Value};

/// A place in a row, as a list on the stack: it is written out only when something is wrong.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Row,
    Key(&'a str),
    Index(usize),
}

impl At<'static> {
    /// The whole row.
    pub const ROW: Self = Self { parent: None, step: Step::Row };
}

impl<'a> At<'a> {
    /// A key of the object here.
    pub const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    /// An element of the list here, from 0.
    pub const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// An error here.
    pub fn error(&self, code: Code, reason: impl Into<String>) -> RowError {
        match self.step {
            Step::Row => RowError::new(code, reason),
            _ => RowError::new(code, reason).at(self.to_string()),
        }
    }

    /// The value here has another type.
    pub fn wrong_type(&self, value: &Value, expected: &str) -> RowError {
        self.error(Code::Type, format!("{} is {}, expected {expected}", self.name(), type_name(value)))
    }

    /// The value here is missing or null; `siblings` are what there is instead.
    pub fn missing(&self, expected: &str, siblings: &Map<String, Value>) -> RowError {
        let Step::Key(key) = self.step else {
            return self.error(Code::Missing, format!("{} is missing, expected {expected}", self.name()));
        };
        if siblings.contains_key(key) {
            return self.error(Code::Missing, format!("`{key}` is null, expected {expected}"));
        }
        let clue = match nearest(key, siblings.keys().map(String::as_str)) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if siblings.is_empty() => "; there are no keys".to_owned(),
            None => {
                let keys: Vec<String> = siblings.keys().take(8).map(|key| format!("`{key}`")).collect();
                let more = if siblings.len() > keys.len() { ", ..." } else { "" };
                format!("; there is {}{more}", keys.join(", "))
            }
        };
        self.error(Code::Missing, format!("`{key}` is missing, expected {expected}{clue}"))
    }

    /// The value here has nothing to learn from.
    pub fn empty(&self) -> RowError {
        self.error(Code::Empty, format!("{} is empty", self.name()))
    }

    /// What the place is called in a sentence.
    fn name(&self) -> String {
        match (self.step, self.parent) {
            (Step::Key(key), _) => format!("`{key}`"),
            (Step::Index(_), _) => format!("`{self}`"),
            (Step::Row, _) => "the row".to_owned(),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            fmt::Display::fmt(parent, f)?;
        }
        let plain = |key: &str| {
            !key.is_empty()
                && key.bytes().all(|byte| byte == b'_' || byte == b'-' || byte.is_ascii_alphanumeric())
        };
        match self.step {
            Step::Row => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) if !plain(key) => write!(f, "[{key:?}]"),
            Step::Key(key) if self.parent.is_some_and(|parent| !matches!(parent.step, Step::Row)) => {
                write!(f, ".{key}")
            }
            Step::Key(key) => f.write_str(key),
        }
    }
}

/// The text of a field that may be missing or null; an empty name reads nothing.
pub(super) fn optional(
    row: &mut Map<String, Value>,
    key: &str,
    at: &At<'_>,
) -> Result<Option<String>, RowError> {
    match take(row, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(at.key(key).wrong_type(&other, "a string")),
    }
}

/// The text of a field.
pub(super) fn required(row: &mut Map<String, Value>, key: &str, at: &At<'_>) -> Result<String, RowError> {
    optional(row, key, at)?.ok_or_else(|| at.key(key).missing("a string", row))
}

/// A value that is not null, taken out of its row.
pub(super) fn take(row: &mut Map<String, Value>, key: &str) -> Option<Value> {
    if key.is_empty() {
        return None;
    }
    row.get_mut(key).filter(|value| !value.is_null()).map(Value::take)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The name that somebody who wrote `wanted` may have meant, or the other way round.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1.max(wanted.len() / 3);
    let near = names.map(|name| (distance(&wanted.to_lowercase(), &name.to_lowercase()), name));
    near.filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance of the bytes; of long names, that they are far apart.
fn distance(one: &str, two: &str) -> usize {
    if one.len().abs_diff(two.len()) > 8 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in two.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_read_as_json_paths() {
        let messages = At::ROW.key("messages");
        let second = messages.index(2);
        assert_eq!(second.key("content").to_string(), "messages[2].content");
        assert_eq!(second.key("a key").to_string(), "messages[2][\"a key\"]");
        assert_eq!(
            second.wrong_type(&json!(1), "an object").reason,
            "`messages[2]` is a number, expected an object"
        );
    }

    #[test]
    fn the_nearest_key_is_offered() {
        let row = json!({"instuction": "a", "Output": "b"});
        let row = row.as_object().unwrap();
        let error = At::ROW.key("instruction").missing("a string", row);
        assert_eq!(error.reason, "`instruction` is missing, expected a string; did you mean `instuction`?");
        assert_eq!(error.at.as_deref(), Some("instruction"));
        assert_eq!(nearest("output", row.keys().map(String::as_str)), Some("Output"));
        let error = At::ROW.key("text").missing("a string", row);
        assert_eq!(error.reason, "`text` is missing, expected a string; there is `instuction`, `Output`");
    }
}
