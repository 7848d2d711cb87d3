//! Reading a store: mapped, without a copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ListArray, RecordBatch, UInt8Array, UInt16Array, UInt32Array, UInt64Array};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::root_as_footer;
use fastft_source::FileMap;

use super::write::Place;
use super::{LEFT_OUT, MANIFEST, Manifest, REJECTED, Stamps};
use crate::error::EngineError;
use crate::key::FORMAT_VERSION;
use crate::order::to_u32;

/// Token ids of a document, as wide as the store keeps them.
#[derive(Clone, Copy, Debug)]
pub enum Document<'a> {
    /// Vocabularies up to 65,536.
    Short(&'a [u16]),
    /// Larger ones.
    Long(&'a [u32]),
}

impl Document<'_> {
    /// Tokens.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Short(ids) => ids.len(),
            Self::Long(ids) => ids.len(),
        }
    }

    /// Whether there is no token.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids, one after the other.
    pub fn for_each(&self, mut visit: impl FnMut(usize, u32)) {
        match self {
            Self::Short(ids) => ids.iter().enumerate().for_each(|(at, id)| visit(at, u32::from(*id))),
            Self::Long(ids) => ids.iter().enumerate().for_each(|(at, id)| visit(at, *id)),
        }
    }
}

#[derive(Debug)]
struct Batch {
    first: u32,
    section: usize,
    ids: ListArray,
    spans: ListArray,
    weights: ListArray,
    rank: UInt8Array,
    variant: UInt16Array,
    row: UInt32Array,
    line: UInt32Array,
    hash: UInt64Array,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    manifest: Manifest,
    batches: Vec<Batch>,
    lengths: Vec<u32>,
}

impl Store {
    /// Open the store in `folder`.
    ///
    /// # Errors
    /// When it is missing, damaged or of another version.
    pub fn open(folder: &Path) -> Result<Self, EngineError> {
        let path = folder.join(MANIFEST);
        let text = fs::read(&path).map_err(EngineError::io(&path))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| EngineError::store(&path, error))?;
        if manifest.version != FORMAT_VERSION {
            let reason = format!("it has version {}, this engine reads {FORMAT_VERSION}", manifest.version);
            return Err(EngineError::store(&path, reason));
        }
        if u32::try_from(manifest.documents).is_err() {
            return Err(EngineError::store(&path, "it has more than 2^32 documents"));
        }
        let mut store =
            Self { folder: folder.to_owned(), manifest, batches: Vec::new(), lengths: Vec::new() };
        let stamps = Stamps::open(folder);
        for name in [REJECTED, LEFT_OUT] {
            let list = store.manifest.lists.iter().find(|list| list.name == name);
            let list = list.ok_or_else(|| EngineError::store(&path, format!("it does not name {name}")))?;
            list.check(folder, &stamps)?;
        }
        for (index, section) in store.manifest.parts.clone().into_iter().enumerate() {
            section.part.check(folder, &stamps)?;
            let path = store.folder.join(&section.part.name);
            let before = store.lengths.len();
            for batch in record_batches(&path)? {
                store
                    .add(&batch, index)
                    .ok_or_else(|| EngineError::store(&path, "its columns are not as expected"))?;
            }
            if (store.lengths.len() - before) as u64 != section.part.documents {
                return Err(EngineError::store(
                    &path,
                    "it has another number of documents than the manifest says",
                ));
            }
        }
        Ok(store)
    }

    fn add(&mut self, batch: &RecordBatch, section: usize) -> Option<()> {
        let list = |name: &str| batch.column_by_name(name)?.as_list_opt::<i32>().cloned();
        let short = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<UInt32Type>().cloned();
        let ids = list("ids")?;
        let first = to_u32(self.lengths.len());
        self.lengths.extend(ids.offsets().lengths().map(to_u32));
        self.batches.push(Batch {
            first,
            section,
            ids,
            spans: list("spans")?,
            weights: list("weights")?,
            rank: batch.column_by_name("rank")?.as_primitive_opt::<UInt8Type>().cloned()?,
            variant: batch.column_by_name("variant")?.as_primitive_opt::<UInt16Type>().cloned()?,
            row: short("row")?,
            line: short("line")?,
            hash: batch.column_by_name("hash")?.as_primitive_opt::<UInt64Type>().cloned()?,
        });
        Some(())
    }

    /// What is in the store.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tokens of each document.
    #[must_use]
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    fn find(&self, document: u32) -> (&Batch, usize) {
        let batch = &self.batches[self.batches.partition_point(|batch| batch.first <= document) - 1];
        (batch, (document - batch.first) as usize)
    }

    /// Ids of a document.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn ids(&self, document: u32) -> Document<'_> {
        let (batch, index) = self.find(document);
        let range = range(&batch.ids, index);
        match batch.ids.values().as_primitive_opt::<UInt16Type>() {
            Some(ids) => Document::Short(&ids.values()[range]),
            None => Document::Long(&batch.ids.values().as_primitive::<UInt32Type>().values()[range]),
        }
    }

    /// Runs of trained tokens: begin, end, begin, end.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn spans(&self, document: u32) -> &[u32] {
        let (batch, index) = self.find(document);
        &batch.spans.values().as_primitive::<UInt32Type>().values()[range(&batch.spans, index)]
    }

    /// Weights of the runs of trained tokens; empty when all are 1.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn weights(&self, document: u32) -> &[f32] {
        let (batch, index) = self.find(document);
        &batch.weights.values().as_primitive::<Float32Type>().values()[range(&batch.weights, index)]
    }

    /// 0 for a row's only, best or desirable document, 1 and more for worse ones.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn rank(&self, document: u32) -> u8 {
        let (batch, index) = self.find(document);
        batch.rank.value(index)
    }

    /// 0 for a row itself, k for its k-th augmented copy.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn variant(&self, document: u32) -> u16 {
        let (batch, index) = self.find(document);
        batch.variant.value(index)
    }

    /// Where a document came from.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn place(&self, document: u32) -> Place {
        let (batch, index) = self.find(document);
        let section = &self.manifest.parts[batch.section];
        Place {
            source: section.source,
            file: section.file,
            row: section.first_row + u64::from(batch.row.value(index)),
            line: section.first_line + u64::from(batch.line.value(index)),
            hash: batch.hash.value(index),
            rank: batch.rank.value(index),
            variant: batch.variant.value(index),
        }
    }

    /// The hash of each document's row.
    #[must_use]
    pub fn hashes(&self) -> Vec<u64> {
        self.batches.iter().flat_map(|batch| batch.hash.values().iter().copied()).collect()
    }
}

#[allow(clippy::cast_sign_loss, reason = "offsets of a list are never negative")]
fn range(list: &ListArray, index: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[index] as usize..offsets[index + 1] as usize
}

fn record_batches(path: &Path) -> Result<Vec<RecordBatch>, EngineError> {
    let damaged = |reason: &dyn std::fmt::Display| EngineError::store(path, reason);
    let map = FileMap::open(path)?;
    if map.len() < 16 {
        return Err(EngineError::store(path, "it is cut short"));
    }
    let buffer = Buffer::from(bytes::Bytes::from_owner(map));
    let trailer = buffer.len() - 10;
    let mut tail = [0; 10];
    tail.copy_from_slice(&buffer[trailer..]);
    let footer_length = read_footer_length(tail).map_err(|error| damaged(&error))?;
    let begin =
        trailer.checked_sub(footer_length).ok_or_else(|| EngineError::store(path, "it is cut short"))?;
    let footer = root_as_footer(&buffer[begin..trailer]).map_err(|error| damaged(&error))?;
    let schema = footer.schema().ok_or_else(|| EngineError::store(path, "it has no schema"))?;
    let schema = try_fb_to_schema(schema).map_err(|error| damaged(&error))?;
    let decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let mut batches = Vec::new();
    for block in footer.recordBatches().into_iter().flatten() {
        let length = |n: i64| usize::try_from(n).map_err(|error| damaged(&error));
        let size = length(i64::from(block.metaDataLength()))? + length(block.bodyLength())?;
        let offset = length(block.offset())?;
        if offset + size > buffer.len() {
            return Err(EngineError::store(path, "it is cut short"));
        }
        let data = buffer.slice_with_length(offset, size);
        batches.extend(decoder.read_record_batch(block, &data).map_err(|error| damaged(&error))?);
    }
    Ok(batches)
}
