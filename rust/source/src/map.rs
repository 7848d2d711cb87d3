//! Files in memory: the only place of this crate with unsafe code.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::SourceError;

/// A whole file, mapped read-only.
#[derive(Debug)]
pub struct FileMap(Option<Mmap>);

impl FileMap {
    /// Map a file.
    ///
    /// # Errors
    /// When it can't be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let io = |error| SourceError::Io { path: path.to_owned(), error };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Ok(Self(None)); // an empty file can't be mapped
        }
        // SAFETY: the mapping is read-only and private. Bytes that another process changes while
        // we read are seen as data, never as anything that has to be valid: rows are checked to be
        // UTF-8 after they are cut, and no reference outlives the map. A file that is truncated
        // meanwhile ends the process with SIGBUS, as with every reader that maps files.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self(Some(map)))
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
