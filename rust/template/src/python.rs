//! Values printed as Python prints them: floats, `json.dumps`, and what `str.strip` strips.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::bounds::Bounds;

/// Whether Python's `str.isspace` holds; Rust's `char::is_whitespace` lacks U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `repr(float)`: the shortest digits that read back, exponents below 1e-4 and from 1e16 on.
pub fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    match plain.split_once('.') {
        // of two shortest forms that are equally near Python takes the even one, as exact rounding does
        Some((_, decimals)) => {
            let even = format!("{x:.*}", decimals.len());
            if even.parse() == Ok(x) { even } else { plain }
        }
        None => plain + ".0",
    }
}

/// The options of `json.dumps` that transformers' `tojson` has.
pub struct Dumps {
    /// Escape everything beyond ASCII.
    pub ensure_ascii: bool,
    /// What one level is indented by; None is one line.
    pub indent: Option<String>,
    /// Between items; None is Python's default for the indentation.
    pub item_separator: Option<String>,
    /// Between key and value.
    pub key_separator: String,
    /// Keys in order of their text.
    pub sort_keys: bool,
    /// How long the text may be.
    pub bounds: Bounds,
}

impl Default for Dumps {
    fn default() -> Self {
        Self {
            ensure_ascii: false,
            indent: None,
            item_separator: None,
            key_separator: ": ".into(),
            sort_keys: false,
            bounds: Bounds::default(),
        }
    }
}

impl Dumps {
    /// `json.dumps(value)`.
    ///
    /// # Errors
    /// For what JSON has no word for, as Python's `TypeError`.
    pub fn dumps(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write(&mut out, value, 0)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > 200 {
            return Err(Error::new(ErrorKind::InvalidOperation, "nested too deeply for JSON"));
        }
        self.bounds.check(out.len())?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(out, value),
            ValueKind::String => self.string(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(out, depth, ('[', ']'), items.len(), |out, index| {
                    self.write(out, &items[index], depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort_by_key(ToString::to_string);
                }
                self.list(out, depth, ('{', '}'), keys.len(), |out, index| {
                    let key = &keys[index];
                    match key.kind() {
                        ValueKind::String => self.string(out, key.as_str().unwrap_or_default()),
                        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                            out.push('"');
                            self.write(out, key, depth + 1)?;
                            out.push('"');
                        }
                        _ => return Err(not_serializable(key)),
                    }
                    out.push_str(&self.key_separator);
                    self.write(out, &value.get_item(key)?, depth + 1)
                })?;
            }
            _ => return Err(not_serializable(value)),
        }
        Ok(())
    }

    fn list(
        &self,
        out: &mut String,
        depth: usize,
        (open, close): (char, char),
        len: usize,
        mut item: impl FnMut(&mut String, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        let newline = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                for _ in 0..depth {
                    out.push_str(indent);
                }
            }
        };
        let separator = match (&self.item_separator, &self.indent) {
            (Some(separator), _) => separator,
            (None, Some(_)) => ",",
            (None, None) => ", ",
        };
        for index in 0..len {
            if index > 0 {
                out.push_str(separator);
            }
            newline(out, depth + 1);
            item(out, index)?;
        }
        if len > 0 {
            newline(out, depth);
        }
        out.push(close);
        Ok(())
    }

    #[allow(clippy::unused_self, reason = "reads like its siblings")]
    fn number(&self, out: &mut String, value: &Value) {
        if value.is_integer() {
            let _ = write!(out, "{value}");
        } else {
            let x = f64::try_from(value.clone()).unwrap_or(f64::NAN);
            out.push_str(&match (x.is_nan(), x.is_infinite()) {
                (true, _) => "NaN".to_owned(),
                (_, true) if x > 0.0 => "Infinity".to_owned(),
                (_, true) => "-Infinity".to_owned(),
                _ => float(x),
            });
        }
    }

    fn string(&self, out: &mut String, text: &str) {
        out.push('"');
        let mut done = 0;
        for (at, c) in text.char_indices() {
            let escape: Option<&str> = match c {
                '"' => Some("\\\""),
                '\\' => Some("\\\\"),
                '\n' => Some("\\n"),
                '\r' => Some("\\r"),
                '\t' => Some("\\t"),
                '\u{8}' => Some("\\b"),
                '\u{c}' => Some("\\f"),
                _ => None,
            };
            if escape.is_none() && c >= ' ' && (!self.ensure_ascii || c < '\u{7f}') {
                continue;
            }
            out.push_str(&text[done..at]);
            done = at + c.len_utf8();
            match escape {
                Some(escape) => out.push_str(escape),
                // Python's encoder leaves DEL alone, also with ensure_ascii.
                None if c == '\u{7f}' => out.push(c),
                None => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
        out.push_str(&text[done..]);
        out.push('"');
    }
}

fn not_serializable(value: &Value) -> Error {
    let kind = value.kind();
    Error::new(ErrorKind::InvalidOperation, format!("a value of kind {kind} is not JSON serializable"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::value::Serde;

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for (x, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e300, "1.25e+300"),
            (123_456.789, "123456.789"),
            (4_645_951_577_003_181.0 / 4.0, "1161487894250795.2"),
            (3_369_502_227_153_749.0 / 4.0, "842375556788437.2"),
        ] {
            assert_eq!(float(x), text);
        }
    }

    #[test]
    fn json_has_pythons_separators_and_escapes() {
        let value: serde_json::Value =
            serde_json::from_str(r#"{"b":[1,2.0,null,true,[],{}],"a":"é<\u0001\"\u007f😀"}"#).unwrap();
        let value = Value::from(Serde(&value));
        let plain = Dumps::default().dumps(&value).unwrap();
        assert_eq!(plain, "{\"b\": [1, 2.0, null, true, [], {}], \"a\": \"é<\\u0001\\\"\u{7f}😀\"}");
        let ascii = Dumps { ensure_ascii: true, sort_keys: true, ..Dumps::default() };
        assert_eq!(
            ascii.dumps(&value).unwrap(),
            "{\"a\": \"\\u00e9<\\u0001\\\"\u{7f}\\ud83d\\ude00\", \"b\": [1, 2.0, null, true, [], {}]}"
        );
        let indented = Dumps { indent: Some("  ".into()), ..Dumps::default() };
        let list = Value::from(Serde(serde_json::json!([1, [], {"a": [2]}])));
        assert_eq!(
            indented.dumps(&list).unwrap(),
            "[\n  1,\n  [],\n  {\n    \"a\": [\n      2\n    ]\n  }\n]"
        );
    }
}
