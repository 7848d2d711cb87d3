//! JSON with numbers as they are written.
//!
//! `serde_json` reads a number of 16 or more digits that is no whole number up to one bit off
//! (its switch for exact numbers is one for the whole program and would change the tokenizer's
//! scores), and whole numbers of more than 64 bits as floats. In tools and their calls numbers are
//! printed again, so where there is a float, the row is read once more, by each number's text.

use fastft_record::{Code, Document, RowError};
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// Stands for a whole number of more than 64 bits until it is refused: no row has this character.
const LARGE: &str = "\u{fdd0}large";

/// Parse JSON that is part of a row.
pub(super) fn parse(text: &str) -> serde_json::Result<Value> {
    let value: Value = serde_json::from_str(text)?;
    if has_float(&value) { reparse(text) } else { Ok(value) }
}

/// The value of a text that is known to be JSON.
pub(super) fn reparse(text: &str) -> serde_json::Result<Value> {
    let raw: &RawValue = serde_json::from_str(text)?;
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let fields = serde_json::Deserializer::from_str(text).deserialize_map(Fields)?;
            let fields = fields.into_iter().map(|(key, raw)| Ok((key, reparse(raw.get())?)));
            fields.collect::<serde_json::Result<Map<_, _>>>().map(Value::Object)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            items.into_iter().map(|raw| reparse(raw.get())).collect::<Result<_, _>>().map(Value::Array)
        }
        Some(b'-' | b'0'..=b'9') => {
            if let Ok(number) = text.parse::<i64>() {
                return Ok(number.into());
            }
            if let Ok(number) = text.parse::<u64>() {
                return Ok(number.into());
            }
            if text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) && text != "-0" {
                return Ok(LARGE.into());
            }
            let number = text.parse().ok().and_then(Number::from_f64);
            number.map_or_else(|| serde_json::from_str(text), |number| Ok(Value::Number(number)))
        }
        _ => serde_json::from_str(text),
    }
}

/// The keys of an object with the text of their values; of equal keys the last one counts, in the
/// place of the first, as with `Value`.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(fields) => fields.values().any(has_float),
        _ => false,
    }
}

fn has_large(value: &Value) -> bool {
    match value {
        Value::String(text) => text == LARGE,
        Value::Array(items) => items.iter().any(has_large),
        Value::Object(fields) => fields.values().any(has_large),
        _ => false,
    }
}

fn printed(document: &Document) -> impl Iterator<Item = &Value> {
    document.messages().filter_map(|message| message.tool_calls.as_ref()).chain(document.tools())
}

/// Whether numbers that a template may print could have been read wrongly.
pub(super) fn is_in_doubt(document: &Document) -> bool {
    printed(document).any(has_float)
}

/// Refuse whole numbers of more than 64 bits, which Python would print and we can't.
pub(super) fn refuse_large(document: &Document) -> Result<(), RowError> {
    if printed(document).any(has_large) {
        let reason = "a whole number in the tools or their calls has more than 64 bits; make it a string";
        return Err(RowError::new(Code::Type, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_text() {
        let text =
            r#"{"b": [0.30000000000000004, 1e23, 9007199254740993.0], "a": {"n": -0, "k": 1}, "b2": "x\ny"}"#;
        let value = parse(text).unwrap();
        assert_eq!(value["b"][0].as_f64(), Some("0.30000000000000004".parse().unwrap()));
        assert_eq!(value["b"][1].as_f64(), Some(1e23));
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["b", "a", "b2"]);
        assert_eq!(value["b2"], "x\ny");
        assert_eq!(parse("1e999").map_err(|_| ()), Err(()));
        for tail in 0..2000u64 {
            let text = format!("0.{}", 1_234_567_890_123_456_789 - tail * 987_654_321_987);
            assert_eq!(parse(&text).unwrap().as_f64(), Some(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn of_equal_keys_the_last_counts_in_the_place_of_the_first() {
        let text = r#"{"a": 1.5, "b": 2, "a": 3}"#;
        assert_eq!(parse(text).unwrap().to_string(), r#"{"a":3,"b":2}"#);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap().to_string(), r#"{"a":3,"b":2}"#);
    }
}
