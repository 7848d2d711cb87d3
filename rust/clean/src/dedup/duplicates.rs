//! What a search found: the rows to leave out, in order, each with the row that stays.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::RowRef;

const MAGIC: &[u8; 16] = b"fastft dups 0001";
const RECORD: u64 = 24;

/// Why a row is a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A row before it has the same text.
    Exact,
    /// A row before it has nearly the same text.
    Near,
}

impl Reason {
    /// The name in the books.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Near => "near",
        }
    }
}

/// A row to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Which one.
    pub row: RowRef,
    /// The row that stays, the first of the cluster.
    pub of: RowRef,
    /// Why.
    pub reason: Reason,
}

/// The rows to leave out, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duplicates(Vec<Duplicate>);

impl Duplicates {
    pub(super) const fn new(sorted: Vec<Duplicate>) -> Self {
        Self(sorted)
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order of (unit, row).
    pub fn iter(&self) -> std::slice::Iter<'_, Duplicate> {
        self.0.iter()
    }

    /// Why a row is to be left out; None when it stays.
    #[must_use]
    pub fn get(&self, row: RowRef) -> Option<Duplicate> {
        self.0.binary_search_by_key(&row, |duplicate| duplicate.row).ok().map(|at| self.0[at])
    }

    /// Whether a row is to be left out.
    #[must_use]
    pub fn contains(&self, row: RowRef) -> bool {
        self.get(row).is_some()
    }

    /// Write them to a file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(MAGIC)?;
        for Duplicate { row, of, reason } in &self.0 {
            let reason = u64::from(*reason == Reason::Near);
            for word in [row.pack(), of.pack(), reason] {
                file.write_all(&word.to_le_bytes())?;
            }
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    /// Read what [`Self::write`] wrote.
    ///
    /// # Errors
    /// When the file can't be read, or is something else.
    pub fn read(path: &Path) -> io::Result<Self> {
        let (file, count) = open(path)?;
        Self::take(BufReader::new(file), count)
    }

    /// Read those of one unit: all that a worker needs, however many there are.
    ///
    /// # Errors
    /// When the file can't be read, or is something else.
    pub fn read_unit(path: &Path, unit: u32) -> io::Result<Self> {
        let (mut file, count) = open(path)?;
        let first = lower_bound(&mut file, count, RowRef { unit, row: 0 }.pack())?;
        let last = RowRef { unit, row: u32::MAX }.pack();
        let end = match last.checked_add(1) {
            Some(next) => lower_bound(&mut file, count, next)?,
            None => count,
        };
        file.seek(SeekFrom::Start(16 + first * RECORD))?;
        let found = Self::take(BufReader::new(file), end.saturating_sub(first))?;
        // as in `take`: what was found by halving is not this unit's alone
        if found.iter().any(|duplicate| duplicate.row.unit != unit) {
            return Err(damaged());
        }
        Ok(found)
    }

    fn take(mut file: impl Read, count: u64) -> io::Result<Self> {
        let mut found: Vec<Duplicate> = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for _ in 0..count {
            let [row, of] = [word(&mut file)?, word(&mut file)?].map(RowRef::unpack);
            let reason = match word(&mut file)? {
                0 => Reason::Exact,
                1 => Reason::Near,
                _ => return Err(damaged()),
            };
            // a search among unordered rows would miss some
            if found.last().is_some_and(|before| before.row >= row) {
                return Err(damaged());
            }
            found.push(Duplicate { row, of, reason });
        }
        Ok(Self(found))
    }
}

impl<'a> IntoIterator for &'a Duplicates {
    type Item = &'a Duplicate;
    type IntoIter = std::slice::Iter<'a, Duplicate>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut magic = [0; 16];
    file.read_exact(&mut magic)?;
    if &magic != MAGIC || (bytes - 16) % RECORD != 0 {
        return Err(damaged());
    }
    Ok((file, (bytes - 16) / RECORD))
}

/// The first record that is not below `row`.
fn lower_bound(file: &mut File, count: u64, row: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = u64::midpoint(low, high);
        file.seek(SeekFrom::Start(16 + middle * RECORD))?;
        if word(file)? < row {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn word(file: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a file of duplicates, or damaged")
}
