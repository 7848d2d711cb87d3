//! One row of JSON as a value, each key once.

use std::fmt;

use fastft_record::{Code, RowError};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Deserializer, Map, Number, Value};

/// Parse one row.
///
/// # Errors
/// `E_JSON` when it is none, or when an object has a key twice: one of the two values would be lost.
pub fn parse(text: &str) -> Result<Value, RowError> {
    let mut reader = Deserializer::from_str(text);
    Unique.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)).map_err(|error| {
        let reason = if text.starts_with('\u{feff}') {
            "a byte order mark inside the file; were files joined?".to_owned()
        } else if error.is_data() {
            error.to_string()
        } else {
            format!("not JSON: {error}")
        };
        RowError::new(Code::Json, reason)
    })
}

/// Reads a value as `Value` does, but refuses an object that has a key twice.
#[derive(Clone, Copy)]
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            match fields.entry(key) {
                Entry::Vacant(place) => _ = place.insert(access.next_value_seed(self)?),
                Entry::Occupied(place) => {
                    let key = place.key();
                    return Err(A::Error::custom(format_args!("the key `{key}` stands twice in one object")));
                }
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_an_error_at_any_depth() {
        for text in [
            r#"{"text": "a", "text": "b"}"#,
            r#"{"messages": [{"role": "user", "content": "a", "content": "a"}]}"#,
            r#"{"\u0061": 1, "a": 1}"#,
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, Code::Json);
            assert!(error.reason.contains("stands twice in one object at line 1 column"), "{}", error.reason);
        }
        assert!(parse(r#"[{"a": 1}, {"a": 2}, {"b": {"a": 3}, "a": 4}]"#).is_ok());
    }

    proptest! {
        #[test]
        fn all_else_is_as_the_library_reads_it(text in r#"[\[\]{}",:0-9aeE.\-\\u ntrfl]{0,24}"#) {
            match (parse(&text), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), Ok(value)) => prop_assert_eq!(ours.to_string(), value.to_string()),
                (Err(ours), Err(error)) if !ours.reason.contains("twice") => {
                    prop_assert_eq!(ours.reason, format!("not JSON: {error}"));
                }
                (ours, _) => prop_assert!(ours.is_err_and(|ours| ours.reason.contains("twice"))),
            }
        }
    }

    #[test]
    fn numbers_and_depth_are_those_of_the_library() {
        for text in
            ["18446744073709551615", "-9223372036854775808", "1e300", "0.1", "-0", "12345678901234567890123"]
        {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        assert!(parse(&"[".repeat(200)).unwrap_err().reason.contains("recursion limit"));
        assert!(parse("1e999").is_err() && parse("{} x").is_err());
    }
}
