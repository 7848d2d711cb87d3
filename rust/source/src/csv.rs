//! Cutting tables into records, and records into JSON objects whose keys are the header's.
//!
//! RFC 4180: a field may stand in quotes and then hold delimiters, newlines and doubled quotes. A quote inside a field
//! that does not begin with one is a letter, as everyone writes inches. What the standard does not allow behind a
//! closing quote is a fault, and costs the line on which the record began, not the rest of the file.

use std::borrow::Cow;

use fastft_record::{Code, RowError};
use memchr::{memchr, memchr2};

use crate::lines::too_large;
use crate::rows::MAX_ROW_BYTES;
use crate::window::{Cut, Cutter, Step};

/// Cuts a table.
#[derive(Debug)]
pub struct Table {
    delimiter: u8,
    /// The names of the columns as JSON keys with their colons; None before the header was read.
    keys: Option<Vec<Vec<u8>>>,
    /// Whether a record that is too large goes on.
    skips: bool,
    limit: usize,
}

enum Ends {
    /// One past the record, and where the next line begins.
    At(usize, usize),
    /// A letter behind a closing quote.
    Broken,
    Later,
}

impl Table {
    /// A table with this byte between its fields.
    pub fn new(delimiter: u8) -> Self {
        Self { delimiter, keys: None, skips: false, limit: MAX_ROW_BYTES }
    }

    /// Where the record at `start` ends.
    fn record_end(&self, bytes: &[u8], start: usize, last: bool) -> Ends {
        let mut at = start;
        loop {
            if bytes.get(at) == Some(&b'"') {
                at += 1;
                loop {
                    let Some(found) = memchr(b'"', &bytes[at..]) else { return Ends::Later };
                    at += found + 1;
                    match bytes.get(at) {
                        Some(b'"') => at += 1,
                        None if !last => return Ends::Later,
                        _ => break,
                    }
                }
                match bytes.get(at) {
                    Some(b'\r') if matches!(bytes.get(at + 1), Some(b'\n') | None) => {
                        if at + 1 == bytes.len() && !last {
                            return Ends::Later;
                        }
                    }
                    None | Some(b'\n') => {}
                    Some(byte) if *byte == self.delimiter => {}
                    Some(_) => return Ends::Broken,
                }
            }
            let Some(found) = memchr2(self.delimiter, b'\n', &bytes[at..]) else {
                return if last { Ends::At(bytes.len(), bytes.len()) } else { Ends::Later };
            };
            at += found + 1;
            if bytes[at - 1] == b'\n' {
                return Ends::At(at - 1, at);
            }
        }
    }

    /// The fields of a record that was cut cleanly.
    fn fields<'a>(&self, record: &'a str) -> Vec<Cow<'a, str>> {
        let (bytes, mut at, mut fields) = (record.as_bytes(), 0, Vec::new());
        loop {
            if bytes.get(at) == Some(&b'"') {
                let start = at + 1;
                let mut doubled = false;
                at = start;
                while let Some(found) = memchr(b'"', &bytes[at..]) {
                    at += found + 1;
                    if bytes.get(at) != Some(&b'"') {
                        break;
                    }
                    doubled = true;
                    at += 1;
                }
                let field = &record[start..at - 1];
                fields.push(if doubled {
                    Cow::Owned(field.replace("\"\"", "\""))
                } else {
                    Cow::Borrowed(field)
                });
            } else {
                let end = memchr(self.delimiter, &bytes[at..]).map_or(bytes.len(), |found| at + found);
                fields.push(Cow::Borrowed(&record[at..end]));
                at = end;
            }
            if at >= bytes.len() {
                return fields;
            }
            at += 1; // the delimiter
        }
    }

    fn header(&mut self, record: &[u8]) -> Result<(), String> {
        let record = std::str::from_utf8(record)
            .map_err(|_| "the header is no UTF-8: name the file's encoding, or convert it".to_owned())?;
        if record.contains('\r') && !record.contains("\r\n") {
            let reason = "the header contains a carriage return: lines that end in CR alone, as of old Macs, can't be \
                          told from text; convert them to LF";
            return Err(reason.to_owned());
        }
        let mut names: Vec<String> = Vec::new();
        for name in self.fields(record) {
            let name = name.trim();
            if names.iter().any(|other| other == name) {
                return Err(format!("the header names `{name}` twice"));
            }
            names.push(name.to_owned());
        }
        let key = |name: &String| {
            let mut key = Vec::new();
            write_string(name, &mut key);
            key.extend_from_slice(b": ");
            key
        };
        self.keys = Some(names.iter().map(key).collect());
        Ok(())
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is JSON, and memory takes it");
}

fn fault(start: usize, end: usize, reason: &str) -> Step {
    Step::Row(Cut { start, end, fault: Some(RowError::new(Code::Csv, reason)) })
}

impl Cutter for Table {
    const REWRITES: bool = true;

    fn step(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        loop {
            let start = *at;
            if self.keys.is_none() && bytes.len() - start >= self.limit {
                return Step::Refuse("the header does not end".to_owned());
            }
            let line = memchr(b'\n', &bytes[start..]).map(|found| start + found);
            let line_end = line.unwrap_or(bytes.len());
            let next_line = line.map_or(bytes.len(), |end| end + 1);
            // a line of white space is no record, unless white space is what cuts it
            let text = &bytes[start..line_end];
            let blank = text.trim_ascii().is_empty() && !text.contains(&self.delimiter);
            if self.skips || (blank && (last || line.is_some())) {
                *at = next_line;
                self.skips &= line.is_none();
                match (line, last) {
                    (Some(_), _) => continue,
                    (None, true) => return Step::End,
                    (None, false) => return Step::More,
                }
            }
            let ends = self.record_end(bytes, start, last);
            if self.keys.is_none() && (matches!(ends, Ends::Broken) || (matches!(ends, Ends::Later) && last))
            {
                return Step::Refuse("a quote in the header does not close where a field ends".to_owned());
            }
            let (end, next) = match ends {
                Ends::At(end, next) => (end, next),
                Ends::Later if !last && bytes.len() - start >= self.limit => {
                    *at = next_line;
                    self.skips = line.is_none();
                    if line.is_none() {
                        return Step::Row(too_large(start, self.limit));
                    }
                    return fault(start, line_end, "a quote that opens in this line does not close");
                }
                Ends::Later if !last => return Step::More,
                Ends::Later => {
                    *at = next_line;
                    return fault(start, line_end, "a quote that opens in this line does not close");
                }
                Ends::Broken if line.is_none() && !last => return Step::More,
                Ends::Broken => {
                    *at = next_line;
                    return fault(
                        start,
                        line_end,
                        "text follows a closing quote in the record that begins here",
                    );
                }
            };
            *at = next;
            let record = bytes[start..end].strip_suffix(b"\r").unwrap_or(&bytes[start..end]);
            if self.keys.is_some() {
                return Step::Row(Cut::clean(start, start + record.len()));
            }
            if let Err(reason) = self.header(record) {
                return Step::Refuse(reason);
            }
        }
    }

    fn rewrite(&mut self, record: &[u8], out: &mut Vec<u8>) -> Option<RowError> {
        let text = match std::str::from_utf8(record) {
            Ok(text) => text,
            Err(error) => {
                out.extend_from_slice(record);
                return Some(RowError::new(Code::Utf8, error.to_string()));
            }
        };
        let keys = self.keys.as_deref().unwrap_or_default();
        let fields = self.fields(text);
        if fields.len() != keys.len() {
            out.extend_from_slice(record);
            let reason = format!("the record has {} fields, the header {}", fields.len(), keys.len());
            return Some(RowError::new(Code::Csv, reason));
        }
        let mut opening: &[u8] = b"{";
        for (key, field) in keys.iter().zip(&fields) {
            out.extend_from_slice(opening);
            out.extend_from_slice(key);
            write_string(field, out);
            opening = b", ";
        }
        out.push(b'}');
        None
    }
}
