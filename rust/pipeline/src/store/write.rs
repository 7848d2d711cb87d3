//! Writing the part of one unit: an Arrow file of record batches that fit into a few megabytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, PrimitiveBuilder};
use arrow_array::types::{ArrowPrimitiveType, Float32Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema};

use super::Part;
use crate::encode::Encoded;
use crate::error::EngineError;

/// Tokens of a record batch.
const BATCH_TOKENS: usize = 1 << 22;

/// Where a document came from, and which of its row's documents it is.
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
    /// Hash of the row's bytes: decides the split.
    pub hash: u64,
    /// 0 is the row's only, best or desirable document; 1 and more are worse ones.
    pub rank: u8,
    /// 0 is the row itself, k its k-th augmented copy.
    pub variant: u16,
}

enum Ids {
    Short(ListBuilder<PrimitiveBuilder<UInt16Type>>),
    Long(ListBuilder<PrimitiveBuilder<UInt32Type>>),
}

fn list<T: ArrowPrimitiveType>() -> ListBuilder<PrimitiveBuilder<T>> {
    ListBuilder::new(PrimitiveBuilder::new()).with_field(Field::new("item", T::DATA_TYPE, false))
}

/// The columns of a part.
fn schema(short: bool) -> Schema {
    let list_of =
        |name: &str, of| Field::new(name, DataType::List(Arc::new(Field::new("item", of, false))), false);
    Schema::new(vec![
        list_of("ids", if short { DataType::UInt16 } else { DataType::UInt32 }),
        list_of("spans", DataType::UInt32),
        list_of("weights", DataType::Float32),
        Field::new("rank", DataType::UInt8, false),
        Field::new("variant", DataType::UInt16, false),
        Field::new("row", DataType::UInt32, false),
        Field::new("line", DataType::UInt32, false),
        Field::new("hash", DataType::UInt64, false),
    ])
}

/// Writes the documents of one unit; nothing is made before the first.
pub struct PartWriter {
    folder: PathBuf,
    name: String,
    schema: Arc<Schema>,
    ids: Ids,
    spans: ListBuilder<PrimitiveBuilder<UInt32Type>>,
    weights: ListBuilder<PrimitiveBuilder<Float32Type>>,
    places: Vec<Place>,
    lines: Vec<(u32, u32)>,
    tokens: usize,
    file: Option<FileWriter<BufWriter<File>>>,
    documents: u64,
}

impl PartWriter {
    /// A part of ids below `vocab_size`, to be called `name` in `folder`.
    #[must_use]
    pub fn new(folder: &Path, name: &str, vocab_size: u32) -> Self {
        let short = super::id_bits(vocab_size) == 16;
        Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            schema: Arc::new(schema(short)),
            ids: if short { Ids::Short(list()) } else { Ids::Long(list()) },
            spans: list(),
            weights: list(),
            places: Vec::new(),
            lines: Vec::new(),
            tokens: 0,
            file: None,
            documents: 0,
        }
    }

    /// Add one document, whose `row` and `line` are counted from the unit's beginning.
    ///
    /// # Errors
    /// When a full batch can't be written, or the unit has more than 2^32 lines.
    ///
    /// # Panics
    /// When an id is not below `vocab_size`.
    pub fn push(&mut self, document: &Encoded, place: Place) -> Result<(), EngineError> {
        let small = |number: u64| {
            u32::try_from(number).map_err(|_| EngineError::store(&self.folder, "a unit has 2^32 lines"))
        };
        self.lines.push((small(place.row)?, small(place.line)?));
        match &mut self.ids {
            Ids::Short(list) => {
                let narrow = |id: &u32| u16::try_from(*id).expect("ids are below the vocabulary's size");
                list.values().extend(document.ids.iter().map(|id| Some(narrow(id))));
                list.append(true);
            }
            Ids::Long(list) => {
                list.values().append_slice(&document.ids);
                list.append(true);
            }
        }
        for (begin, end) in &document.trained {
            self.spans.values().append_slice(&[*begin, *end]);
        }
        self.spans.append(true);
        self.weights.values().append_slice(&document.weights);
        self.weights.append(true);
        self.places.push(place);
        self.tokens += document.ids.len();
        self.documents += 1;
        if self.tokens >= BATCH_TOKENS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let places = std::mem::take(&mut self.places);
        let lines = std::mem::take(&mut self.lines);
        let ids: ArrayRef = match &mut self.ids {
            Ids::Short(list) => Arc::new(list.finish()),
            Ids::Long(list) => Arc::new(list.finish()),
        };
        let columns: Vec<ArrayRef> = vec![
            ids,
            Arc::new(self.spans.finish()),
            Arc::new(self.weights.finish()),
            column::<UInt8Type>(places.iter().map(|place| place.rank)),
            column::<UInt16Type>(places.iter().map(|place| place.variant)),
            column::<UInt32Type>(lines.iter().map(|line| line.0)),
            column::<UInt32Type>(lines.iter().map(|line| line.1)),
            column::<UInt64Type>(places.iter().map(|place| place.hash)),
        ];
        let path = self.folder.join(&self.name);
        let arrow = |error: arrow_schema::ArrowError| EngineError::store(&path, error);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(arrow)?;
        if self.file.is_none() {
            let file = File::create(&path).map_err(EngineError::io(&path))?;
            let file = BufWriter::with_capacity(1 << 18, file);
            self.file = Some(FileWriter::try_new(file, &self.schema).map_err(arrow)?);
        }
        if let Some(writer) = &mut self.file {
            writer.write(&batch).map_err(arrow)?;
        }
        self.tokens = 0;
        Ok(())
    }

    /// Write what is pending, durably; None when there was no document.
    ///
    /// # Errors
    /// When something can't be written.
    pub fn finish(mut self) -> Result<Option<Part>, EngineError> {
        if !self.places.is_empty() {
            self.flush()?;
        }
        let Some(writer) = self.file.take() else { return Ok(None) };
        let path = self.folder.join(&self.name);
        let mut file = writer.into_inner().map_err(|error| EngineError::store(&path, error))?;
        file.flush().map_err(EngineError::io(&path))?;
        file.get_ref().sync_all().map_err(EngineError::io(&path))?;
        drop(file);
        Part::describe(&self.folder, &self.name, self.documents).map(Some)
    }
}

fn column<T: ArrowPrimitiveType>(values: impl Iterator<Item = T::Native>) -> ArrayRef {
    Arc::new(arrow_array::PrimitiveArray::<T>::from_iter_values(values))
}
