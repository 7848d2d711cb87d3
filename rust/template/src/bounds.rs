//! What a rendering may hold.
//!
//! Fuel bounds its steps. A step can multiply: text doubles in one, and a list of itself is twice as long when it is
//! printed. Whatever grows over many steps is printed or kept under a name, so both are charged to one sum, and what
//! multiplies within a step (`replace`, `join`) is measured before it is made.

use std::fmt;

use minijinja::value::{Rest, Tuple, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

/// Levels of lists in lists that a value may have; rows have at most 128.
const DEPTH: usize = 300;
/// Items that a lazy list may have; `range` makes at most 100 000.
const ITEMS: usize = 1 << 20;
/// Bytes of an item, about.
const ITEM: usize = 32;

/// Bounds of one rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Instructions; the longest real renderings take about 10^5.
    pub fuel: u64,
    /// Bytes of all text that it prints, in macros and blocks, too, and of the values that it keeps.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { fuel: 50_000_000, bytes: 1 << 30 }
    }
}

impl Bounds {
    /// Add the function that `{% set %}` passes values through.
    pub(crate) fn add(self, env: &mut Environment<'static>) {
        env.set_fuel(Some(self.fuel));
        env.add_function("__kept", move |state: &mut State, values: Rest<Value>| {
            let value = match values.as_slice() {
                [value] => value.clone(),
                values => Value::from(Tuple::from(values)),
            };
            self.keep(state, &value)?;
            Ok::<_, Error>(value)
        });
    }

    /// Charge for text or for items.
    pub(crate) fn charge(self, state: &mut State, bytes: usize) -> Result<(), Error> {
        let spent = state.get_or_insert_extension(Spent(0));
        spent.0 = spent.0.saturating_add(bytes);
        self.check(spent.0)
    }

    /// Refuse what is larger than a whole rendering may be.
    pub(crate) fn check(self, bytes: usize) -> Result<(), Error> {
        if bytes > self.bytes {
            let text = format!("the template makes more than {} bytes of text", self.bytes);
            return Err(Error::new(ErrorKind::InvalidOperation, text));
        }
        Ok(())
    }

    /// Count what a filter goes over, which is one step to the engine: all together no more items than there are steps,
    /// or so many times 64 bytes of text.
    pub(crate) fn work(self, state: &mut State, value: &Value) -> Result<(), Error> {
        let items = value.as_str().map_or_else(|| value.len().unwrap_or(0), |text| text.len() / 64);
        let done = state.get_or_insert_extension(Done(0));
        done.0 = done.0.saturating_add(items as u64);
        if done.0 > self.fuel {
            let text = format!("filters of the template go over more than {} items", self.fuel);
            return Err(Error::new(ErrorKind::OutOfFuel, text));
        }
        Ok(())
    }

    /// Refuse to replace by more text than there may be; other values than texts are the filter's to refuse.
    pub(crate) fn replaced(self, value: &Value, args: &[Value]) -> Result<(), Error> {
        let [from, to, ..] = args else { return Ok(()) };
        let (Some(text), Some(from), Some(to)) = (value.as_str(), from.as_str(), to.as_str()) else {
            return Ok(());
        };
        // an empty text is found before every byte, at most
        let most = |found: usize| text.len().saturating_add(found.saturating_mul(to.len()));
        if most(text.len() + 1) > self.bytes {
            self.check(most(text.matches(from).count()))?;
        }
        Ok(())
    }

    /// Refuse to fill or indent by a number that makes too much of it: so many items, or blanks for each line.
    pub(crate) fn repeated(self, value: &Value, args: &[Value]) -> Result<(), Error> {
        let each = value.as_str().map_or(ITEM, |text| text.matches('\n').count() + 1);
        for arg in args {
            let named = if arg.is_kwargs() {
                arg.try_iter()?.map(|key| arg.get_item(&key)).collect()
            } else {
                Ok(vec![])
            };
            for number in named?.iter().chain([arg]).filter_map(Value::as_usize) {
                self.check(number.saturating_mul(each))?;
            }
        }
        Ok(())
    }

    /// Refuse a format whose widths and precisions together are too much.
    pub(crate) fn formatted(self, value: &Value) -> Result<(), Error> {
        let numbers = value.as_str().unwrap_or_default().split(|c: char| !c.is_ascii_digit());
        let numbers =
            numbers.filter(|digits| !digits.is_empty()).map(|digits| digits.parse().unwrap_or(usize::MAX));
        self.check(numbers.fold(0, usize::saturating_add))
    }

    /// What is to be joined, once it was measured; what can be read once is read.
    pub(crate) fn joined(self, value: &Value, separator: &str) -> Result<Value, Error> {
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Ok(value.clone());
        }
        let (mut items, mut bytes) = (Vec::new(), 0usize);
        for item in value.try_iter()? {
            let len = item.as_str().map_or(1, str::len);
            bytes = bytes.saturating_add(len).saturating_add(separator.len().max(ITEM));
            self.check(bytes)?;
            items.push(item);
        }
        Ok(Value::from(items))
    }

    fn keep(self, state: &mut State, value: &Value) -> Result<(), Error> {
        if let Some(text) = value.as_str() {
            return self.charge(state, text.len());
        }
        let mut size = Size { items: 0, bytes: 0, limit: self.bytes };
        size.add(value, 0)?;
        self.check(size.bytes)?;
        // text in a list is shared with what it was made of
        self.charge(state, size.items.saturating_mul(ITEM))
    }

    /// What a value prints as, as far as there is room.
    pub(crate) fn print(self, print: impl FnOnce(&mut Room) -> fmt::Result) -> Result<String, Error> {
        let mut room = Room { text: String::new(), bytes: self.bytes };
        if print(&mut room).is_err() {
            self.check(usize::MAX)?;
        }
        Ok(room.text)
    }
}

/// Bytes that a rendering was charged so far.
struct Spent(usize);

/// Items that filters went over so far.
struct Done(u64);

/// A text that takes only so many bytes.
pub(crate) struct Room {
    text: String,
    bytes: usize,
}

impl fmt::Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > self.bytes {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// How large a value is when it is printed.
struct Size {
    items: usize,
    bytes: usize,
    limit: usize,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.items += 1;
        self.bytes = self.bytes.saturating_add(value.as_str().map_or(ITEM, str::len));
        let refused = |text: &str| Err(Error::new(ErrorKind::InvalidOperation, text.to_owned()));
        if depth > DEPTH {
            return refused("a value is nested too deeply");
        }
        match value.kind() {
            // what can be read once is not read here
            ValueKind::Iterable if value.len().is_some_and(|len| len > ITEMS) => {
                return refused("a list has too many items");
            }
            ValueKind::Seq => {
                for item in value.try_iter()? {
                    self.add(&item, depth + 1)?;
                    if self.bytes > self.limit {
                        break;
                    }
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    self.add(&key, depth + 1)?;
                    self.add(&value.get_item(&key)?, depth + 1)?;
                    if self.bytes > self.limit {
                        break;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
