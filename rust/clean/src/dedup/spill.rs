//! Sorting more records than fit in memory: sorted runs in one file, then a merge.
//!
//! A record is a few 64-bit words, compared word by word. What comes out depends on the records
//! only, not on how they were spread over sorters or runs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// Smallest buffer of a run while merging, in records.
const MIN_READ: usize = 256;

/// A sorted stretch of records.
pub(super) enum Run<const N: usize> {
    Memory(Vec<[u64; N]>),
    File { file: Arc<File>, offset: u64, left: u64 },
}

/// Takes records in any order, in bounded memory.
pub(super) struct Sorter<const N: usize> {
    buffer: Vec<[u64; N]>,
    capacity: usize,
    path: std::path::PathBuf,
    file: Option<File>,
    written: u64,
    runs: Vec<(u64, u64)>,
}

impl<const N: usize> Sorter<N> {
    /// A sorter that holds up to `bytes` in memory and spills to a file at `path`.
    pub(super) fn new(path: &Path, bytes: usize) -> Self {
        let capacity = (bytes / (8 * N)).max(MIN_READ);
        Self { buffer: Vec::new(), capacity, path: path.into(), file: None, written: 0, runs: Vec::new() }
    }

    /// Take one record.
    pub(super) fn push(&mut self, record: [u64; N]) -> io::Result<()> {
        if self.buffer.len() == self.capacity {
            self.spill()?;
        }
        if self.buffer.len() == self.buffer.capacity() {
            let more = self.buffer.len().max(MIN_READ).min(self.capacity - self.buffer.len());
            self.buffer.reserve_exact(more);
        }
        self.buffer.push(record);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.buffer.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let options = OpenOptions::new().read(true).write(true).create_new(true).open(&self.path)?;
                none.insert(options)
            }
        };
        let mut bytes = Vec::with_capacity(8 * N * 4096);
        for records in self.buffer.chunks(4096) {
            bytes.clear();
            for word in records.iter().flatten() {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            file.write_all(&bytes)?;
        }
        self.runs.push((self.written, self.buffer.len() as u64));
        self.written += (self.buffer.len() * N * 8) as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Give the runs. Of what was spilled at least once, everything is, so that the memory is free.
    pub(super) fn finish(mut self) -> io::Result<Vec<Run<N>>> {
        if self.file.is_some() && !self.buffer.is_empty() {
            self.spill()?;
        }
        let Some(file) = self.file.take() else {
            self.buffer.sort_unstable();
            return Ok(vec![Run::Memory(self.buffer)]);
        };
        let file = Arc::new(file);
        let run = |(offset, left)| Run::File { file: Arc::clone(&file), offset, left };
        Ok(self.runs.into_iter().map(run).collect())
    }
}

struct Reader<const N: usize> {
    run: Run<N>,
    buffer: Vec<[u64; N]>,
    at: usize,
    chunk: usize,
}

impl<const N: usize> Reader<N> {
    fn next(&mut self) -> io::Result<Option<[u64; N]>> {
        if self.at == self.buffer.len() {
            self.fill()?;
        }
        let record = self.buffer.get(self.at).copied();
        self.at += 1;
        Ok(record)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.at = 0;
        match &mut self.run {
            Run::Memory(records) => self.buffer = std::mem::take(records),
            Run::File { file, offset, left } => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.chunk);
                let mut bytes = vec![0; count * N * 8];
                let mut file: &File = file;
                file.seek(SeekFrom::Start(*offset))?;
                file.read_exact(&mut bytes)?;
                self.buffer.clear();
                self.buffer.extend(bytes.chunks_exact(8 * N).map(|record| {
                    std::array::from_fn(|word| {
                        u64::from_le_bytes(record[8 * word..8 * word + 8].try_into().unwrap_or_default())
                    })
                }));
                *offset += bytes.len() as u64;
                *left -= count as u64;
            }
        }
        Ok(())
    }
}

/// All records of some runs, in order.
pub(super) struct Merge<const N: usize> {
    readers: Vec<Reader<N>>,
    heads: BinaryHeap<Reverse<([u64; N], usize)>>,
}

impl<const N: usize> Merge<N> {
    /// Merge `runs`; those in files are read with up to `bytes` of buffers together.
    pub(super) fn new(runs: Vec<Run<N>>, bytes: usize) -> io::Result<Self> {
        let chunk = (bytes / (16 * N) / runs.len().max(1)).clamp(MIN_READ, 1 << 16);
        let mut merge = Self { readers: Vec::with_capacity(runs.len()), heads: BinaryHeap::new() };
        for run in runs {
            let mut reader = Reader { run, buffer: Vec::new(), at: 0, chunk };
            if let Some(head) = reader.next()? {
                merge.heads.push(Reverse((head, merge.readers.len())));
                merge.readers.push(reader);
            }
        }
        Ok(merge)
    }

    /// The next record.
    pub(super) fn next(&mut self) -> io::Result<Option<[u64; N]>> {
        let Some(mut top) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((record, run)) = *top;
        if let Some(head) = self.readers[run].next()? {
            top.0.0 = head;
        } else {
            std::collections::binary_heap::PeekMut::pop(top);
        }
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn everything_comes_out_sorted(
            records in prop::collection::vec(prop::array::uniform2(0_u64..50), 0..3000),
            sorters in 1_usize..4, bytes in 0_usize..20_000
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = |index: usize| folder.path().join(index.to_string());
            let mut all: Vec<Sorter<2>> = (0..sorters).map(|index| Sorter::new(&path(index), bytes)).collect();
            for (index, record) in records.iter().enumerate() {
                all[index % sorters].push(*record).unwrap();
            }
            let runs = all.into_iter().flat_map(|sorter| sorter.finish().unwrap()).collect();
            let mut merge = Merge::new(runs, bytes).unwrap();
            let mut out = Vec::new();
            while let Some(record) = merge.next().unwrap() {
                out.push(record);
            }
            let mut sorted = records.clone();
            sorted.sort_unstable();
            prop_assert_eq!(out, sorted);
        }
    }
}
