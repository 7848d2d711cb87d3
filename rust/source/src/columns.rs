//! Columnar files: their rows as JSON objects.
//!
//! Nulls stay explicit, integers and decimals exact, lists, structs and maps nested; times are written as ISO 8601,
//! bytes as base64. A row with a NaN or an infinity has no JSON: it is a fault that names the number, and shows `null`
//! in its place.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StructArray};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{ArrowError, Field, FieldRef, Fields};
use fastft_record::{Code, RowError};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

use crate::encode::{Odd, Plain};
use crate::layout::{Compression, DataFile, Layout};
use crate::rows::{Chunk, MAX_ROWS, Row};
use crate::span::Span;
use crate::{SourceError, input};

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Pieces of a columnar file with their bytes and rows; None where it can only be read forward.
pub fn groups(file: &DataFile) -> Result<Option<Vec<u64>>, SourceError> {
    Ok(match (file.layout, file.compression) {
        (Layout::Parquet, _) => {
            let metadata = parquet_metadata(file, &input::open(file)?)?;
            let groups = metadata.metadata().row_groups();
            Some(groups.iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0)).collect())
        }
        (Layout::ArrowFile, Compression::None) => {
            let reader = arrow_file(file, None)?;
            let count = reader.num_batches();
            Some(vec![file.bytes / (count as u64).max(1); count])
        }
        _ => None,
    })
}

/// The rows of a span.
pub fn count(file: &DataFile, span: &Span) -> Result<u64, SourceError> {
    if file.layout == Layout::Parquet {
        let metadata = parquet_metadata(file, &input::open(file)?)?;
        let groups = metadata.metadata().row_groups();
        let rows = span.groups(groups.len()).map(|group| groups[group].num_rows());
        return Ok(rows.map(|rows| u64::try_from(rows).unwrap_or(0)).sum());
    }
    let mut rows = 0;
    for batch in batches(file, span, 1 << 20, true)? {
        rows += batch.map_err(|error| damaged(&file.shown, rows, &error.to_string()))?.num_rows() as u64;
    }
    Ok(rows)
}

/// The rows of a span in chunks.
pub fn read(file: &DataFile, span: &Span, chunk_bytes: usize) -> Result<Columns, SourceError> {
    let batches = batches(file, span, chunk_bytes, false)?;
    let odd = Odd::default();
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Plain(odd.clone())));
    Ok(Columns {
        path: file.shown.clone(),
        batches,
        batch: None,
        at: 0,
        rows: 0,
        chunk_bytes,
        options,
        odd,
        ended: false,
    })
}

fn batches(
    file: &DataFile,
    span: &Span,
    chunk_bytes: usize,
    only_count: bool,
) -> Result<Batches, SourceError> {
    let none = only_count.then(Vec::new);
    Ok(match (file.layout, file.compression) {
        (Layout::Parquet, _) => Box::new(parquet_rows(file, span, chunk_bytes)?),
        (Layout::ArrowFile, Compression::None) => {
            let mut reader = arrow_file(file, none)?;
            check(&file.shown, reader.schema().fields())?;
            let groups = span.groups(reader.num_batches());
            if !groups.is_empty() {
                reader
                    .set_index(groups.start)
                    .map_err(|error| damaged(&file.shown, 0, &error.to_string()))?;
            }
            Box::new(reader.take(groups.len()))
        }
        (layout, _) => {
            let mut content = input::content(file, 0)?;
            if layout == Layout::ArrowFile {
                content = behind_magic(content).map_err(|error| input::failed(&file.shown, 0, error))?;
            }
            let reader = guarded(&file.shown, || StreamReader::try_new(BufReader::new(content), none))?;
            check(&file.shown, reader.schema().fields())?;
            Box::new(reader)
        }
    })
}

/// A packed Arrow file can't be sought in, but it is a stream behind its first word and the zeros that pad it.
fn behind_magic(mut content: Box<dyn Read + Send>) -> std::io::Result<Box<dyn Read + Send>> {
    let mut byte = [0; 1];
    std::io::copy(&mut content.by_ref().take(6), &mut std::io::sink())?;
    for _ in 0..64 {
        content.read_exact(&mut byte)?;
        if byte[0] != 0 {
            break;
        }
    }
    Ok(Box::new(Cursor::new(byte).chain(content)))
}

fn parquet_metadata(file: &DataFile, opened: &File) -> Result<ArrowReaderMetadata, SourceError> {
    guarded(&file.shown, || {
        ArrowReaderMetadata::load(opened, parquet::arrow::arrow_reader::ArrowReaderOptions::default())
    })
}

fn parquet_rows(
    file: &DataFile,
    span: &Span,
    chunk_bytes: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static, SourceError> {
    let opened = input::open(file)?;
    let metadata = parquet_metadata(file, &opened)?;
    check(&file.shown, metadata.schema().fields())?;
    let all = metadata.metadata().row_groups();
    let groups = span.groups(all.len());
    let (bytes, rows) = all[groups.clone()].iter().fold((0, 0), |(bytes, rows), group| {
        (bytes + group.total_byte_size().max(0), rows + group.num_rows().max(0))
    });
    let row_bytes = usize::try_from(bytes / rows.max(1)).unwrap_or(usize::MAX).max(1);
    guarded(&file.shown, || {
        ParquetRecordBatchReaderBuilder::new_with_metadata(opened, metadata)
            .with_row_groups(groups.collect())
            .with_batch_size((chunk_bytes / row_bytes).clamp(1, MAX_ROWS))
            .build()
    })
}

fn arrow_file(
    file: &DataFile,
    projection: Option<Vec<usize>>,
) -> Result<FileReader<BufReader<File>>, SourceError> {
    let opened = input::open(file)?;
    guarded(&file.shown, || FileReader::try_new(BufReader::new(opened), projection))
}

/// Call a decoder of a library: what it finds, or panics at, is damage of this file.
fn guarded<T, E: std::fmt::Display>(
    path: &Path,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, SourceError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| damaged(path, 0, &error.to_string())),
        Err(_) => Err(damaged(path, 0, "its structure contradicts itself")),
    }
}

fn damaged(path: &Path, rows: u64, error: &str) -> SourceError {
    SourceError::Damaged { path: path.to_owned(), reason: format!("{error} (after {rows} rows)") }
}

/// Refuse names that JSON could hold only once.
fn check(path: &Path, fields: &Fields) -> Result<(), SourceError> {
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|other| other.name() == field.name()) {
            let reason = format!("two are named `{}`", field.name());
            return Err(SourceError::Columns { path: path.to_owned(), reason });
        }
        if let arrow_schema::DataType::Struct(inner) = field.data_type() {
            check(path, inner)?;
        }
    }
    Ok(())
}

/// Rows of batches, chunk by chunk.
pub struct Columns {
    path: PathBuf,
    batches: Batches,
    batch: Option<StructArray>,
    /// The next row of the batch.
    at: usize,
    /// Rows handed on.
    rows: u64,
    chunk_bytes: usize,
    options: EncoderOptions,
    odd: Odd,
    ended: bool,
}

impl Columns {
    /// Make sure of a batch with rows; false when there is none.
    fn advance(&mut self) -> Result<bool, SourceError> {
        while self.batch.as_ref().is_none_or(|batch| self.at >= batch.len()) {
            self.at = 0;
            self.batch = None; // gone before the next one comes
            let next = catch_unwind(AssertUnwindSafe(|| self.batches.next()));
            match next {
                Ok(None) => return Ok(false),
                Ok(Some(Ok(batch))) => self.batch = Some(StructArray::from(batch)),
                Ok(Some(Err(error))) => return Err(damaged(&self.path, self.rows, &error.to_string())),
                Err(_) => return Err(damaged(&self.path, self.rows, "its structure contradicts itself")),
            }
        }
        Ok(true)
    }

    fn chunk(&mut self) -> Result<Option<Chunk>, SourceError> {
        if !self.advance()? {
            return Ok(None);
        }
        let batch = self.batch.as_ref().expect("advance found one");
        let field: FieldRef = Arc::new(Field::new("row", batch.data_type().clone(), false));
        let mut chunk = Chunk::default();
        let mut encoder = make_encoder(&field, batch, &self.options)
            .map_err(|error| SourceError::Columns { path: self.path.clone(), reason: error.to_string() })?;
        while self.at < batch.len() && chunk.data.len() < self.chunk_bytes && chunk.rows.len() < MAX_ROWS {
            let start = chunk.data.len();
            encoder.encode(self.at, &mut chunk.data);
            let fault = self.odd.take().map(|number| {
                RowError::new(
                    Code::Json,
                    format!("a column of this row holds {number}, which JSON can't carry"),
                )
            });
            self.at += 1;
            self.rows += 1;
            chunk.rows.push(Row { line: self.rows, start, end: chunk.data.len(), fault });
        }
        Ok(Some(chunk))
    }
}

impl Iterator for Columns {
    type Item = Result<Chunk, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.chunk().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
