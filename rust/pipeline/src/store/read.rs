//! Reading a store: mapped, without a copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ListArray, RecordBatch, UInt32Array, UInt64Array};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::root_as_footer;
use fastft_source::FileMap;

use super::write::Place;
use super::{MANIFEST, Manifest, Stamps};
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
    ids: ListArray,
    spans: ListArray,
    numbers: [UInt32Array; 2],
    places: [UInt64Array; 3],
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
        let rejected = store.manifest.rejected.as_ref();
        let rejected = rejected
            .ok_or_else(|| EngineError::store(&path, "it does not name the list of rejected rows"))?;
        let stamps = Stamps::open(folder);
        rejected.check(folder, &stamps)?;
        for part in store.manifest.parts.clone() {
            part.check(folder, &stamps)?;
            let path = store.folder.join(&part.name);
            let before = store.lengths.len();
            for batch in record_batches(&path)? {
                store
                    .add(&batch)
                    .ok_or_else(|| EngineError::store(&path, "its columns are not as expected"))?;
            }
            if (store.lengths.len() - before) as u64 != part.documents {
                return Err(EngineError::store(
                    &path,
                    "it has another number of documents than the manifest says",
                ));
            }
        }
        Ok(store)
    }

    fn add(&mut self, batch: &RecordBatch) -> Option<()> {
        let list = |name: &str| batch.column_by_name(name)?.as_list_opt::<i32>().cloned();
        let short = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<UInt32Type>().cloned();
        let long = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<UInt64Type>().cloned();
        let ids = list("ids")?;
        let first = to_u32(self.lengths.len());
        self.lengths.extend(ids.offsets().lengths().map(to_u32));
        self.batches.push(Batch {
            first,
            ids,
            spans: list("spans")?,
            numbers: [short("source")?, short("file")?],
            places: [long("row")?, long("line")?, long("hash")?],
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

    /// Where a document came from.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn place(&self, document: u32) -> Place {
        let (batch, index) = self.find(document);
        Place {
            source: batch.numbers[0].value(index),
            file: batch.numbers[1].value(index),
            row: batch.places[0].value(index),
            line: batch.places[1].value(index),
            hash: batch.places[2].value(index),
        }
    }

    /// The hash of each document's row.
    #[must_use]
    pub fn hashes(&self) -> Vec<u64> {
        self.batches.iter().flat_map(|batch| batch.places[2].values().iter().copied()).collect()
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
