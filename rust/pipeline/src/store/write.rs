//! Writing a store: record batches of about 64 MB, files of about 1 GB.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, PrimitiveBuilder};
use arrow_array::types::{ArrowPrimitiveType, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema};

use super::{MANIFEST, Manifest, Part, Stamps};
use crate::error::EngineError;
use crate::key::FORMAT_VERSION;

/// Tokens of a record batch.
const BATCH_TOKENS: usize = 1 << 24;
/// Tokens of a file.
const PART_TOKENS: usize = 1 << 28;

/// Where a document came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Index of the source.
    pub source: u32,
    /// Index of the file.
    pub file: u32,
    /// 0-based row of the source.
    pub row: u64,
    /// 1-based line of the file.
    pub line: u64,
    /// Hash of the row's bytes.
    pub hash: u64,
}

enum Ids {
    Short(ListBuilder<PrimitiveBuilder<UInt16Type>>),
    Long(ListBuilder<PrimitiveBuilder<UInt32Type>>),
}

fn list<T: ArrowPrimitiveType>() -> ListBuilder<PrimitiveBuilder<T>> {
    ListBuilder::new(PrimitiveBuilder::new()).with_field(Field::new("item", T::DATA_TYPE, false))
}

/// Writes a store into a folder of its own.
pub struct Writer {
    folder: PathBuf,
    schema: Arc<Schema>,
    ids: Ids,
    spans: ListBuilder<PrimitiveBuilder<UInt32Type>>,
    places: Vec<Place>,
    tokens: usize,
    part: Option<(FileWriter<BufWriter<File>>, String)>,
    part_tokens: usize,
    part_documents: u64,
    parts: Vec<Part>,
    documents: u64,
}

impl Writer {
    /// Begin a store of ids below `vocab_size` in `folder`, which is made.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn create(folder: &Path, vocab_size: u32) -> Result<Self, EngineError> {
        fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        let short = vocab_size <= 1 << 16;
        let id_type = if short { DataType::UInt16 } else { DataType::UInt32 };
        let list_of =
            |name: &str, of| Field::new(name, DataType::List(Arc::new(Field::new("item", of, false))), false);
        let schema = Arc::new(Schema::new(vec![
            list_of("ids", id_type),
            list_of("spans", DataType::UInt32),
            Field::new("source", DataType::UInt32, false),
            Field::new("file", DataType::UInt32, false),
            Field::new("row", DataType::UInt64, false),
            Field::new("line", DataType::UInt64, false),
            Field::new("hash", DataType::UInt64, false),
        ]));
        Ok(Self {
            folder: folder.to_owned(),
            schema,
            ids: if short { Ids::Short(list()) } else { Ids::Long(list()) },
            spans: list(),
            places: Vec::new(),
            tokens: 0,
            part: None,
            part_tokens: 0,
            part_documents: 0,
            parts: Vec::new(),
            documents: 0,
        })
    }

    /// Bits of an id in the files.
    #[must_use]
    pub const fn id_bits(&self) -> u8 {
        match self.ids {
            Ids::Short(_) => 16,
            Ids::Long(_) => 32,
        }
    }

    /// Add one document.
    ///
    /// # Errors
    /// When a full batch can't be written.
    ///
    /// # Panics
    /// When an id is not below `vocab_size`.
    pub fn push(&mut self, ids: &[u32], trained: &[(u32, u32)], place: Place) -> Result<(), EngineError> {
        match &mut self.ids {
            Ids::Short(list) => {
                let narrow = |id: &u32| u16::try_from(*id).expect("ids are below the vocabulary's size");
                list.values().extend(ids.iter().map(|id| Some(narrow(id))));
                list.append(true);
            }
            Ids::Long(list) => {
                list.values().append_slice(ids);
                list.append(true);
            }
        }
        for (begin, end) in trained {
            self.spans.values().append_slice(&[*begin, *end]);
        }
        self.spans.append(true);
        self.places.push(place);
        self.tokens += ids.len();
        self.documents += 1;
        if self.tokens >= BATCH_TOKENS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        if self.places.is_empty() {
            return Ok(());
        }
        let places = std::mem::take(&mut self.places);
        let short = |get: fn(&Place) -> u32| column::<UInt32Type>(places.iter().map(get));
        let long = |get: fn(&Place) -> u64| column::<UInt64Type>(places.iter().map(get));
        let ids: ArrayRef = match &mut self.ids {
            Ids::Short(list) => Arc::new(list.finish()),
            Ids::Long(list) => Arc::new(list.finish()),
        };
        let columns: Vec<ArrayRef> = vec![
            ids,
            Arc::new(self.spans.finish()),
            short(|place| place.source),
            short(|place| place.file),
            long(|place| place.row),
            long(|place| place.line),
            long(|place| place.hash),
        ];
        let path = self.folder.clone();
        let arrow = |error: arrow_schema::ArrowError| EngineError::store(&path, error);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(arrow)?;
        if self.part.is_none() {
            let name = format!("tokens-{:05}.arrow", self.parts.len());
            let file = self.folder.join(&name);
            let file =
                BufWriter::with_capacity(1 << 20, File::create(&file).map_err(EngineError::io(&file))?);
            self.part = Some((FileWriter::try_new(file, &self.schema).map_err(arrow)?, name));
        }
        if let Some((writer, _)) = &mut self.part {
            writer.write(&batch).map_err(arrow)?;
        }
        self.part_tokens += std::mem::take(&mut self.tokens);
        self.part_documents += places.len() as u64;
        if self.part_tokens >= PART_TOKENS { self.close_part() } else { Ok(()) }
    }

    fn close_part(&mut self) -> Result<(), EngineError> {
        let Some((writer, name)) = self.part.take() else { return Ok(()) };
        let path = self.folder.join(&name);
        let mut file = writer.into_inner().map_err(|error| EngineError::store(&path, error))?;
        file.flush().map_err(EngineError::io(&path))?;
        file.get_ref().sync_all().map_err(EngineError::io(&path))?;
        drop(file);
        let documents = std::mem::take(&mut self.part_documents);
        self.parts.push(Part::describe(&self.folder, &name, documents)?);
        self.part_tokens = 0;
        Ok(())
    }

    /// Write what is pending and the manifest, and sync the folder.
    ///
    /// # Errors
    /// When something can't be written.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<Manifest, EngineError> {
        self.flush()?;
        self.close_part()?;
        manifest.version = FORMAT_VERSION;
        manifest.id_bits = self.id_bits();
        manifest.documents = self.documents;
        manifest.parts = std::mem::take(&mut self.parts);
        let path = self.folder.join(MANIFEST);
        let write = || -> std::io::Result<()> {
            Stamps::write(&self.folder, manifest.parts.iter().chain(&manifest.rejected))?;
            let mut file = File::create(&path)?;
            file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
            file.sync_all()?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(EngineError::io(&path))?;
        Ok(manifest)
    }
}

fn column<T: ArrowPrimitiveType>(values: impl Iterator<Item = T::Native>) -> ArrayRef {
    Arc::new(arrow_array::PrimitiveArray::<T>::from_iter_values(values))
}
