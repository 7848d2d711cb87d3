//! Signatures on disk, two bytes a value, read back for the pairs that are to be verified.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Writes the signatures of one thread's rows.
pub(super) struct SignatureWriter {
    path: PathBuf,
    places: usize,
    file: Option<BufWriter<File>>,
    /// Stretches of rows that follow one another: first row, first slot, how many.
    stretches: Vec<(u64, u64, u64)>,
    slots: u64,
}

impl SignatureWriter {
    pub(super) fn new(path: &Path, places: usize) -> Self {
        Self { path: path.into(), places, file: None, stretches: Vec::new(), slots: 0 }
    }

    pub(super) fn push(&mut self, row: u64, values: &[u32]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let options = OpenOptions::new().read(true).write(true).create_new(true).open(&self.path)?;
                none.insert(BufWriter::new(options))
            }
        };
        for value in values {
            // minima are small numbers: their lower half is the random one
            let [first, second, ..] = value.to_le_bytes();
            file.write_all(&[first, second])?;
        }
        match self.stretches.last_mut() {
            Some((first, _, count)) if *first + *count == row => *count += 1,
            _ => self.stretches.push((row, self.slots, 1)),
        }
        self.slots += 1;
        Ok(())
    }
}

/// The signatures of all threads.
pub(super) struct Signatures {
    files: Vec<File>,
    /// First row, file, first slot, how many; sorted.
    stretches: Vec<(u64, usize, u64, u64)>,
    places: usize,
}

impl Signatures {
    pub(super) fn new(writers: Vec<SignatureWriter>) -> io::Result<Self> {
        let mut all = Self { files: Vec::new(), stretches: Vec::new(), places: 0 };
        for writer in writers {
            all.places = writer.places;
            let Some(file) = writer.file else { continue };
            let number = all.files.len();
            all.files.push(file.into_inner().map_err(io::IntoInnerError::into_error)?);
            all.stretches
                .extend(writer.stretches.into_iter().map(|(row, slot, count)| (row, number, slot, count)));
        }
        all.stretches.sort_unstable();
        Ok(all)
    }

    /// The signature of a row that was added.
    pub(super) fn of(&mut self, row: u64) -> io::Result<Vec<u16>> {
        let at = self.stretches.partition_point(|&(first, ..)| first <= row);
        let missing = || io::Error::other("a row without its signature");
        let &(first, file, slot, _) = at.checked_sub(1).map(|at| &self.stretches[at]).ok_or_else(missing)?;
        let mut bytes = vec![0; self.places * 2];
        self.files[file].seek(SeekFrom::Start((slot + row - first) * bytes.len() as u64))?;
        self.files[file].read_exact(&mut bytes)?;
        Ok(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }
}

/// The estimated Jaccard similarity.
#[allow(clippy::cast_precision_loss, reason = "a few hundred places")]
pub(super) fn similarity(one: &[u16], other: &[u16]) -> f64 {
    let same = one.iter().zip(other).filter(|(one, other)| one == other).count();
    same as f64 / one.len().max(1) as f64
}
