//! The record of a piece that is done: a small file whose presence says that the others are whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use fastft_record::SourceBooks;
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::lists::Has;
use crate::store::Part;
use crate::units::Piece;

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which piece.
    pub piece: Piece,
    /// Whether it is the last of its unit.
    pub last: bool,
    /// Its documents, None without.
    pub part: Option<Part>,
    /// Which lists it has.
    pub lists: Has,
    /// Rows read.
    pub rows: u64,
    /// Lines of the file in it; 0 where lines are counted from the file's beginning anyway.
    pub lines: u64,
    /// What became of each row.
    pub books: SourceBooks,
}

fn name(piece: Piece) -> String {
    format!("{}.json", piece.name())
}

impl Record {
    /// Write it, durably and at once.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), EngineError> {
        let path = folder.join(name(self.piece));
        let temporary = folder.join(format!("{}.tmp", name(self.piece)));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(EngineError::io(&path))
    }

    /// Read the record of a piece; None when it is not done, or its part is not as it was written.
    #[must_use]
    pub fn read(folder: &Path, piece: Piece) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(folder.join(name(piece))).ok()?).ok()?;
        let whole = record.part.as_ref().is_none_or(|part| {
            fs::metadata(folder.join(&part.name)).is_ok_and(|file| file.len() == part.bytes)
        });
        (record.piece == piece && whole).then_some(record)
    }

    /// Remove it and the files that it is about but for the part: the store does not need them.
    ///
    /// # Errors
    /// When one can't be removed.
    pub fn remove(&self, folder: &Path) -> Result<(), EngineError> {
        let piece = self.piece.name();
        let lists = [
            (self.lists.rejected, crate::lists::rejected_name(&piece)),
            (self.lists.left_out, crate::lists::left_out_name(&piece)),
        ];
        let files = lists.into_iter().filter(|list| list.0).map(|list| list.1);
        for file in files.chain([name(self.piece)]) {
            let path = folder.join(file);
            fs::remove_file(&path).map_err(EngineError::io(&path))?;
        }
        Ok(())
    }
}
