//! Cutting a JSON array into its elements by depth, without parsing them.
//!
//! An element that never closes (a missing quote or bracket) does not take the rest of the file
//! with it: the cut is made before the next line that begins like the element did, or, in an array
//! that is one line, before the next object with the element's first key.

use fastft_record::{Code, RowError};
use memchr::{memchr3, memmem, memrchr};

use crate::lines::too_large;
use crate::rows::MAX_ROW_BYTES;
use crate::window::{Cut, Cutter, Step};

/// Bytes outside strings, and strings, that one element may have. It bounds what a row that never
/// closes costs: without it, many such rows would each read the file to its end.
const MAX_STEPS: usize = 1 << 24;
/// Bytes behind an element that never closes within which the next one is sought before it is handed on.
const SEARCHED: usize = 1 << 24;

/// Where the cutter stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Start,
    Element,
    Separator,
    /// Between an element that never closed and the next one, which begins with these bytes.
    Lost {
        opening: Vec<u8>,
        bytes: u64,
    },
    End,
    Ended,
}

/// How an element ends.
enum Ends {
    At(usize),
    /// A bracket closes another kind, or an object has a bracket where only a key can stand (as where the next row
    /// begins and a brace is missing).
    Never,
    /// Not within these bytes.
    Later,
}

/// Cuts the array that a file is.
#[derive(Debug)]
pub struct Array {
    state: State,
    /// What stands before the place of the last step on its line, as far as it may be an indent.
    indent: Vec<u8>,
    /// The place of the last step.
    from: usize,
    limit: usize,
    searched: usize,
}

impl Default for Array {
    fn default() -> Self {
        Self { state: State::Start, indent: Vec::new(), from: 0, limit: MAX_ROW_BYTES, searched: SEARCHED }
    }
}

impl Array {
    fn fault(start: usize, end: usize, reason: impl Into<String>) -> Step {
        Step::Row(Cut { start, end, fault: Some(RowError::new(Code::Json, reason)) })
    }

    /// The element at `start`.
    fn element(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        let start = *at;
        match value_end(bytes, start) {
            Ends::At(end) => {
                self.state = State::Separator;
                *at = end;
                return Step::Row(Cut::clean(start, start + bytes[start..end].trim_ascii_end().len()));
            }
            Ends::Later if !last && bytes.len() - start < self.limit => return Step::More,
            Ends::Later if !last => {
                self.state =
                    State::Lost { opening: self.opening(bytes, start), bytes: (bytes.len() - start) as u64 };
                *at = bytes.len();
                return Step::Row(too_large(start, self.limit));
            }
            Ends::Later | Ends::Never => {}
        }
        let opening = self.opening(bytes, start);
        let reason = "a quote or bracket of this row never closes";
        if let Some(next) = next(bytes, start + 1, &opening) {
            self.state = State::Separator;
            *at = next;
            return Self::fault(start, *at, reason);
        }
        let rest = bytes.len() - start;
        if last {
            self.state = State::Ended; // that the array does not end either is no row of its own
            *at = bytes.len();
            return Self::fault(start, *at, format!("{reason}; the file's last {rest} bytes go with it"));
        }
        if rest < self.searched {
            return Step::More;
        }
        self.state = State::Lost { opening, bytes: 0 };
        *at = bytes.len();
        Self::fault(
            start,
            *at,
            format!("{reason}; what follows is lost up to the next row that begins like it"),
        )
    }

    /// How the next element begins: on a line with the same indent and first byte, or, when the element does not
    /// begin its line, with the same first key. Empty when it has none.
    fn opening(&self, bytes: &[u8], start: usize) -> Vec<u8> {
        let mut indent = self.indent.clone();
        follow(&mut indent, &bytes[self.from..start]);
        if !indent.iter().all(u8::is_ascii_whitespace) {
            let key =
                bytes[start + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count() + start + 1;
            return match (bytes[start], bytes.get(key), string_end(bytes, key + 1)) {
                (b'{', Some(b'"'), Ends::At(end)) => bytes[start..end].to_vec(),
                _ => Vec::new(),
            };
        }
        [b"\n", indent.as_slice(), &bytes[start..=start]].concat()
    }

    /// Look for the next element behind one that never closed.
    fn resync(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        let State::Lost { opening, bytes: lost } = &mut self.state else {
            unreachable!("only called when lost")
        };
        let found = next(bytes, *at, opening);
        let to = match found {
            Some(next) => next,
            None if last => bytes.len(),
            None => bytes.len().saturating_sub(opening.len()).max(*at),
        };
        *lost += (to - *at) as u64;
        *at = to;
        if found.is_none() && !last {
            return Step::More;
        }
        let lost = *lost;
        self.state = if found.is_some() { State::Element } else { State::Ended };
        if found.is_some() {
            return self.advance(bytes, at, last);
        }
        Self::fault(
            to,
            to,
            format!("the {lost} bytes behind a row that never closes, up to the end of the file, are lost"),
        )
    }

    /// The next row.
    fn advance(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        loop {
            while bytes.get(*at).is_some_and(u8::is_ascii_whitespace)
                && !matches!(self.state, State::Lost { .. })
            {
                *at += 1;
            }
            let start = *at;
            let byte = bytes.get(start).copied();
            if byte.is_none() && !last {
                return Step::More;
            }
            match (&self.state, byte) {
                (State::Lost { .. }, _) => return self.resync(bytes, at, last),
                (State::Start, Some(b'[')) | (State::Separator, Some(b',')) => {
                    *at += 1;
                    self.state = State::Element;
                }
                (State::Ended | State::Start, _) | (State::End, None) => return Step::End,
                (State::End, Some(_)) if !last && bytes.len() - start < self.searched => return Step::More,
                (State::End, Some(_)) => {
                    self.state = State::Ended;
                    *at = bytes.len();
                    return Self::fault(start, *at, "something follows the end of the array");
                }
                (_, None) => {
                    self.state = State::Ended;
                    return Self::fault(start, start, "the file ends before the array does");
                }
                (_, Some(b']')) => {
                    *at += 1;
                    self.state = State::End;
                }
                (State::Separator, Some(_)) => self.state = State::Element, // a missing comma loses no row
                (State::Element, Some(b',' | b'}')) => {
                    *at += 1;
                    return Self::fault(start, *at, "a comma or brace where a row should begin");
                }
                (State::Element, Some(_)) => return self.element(bytes, at, last),
            }
        }
    }
}

/// Where the next element begins that opens like this, or its line does.
fn next(bytes: &[u8], from: usize, opening: &[u8]) -> Option<usize> {
    let newline = usize::from(*opening.first()? == b'\n');
    memmem::find(&bytes[from..], opening).map(|found| from + found + newline)
}

/// One past the end of the value at `start`.
fn value_end(bytes: &[u8], start: usize) -> Ends {
    let mut at = start;
    let mut open: Vec<u8> = Vec::new();
    let mut before = b','; // the last byte that is no white space
    for _ in 0..MAX_STEPS {
        let Some(byte) = bytes.get(at).copied() else { return Ends::Later };
        match byte {
            b'"' => {
                match string_end(bytes, at + 1) {
                    Ends::At(end) => at = end,
                    other => return other,
                }
                before = b'"';
                continue;
            }
            b'{' | b'[' => {
                if open.last() == Some(&b'{') && before != b':' {
                    return Ends::Never;
                }
                open.push(byte);
            }
            b',' | b']' | b'}' if open.is_empty() => return Ends::At(at),
            b']' | b'}' => {
                if open.pop() != Some(byte - 2) {
                    return Ends::Never; // in ASCII each closing bracket is two behind its opening one
                }
                if open.is_empty() {
                    return Ends::At(at + 1);
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        at += 1;
    }
    Ends::Never
}

/// One past the quote that ends the string whose content begins at `at`; never when a line ends
/// first, as no JSON string holds a raw newline (so a lost quote is found on its own line).
fn string_end(bytes: &[u8], mut at: usize) -> Ends {
    loop {
        let Some(found) = bytes.get(at..).and_then(|rest| memchr3(b'"', b'\\', b'\n', rest)) else {
            return Ends::Later;
        };
        match bytes[at + found] {
            b'"' => return Ends::At(at + found + 1),
            b'\\' => at += found + 2,
            _ => return Ends::Never,
        }
    }
}

impl Cutter for Array {
    fn step(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        self.from = *at;
        let step = self.advance(bytes, at, last);
        follow(&mut self.indent, &bytes[self.from..*at]);
        step
    }
}

/// What stands on the last line, when `bytes` come behind what stood there; beyond some length it is no indent.
fn follow(indent: &mut Vec<u8>, bytes: &[u8]) {
    let line = memrchr(b'\n', bytes);
    if line.is_some() {
        indent.clear();
    }
    let rest = &bytes[line.map_or(0, |found| found + 1)..];
    if rest.iter().all(u8::is_ascii_whitespace) {
        indent.extend_from_slice(rest);
    } else {
        indent.push(b'x');
    }
    indent.truncate(1024);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::rows::Cutting;

    /// The elements as (bytes, broken), from a stream that is read in blocks.
    fn cut_by(bytes: &[u8], block: usize) -> Vec<(String, bool)> {
        let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
        Cutting::new("a.json".into(), input, Array::default(), block)
            .flat_map(|chunk| {
                let chunk = chunk.unwrap();
                let text = |row| String::from_utf8_lossy(chunk.bytes(row)).into_owned();
                chunk.rows.iter().map(|row| (text(row), row.fault.is_some())).collect::<Vec<_>>()
            })
            .collect()
    }

    fn cut(text: &str) -> Vec<(String, bool)> {
        cut_by(text.as_bytes(), 1 << 20)
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\[\\]{}\",:\\\\ a\u{e9}\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a\"\\\\]{0,3}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn elements_are_those_of_a_parser(rows in prop::collection::vec(values(), 0..6), pretty: bool) {
            let array = Value::from(rows.clone());
            let text = if pretty { serde_json::to_string_pretty(&array) } else { serde_json::to_string(&array) }.unwrap();
            let found = cut(&text);
            prop_assert_eq!(&cut_by(text.as_bytes(), 3), &found);
            let found: Vec<Value> = found.iter().map(|(text, _)| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(prop::sample::select(b"[]{}\",\\a \n".to_vec()), 0..40)) {
            let whole = cut_by(&bytes, 1 << 20);
            prop_assert!(whole.len() < 100);
            prop_assert_eq!(cut_by(&bytes, 1), whole);
        }
    }

    #[test]
    fn a_row_that_never_closes_costs_only_itself() {
        let text = "[\n  {\"a\": \"x},\n  {\"a\": 2},\n  {\"a\": 3}\n]";
        let rows = cut(text);
        assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(rows[2].0, "{\"a\": 3}");
        assert_eq!(cut("[{\"a\": 1}, {\"b\""), [("{\"a\": 1}".into(), false), ("{\"b\"".into(), true)]);
    }

    #[test]
    fn a_row_without_its_brace_or_bracket_costs_only_itself() {
        for broken in
            ["{\"a\": 2,", "{\"a\": 2", "{\"a\": [2},", "{\"a\": {\"b\": 2},", "{\"a\": [{\"b\": 2},"]
        {
            for indent in ["", "  "] {
                let text = format!(
                    "[\n{indent}{{\"a\": 1}},\n{indent}{broken}\n{indent}{{\"a\": 3}},\n{indent}{{\"a\": 4}}\n]"
                );
                let rows = cut(&text);
                let faults: Vec<bool> = rows.iter().map(|row| row.1).collect();
                assert_eq!(faults, [false, true, false, false], "{text}");
                assert_eq!((rows[2].0.as_str(), rows[3].0.as_str()), ("{\"a\": 3}", "{\"a\": 4}"));
            }
        }
    }

    #[test]
    fn a_broken_row_on_the_only_line_costs_only_itself() {
        for broken in ["{\"a\": \"x}", "{\"a\": [\"x\"}", "{\"a\": {\"b\": 1}", "{\"a\": \"x\""] {
            let text = format!("[{{\"a\": 1}}, {broken}, {broken}, {{\"a\": 3}}, {{\"a\": 4}}]");
            let rows = cut(&text);
            assert_eq!(cut_by(text.as_bytes(), 2), rows);
            let is_json = |row: &&(String, bool)| serde_json::from_str::<Value>(&row.0).is_ok();
            let good: Vec<&str> = rows.iter().filter(is_json).map(|row| row.0.as_str()).collect();
            assert_eq!(good, ["{\"a\": 1}", "{\"a\": 3}", "{\"a\": 4}"], "{text} {rows:?}");
        }
    }

    #[test]
    fn what_follows_the_array_is_reported() {
        assert_eq!(cut("[1, 2] x"), [("1".into(), false), ("2".into(), false), ("x".into(), true)]);
        assert_eq!(cut("[]"), []);
    }

    #[test]
    fn a_row_that_never_closes_is_given_up_where_it_gets_too_far() {
        let filler = "x".repeat(100);
        let text = format!("[\n {{\"a\": \"broken\n   {filler}\n {{\"a\": 2}},\n {{\"a\": 3}}]");
        let mut cutter = Array { searched: 50, ..Array::default() };
        let (mut at, bytes) = (0, text.as_bytes());
        let Step::Row(cut) = cutter.step(&bytes[..70], &mut at, false) else { panic!() };
        assert!(cut.fault.unwrap().reason.contains("is lost up to"));
        assert_eq!(cutter.step(&bytes[..100], &mut at, false), Step::More);
        let Step::Row(cut) = cutter.step(bytes, &mut at, true) else { panic!() };
        assert_eq!(&text[cut.start..cut.end], "{\"a\": 2}");
    }
}
