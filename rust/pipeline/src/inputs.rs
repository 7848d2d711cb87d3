//! Opening sources: their files, how rows lie in them, and which format they have.

use std::path::PathBuf;

use fastft_record::Code;
use fastft_source::{DataFile, Span, expand, read};
use serde_json::Value;

use crate::error::EngineError;
use crate::format::{Format, Text};
use crate::key::{Digests, Files};
use crate::plan::{Plan, Rows, SourcePlan, Truncate};
use crate::units::Input;
use crate::worker;

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
    pub fn inputs(&self, source: &SourcePlan, index: u32, files: &Files) -> impl Iterator<Item = Input> {
        self.data.iter().zip(files).map(move |(data, (path, _, _))| Input {
            data: data.clone(),
            format: self.format.clone(),
            path: path.to_string_lossy().into_owned(),
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
        for path in expand(&source.path)? {
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
        let (file, warning) = DataFile::open(path, unit)?;
        data.push(file);
        warnings.extend(warning);
    }
    let (format, guessed) = match &source.format {
        Some(format) => (format.clone(), false),
        None => (guess(source, files, &data, plan.rows)?, true),
    };
    for ((path, _, _), file) in files.iter().zip(&data) {
        let refuse = |message: String, hint: &str| {
            Err(EngineError::Format { message, hint: hint.to_owned(), path: path.clone() })
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
    Ok(expand(&source.path)?.into_iter().map(|path| (path, String::new(), 0)).collect())
}

/// The format of each source, found or named.
///
/// # Errors
/// See `open`.
pub fn formats(plan: &Plan) -> Result<Vec<Format>, EngineError> {
    let format = |source: &SourcePlan| -> Result<Format, EngineError> {
        Ok(open(plan, source, &names(source)?)?.format)
    };
    plan.sources.iter().map(format).collect()
}

fn guess(source: &SourcePlan, files: &Files, data: &[DataFile], wanted: Rows) -> Result<Format, EngineError> {
    if data.iter().all(|file| file.layout.is_text()) {
        return Ok(Format::Text(Text::default()));
    }
    let mut rows: Vec<Value> = Vec::new();
    let mut first_error = None;
    let mut seen = 0;
    'files: for file in data {
        for chunk in read(file, &Span::Whole, 1 << 18)? {
            let chunk = chunk?;
            for row in &chunk.rows {
                seen += 1;
                let parsed = match (&row.fault, std::str::from_utf8(chunk.bytes(row))) {
                    (Some(fault), _) => Err(fault.clone()),
                    (None, Ok(text)) => worker::parse(text),
                    (None, Err(error)) => Err(fastft_record::RowError::new(Code::Utf8, error.to_string())),
                };
                match parsed {
                    Ok(value) => rows.push(value),
                    Err(error) => first_error = first_error.or(Some((file.path.clone(), row.line, error))),
                }
                if seen >= SNIFFED_ROWS {
                    break 'files;
                }
            }
        }
    }
    if let Some(format) = Format::guess_all(&rows, wanted) {
        return Ok(format);
    }
    let path: PathBuf = files.first().map(|file| file.0.clone()).unwrap_or_default();
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
