//! Files as units: where they are cut, and the rows of a piece.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use fastft_source::{Chunks, DataFile, Span, count_lines, read, spans, unpacked_bytes};
use serde_json::{Value, json};

use super::{Options, Unit};
use crate::error::EngineError;
use crate::inputs::{self, Opened};
use crate::key::{self, Files as Listed};
use crate::plan::{Plan, SourcePlan};
use crate::units::Input;

/// Bytes that a unit has at least, where the data is small.
const LEAST_BYTES: u64 = 1 << 12;
/// Units of a source that each lane gets at least, where its size allows.
const UNITS_A_LANE: u64 = 4;
/// Bytes at either end of a file that stand for its content.
const END_BYTES: u64 = 1 << 16;
/// Bytes of a chunk of rows.
const CHUNK_BYTES: usize = 1 << 16;

/// Files of a source whose text is measured; those after them are taken to be alike.
const MEASURED_FILES: usize = 8;
/// Bytes up to which the rows of a file are read to measure them.
const MEASURED_BYTES: u64 = 4 << 20;

/// One file and where it is cut.
pub struct OneFile {
    /// How its rows are read.
    pub input: Input,
    spans: Vec<Span>,
    lines: Mutex<BTreeMap<u32, u64>>,
}

/// All files of a plan.
pub struct Files {
    /// In the plan's order.
    pub files: Vec<OneFile>,
    /// The sources as they are read.
    pub opened: Vec<Opened>,
    /// What stands for plan and content: see `key`.
    pub key: String,
    units: Vec<Unit>,
}

impl Files {
    /// Find and cut the files of a plan; none that is large is read whole.
    ///
    /// The key knows a file by its size and the 64 KB at both its ends.
    ///
    /// # Errors
    /// When one can't be read, or the format of a source can't be told.
    pub fn open(plan: &Plan, options: &Options) -> Result<Self, EngineError> {
        let mut files = Vec::new();
        let mut opened = Vec::new();
        let mut listed: Vec<Listed> = Vec::new();
        for (index, source) in (0u32..).zip(&plan.sources) {
            let names = inputs::names(source)?;
            let found = inputs::open(plan, source, &names)?;
            let mut entries = Listed::new();
            for input in found.inputs(source, index) {
                entries.push((input.data.path.clone(), ends(&input.data)?, input.data.bytes));
                files.push(OneFile { input, spans: Vec::new(), lines: Mutex::default() });
            }
            listed.push(entries);
            opened.push(found);
        }
        inputs::check_template(plan, &listed, &opened)?;
        // a stream has no cache of its own: digests of the options' files are taken each time
        let named = key::option_files(plan, &mut key::Digests::default())?;
        let key = key::key(&key::fields(plan, &listed, &named));
        let mut all = Self { key, files, opened, units: Vec::new() };
        for (index, source) in (0u32..).zip(&plan.sources) {
            all.cut(index, source.rows, options)?;
        }
        Ok(all)
    }

    /// The units, in the order of the data.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        self.units.clone()
    }

    /// Each source as it is read: its name, format, whether that was found, and its files.
    #[must_use]
    pub fn sources(&self, plan: &Plan) -> Value {
        let source = |(number, (source, opened)): (u32, (&SourcePlan, &Opened))| {
            let files = self.files.iter().map(|file| &file.input).filter(|input| input.source == number);
            let files: Vec<Value> =
                files.map(|input| json!({"path": input.path, "bytes": input.data.bytes})).collect();
            json!({
                "name": source.name,
                "path": source.path,
                "format": opened.format,
                "guessed": opened.guessed,
                "warnings": opened.warnings,
                "files": files,
            })
        };
        (0..).zip(plan.sources.iter().zip(&self.opened)).map(source).collect()
    }

    /// About how much text the rows of some files of a source have, and the bytes of these files.
    fn measure(&self, source: u32) -> Result<(u64, u64), EngineError> {
        let (mut text, mut packed) = (0u64, 0u64);
        let files = self.files.iter().filter(|file| file.input.source == source);
        for file in files.take(MEASURED_FILES) {
            let mut size = unpacked_bytes(&file.input.data)?;
            if size.max(file.input.data.bytes) <= MEASURED_BYTES {
                size = file.rows_bytes().unwrap_or(size); // what is damaged is told when it is trained on
            }
            text = text.saturating_add(size);
            packed = packed.saturating_add(file.input.data.bytes);
        }
        Ok((text.max(1), packed.max(1)))
    }

    /// Cut the files of a source.
    fn cut(&mut self, source: u32, limit: Option<u64>, options: &Options) -> Result<(), EngineError> {
        let inputs = self.files.iter().map(|file| &file.input).filter(|input| input.source == source);
        let size: u64 = inputs.map(|input| input.data.bytes).sum();
        let least = LEAST_BYTES.min(options.unit_bytes);
        let target =
            (size / (UNITS_A_LANE * u64::from(options.lanes))).clamp(least, options.unit_bytes.max(1));
        for file in &mut self.files {
            if file.input.source == source {
                file.spans = spans(&file.input.data, target)?;
            }
        }
        let (text, packed) = self.measure(source)?;
        let mut left = limit;
        for (number, file) in (0u32..).zip(&mut self.files) {
            if file.input.source != source || left == Some(0) {
                continue;
            }
            let cut_anywhere = matches!(file.spans.first(), Some(Span::Bytes { .. }));
            for piece in 0..file.pieces() {
                let bytes = bytes_of(&file.input.data, &file.spans[piece as usize], file.spans.len());
                let mut unit = Unit { source, file: number, piece, part: (0, 1), rows: u64::MAX, bytes };
                if let Some(left) = &mut left {
                    // the first rows only: this much has to be cut to know where they end
                    let (mut rows, mut size) = (0, 0);
                    for chunk in file.read(piece)? {
                        let chunk = chunk?;
                        rows += chunk.rows.len() as u64;
                        size += chunk.rows.iter().map(|row| chunk.bytes(row).len() as u64).sum::<u64>();
                        if rows >= *left {
                            break;
                        }
                    }
                    unit.rows = rows.min(*left);
                    let part = u128::from(size) * u128::from(unit.rows) / u128::from(rows.max(1));
                    unit.bytes = u64::try_from(part).unwrap_or(u64::MAX);
                    *left -= unit.rows;
                }
                if unit.rows == 0 || bytes == 0 {
                    continue;
                }
                // a file that can be read from its beginning only is read by each lane for its share of the rows
                let parts =
                    if file.is_cut() { 1 } else { (unit.bytes / target).clamp(1, u64::from(options.lanes)) };
                if limit.is_none() && !cut_anywhere {
                    let scaled = u128::from(unit.bytes) * u128::from(text) / u128::from(packed);
                    unit.bytes = u64::try_from(scaled).unwrap_or(u64::MAX).max(1);
                }
                #[allow(clippy::cast_possible_truncation, reason = "at most the number of lanes")]
                for part in 0..parts as u32 {
                    let bytes = unit.bytes / parts;
                    self.units.push(Unit { part: (part, parts as u32), bytes, ..unit });
                }
            }
        }
        Ok(())
    }
}

impl OneFile {
    /// Whether pieces of it can be read alone.
    fn is_cut(&self) -> bool {
        self.spans.len() > 1 || self.spans.first().is_some_and(|span| *span != Span::Whole)
    }

    /// The rows of a piece, chunk by chunk; lines are counted from the piece's beginning.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&self, piece: u32) -> Result<Chunks, EngineError> {
        Ok(read(&self.input.data, &self.spans[piece as usize], CHUNK_BYTES)?)
    }

    /// Bytes of all its rows.
    fn rows_bytes(&self) -> Result<u64, EngineError> {
        let mut size = 0;
        for piece in 0..self.pieces() {
            for chunk in self.read(piece)? {
                let chunk = chunk?;
                size += chunk.rows.iter().map(|row| chunk.bytes(row).len() as u64).sum::<u64>();
            }
        }
        Ok(size)
    }

    /// Lines before a piece.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn lines_before(&self, piece: u32) -> Result<u64, EngineError> {
        let mut known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, mut lines) = known.range(..=piece).next_back().map_or((0, 0), |(at, lines)| (*at, *lines));
        for span in &self.spans[from as usize..piece as usize] {
            lines += count_lines(&self.input.data, span)?;
        }
        known.insert(piece, lines);
        Ok(lines)
    }

    /// Pieces there are.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        crate::order::count(&self.spans)
    }
}

/// How many bytes of the file a span is; 0 when it can't be told.
fn bytes_of(file: &DataFile, span: &Span, pieces: usize) -> u64 {
    match span {
        Span::Bytes { start, end } => end - start,
        Span::Whole => file.bytes,
        Span::Groups { .. } => file.bytes / pieces.max(1) as u64,
    }
}

/// What stands for a file's content: its size and both its ends.
fn ends(file: &DataFile) -> Result<String, EngineError> {
    let io = |error| EngineError::io(&file.path)(error);
    let mut opened = fs::File::open(&file.path).map_err(io)?;
    let mut hasher = blake3::Hasher::new();
    for from in [0, file.bytes.saturating_sub(END_BYTES)] {
        opened.seek(SeekFrom::Start(from)).map_err(io)?;
        let mut end = Vec::new();
        (&mut opened).take(END_BYTES).read_to_end(&mut end).map_err(io)?;
        hasher.update(&end);
    }
    Ok(format!("ends {} of {}", &hasher.finalize().to_hex()[..32], file.bytes))
}
