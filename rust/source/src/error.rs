//! What can be wrong with a whole file; trouble with single rows is the record's `RowError`.

use std::path::{Path, PathBuf};

/// A source can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("no file, folder or match for `{0}`")]
    NotFound(PathBuf),
    /// A folder or pattern without a single file.
    #[error(
        "`{0}` has no data files (.jsonl, .ndjson, .json, .txt, .text, .md, .csv, .tsv, .parquet, .arrow, .feather; the \
         text ones also as .gz and .zst)"
    )]
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
    #[error("`{path}` is {found}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it looks like, and what to do about it.
        found: String,
    },
    /// The file is not the one that was looked at.
    #[error("`{path}` changed while it was read: it had {was} bytes and has {is}")]
    Changed {
        /// The file.
        path: PathBuf,
        /// Bytes when it was looked at.
        was: u64,
        /// Bytes now.
        is: u64,
    },
    /// The file breaks off or its content contradicts itself. Rows before that place have been handed on.
    #[error("`{path}` is damaged or incomplete: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder says, with the place.
        reason: String,
    },
    /// The columns can't be those of a table.
    #[error("the columns of `{path}` are ambiguous: {reason}")]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
}

impl SourceError {
    /// The file, folder or pattern that is meant.
    #[must_use]
    pub fn path(&self) -> &Path {
        let (Self::NotFound(path)
        | Self::Empty(path)
        | Self::Io { path, .. }
        | Self::Unsupported { path, .. }
        | Self::Changed { path, .. }
        | Self::Damaged { path, .. }
        | Self::Columns { path, .. }) = self;
        path
    }

    /// The same trouble with a file that reports call otherwise.
    #[must_use]
    pub fn named(mut self, name: &Path) -> Self {
        let (Self::NotFound(path)
        | Self::Empty(path)
        | Self::Io { path, .. }
        | Self::Unsupported { path, .. }
        | Self::Changed { path, .. }
        | Self::Damaged { path, .. }
        | Self::Columns { path, .. }) = &mut self;
        name.clone_into(path);
        self
    }
}
