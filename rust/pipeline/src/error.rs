//! What ends a run of the engine.

use std::io;
use std::path::{Path, PathBuf};

use fastft_augment::AugmentError;
use fastft_clean::{CleanError, Wrong};
use fastft_record::Unbalanced;
use fastft_source::SourceError;

use crate::encode::EncoderError;

/// A run of the engine can't go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A row that can't be used, where the options say that this ends the run.
    #[error("{code}: {reason}")]
    Row {
        /// Stable code, for example `E_JSON`.
        code: String,
        /// One sentence.
        reason: String,
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: u64,
    },
    /// A source whose format can't be found from its rows, or is not what the stage learns from.
    #[error("{message}")]
    Format {
        /// What is wrong.
        message: String,
        /// A way out.
        hint: String,
        /// The file.
        path: PathBuf,
    },
    /// A file that can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The tokenizer or template can't be used.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A file of the store can't be written or read.
    #[error("`{path}`: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A token store that is damaged or of another version.
    #[error("`{path}` is no token store: {reason}")]
    Store {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Options that can't be met, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Options(Vec<Wrong>),
    /// Rows can't be cleaned as the plan says.
    #[error(transparent)]
    Clean(#[from] CleanError),
    /// Rows can't be augmented as the plan says.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// Rows were lost without a record.
    #[error(transparent)]
    Unbalanced(#[from] Unbalanced),
    /// The plan is not what the engine expects.
    #[error("the plan is wrong: {0}")]
    Plan(#[from] serde_json::Error),
    /// Stopped from outside.
    #[error("stopped")]
    Cancelled,
    /// A worker ended without a result.
    #[error("a worker of the data engine failed at {0}")]
    Worker(String),
}

impl EngineError {
    /// Trouble with a file of ours.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    /// A damaged store.
    pub fn store(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Store { path: path.to_owned(), reason: reason.to_string() }
    }
}
