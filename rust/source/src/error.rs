//! What can be wrong with a whole file; trouble with single rows is the record's `RowError`.

use std::path::PathBuf;

/// A source can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("no file, folder or match for `{0}`")]
    NotFound(PathBuf),
    /// A folder or pattern without a single file.
    #[error("`{0}` has no data files (.jsonl, .ndjson, .json, .txt, .md)")]
    Empty(PathBuf),
    /// The system refuses.
    #[error("`{path}` can't be read: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The content is none that is read here.
    #[error("`{path}` is {found}, not JSONL, a JSON array or UTF-8 text")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
    },
}
