//! A `MiniJinja` environment that behaves as transformers' Jinja environment does.
//!
//! What differs from `MiniJinja`'s defaults: whitespace control, Python's `tojson`, whitespace as
//! Python strips it, tests that know what Python can iterate, `raise_exception`, `strftime_now`
//! with a pinned date, and floats printed as Python prints them. There is no loader, so no
//! template can read a file; fuel bounds what a template from elsewhere can spend.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::date::Moment;
use crate::python::{Dumps, float, is_space};

/// Instructions one rendering may take; the longest real ones take about 10^5.
const FUEL: u64 = 50_000_000;

/// The environment; `now` is what `strftime_now` prints.
pub fn environment(now: Moment) -> Environment<'static> {
    let mut env = Environment::new();
    let whitespace = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(whitespace.expect("only whitespace differs from the default"));
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(method);
    env.set_formatter(format);
    env.add_filter("tojson", tojson);
    env.add_filter("trim", trim);
    env.add_filter("string", |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => text_of(value),
    });
    for name in ["length", "count"] {
        // Jinja's undefined has length 0.
        env.add_filter(name, |value: &Value| match (value.is_undefined(), value.len()) {
            (true, _) => Ok(0),
            (false, Some(len)) => Ok(len),
            (false, None) => {
                let kind = value.kind();
                Err(Error::new(ErrorKind::InvalidOperation, format!("a value of kind {kind} has no length")))
            }
        });
    }
    env.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Undefined
        )
    });
    env.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
    });
    env.add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    env.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{message}")))
    });
    env.add_function("strftime_now", move |format: &str| {
        now.strftime(format).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now does not know the format {format:?}"),
            )
        })
    });
    env.add_function("__generation", generation);
    crate::iterate::add(&mut env);
    env
}

/// The text of a `{% generation %}` block, between the marks of this rendering if it has any.
#[allow(clippy::needless_pass_by_value, reason = "MiniJinja's form of a function")]
fn generation(state: &mut State, kwargs: Kwargs) -> Result<Value, Error> {
    let caller: Value = kwargs.get("caller")?;
    let text = caller.call(state, &[])?;
    let Some(marks) = state.lookup("__marks") else {
        return Ok(text);
    };
    let mut marks = marks.as_str().unwrap_or_default().chars();
    let (open, close) = (marks.next(), marks.next());
    let written = text.to_str();
    let written = written.as_deref().unwrap_or_default();
    let mut marked = String::with_capacity(written.len() + 6);
    marked.extend(open);
    marked.push_str(written);
    marked.extend(close);
    Ok(Value::from(marked))
}

fn format(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&text_of(value)),
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "out of memory"))
}

/// `str(value)`.
fn text_of(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        ValueKind::Undefined => String::new(),
        ValueKind::Seq | ValueKind::Map | ValueKind::Number => {
            let mut out = String::new();
            repr(&mut out, value);
            out
        }
        _ => value.to_string(),
    }
}

/// `repr(value)` of Python's JSON types.
fn repr(out: &mut String, value: &Value) {
    match value.kind() {
        ValueKind::String => repr_str(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => {
            out.push_str(&float(f64::try_from(value.clone()).unwrap_or(f64::NAN)));
        }
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.push(open);
            let mut len = 0;
            for item in value.try_iter().into_iter().flatten() {
                if len > 0 {
                    out.push_str(", ");
                }
                repr(out, &item);
                len += 1;
            }
            if len == 1 && value.is_tuple() {
                out.push(',');
            }
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(out, &key);
                out.push_str(": ");
                repr(out, &value.get_item(&key).unwrap_or_default());
            }
            out.push('}');
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

fn repr_str(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' || ('\u{7f}'..='\u{a0}').contains(&c) || c == '\u{ad}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// transformers' `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
#[allow(clippy::needless_pass_by_value, reason = "MiniJinja's form of a filter")]
fn tojson(value: &Value, positional: minijinja::value::Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let argument = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        let named: Option<Value> = kwargs.get(name)?;
        Ok(named.or_else(|| positional.get(index).cloned()).filter(|value| !value.is_none()))
    };
    let mut dumps = Dumps::default();
    if let Some(value) = argument(0, "ensure_ascii")? {
        dumps.ensure_ascii = value.is_true();
    }
    if let Some(value) = argument(1, "indent")? {
        dumps.indent = Some(match (value.as_str(), value.as_usize()) {
            (Some(text), _) => text.to_owned(),
            (None, width) => " ".repeat(width.unwrap_or(0).min(64)),
        });
    }
    if let Some(value) = argument(2, "separators")? {
        let text = |index| value.get_item_by_index(index).map(|part| part.to_string());
        (dumps.item_separator, dumps.key_separator) = (Some(text(0)?), text(1)?);
    }
    if let Some(value) = argument(3, "sort_keys")? {
        dumps.sort_keys = value.is_true();
    }
    kwargs.assert_all_used()?;
    dumps.dumps(value)
}

/// Jinja's `trim`: `str(value).strip(chars)`.
#[allow(clippy::needless_pass_by_value, reason = "MiniJinja's form of a filter")]
fn trim(value: &Value, chars: Option<String>) -> String {
    let text = text_of(value);
    match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
        None => text.trim_matches(is_space).to_owned(),
    }
}

/// Methods of Python's types.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(text), true) = (value.as_str(), args.is_empty() || matches!(args, [none] if none.is_none()))
    {
        match name {
            "strip" => return Ok(Value::from(text.trim_matches(is_space))),
            "lstrip" => return Ok(Value::from(text.trim_start_matches(is_space))),
            "rstrip" => return Ok(Value::from(text.trim_end_matches(is_space))),
            "split" => {
                return Ok(text.split(is_space).filter(|word| !word.is_empty()).map(Value::from).collect());
            }
            _ => {}
        }
    }
    if let (Some(text), "removeprefix" | "removesuffix") = (value.as_str(), name) {
        let (part,): (&str,) = from_args(args)?;
        let cut = if name == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
        return Ok(Value::from(cut.unwrap_or(text)));
    }
    unknown_method_callback(state, value, name, args)
}
