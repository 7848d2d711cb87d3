//! What the fuzz targets share: a file in memory, its rows read in every way, and every format over them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use fastft_clean::Duplicates;
use fastft_pipeline::encode::{EncodeOptions, Encoder};
use fastft_pipeline::format::Format;
use fastft_pipeline::json;
use fastft_pipeline::plan::{Rows, Truncate};
use fastft_pipeline::units::Input;
use fastft_pipeline::worker::{self, Progress, Rules};
use fastft_record::RowError;
use fastft_source::{Compression, DataFile, Layout, Span, TextUnit, count_lines, read, spans};
use fastft_text::Library;
use serde_json::json;

#[cfg(not(fuzzing))]
compile_error!(
    "without coverage a fuzzer is blind: build in `rust/fuzz`, whose .cargo/config.toml sets rustc.sh"
);

/// A folder of this process, in memory where there is one, and the working folder from then on.
pub static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = root.join(format!("fastft-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for files");
    folder
});

/// Write a file of the folder.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.join(name);
    fs::write(&path, bytes).expect("room for a small file");
    path
}

/// A row as it was cut: its line in the file, its bytes, and what is wrong with it.
pub type Cut = (u64, Vec<u8>, Option<RowError>);

/// The rows of all spans of a file, in order, and the error that ended them.
fn rows(file: &DataFile, unit_bytes: u64, chunk_bytes: usize) -> (Vec<Cut>, Option<String>) {
    let mut rows = Vec::new();
    let mut before = 0;
    let parts = match spans(file, unit_bytes) {
        Ok(parts) => parts,
        Err(error) => return (rows, Some(error.to_string())),
    };
    for span in &parts {
        let chunks = match read(file, span, chunk_bytes) {
            Ok(chunks) => chunks,
            Err(error) => return (rows, Some(error.to_string())),
        };
        for chunk in chunks {
            match chunk {
                Ok(chunk) => rows.extend(
                    chunk
                        .rows
                        .iter()
                        .map(|row| (row.line + before, chunk.bytes(row).to_vec(), row.fault.clone())),
                ),
                Err(error) => return (rows, Some(error.to_string())),
            }
        }
        if *span != Span::Whole {
            before += count_lines(file, span).expect("a span that was just read");
        }
    }
    (rows, None)
}

/// Read bytes as a file of this layout: pieces of any size have the rows of the whole, their lines are lines of the
/// file in order, no format panics on one, and the books balance. Returns the rows and whether the file was read to its
/// end.
pub fn check(data: &[u8], layout: Layout) -> (Vec<Cut>, bool) {
    let path = write("data", data);
    // detection may find anything, or refuse it
    let _ = fastft_source::detect(&path, TextUnit::Line);
    let file = DataFile {
        shown: path.clone(),
        path,
        bytes: data.len() as u64,
        layout,
        compression: Compression::None,
        encoding: None,
    };
    let whole = rows(&file, u64::MAX, 1 << 16);
    for (unit_bytes, chunk_bytes) in [(1, 1), (7, 64), (100, 16), (u64::MAX, 1)] {
        let pieces = rows(&file, unit_bytes, chunk_bytes);
        assert_eq!(pieces, whole, "units of {unit_bytes} bytes, chunks of {chunk_bytes}");
    }
    let lines = data.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    assert!(whole.0.iter().all(|row| (1..=lines).contains(&row.0)), "a line that the file does not have");
    assert!(whole.0.is_sorted_by_key(|row| row.0), "rows are in order");
    for (_, bytes, fault) in whole.0.iter().take(32) {
        if fault.is_none() {
            align(bytes, layout);
        }
    }
    books(&file, whole.0.len() as u64);
    (whole.0, whole.1.is_none())
}

/// Every format with its own names, and those that read the columns of others.
static FORMATS: LazyLock<Vec<Format>> = LazyLock::new(|| {
    let kinds = ["alpaca", "sharegpt", "openai", "preference", "ranked", "kto", "completion", "text"];
    let mut formats: Vec<_> = kinds.map(|kind| json!({"kind": kind})).into();
    for kind in ["alpaca", "sharegpt", "openai"] {
        formats.push(json!({"kind": kind, "chosen": "chosen", "rejected": "rejected"}));
        formats.push(json!({"kind": kind, "label": "label"}));
    }
    formats.push(json!({"kind": "preference", "answer": "chosen"}));
    formats.push(json!({"kind": "ranked", "ties": "first"}));
    formats.push(json!({"kind": "ranked", "scores": "scores", "ranks": ""}));
    formats.into_iter().map(|format| serde_json::from_value(format).expect("a format")).collect()
});

/// A row is a document of each format, or is refused with a code and a reason.
fn align(bytes: &[u8], layout: Layout) {
    for format in FORMATS.iter() {
        match worker::document(bytes, layout, format) {
            Ok(mut document) => {
                let text = document.text_for_rules().into_owned();
                let mut seen = 0;
                document.visit_texts_mut(|_, part| seen += part.len());
                assert!(seen <= text.len(), "the rules see every text");
            }
            Err(error) => {
                assert!(error.code.as_str().starts_with("E_") && !error.reason.is_empty(), "{error:?}");
            }
        }
    }
    let value = std::str::from_utf8(bytes).ok().and_then(|text| json::parse(text).ok());
    if let Some(value) = value {
        for wanted in [Rows::Conversation, Rows::Text, Rows::Preference, Rows::Labelled] {
            let _ = Format::guess(&value, wanted);
        }
    }
}

static ENCODER: LazyLock<Encoder> = LazyLock::new(|| {
    let tokenizer = include_str!("../../../tests/templates/fixtures/chatml_tokenizer.json");
    let template = include_str!("../../../python/fastft/data/templates/chatml.jinja");
    let special = vec![("eos_token".to_owned(), "<|im_end|>".to_owned())];
    let library = Library::from_json(tokenizer).expect("a tokenizer");
    Encoder::new(library, Some(template), &special, None, EncodeOptions::default()).expect("an encoder")
});

/// Every row enters the books once, whatever it became.
fn books(file: &DataFile, count: u64) {
    let format = serde_json::from_value(json!({"kind": "openai"})).expect("a format");
    let input = Input {
        data: file.clone(),
        format,
        path: "data".to_owned(),
        source_name: "data".to_owned(),
        source: 0,
        limit: None,
    };
    let rules = Rules {
        encoder: &ENCODER,
        cleaner: None,
        augmenter: None,
        duplicates: Duplicates::default(),
        truncate: Truncate::Right,
        max_length: 16,
        vocab_size: 1 << 16,
        fail_on_bad: false,
    };
    let mut read_rows = 0;
    let Ok(chunks) = read(file, &Span::Whole, 1 << 10) else { return };
    for chunk in chunks.map_while(Result::ok) {
        let numbered = (0..).zip(&chunk.rows).map(|(number, row)| (number, row, chunk.bytes(row)));
        let done = rules.rows(&input, numbered, None, &Progress::default());
        assert_eq!(done.books.read, chunk.rows.len() as u64);
        assert_eq!(done.books.accounted(), done.books.read, "{:?}", done.books);
        let listed = done.rejected.len() + done.left_out.len();
        assert_eq!(done.books.used + listed as u64, done.books.read, "each row is in the store or in a list");
        let tokens: usize = done.documents.iter().map(|document| document.0.ids.len()).sum();
        assert_eq!((tokens as u64, done.documents.len() as u64), (done.books.tokens, done.books.pieces));
        assert!(done.documents.iter().all(|document| document.0.ids.len() <= 16));
        read_rows += done.books.read;
    }
    assert_eq!(read_rows, count, "no row is lost on the way");
}
