//! What Python's Jinja loops over: None is refused, strings are characters, and what `map` and its
//! kin return can be read once and is no list.

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use crate::bounds::Bounds;

/// Add `__each` and the filters.
pub fn add(env: &mut Environment<'static>, bounds: Bounds) {
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
            let items: Vec<Value> = call(state, bounds, &builtin, value, rest)?.try_iter()?.collect();
            Ok(Value::make_one_shot_iterator(items.into_iter()))
        });
    }
    for (name, builtin) in [
        ("list", Value::from_function(filters::list)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("unique", Value::from_function(filters::unique)),
        ("sort", Value::from_function(filters::sort)),
    ] {
        env.add_filter(name, move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
            refuse_none(&value)?;
            call(state, bounds, &builtin, value, rest)
        });
    }
    for (name, builtin) in [
        ("groupby", Value::from_function(filters::groupby)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("sum", Value::from_function(filters::sum)),
        ("reverse", Value::from_function(filters::reverse)),
        ("upper", Value::from_function(filters::upper)),
        ("lower", Value::from_function(filters::lower)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
    ] {
        env.add_filter(name, move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
            call(state, bounds, &builtin, value, rest)
        });
    }
    let builtin = Value::from_function(filters::join);
    env.add_filter("join", move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
        refuse_none(&value)?;
        let rest = rest.into_values();
        let separator = rest.first().and_then(Value::as_str).unwrap_or_default();
        let args: Vec<Value> = [bounds.joined(&value, separator)?].into_iter().chain(rest).collect();
        builtin.call(state, &args)
    });
    for (name, builtin) in [
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("indent", Value::from_function(filters::indent)),
    ] {
        env.add_filter(name, move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
            let rest = rest.into_values();
            bounds.repeated(&value, &rest)?;
            builtin.call(state, &[vec![value], rest].concat())
        });
    }
    let builtin = Value::from_function(filters::format);
    env.add_filter("format", move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
        bounds.formatted(&value)?;
        call(state, bounds, &builtin, value, rest)
    });
    let builtin = Value::from_function(filters::replace);
    env.add_filter("replace", move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
        let args: Vec<Value> = [value].into_iter().chain(rest.into_values()).collect();
        bounds.replaced(&args[0], &args[1..])?;
        builtin.call(state, &args)
    });
}

fn call(
    state: &mut State,
    bounds: Bounds,
    filter: &Value,
    value: Value,
    rest: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    bounds.work(state, &value)?;
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
