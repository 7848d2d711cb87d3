//! A `MiniJinja` environment that behaves as transformers' Jinja environment does.
//!
//! What differs from `MiniJinja`'s defaults: whitespace control, Python's `tojson`, whitespace as
//! Python strips it, tests that know what Python can iterate, `raise_exception`, `strftime_now`
//! with a pinned date, and floats printed as Python prints them. There is no loader, so no
//! template can read a file; `bounds` says what a template from elsewhere can spend.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State, tests};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::bounds::{Bounds, Room};
use crate::date::Moment;
use crate::python::{Dumps, float, is_space};

/// The environment; `now` is what `strftime_now` prints.
pub fn environment(now: Moment, bounds: Bounds) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_syntax(syntax());
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(move |state, value, name, args| method(state, value, name, args, bounds));
    env.set_formatter(move |out: &mut Output, state: &mut State, value: &Value| {
        format(out, state, value, bounds)
    });
    env.add_filter("tojson", move |value: &Value, positional: Rest<Value>, kwargs: Kwargs| {
        tojson(value, &positional, &kwargs, bounds)
    });
    env.add_filter("pprint", move |value: &Value| bounds.print(|out| write!(out, "{value:#?}")));
    env.add_filter("trim", move |value: &Value, chars: Option<String>| trim(value, chars, bounds));
    env.add_filter("string", move |value: &Value| text_of(value, bounds));
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
    env.add_test("divisibleby", |value: &Value, by: &Value| {
        let whole = |value: &Value| i128::try_from(value.clone()).ok();
        match (whole(value), whole(by)) {
            (_, Some(0)) => Err(Error::new(ErrorKind::InvalidOperation, "division by zero")),
            (Some(value), Some(by)) => Ok(value.wrapping_rem(by) == 0),
            _ => Ok(tests::is_divisibleby(value, by)),
        }
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
    // it prints all that there is, without end
    env.remove_global("debug");
    env.add_function("__generation", generation);
    crate::iterate::add(&mut env, bounds);
    bounds.add(&mut env);
    env
}

/// How tags are read.
pub fn syntax() -> SyntaxConfig {
    let whitespace = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    whitespace.expect("only whitespace differs from the default")
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

fn format(out: &mut Output, state: &mut State, value: &Value, bounds: Bounds) -> Result<(), Error> {
    let text = match value.as_str() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(text_of(value, bounds)?),
    };
    bounds.charge(state, text.len())?;
    out.write_str(&text).map_err(|_| Error::new(ErrorKind::WriteFailure, "out of memory"))
}

/// `str(value)`.
fn text_of(value: &Value, bounds: Bounds) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::Seq | ValueKind::Map | ValueKind::Number => bounds.print(|out| repr(out, value)),
        _ => bounds.print(|out| write!(out, "{value}")),
    }
}

/// `repr(value)` of Python's JSON types.
fn repr(out: &mut Room, value: &Value) -> fmt::Result {
    match value.kind() {
        ValueKind::String => repr_str(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => {
            out.write_str(&float(f64::try_from(value.clone()).unwrap_or(f64::NAN)))
        }
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.write_char(open)?;
            let mut len = 0;
            for item in value.try_iter().into_iter().flatten() {
                if len > 0 {
                    out.write_str(", ")?;
                }
                repr(out, &item)?;
                len += 1;
            }
            if len == 1 && value.is_tuple() {
                out.write_char(',')?;
            }
            out.write_char(close)
        }
        ValueKind::Map => {
            out.write_char('{')?;
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                if index > 0 {
                    out.write_str(", ")?;
                }
                repr(out, &key)?;
                out.write_str(": ")?;
                repr(out, &value.get_item(&key).unwrap_or_default())?;
            }
            out.write_char('}')
        }
        _ => write!(out, "{value}"),
    }
}

fn repr_str(out: &mut Room, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c if c == quote => {
                out.write_char('\\')?;
                out.write_char(c)?;
            }
            c if c < ' ' || ('\u{7f}'..='\u{a0}').contains(&c) || c == '\u{ad}' => {
                write!(out, "\\x{:02x}", u32::from(c))?;
            }
            c => out.write_char(c)?,
        }
    }
    out.write_char(quote)
}

/// transformers' `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
#[allow(clippy::needless_pass_by_value, reason = "MiniJinja's form of a filter")]
fn tojson(value: &Value, positional: &[Value], kwargs: &Kwargs, bounds: Bounds) -> Result<String, Error> {
    let argument = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        let named: Option<Value> = kwargs.get(name)?;
        Ok(named.or_else(|| positional.get(index).cloned()).filter(|value| !value.is_none()))
    };
    let mut dumps = Dumps { bounds, ..Dumps::default() };
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
fn trim(value: &Value, chars: Option<String>, bounds: Bounds) -> Result<String, Error> {
    let text = text_of(value, bounds)?;
    Ok(match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
        None => text.trim_matches(is_space).to_owned(),
    })
}

/// Methods of Python's types.
fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
    bounds: Bounds,
) -> Result<Value, Error> {
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
    if let (Some(text), "join", [list]) = (value.as_str(), name, args) {
        let list = bounds.joined(list, text)?;
        return unknown_method_callback(state, value, name, &[list]);
    }
    match name {
        "__slice" => return crate::slice::slice(value, args),
        "replace" => bounds.replaced(value, args)?,
        "format" => bounds.formatted(value)?,
        _ => {}
    }
    unknown_method_callback(state, value, name, args)
}
