//! Opening sources: their files, how rows lie in them, and which format they have.

use std::path::PathBuf;

use fastft_record::{Code, RowError};
use fastft_source::{DataFile, Span, read};
use serde::Serialize;
use serde_json::Value;

use crate::error::EngineError;
use crate::format::{self, Format, Text};
use crate::json;
use crate::key::{Digests, Files};
use crate::plan::{Plan, Rows, SourcePlan, Truncate};
use crate::units::Input;

/// Rows that are looked at to find a format.
const SNIFFED_ROWS: usize = 200;

/// One source, ready to be read.
#[derive(Debug)]
pub struct Opened {
    /// Which fields are which.
    pub format: Format,
    /// Whether the format was found from rows.
    pub guessed: bool,
    /// Its files.
    pub data: Vec<DataFile>,
    /// Sentences for the user.
    pub warnings: Vec<String>,
}

impl Opened {
    /// The files as they are read.
    pub fn inputs(&self, source: &SourcePlan, index: u32) -> impl Iterator<Item = Input> {
        self.data.iter().map(move |data| Input {
            data: data.clone(),
            format: self.format.clone(),
            path: data.shown.to_string_lossy().into_owned(),
            source_name: source.name.clone(),
            source: index,
            limit: source.rows,
        })
    }
}

/// The files of each source with their digests.
///
/// # Errors
/// When a source has none, or one can't be read.
pub fn files(plan: &Plan, digests: &mut Digests) -> Result<Vec<Files>, EngineError> {
    let of_source = |source: &SourcePlan| -> Result<Files, EngineError> {
        let mut files = Files::new();
        for path in source.expand()? {
            let (digest, size) = digests.of(&path)?;
            files.push((path, digest, size));
        }
        Ok(files)
    };
    plan.sources.iter().map(of_source).collect()
}

/// Look into the files of a source.
///
/// # Errors
/// When its format can't be found, or does not go with the plan.
pub fn open(plan: &Plan, source: &SourcePlan, files: &Files) -> Result<Opened, EngineError> {
    let unit = source.format.as_ref().map_or_else(Default::default, Format::unit);
    let mut data = Vec::new();
    let mut warnings = Vec::new();
    for (path, _, _) in files {
        let shown = PathBuf::from(source.shown(path));
        let (file, warning) = DataFile::open_as(path, &shown, unit, source.encoding.as_deref())?;
        data.push(file);
        warnings.extend(warning);
    }
    let (format, guessed) = match &source.format {
        Some(format) => (format.clone(), false),
        None => (guess(source, files, &data, plan.rows)?, true),
    };
    for ((path, _, _), file) in files.iter().zip(&data) {
        let refuse = |message: String, hint: &str| {
            Err(EngineError::Format { message, hint: hint.to_owned(), path: source.shown(path).into() })
        };
        let is_text = format.is_text();
        if file.layout.is_text() && !is_text {
            let message =
                format!("source `{}` has a format of conversations, but the file is plain text", source.name);
            return refuse(message, "set the source's format to `text`, or give it rows of JSON");
        }
        if let Some(unwanted) = format.unwanted(plan.rows) {
            return refuse(format!("source `{}`: {}", source.name, unwanted.message), unwanted.hint);
        }
        if is_text && plan.truncate == Truncate::Turns {
            return refuse(
                "`truncate = \"turns\"` is for conversations, the source is text".into(),
                "use `split`",
            );
        }
        if !is_text && plan.truncate == Truncate::Split {
            let message = "`truncate = \"split\"` is for text, the source has conversations".into();
            return refuse(message, "use `turns`, `right`, `left` or `drop`");
        }
    }
    Ok(Opened { format, guessed, data, warnings })
}

/// Refuse conversations where nothing can render them.
///
/// # Errors
/// When a source has conversations and the plan no template.
pub fn check_template(plan: &Plan, files: &[Files], opened: &[Opened]) -> Result<(), EngineError> {
    let found = opened.iter().zip(files).find(|(source, _)| !source.format.is_text());
    match (found, &plan.tokenizer.template) {
        (Some((_, files)), None) => Err(EngineError::Format {
            message: "the source has conversations, but the tokenizer has no chat template".into(),
            hint: "set `data.template` to a built-in name or a `.jinja` file".into(),
            path: files.first().map(|file| file.0.clone()).unwrap_or_default(),
        }),
        _ => Ok(()),
    }
}

/// The files of a source without their digests, for a look that keeps nothing.
///
/// # Errors
/// When it has none.
pub fn names(source: &SourcePlan) -> Result<Files, EngineError> {
    Ok(source.expand()?.into_iter().map(|path| (path, String::new(), 0)).collect())
}

/// What a source looks like from its first rows.
#[derive(Debug, Serialize)]
pub struct Look {
    /// Which fields are which, found or named.
    pub format: Format,
    /// Columns that hold something and that the format does not read.
    pub unused: Vec<String>,
}

/// A look at each source.
///
/// # Errors
/// See `open`.
pub fn looks(plan: &Plan) -> Result<Vec<Look>, EngineError> {
    let look = |source: &SourcePlan| -> Result<Look, EngineError> {
        let opened = open(plan, source, &names(source)?)?;
        Ok(Look { unused: unused(&opened)?, format: opened.format })
    };
    plan.sources.iter().map(look).collect()
}

/// The columns that hold something in the first rows and that the format does not read, as they come.
///
/// # Errors
/// When a file can't be read.
pub fn unused(opened: &Opened) -> Result<Vec<String>, EngineError> {
    let mut unused: Vec<String> = Vec::new();
    if opened.data.iter().all(|file| file.layout.is_text()) {
        return Ok(unused);
    }
    for row in first_rows(&opened.data)?.good {
        for column in format::unused_columns(&opened.format, &row) {
            if !row[&column].is_null() && !unused.contains(&column) {
                unused.push(column);
            }
        }
    }
    Ok(unused)
}

fn guess(source: &SourcePlan, files: &Files, data: &[DataFile], wanted: Rows) -> Result<Format, EngineError> {
    if data.iter().all(|file| file.layout.is_text()) {
        return Ok(Format::Text(Text::default()));
    }
    let First { good: mut rows, error: first_error } = first_rows(data)?;
    for column in format::labels().filter(|label| source.ignores(label)) {
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            row.shift_remove(column);
        }
    }
    if let Some(format) = Format::guess_all(&rows, wanted) {
        return Ok(format);
    }
    let path: PathBuf = files.first().map(|file| source.shown(&file.0).into()).unwrap_or_default();
    if let (Some((path, line, error)), true) = (first_error, rows.is_empty()) {
        return Err(EngineError::Row { code: error.code.as_str().into(), reason: error.reason, path, line });
    }
    let message = match rows.first() {
        None => format!("source `{}` has no rows", source.name),
        Some(row) => {
            let keys = row
                .as_object()
                .map(|row| row.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "));
            format!(
                "the format of source `{}` can't be told from its columns: {}",
                source.name,
                keys.unwrap_or_default()
            )
        }
    };
    let hint =
        "name it: `format = { kind = \"alpaca\", instruction = \"...\", output = \"...\" }`".to_owned();
    Err(EngineError::Format { message, hint, path })
}

/// The rows that are looked at to find a format.
#[derive(Default)]
struct First {
    /// Those that are JSON.
    good: Vec<Value>,
    /// The first that is none: file, line and what is wrong.
    error: Option<(PathBuf, u64, RowError)>,
}

fn first_rows(data: &[DataFile]) -> Result<First, EngineError> {
    let mut first = First::default();
    let mut seen = 0;
    for file in data {
        for chunk in read(file, &Span::Whole, 1 << 18)? {
            let chunk = chunk?;
            for row in &chunk.rows {
                seen += 1;
                let parsed = match (&row.fault, std::str::from_utf8(chunk.bytes(row))) {
                    (Some(fault), _) => Err(fault.clone()),
                    (None, Ok(text)) => json::parse(text),
                    (None, Err(error)) => Err(RowError::new(Code::Utf8, error.to_string())),
                };
                match parsed {
                    Ok(value) => first.good.push(value),
                    Err(error) => first.error = first.error.or(Some((file.shown.clone(), row.line, error))),
                }
                if seen >= SNIFFED_ROWS {
                    return Ok(first);
                }
            }
        }
    }
    Ok(first)
}
