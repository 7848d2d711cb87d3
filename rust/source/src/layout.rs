//! How rows can lie in a file, and what a file is once that is known.

use std::path::{Path, PathBuf};

use encoding_rs::Encoding;

use crate::SourceError;

/// What one document of a text file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextUnit {
    /// Every line that is not blank.
    #[default]
    Line,
    /// Lines up to a blank line.
    Paragraph,
    /// The whole file.
    File,
}

/// How rows lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One JSON value a line; blank lines are no rows.
    Jsonl,
    /// One JSON array whose elements are the rows.
    JsonArray,
    /// Text.
    Text(TextUnit),
    /// A header and records, quoted as in RFC 4180.
    Csv {
        /// What stands between two fields.
        delimiter: u8,
    },
    /// Parquet.
    Parquet,
    /// An Arrow IPC file (Feather version 2).
    ArrowFile,
    /// An Arrow IPC stream, as `datasets` caches them.
    ArrowStream,
}

impl Layout {
    /// Whether rows come from columns and not from lines of text.
    #[must_use]
    pub fn is_columnar(self) -> bool {
        matches!(self, Self::Parquet | Self::ArrowFile | Self::ArrowStream)
    }

    /// Whether rows are text and not JSON.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// What a file is packed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    #[default]
    None,
    /// Gzip, of one member or many.
    Gzip,
    /// Zstandard, of one frame or many.
    Zstd,
}

/// A local file of which all is known that reading needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What messages call it: where it came from, when it was brought from elsewhere.
    pub shown: PathBuf,
    /// Its size; reading refuses a file of another size.
    pub bytes: u64,
    /// How rows lie in it.
    pub layout: Layout,
    /// What it is packed with.
    pub compression: Compression,
    /// A legacy encoding that the user named; None is UTF-8.
    pub encoding: Option<&'static Encoding>,
}

impl DataFile {
    /// Look at a file: the file, and a warning where its ending and its content disagree.
    ///
    /// # Errors
    /// See `detect`.
    pub fn open(path: &Path, unit: TextUnit) -> Result<(Self, Option<String>), SourceError> {
        Self::open_as(path, path, unit, None)
    }

    /// The same for a file that messages call `shown`, in the encoding of that label (`windows-1251`, `gbk`,
    /// `utf-16le` ...), by the WHATWG names.
    ///
    /// # Errors
    /// See `detect`; also for a label that is none.
    pub fn open_as(
        path: &Path,
        shown: &Path,
        unit: TextUnit,
        encoding: Option<&str>,
    ) -> Result<(Self, Option<String>), SourceError> {
        let encoding = encoding.map(|label| crate::input::encoding(shown, label)).transpose()?.flatten();
        let bytes =
            std::fs::metadata(path).map_err(|error| SourceError::Io { path: shown.to_owned(), error })?.len();
        let found = crate::detect::detect_as(path, unit, encoding).map_err(|error| error.named(shown))?;
        if encoding.is_some() && found.layout.is_columnar() {
            let found = "Parquet or Arrow, whose text is UTF-8 always; leave `encoding` out".to_owned();
            return Err(SourceError::Unsupported { path: shown.to_owned(), found });
        }
        let file = Self {
            path: path.to_owned(),
            shown: shown.to_owned(),
            bytes,
            layout: found.layout,
            compression: found.compression,
            encoding,
        };
        let warning = found.warning.map(|said| format!("`{}` {said}", shown.display()));
        Ok((file, warning))
    }
}
