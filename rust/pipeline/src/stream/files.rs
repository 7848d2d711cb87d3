//! Files as units: where they are cut, and the rows of a piece.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fastft_source::{Chunks, FileMap, Layout, Row, TextUnit};
use memchr::{memchr, memchr_iter};
use serde_json::{Value, json};

use super::{Options, Unit};
use crate::error::EngineError;
use crate::inputs::{self, Opened};
use crate::key::{self, Files as Listed};
use crate::plan::{Plan, SourcePlan};

/// Bytes that a unit has at least, where the data is small.
const LEAST_BYTES: u64 = 1 << 12;
/// Units of a source that each lane gets at least, where its size allows.
const UNITS_A_LANE: u64 = 4;
/// Bytes at either end of a file that stand for its content.
const HEAD_BYTES: usize = 1 << 16;

/// One file and where it is cut.
pub struct OneFile {
    /// As the plan names it.
    pub path: String,
    /// Index of its source.
    pub source: u32,
    /// How rows lie in it.
    pub layout: Layout,
    /// Its content.
    pub map: FileMap,
    cuts: Vec<usize>,
    lines: Mutex<BTreeMap<usize, u64>>,
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
    /// Find and cut the files of a plan; none is read whole.
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
            for ((path, _, _), &layout) in names.iter().zip(&found.layouts) {
                let map = FileMap::open(path)?;
                let mut hasher = blake3::Hasher::new();
                hasher.update(&map[..map.len().min(HEAD_BYTES)]);
                hasher.update(&map[map.len().saturating_sub(HEAD_BYTES)..]);
                let digest = hasher.finalize().to_hex()[..32].to_owned();
                entries.push((path.clone(), format!("ends {digest} of {}", map.len()), map.len() as u64));
                let path = path.to_string_lossy().into_owned();
                let (cuts, lines) = (Vec::new(), Mutex::default());
                files.push(OneFile { path, source: index, layout, map, cuts, lines });
            }
            listed.push(entries);
            opened.push(found);
        }
        inputs::check_template(plan, &listed, &opened)?;
        let mut all = Self { key: key::key(&key::fields(plan, &listed)), files, opened, units: Vec::new() };
        for (index, source) in (0u32..).zip(&plan.sources) {
            all.cut(index, source.rows, options);
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
            let files = self.files.iter().filter(|file| file.source == number);
            let files: Vec<Value> =
                files.map(|file| json!({"path": file.path, "bytes": file.map.len()})).collect();
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

    /// Cut the files of a source.
    fn cut(&mut self, source: u32, limit: Option<u64>, options: &Options) {
        let size: u64 =
            self.files.iter().filter(|file| file.source == source).map(|file| file.map.len() as u64).sum();
        let least = LEAST_BYTES.min(options.unit_bytes);
        let target =
            (size / (UNITS_A_LANE * u64::from(options.lanes))).clamp(least, options.unit_bytes.max(1));
        let mut left = limit;
        for (number, file) in (0u32..).zip(&mut self.files) {
            if file.source != source || left == Some(0) {
                continue;
            }
            file.cuts = file.cuts_every(target);
            for piece in 0..crate::order::count(&file.cuts) - 1 {
                let bytes = (file.cuts[piece as usize + 1] - file.cuts[piece as usize]) as u64;
                let mut unit = Unit { source, file: number, piece, part: (0, 1), rows: u64::MAX, bytes };
                if let Some(left) = &mut left {
                    // the first rows only: this much has to be cut to know where they end
                    let rows = file.rows(piece).len() as u64;
                    unit.rows = rows.min(*left);
                    unit.bytes = if rows > *left { bytes * *left / rows.max(1) } else { bytes };
                    *left -= unit.rows;
                }
                if unit.rows == 0 || bytes == 0 {
                    continue;
                }
                // a file that can be read from its beginning only is read by each lane for its share of the rows
                let parts =
                    if file.is_cut() { 1 } else { (unit.bytes / target).clamp(1, u64::from(options.lanes)) };
                #[allow(clippy::cast_possible_truncation, reason = "at most the number of lanes")]
                for part in 0..parts as u32 {
                    let bytes = unit.bytes / parts;
                    self.units.push(Unit { part: (part, parts as u32), bytes, ..unit });
                }
            }
        }
    }
}

impl OneFile {
    fn is_cut(&self) -> bool {
        matches!(self.layout, Layout::Jsonl | Layout::Text(TextUnit::Line))
    }

    /// Offsets at which pieces begin, and the end: at the line that begins first at or behind each multiple.
    fn cuts_every(&self, target: u64) -> Vec<usize> {
        let bytes = &self.map[..];
        let mut cuts = vec![0];
        let step = usize::try_from(target).unwrap_or(usize::MAX).max(1);
        if self.is_cut() {
            let mut at = step;
            while at < bytes.len() {
                let line = memchr(b'\n', &bytes[at - 1..]).map_or(bytes.len(), |found| at + found);
                if line < bytes.len() {
                    cuts.push(line);
                }
                at = (line / step + 1) * step;
            }
        }
        cuts.push(bytes.len());
        cuts
    }

    /// The rows of a piece, at their places in the file; lines are counted from the piece's beginning.
    #[must_use]
    pub fn rows(&self, piece: u32) -> Vec<Row> {
        let (start, end) = (self.cuts[piece as usize], self.cuts[piece as usize + 1]);
        let slice = &self.map[start..end];
        let chunks = Chunks::new(slice, self.layout, usize::MAX);
        chunks
            .flat_map(|chunk| chunk.rows)
            .map(|row| Row { start: row.start + start, end: row.end + start, ..row })
            .collect()
    }

    /// Lines before a piece.
    #[must_use]
    pub fn lines_before(&self, piece: u32) -> u64 {
        let start = self.cuts[piece as usize];
        let mut known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, lines) = known.range(..=start).next_back().map_or((0, 0), |(at, lines)| (*at, *lines));
        let lines = lines + memchr_iter(b'\n', &self.map[from..start]).count() as u64;
        known.insert(start, lines);
        lines
    }

    /// Pieces there are.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        crate::order::count(&self.cuts).saturating_sub(1)
    }
}
