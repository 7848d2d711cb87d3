//! The list of rows that could not be used: one JSON object a line, in the order of the data.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use fastft_record::RowError;
use serde::{Deserialize, Serialize};

use crate::error::EngineError;

/// Bytes of a row that are kept.
pub const KEPT_BYTES: usize = 2048;

/// One row that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The file, as the plan names it.
    pub file: String,
    /// 1-based line on which the row begins.
    pub line: u64,
    /// Byte of the file at which it begins.
    pub byte: u64,
    /// The source's name.
    pub source: String,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub reason: String,
    /// The JSON path in the row; absent where the whole row is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The first 2 KB; bytes that are no UTF-8 are shown as U+FFFD.
    pub row: String,
}

impl Rejected {
    /// Describe a bad row.
    #[must_use]
    pub fn new(file: &str, source: &str, line: u64, byte: usize, bytes: &[u8], error: &RowError) -> Self {
        Self {
            file: file.to_owned(),
            line,
            byte: byte as u64,
            source: source.to_owned(),
            code: error.code.as_str().to_owned(),
            reason: error.reason.clone(),
            at: error.at.clone(),
            row: String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT_BYTES)]).into_owned(),
        }
    }
}

/// Writes the list.
#[derive(Debug)]
pub struct Quarantine {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Quarantine {
    /// Begin the list.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(path: &Path) -> Result<Self, EngineError> {
        let file = BufWriter::new(File::create(path).map_err(EngineError::io(path))?);
        Ok(Self { path: path.to_owned(), file })
    }

    /// Add a row.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn push(&mut self, rejected: &Rejected) -> Result<(), EngineError> {
        let write = |file: &mut BufWriter<File>| -> std::io::Result<()> {
            serde_json::to_writer(&mut *file, rejected)?;
            file.write_all(b"\n")
        };
        write(&mut self.file).map_err(EngineError::io(&self.path))
    }

    /// Write what is pending, durably.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(mut self) -> Result<(), EngineError> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(EngineError::io(&self.path))
    }
}
