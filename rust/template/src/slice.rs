//! Slices with a step, as Python counts them: `x[a:b:c]` becomes the method call `x.__slice(a, b, c)`, for `MiniJinja`
//! stops elsewhere where the step is negative, and panics on what is empty.

use std::borrow::Cow;

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::rewrite::Quotes;

/// A tag with its slices rewritten.
pub fn rewrite(tag: &str) -> Cow<'_, str> {
    if !tag.contains('[') || tag.matches(':').nth(1).is_none() {
        return Cow::Borrowed(tag);
    }
    let mut out = String::with_capacity(tag.len() + 16);
    let mut quotes = Quotes::default();
    // open brackets: where each stands, and the colons in it
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    for c in tag.chars() {
        if !quotes.step(c) {
            match c {
                '(' | '[' | '{' => open.push((out.len(), Vec::new())),
                ':' => {
                    if let Some((_, colons)) = open.last_mut() {
                        colons.push(out.len());
                    }
                }
                ']' => {
                    if let Some((begin, colons)) = open.pop()
                        && let [first, second] = colons[..]
                    {
                        let given = |part: &str| match part.trim() {
                            "" => "none".to_owned(),
                            part => part.to_owned(),
                        };
                        let parts =
                            [&out[begin + 1..first], &out[first + 1..second], &out[second + 1..]].map(given);
                        out.truncate(begin);
                        out.extend([".__slice(", &parts.join(", "), ")"]);
                        continue;
                    }
                }
                ')' | '}' => drop(open.pop()),
                _ => {}
            }
        }
        out.push(c);
    }
    Cow::Owned(out)
}

/// `value[start:stop:step]`.
pub fn slice(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let refused = |text: &str| Error::new(ErrorKind::InvalidOperation, text.to_owned());
    let number = |at: usize| match args.get(at).filter(|arg| !arg.is_none()) {
        Some(arg) => i64::try_from(arg.clone()).map(|number| Some(i128::from(number))),
        None => Ok(None),
    };
    let step = number(2)?.unwrap_or(1);
    if step == 0 {
        return Err(refused("slice step cannot be zero"));
    }
    let items: Vec<Value> = match (value.as_str(), value.kind()) {
        (Some(text), _) => text.chars().map(|c| Value::from(String::from(c))).collect(),
        (None, ValueKind::Seq | ValueKind::Iterable) => value.try_iter()?.collect(),
        (None, kind) => return Err(refused(&format!("a value of kind {kind} cannot be sliced"))),
    };
    let len = i128::try_from(items.len()).unwrap_or(i128::MAX);
    let (least, most) = if step < 0 { (-1, len - 1) } else { (0, len) };
    let bound = |given: Option<i128>, otherwise| {
        given.map_or(otherwise, |at| if at < 0 { (at + len).max(least) } else { at.min(most) })
    };
    let (from, to) = if step < 0 { (most, least) } else { (least, most) };
    let (mut at, stop) = (bound(number(0)?, from), bound(number(1)?, to));
    let mut taken = Vec::new();
    while if step < 0 { at > stop } else { at < stop } {
        taken.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
        at += step;
    }
    Ok(match value.as_str() {
        Some(_) => taken.iter().filter_map(Value::as_str).collect::<String>().into(),
        None if value.is_tuple() => Value::from(Tuple::from(taken)),
        None => Value::from(taken),
    })
}
