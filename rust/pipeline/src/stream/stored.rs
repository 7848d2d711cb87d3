//! The same documents in the same order, from a store.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use fastft_record::mix;

use super::files::Files;
use super::{Backend, Item, Reader, RowItems, Tokenized, Unit};
use crate::error::EngineError;
use crate::order::{Groups, groups};
use crate::store::Store;

/// A store, and which of its documents are in which unit.
pub struct Stored {
    store: Arc<Store>,
    groups: Groups,
    /// Documents of this side, ascending.
    documents: Vec<u32>,
    /// Documents (places in `documents`) of each piece of each file.
    pieces: HashMap<(u32, u32), Range<usize>>,
}

impl Stored {
    /// Find out which documents of a store are in which unit.
    ///
    /// `documents` are those of a side, ascending; `files` the files that the store was made from.
    ///
    /// # Errors
    /// When the store was made from other files.
    pub fn new(store: Arc<Store>, documents: Vec<u32>, files: &Files) -> Result<Self, EngineError> {
        let listed = store.manifest().files.iter().map(|file| file.bytes);
        let found = files.files.iter().map(|file| file.input.data.bytes);
        if !listed.eq(found) {
            return Err(EngineError::store(
                store.folder(),
                "it was made from other files than the sources have",
            ));
        }
        let mut pieces = HashMap::new();
        let mut at = 0;
        for (number, file) in (0u32..).zip(&files.files) {
            for piece in 0..file.pieces() {
                let last = piece + 1 == file.pieces();
                let end = if last { u64::MAX } else { file.lines_before(piece + 1)? };
                let begin = at;
                while let Some(&document) = documents.get(at) {
                    let place = store.place(document);
                    if place.file != number || (!last && place.line > end) {
                        break;
                    }
                    at += 1;
                }
                pieces.insert((number, piece), begin..at);
            }
        }
        let groups = groups(&store);
        Ok(Self { store, groups, documents, pieces })
    }

    fn item(&self, head: u32, bare: bool) -> Item {
        let document = |document: u32| {
            if bare {
                let length = self.store.lengths()[document as usize] as usize;
                return Tokenized { ids: vec![0; length], ..Tokenized::default() };
            }
            let mut ids = Vec::new();
            self.store.ids(document).for_each(|_, id| ids.push(id));
            Tokenized {
                ids,
                spans: self.store.spans(document).to_vec(),
                weights: self.store.weights(document).to_vec(),
                rank: self.store.rank(document),
            }
        };
        (head..head + self.groups.size(head)).map(document).collect()
    }
}

/// The same documents without what is in them: nothing is read but their lengths.
pub struct Lengths(pub Arc<Stored>);

impl Backend for Lengths {
    fn open(self: Arc<Self>, unit: &Unit, from: u64, _: bool) -> Result<Box<dyn Reader>, EngineError> {
        Ok(Box::new(Arc::clone(&self.0).reader(unit, from, true)))
    }
}

impl Backend for Stored {
    fn open(self: Arc<Self>, unit: &Unit, from: u64, _: bool) -> Result<Box<dyn Reader>, EngineError> {
        Ok(Box::new(self.reader(unit, from, false)))
    }
}

impl Stored {
    fn reader(self: Arc<Self>, unit: &Unit, from: u64, bare: bool) -> StoredReader {
        let range = self.pieces.get(&(unit.file, unit.piece)).cloned().unwrap_or_default();
        let (part, parts) = unit.part;
        // Rows by themselves: documents of one row stand together.
        let mut rows: Vec<(u64, Range<usize>)> = Vec::new();
        let (mut last, mut tokens) = (None, 0u64);
        for at in range {
            let place = self.store.place(self.documents[at]);
            if parts > 1 && mix(place.hash) % u64::from(parts) != u64::from(part) {
                continue;
            }
            tokens += u64::from(self.store.lengths()[self.documents[at] as usize]);
            match rows.last_mut().filter(|_| last == Some(place.row)) {
                Some((_, row)) => row.end = at + 1,
                None => rows.push((rows.len() as u64, at..at + 1)),
            }
            last = Some(place.row);
        }
        rows.drain(..usize::try_from(from).unwrap_or(usize::MAX).min(rows.len()));
        let each = (unit.bytes, tokens.max(1));
        StoredReader { rows: rows.into_iter(), each, stored: self, bare }
    }
}

struct StoredReader {
    stored: Arc<Stored>,
    rows: std::vec::IntoIter<(u64, Range<usize>)>,
    /// Bytes and tokens of the unit.
    each: (u64, u64),
    /// Whether only lengths are wanted.
    bare: bool,
}

impl Reader for StoredReader {
    fn read(&mut self, tokens: u64) -> Result<Vec<RowItems>, EngineError> {
        let stored = &self.stored;
        let mut made = Vec::new();
        let mut size = 0u64;
        while size < tokens.max(1) {
            let Some((row, range)) = self.rows.next() else { break };
            let heads = stored.documents[range].iter().filter(|head| stored.groups.size(**head) > 0);
            let items: Vec<Item> = heads.map(|&head| stored.item(head, self.bare)).collect();
            let length: u64 = items.iter().flatten().map(|document| document.ids.len() as u64).sum();
            size += length;
            made.push(RowItems { row, bytes: length * self.each.0 / self.each.1, items });
        }
        Ok(made)
    }
}
