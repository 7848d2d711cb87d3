//! What Python's Jinja loops over: None is refused, strings are characters, and what `map` and its
//! kin return can be read once and is no list.

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

/// Add `__each` and the filters.
pub fn add(env: &mut Environment<'static>) {
    env.add_function("__each", each);
    for (name, builtin) in [
        ("map", Value::from_function(filters::map)),
        ("select", Value::from_function(filters::select)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("reject", Value::from_function(filters::reject)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
    ] {
        // of None Python makes an empty generator here
        env.add_filter(name, move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
            let items: Vec<Value> = call(state, &builtin, value, rest)?.try_iter()?.collect();
            Ok(Value::make_one_shot_iterator(items.into_iter()))
        });
    }
    for (name, builtin) in [
        ("list", Value::from_function(filters::list)),
        ("join", Value::from_function(filters::join)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("unique", Value::from_function(filters::unique)),
        ("sort", Value::from_function(filters::sort)),
    ] {
        env.add_filter(name, move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
            refuse_none(&value)?;
            call(state, &builtin, value, rest)
        });
    }
}

fn call(state: &mut State, filter: &Value, value: Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = vec![value];
    args.extend(rest.into_values());
    filter.call(state, &args)
}

/// What a `for` loops over; several values are a tuple.
#[allow(clippy::needless_pass_by_value, reason = "MiniJinja's form of a function")]
fn each(values: Rest<Value>) -> Result<Value, Error> {
    let [value] = values.as_slice() else { return Ok(values.iter().cloned().collect()) };
    refuse_none(value)?;
    Ok(match value.as_str() {
        Some(text) => text.chars().map(|c| Value::from(String::from(c))).collect(),
        None => value.clone(),
    })
}

fn refuse_none(value: &Value) -> Result<(), Error> {
    if value.kind() == ValueKind::None {
        return Err(Error::new(ErrorKind::InvalidOperation, "None can not be iterated"));
    }
    Ok(())
}
