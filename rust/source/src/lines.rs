//! Cutting text: lines, paragraphs, or all of it.

use fastft_record::{Code, RowError};
use memchr::memchr;

use crate::detect::BOM;
use crate::rows::MAX_ROW_BYTES;
use crate::window::{Cut, Cutter, Step};

/// Bytes of a row that is too large that are kept for whoever looks at it.
pub const KEPT_OF_A_FAULT: usize = 1 << 16;

/// The fault of a row that is larger than any that is read.
pub fn too_large(start: usize, limit: usize) -> Cut {
    let reason = format!("the row is larger than {} MB, the most one row may have", limit >> 20);
    let end = start + KEPT_OF_A_FAULT.min(limit);
    Cut { start, end, fault: Some(RowError::new(Code::TooLong, reason)) }
}

/// The line without white space at its end (where CR is), or None when it is blank; text keeps its indent.
fn trimmed(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let length = bytes[start..end].trim_ascii_end().len();
    (length > 0).then_some((start, start + length))
}

/// Cuts lines that are not blank, and only those that begin within the next `left` bytes.
#[derive(Debug)]
pub struct Lines {
    left: u64,
    /// Whether the next bytes open the file, perhaps with a byte order mark.
    opens: bool,
    skips: bool,
    limit: usize,
    /// Bytes after `at` that are known to have no newline.
    scanned: usize,
}

impl Lines {
    /// Lines of a file that begin within its first `left` bytes.
    pub fn opening(left: u64) -> Self {
        Self { left, opens: true, skips: false, limit: MAX_ROW_BYTES, scanned: 0 }
    }

    /// Lines that begin within `left` bytes; with `mid_line` the first one began before and is left out.
    pub fn within(left: u64, mid_line: bool) -> Self {
        Self { left, opens: false, skips: mid_line, limit: MAX_ROW_BYTES, scanned: 0 }
    }

    fn advance(&mut self, at: &mut usize, to: usize) {
        self.left = self.left.saturating_sub((to - *at) as u64);
        *at = to;
        self.scanned = 0;
    }
}

impl Cutter for Lines {
    const SKIPS_BOM: bool = false; // it is part of the first line where lines are counted by their bytes

    fn step(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        if self.opens && !bytes.is_empty() {
            self.opens = false;
            if self.left > 0 && bytes.starts_with(BOM) {
                // the first line begins with the mark
                *at = BOM.len();
                self.left = self.left.saturating_sub(BOM.len() as u64).max(1);
            }
        }
        loop {
            if self.left == 0 {
                return Step::End;
            }
            let start = *at;
            let newline =
                memchr(b'\n', &bytes[start + self.scanned..]).map(|found| start + self.scanned + found);
            if self.skips {
                self.advance(at, newline.map_or(bytes.len(), |found| found + 1));
                self.skips = newline.is_none();
                match (newline, last) {
                    (Some(_), _) => continue,
                    (None, true) => return Step::End,
                    (None, false) => return Step::More,
                }
            }
            if newline.is_none() && !last {
                if bytes.len() - start >= self.limit {
                    self.advance(at, bytes.len());
                    self.skips = true;
                    return Step::Row(too_large(start, self.limit));
                }
                self.scanned = bytes.len() - start;
                return Step::More;
            }
            if start >= bytes.len() {
                return Step::End;
            }
            let end = newline.unwrap_or(bytes.len());
            self.advance(at, (end + 1).min(bytes.len()));
            if let Some((start, end)) = trimmed(bytes, start, end) {
                return Step::Row(Cut::clean(start, end));
            }
        }
    }
}

/// Cuts lines up to a blank line.
#[derive(Debug)]
pub struct Paragraphs {
    skips: bool,
    limit: usize,
}

impl Default for Paragraphs {
    fn default() -> Self {
        Self { skips: false, limit: MAX_ROW_BYTES }
    }
}

impl Cutter for Paragraphs {
    fn step(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        let mut whole: Option<(usize, usize)> = None;
        let mut next = *at;
        while next < bytes.len() {
            let start = next;
            let Some(end) = memchr(b'\n', &bytes[start..])
                .map(|found| start + found)
                .or_else(|| last.then_some(bytes.len()))
            else {
                break;
            };
            next = (end + 1).min(bytes.len());
            match (trimmed(bytes, start, end), &mut whole) {
                (Some(_), _) if self.skips => *at = next,
                (None, _) if self.skips => {
                    *at = next;
                    self.skips = false;
                }
                (Some((_, end)), Some(whole)) => whole.1 = end,
                (Some((_, end)), None) => whole = Some((start, end)),
                (None, Some((start, end))) => {
                    *at = next;
                    return Step::Row(Cut::clean(*start, *end));
                }
                (None, None) => *at = next,
            }
        }
        match whole {
            Some((start, end)) if last => {
                *at = bytes.len();
                Step::Row(Cut::clean(start, end))
            }
            _ if last => Step::End,
            Some((start, _)) if bytes.len() - start >= self.limit => {
                *at = bytes.len();
                self.skips = true;
                Step::Row(too_large(start, self.limit))
            }
            None if bytes.len() - *at >= self.limit => {
                let start = std::mem::replace(at, bytes.len());
                let given_up = std::mem::replace(&mut self.skips, true);
                if given_up { Step::More } else { Step::Row(too_large(start, self.limit)) }
            }
            _ => Step::More,
        }
    }
}

/// The whole file as one row, unless it is blank.
#[derive(Debug, Default)]
pub struct Everything {
    given_up: bool,
}

impl Cutter for Everything {
    fn step(&mut self, bytes: &[u8], at: &mut usize, last: bool) -> Step {
        let start = *at;
        if self.given_up || (!last && bytes.len() - start >= MAX_ROW_BYTES) {
            *at = bytes.len();
            return match (std::mem::replace(&mut self.given_up, true), last) {
                (false, _) => Step::Row(too_large(start, MAX_ROW_BYTES)),
                (true, false) => Step::More,
                (true, true) => Step::End,
            };
        }
        if !last {
            return Step::More;
        }
        *at = bytes.len();
        let length = bytes[start..].trim_ascii_end().len();
        if length == 0 { Step::End } else { Step::Row(Cut::clean(start, start + length)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_large_costs_only_itself() {
        let mut lines = Lines { limit: 8, ..Lines::opening(u64::MAX) };
        let mut at = 0;
        let Step::Row(cut) = lines.step(b"0123456789", &mut at, false) else { panic!() };
        assert_eq!((cut.start, cut.end, at, cut.fault.unwrap().code), (0, 8, 10, Code::TooLong));
        at = 0;
        assert_eq!(lines.step(b"more\nnext\n", &mut at, false), Step::Row(Cut::clean(5, 9)));
    }

    #[test]
    fn a_paragraph_that_is_too_large_costs_only_itself() {
        let mut cutter = Paragraphs { skips: false, limit: 8 };
        let mut at = 0;
        let Step::Row(cut) = cutter.step(b"01234\n56789", &mut at, false) else { panic!() };
        assert_eq!(cut.fault.unwrap().code, Code::TooLong);
        at = 0;
        assert_eq!(cutter.step(b"more\n\nnext\n\n", &mut at, false), Step::Row(Cut::clean(6, 10)));
    }
}
