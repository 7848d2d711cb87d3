//! Reading a model file whose numbers lie one after the other, little-endian.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// A file and how many of its bytes are left, so that a damaged count asks for no memory.
pub(super) struct ModelFile {
    bytes: BufReader<File>,
    left: u64,
}

impl ModelFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        Ok(Self { bytes: BufReader::with_capacity(1 << 16, file), left })
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.left == 0
    }

    /// `count` items of `size` bytes each.
    pub(super) fn take(&mut self, count: usize, size: usize) -> io::Result<Vec<u8>> {
        let bytes = (count as u64).checked_mul(size as u64).filter(|bytes| *bytes <= self.left);
        let Some(bytes) = bytes else { return Err(damaged("it ends too early")) };
        let mut found = Vec::new();
        self.bytes.by_ref().take(bytes).read_to_end(&mut found)?;
        if found.len() as u64 != bytes {
            return Err(damaged("it ends too early"));
        }
        self.left -= bytes;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.take(1, N)?.try_into().unwrap_or([0; N]))
    }

    pub(super) fn flag(&mut self) -> io::Result<bool> {
        Ok(self.array::<1>()?[0] != 0)
    }

    pub(super) fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A count of 32 bits.
    pub(super) fn count(&mut self) -> io::Result<usize> {
        usize::try_from(self.i32()?).map_err(|_| damaged("a count is negative"))
    }

    /// A count of 64 bits.
    pub(super) fn long_count(&mut self) -> io::Result<usize> {
        usize::try_from(self.i64()?).map_err(|_| damaged("a count is negative"))
    }

    pub(super) fn floats(&mut self, count: usize) -> io::Result<Vec<f32>> {
        let bytes = self.take(count, 4)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|each| f32::from_le_bytes([each[0], each[1], each[2], each[3]]))
            .collect())
    }

    /// The bytes before the next zero.
    pub(super) fn name(&mut self) -> io::Result<Vec<u8>> {
        let mut name = Vec::new();
        self.left -= self.bytes.read_until(0, &mut name)? as u64;
        if name.pop() != Some(0) {
            return Err(damaged("it ends too early"));
        }
        Ok(name)
    }
}

/// The file is not what it should be.
pub(super) fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a fastText model that can be used: {reason}"))
}
