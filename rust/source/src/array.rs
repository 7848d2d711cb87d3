//! Cutting a JSON array into its elements by depth, without parsing them.
//!
//! An element that never closes (a missing quote or bracket) does not take the rest of the file
//! with it: the cut is made before the next line that begins like the element did.

use fastft_record::{Code, RowError};
use memchr::{memchr3, memmem};

/// Bytes outside strings, and strings, that one element may have. It bounds what a row that never
/// closes costs: without it, many such rows would each read the file to its end.
const MAX_STEPS: usize = 1 << 24;

/// Where the cutter stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Element,
    Separator,
    End,
}

/// One element: its bytes, and what is wrong with how it was cut.
#[derive(Debug, PartialEq, Eq)]
pub struct Element {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Set when the element could not be cut cleanly.
    pub fault: Option<RowError>,
}

/// An iterator over the elements of the array in `bytes`.
#[derive(Debug)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    state: State,
}

impl<'a> Elements<'a> {
    /// Cut the array that begins at or after `start` (white space is skipped).
    #[must_use]
    pub fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, at: start, state: State::Start }
    }

    fn skip_space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn fault(&mut self, start: usize, end: usize, reason: &str) -> Element {
        self.at = end;
        Element { start, end, fault: Some(RowError::new(Code::Json, reason)) }
    }

    /// One past the end of the value at `start`, or None when it never closes: the file ends inside
    /// it, a bracket closes another kind, or an object has a bracket where only a key can stand (as
    /// where the next row begins and a brace is missing).
    fn value_end(&self, start: usize) -> Option<usize> {
        let bytes = self.bytes;
        let mut at = start;
        let mut open: Vec<u8> = Vec::new();
        let mut before = b','; // the last byte that is no white space
        for _ in 0..MAX_STEPS {
            let byte = *bytes.get(at)?;
            match byte {
                b'"' => {
                    at = string_end(bytes, at + 1)?;
                    before = b'"';
                    continue;
                }
                b'{' | b'[' => {
                    if open.last() == Some(&b'{') && before != b':' {
                        return None;
                    }
                    open.push(byte);
                }
                b',' | b']' | b'}' if open.is_empty() => return Some(at),
                b']' | b'}' => {
                    if open.pop() != Some(byte - 2) {
                        return None; // in ASCII each closing bracket is two behind its opening one
                    }
                    if open.is_empty() {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                before = byte;
            }
            at += 1;
        }
        None
    }

    /// Where the next element seems to begin: a line with the same indent and first byte.
    fn resume_after(&self, start: usize) -> usize {
        let line = self.bytes[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |found| found + 1);
        let indent = &self.bytes[line..start];
        if indent.iter().all(u8::is_ascii_whitespace) {
            let mut opening = vec![b'\n'];
            opening.extend_from_slice(indent);
            opening.push(self.bytes[start]);
            if let Some(found) = memmem::find(&self.bytes[start..], &opening) {
                return start + found + 1;
            }
        }
        self.bytes.len()
    }
}

/// One past the quote that ends the string whose content begins at `at`; None when a line ends
/// first, as no JSON string holds a raw newline (so a lost quote is found on its own line).
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = at + memchr3(b'"', b'\\', b'\n', bytes.get(at..)?)?;
        match bytes[found] {
            b'"' => return Some(found + 1),
            b'\\' => at = found + 2,
            _ => return None,
        }
    }
}

impl Iterator for Elements<'_> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        loop {
            self.skip_space();
            let at = self.at;
            let byte = self.bytes.get(at).copied();
            match (self.state, byte) {
                (State::Start, Some(b'[')) | (State::Separator, Some(b',')) => {
                    self.at += 1;
                    self.state = State::Element;
                }
                (State::End, None) | (State::Start, _) => return None,
                (State::End, Some(_)) => {
                    return Some(self.fault(at, self.bytes.len(), "something follows the end of the array"));
                }
                (_, None) => {
                    self.state = State::End;
                    let end = self.bytes.len();
                    return Some(self.fault(end, end, "the file ends before the array does"));
                }
                (_, Some(b']')) => {
                    self.at += 1;
                    self.state = State::End;
                }
                (State::Separator, Some(_)) => self.state = State::Element, // a missing comma loses no row
                (State::Element, Some(b',' | b'}')) => {
                    return Some(self.fault(at, at + 1, "a comma or brace where a row should begin"));
                }
                (State::Element, Some(_)) => {
                    self.state = State::Separator;
                    if let Some(end) = self.value_end(at) {
                        self.at = end;
                        let end = at + self.bytes[at..end].trim_ascii_end().len();
                        return Some(Element { start: at, end, fault: None });
                    }
                    let end = self.resume_after(at);
                    let reason = if end < self.bytes.len() {
                        "a quote or bracket of this row never closes".to_owned()
                    } else {
                        let rest = end - at;
                        format!(
                            "a quote or bracket of this row never closes; the file's last {rest} bytes go with it"
                        )
                    };
                    return Some(self.fault(at, end, &reason));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn cut(text: &str) -> Vec<(String, bool)> {
        Elements::new(text.as_bytes(), 0)
            .map(|element| (text[element.start..element.end].to_owned(), element.fault.is_some()))
            .collect()
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
            let found: Vec<Value> = Elements::new(text.as_bytes(), 0)
                .map(|element| serde_json::from_str(&text[element.start..element.end]).unwrap())
                .collect();
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(prop::sample::select(b"[]{}\",\\a \n".to_vec()), 0..40)) {
            let mut last = 0;
            for element in Elements::new(&bytes, 0).take(100) {
                prop_assert!(element.start >= last && element.end >= element.start);
                last = element.end;
            }
            prop_assert!(Elements::new(&bytes, 0).count() < 100);
        }
    }

    #[test]
    fn a_row_that_never_closes_costs_only_itself() {
        let text = "[\n  {\"a\": \"x},\n  {\"a\": 2},\n  {\"a\": 3}\n]";
        let rows = cut(text);
        assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(rows[2].0, "{\"a\": 3}");
        assert_eq!(
            cut("[{\"a\": 1}, {\"b\""),
            [("{\"a\": 1}".into(), false), ("{\"b\"".into(), true), (String::new(), true)]
        );
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
    fn what_follows_the_array_is_reported() {
        assert_eq!(cut("[1, 2] x"), [("1".into(), false), ("2".into(), false), ("x".into(), true)]);
        assert_eq!(cut("[]"), []);
    }
}
