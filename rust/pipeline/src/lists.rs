//! The lists of rows that are not in a store: those that can't be used, and good ones that were left out.
//!
//! One JSON object a line, in the order of the data. A piece writes its own, with lines counted from
//! where its unit begins; `join` puts them together with the lines of the files.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use fastft_record::RowError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::units::Input;

/// Bytes of a row that are kept.
pub const KEPT_BYTES: usize = 2048;

/// Which source a unit is of, and how many rows of it come before; None when there is no such unit.
pub type RowsBefore<'a> = dyn Fn(u32) -> Option<(String, u64)> + 'a;

/// A row in a list.
pub trait Listed: Serialize + DeserializeOwned {
    /// Count its line from the beginning of the file, and name other rows by their sources: `rows_before`
    /// says which source a unit is of, and how many rows of it come before.
    ///
    /// # Errors
    /// When it names a unit that there is not.
    fn settle(&mut self, lines: u64, rows_before: &RowsBefore<'_>) -> Result<(), String>;
}

/// One row that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The file, as the plan names it.
    pub file: String,
    /// 1-based line on which the row begins.
    pub line: u64,
    /// The source's name.
    pub source: String,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub reason: String,
    /// The JSON path of what is wrong, where it is one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The first 2 KB; bytes that are no UTF-8 are shown as U+FFFD.
    pub row: String,
}

impl Rejected {
    /// Describe a bad row.
    #[must_use]
    pub fn new(input: &Input, line: u64, bytes: &[u8], error: &RowError) -> Self {
        Self {
            file: input.path.clone(),
            line,
            source: input.source_name.clone(),
            code: error.code.as_str().to_owned(),
            reason: error.reason.clone(),
            at: error.at.clone(),
            row: String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT_BYTES)]).into_owned(),
        }
    }
}

impl Rejected {
    /// As the error that ends a run; `lines` come before those that its line is counted from.
    #[must_use]
    pub fn into_error(self, lines: u64) -> EngineError {
        EngineError::Row {
            code: self.code,
            reason: self.reason,
            path: PathBuf::from(self.file),
            line: self.line.saturating_add(lines),
        }
    }
}

impl Listed for Rejected {
    fn settle(&mut self, lines: u64, _: &RowsBefore<'_>) -> Result<(), String> {
        self.line = self.line.saturating_add(lines);
        Ok(())
    }
}

/// One good row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The file, as the plan names it.
    pub file: String,
    /// 1-based line on which the row begins.
    pub line: u64,
    /// The source's name.
    pub source: String,
    /// The rule, `too_long`, or the kind of duplicate.
    pub rule: String,
    /// What more there is to say, for example which row it is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The unit and row that it is like, until rows are counted through the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<(u32, u32)>,
}

/// Why a good row is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// The rule, `too_long`, or the kind of duplicate.
    pub rule: String,
    /// What more there is to say.
    pub detail: Option<String>,
    /// The unit and row that it is like.
    pub of: Option<(u32, u32)>,
}

impl LeftOut {
    /// Describe a row that is left out.
    #[must_use]
    pub fn new(input: &Input, line: u64, why: Why) -> Self {
        Self {
            file: input.path.clone(),
            line,
            source: input.source_name.clone(),
            rule: why.rule,
            detail: why.detail,
            of: why.of,
        }
    }
}

impl Listed for LeftOut {
    fn settle(&mut self, lines: u64, rows_before: &RowsBefore<'_>) -> Result<(), String> {
        self.line = self.line.saturating_add(lines);
        if let Some((unit, row)) = self.of.take() {
            let (source, before) =
                rows_before(unit).ok_or_else(|| format!("it names unit {unit}, which there is not"))?;
            self.detail = Some(format!("like row {} of `{source}`", before.saturating_add(u64::from(row))));
        }
        Ok(())
    }
}

/// Which lists a piece has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Has {
    /// Rows that could not be used.
    pub rejected: bool,
    /// Good rows that were left out.
    pub left_out: bool,
}

/// Writes the lists of one piece; a file is made with its first row.
pub struct Lists {
    rejected: Lines,
    left_out: Lines,
}

/// What the list of rejected rows of a piece is called.
#[must_use]
pub fn rejected_name(piece: &str) -> String {
    format!("{piece}.rejected.jsonl")
}

/// What the list of left-out rows of a piece is called.
#[must_use]
pub fn left_out_name(piece: &str) -> String {
    format!("{piece}.left_out.jsonl")
}

impl Lists {
    /// The lists of the piece called `name`.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        Self {
            rejected: Lines::new(folder.join(rejected_name(name))),
            left_out: Lines::new(folder.join(left_out_name(name))),
        }
    }

    /// Add a row that could not be used.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn reject(&mut self, row: &Rejected) -> Result<(), EngineError> {
        self.rejected.push(row)
    }

    /// Add a good row that was left out.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn leave_out(&mut self, row: &LeftOut) -> Result<(), EngineError> {
        self.left_out.push(row)
    }

    /// Write what is pending, durably.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(self) -> Result<Has, EngineError> {
        Ok(Has { rejected: self.rejected.finish()?, left_out: self.left_out.finish()? })
    }
}

/// A file of JSON lines.
pub struct Lines {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Lines {
    /// A file that is made with its first line.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Add a line.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn push(&mut self, row: &impl Serialize) -> Result<(), EngineError> {
        let mut write = || -> std::io::Result<()> {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(BufWriter::new(File::create(&self.path)?)),
            };
            serde_json::to_writer(&mut *file, row)?;
            file.write_all(b"\n")
        };
        write().map_err(EngineError::io(&self.path))
    }

    /// Write what is pending, durably; whether there is a file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(self) -> Result<bool, EngineError> {
        let Some(mut file) = self.file else { return Ok(false) };
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(EngineError::io(&self.path))?;
        Ok(true)
    }
}

/// Put the lists of pieces together as `name`; a piece is its file and the lines before it.
///
/// # Errors
/// When one can't be read or written.
pub fn join<T: Listed>(
    folder: &Path,
    name: &str,
    pieces: impl Iterator<Item = (String, u64)>,
    rows_before: &RowsBefore<'_>,
) -> Result<(), EngineError> {
    let path = folder.join(name);
    let mut out = BufWriter::new(File::create(&path).map_err(EngineError::io(&path))?);
    for (piece, lines) in pieces {
        let piece = folder.join(piece);
        let file = BufReader::new(File::open(&piece).map_err(EngineError::io(&piece))?);
        for line in file.lines() {
            let line = line.map_err(EngineError::io(&piece))?;
            let mut row: T =
                serde_json::from_str(&line).map_err(|error| EngineError::store(&piece, error))?;
            row.settle(lines, rows_before).map_err(|reason| EngineError::store(&piece, reason))?;
            let write = |out: &mut BufWriter<File>| -> std::io::Result<()> {
                serde_json::to_writer(&mut *out, &row)?;
                out.write_all(b"\n")
            };
            write(&mut out).map_err(EngineError::io(&path))?;
        }
    }
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(EngineError::io(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> LeftOut {
        LeftOut {
            file: "a.jsonl".into(),
            line: u64::MAX,
            source: "a".into(),
            rule: "duplicate.exact".into(),
            detail: None,
            of: Some((1, u32::MAX)),
        }
    }

    #[test]
    fn a_row_is_named_by_its_source_and_the_ends_of_numbers_hold() {
        let mut left_out = row();
        left_out.settle(1, &|_| Some(("b".to_owned(), 2))).unwrap();
        assert_eq!((left_out.line, left_out.of), (u64::MAX, None));
        assert_eq!(left_out.detail.unwrap(), "like row 4294967297 of `b`");
    }

    #[test]
    fn a_unit_that_there_is_not_makes_a_damaged_list() {
        assert_eq!(row().settle(0, &|_| None).unwrap_err(), "it names unit 1, which there is not");
    }
}
