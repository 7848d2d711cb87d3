//! What a file is, by its content first; the ending only decides where content says nothing.

use std::path::Path;

use encoding_rs::Encoding;

use crate::SourceError;
use crate::delimiter;
use crate::input::{head, without_bom};
use crate::layout::{Compression, Layout, TextUnit};

/// What was found, and where content and ending disagree what to say of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// How rows lie in the file.
    pub layout: Layout,
    /// What it is packed with.
    pub compression: Compression,
    /// One sentence naming both sides of a disagreement.
    pub warning: Option<String>,
}

/// The bytes of a byte order mark in UTF-8.
pub const BOM: &[u8] = b"\xef\xbb\xbf";
/// Content that is looked at.
const HEAD: usize = 1 << 20;
/// Endings of packed files.
const PACKED: [&str; 4] = ["gz", "gzip", "zst", "zstd"];

/// Look into a file: unpack its head and tell how rows lie in it.
///
/// # Errors
/// When it can't be read, or is something that is not read here; the error says what it is and what helps.
pub fn detect(path: &Path, unit: TextUnit) -> Result<Detected, SourceError> {
    detect_as(path, unit, None)
}

/// The same for a file in an encoding that the user named.
///
/// # Errors
/// See `detect`.
pub fn detect_as(
    path: &Path,
    unit: TextUnit,
    encoding: Option<&'static Encoding>,
) -> Result<Detected, SourceError> {
    let start = head(path, Compression::None, None, 16)?;
    let compression = match start.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // a skippable frame may come first
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    let bytes = head(path, compression, encoding, HEAD)?;
    let (layout, warning) = by_head(path, &bytes, unit, compression)?;
    Ok(Detected { layout, compression, warning })
}

/// The layout of the content that begins with `bytes`.
pub fn by_head(
    path: &Path,
    bytes: &[u8],
    unit: TextUnit,
    compression: Compression,
) -> Result<(Layout, Option<String>), SourceError> {
    let unsupported =
        |found: &str| Err(SourceError::Unsupported { path: path.to_owned(), found: found.to_owned() });
    let ending = ending(path);
    let layout = if let Some(layout) = columnar(bytes) {
        if layout == Layout::Parquet && compression != Compression::None {
            return unsupported(
                "a packed Parquet file, which can't be read forward: unpack it first (Parquet packs its own columns)",
            );
        }
        layout
    } else {
        if let Some(found) = foreign(bytes, &ending) {
            return unsupported(found);
        }
        match lines(without_bom(bytes), &ending, unit) {
            Ok(layout) => layout,
            Err(found) => return unsupported(found),
        }
    };
    let expected = match ending.as_str() {
        "jsonl" | "ndjson" => matches!(layout, Layout::Jsonl),
        "json" => matches!(layout, Layout::Jsonl | Layout::JsonArray),
        "txt" | "text" | "md" => layout.is_text(),
        "csv" | "tsv" | "tab" => matches!(layout, Layout::Csv { .. }),
        "parquet" => layout == Layout::Parquet,
        "arrow" | "feather" | "ipc" => matches!(layout, Layout::ArrowFile | Layout::ArrowStream),
        _ => !matches!(layout, Layout::Csv { .. }), // a table by its delimiters alone is worth a word
    };
    let holds = match layout {
        Layout::Jsonl => "JSON lines".to_owned(),
        Layout::JsonArray => "one JSON array".to_owned(),
        Layout::Text(_) => "text".to_owned(),
        Layout::Csv { delimiter } => {
            format!("a table with {} between its fields", delimiter::name(delimiter))
        }
        Layout::Parquet => "Parquet".to_owned(),
        Layout::ArrowFile | Layout::ArrowStream => "Arrow data".to_owned(),
    };
    let named = if ending.is_empty() { "has no ending".to_owned() } else { format!("ends in .{ending}") };
    let warning = (!expected).then(|| format!("{named} but holds {holds}; it is read as that"));
    Ok((layout, warning))
}

/// The ending of a name in small letters, that of the packed file where it is packed.
pub fn ending(path: &Path) -> String {
    let of = |path: &Path| {
        path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
    };
    let last = of(path);
    if PACKED.contains(&last.as_str()) { of(&path.with_extension("")) } else { last }
}

fn columnar(bytes: &[u8]) -> Option<Layout> {
    if bytes.starts_with(b"PAR1") {
        return Some(Layout::Parquet);
    }
    if bytes.starts_with(b"ARROW1") {
        return Some(Layout::ArrowFile);
    }
    // a stream opens with a marker and the length of its schema
    let length =
        bytes.strip_prefix(b"\xff\xff\xff\xff")?.first_chunk::<4>().map(|four| u32::from_le_bytes(*four))?;
    (length > 0 && length < 1 << 28 && length.is_multiple_of(8)).then_some(Layout::ArrowStream)
}

/// What is known by sight and not read here.
fn foreign(bytes: &[u8], ending: &str) -> Option<&'static str> {
    for (magic, what) in [
        (&b"PK\x03\x04"[..], "a zip archive: unpack it and give the files in it"),
        (b"PK\x05\x06", "an empty zip archive"),
        (b"BZh", "packed with bzip2: unpack it, or pack it with gzip or zstd"),
        (b"\xfd7zXZ\x00", "packed with xz: unpack it, or pack it with gzip or zstd"),
        (b"\x04\x22\x4d\x18", "packed with lz4: unpack it, or pack it with gzip or zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it and give the files in it"),
        (b"\x1f\x8b", "packed twice: unpack it once"),
        (b"\x28\xb5\x2f\xfd", "packed twice: unpack it once"),
        (b"PARE", "an encrypted Parquet file"),
        (b"FEA1", "a Feather file of version 1: write it again with pyarrow, which makes version 2"),
        (b"ORC", "an ORC file: convert it to Parquet"),
        (b"Obj\x01", "an Avro file: convert it to Parquet or JSON lines"),
        (b"%PDF-", "a PDF document: extract its text first"),
        (b"SQLite format 3\0", "an SQLite database: export its table as CSV or JSON lines"),
        (b"\x89HDF", "an HDF5 file: convert it to Parquet"),
        (b"\xff\xfe", "in UTF-16: name its encoding (`utf-16le`), or convert it to UTF-8"),
        (b"\xfe\xff", "in UTF-16: name its encoding (`utf-16be`), or convert it to UTF-8"),
        (
            b"version https://git-lfs.github.com/spec/",
            "a Git LFS pointer, not the data: fetch it with `git lfs pull`",
        ),
    ] {
        // letters alone may also begin a text
        let is_word = magic.iter().all(u8::is_ascii_alphabetic);
        if bytes.starts_with(magic) && !(is_word && std::str::from_utf8(bytes).is_ok()) {
            return Some(what);
        }
    }
    let nul = memchr::memchr_iter(0, bytes).count();
    if nul * 8 > bytes.len() {
        return Some(
            "binary, or UTF-16 without a byte order mark: name its encoding, or convert it to UTF-8",
        );
    }
    let is_table =
        matches!(ending, "jsonl" | "ndjson" | "json" | "csv" | "tsv" | "parquet" | "arrow" | "feather");
    let body = without_bom(bytes).trim_ascii_start();
    let opening = body[..body.len().min(15)].to_ascii_lowercase();
    if is_table && (opening.starts_with(b"<!doctype html") || opening.starts_with(b"<html")) {
        return Some(
            "an HTML page, perhaps the answer of a server that wants a login: fetch the data itself",
        );
    }
    (matches!(ending, "parquet" | "arrow" | "feather")
        && !bytes.is_empty()
        && std::str::from_utf8(bytes).is_err())
    .then_some("not what its ending says, nor text in UTF-8: is it complete?")
}

fn lines(body: &[u8], ending: &str, unit: TextUnit) -> Result<Layout, &'static str> {
    // a first row that was cut off after its brace makes no object of a file of rows
    let is_lines = matches!(ending, "jsonl" | "ndjson")
        && body.split(|byte| *byte == b'\n').skip(1).take(10).any(|line| {
            let line = line.trim_ascii();
            starts_an_object(line) && line.ends_with(b"}")
        });
    Ok(match by_content(body) {
        Content::Array => Layout::JsonArray,
        Content::Object if !is_lines => {
            return Err("one JSON object over many lines: give a file of JSON lines or one JSON array");
        }
        Content::Lines | Content::Object => Layout::Jsonl,
        Content::Other => match ending {
            "jsonl" | "ndjson" | "json" => Layout::Jsonl,
            "txt" | "text" | "md" => Layout::Text(unit),
            "csv" => Layout::Csv { delimiter: delimiter::sniff(body).unwrap_or(b',') },
            "tsv" | "tab" => Layout::Csv { delimiter: delimiter::sniff(body).unwrap_or(b'\t') },
            _ => match delimiter::certain(body) {
                Some(delimiter) => Layout::Csv { delimiter },
                None => Layout::Text(unit),
            },
        },
    })
}

enum Content {
    Array,
    Lines,
    Object,
    Other,
}

fn by_content(body: &[u8]) -> Content {
    let body = body.trim_ascii_start();
    if body.first() == Some(&b'[') {
        return match body[1..].trim_ascii_start().first() {
            Some(b'{' | b']' | b'"') | None => Content::Array,
            _ => Content::Other,
        };
    }
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    if lines.clone().next() == Some(b"{") {
        return Content::Object;
    }
    if lines.by_ref().take(10).any(starts_an_object) { Content::Lines } else { Content::Other }
}

fn starts_an_object(line: &[u8]) -> bool {
    line.first() == Some(&b'{') && matches!(line[1..].trim_ascii_start().first(), Some(b'"' | b'}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, bytes: &[u8]) -> Result<(Layout, Option<String>), SourceError> {
        by_head(Path::new(name), bytes, TextUnit::Line, Compression::None)
    }

    #[test]
    fn content_decides_before_the_ending() {
        for (name, bytes, layout) in [
            ("a.txt", &b"{\"a\": 1}\n"[..], Layout::Jsonl),
            ("a.jsonl", b"\xef\xbb\xbf [\n {\"a\": 1}]", Layout::JsonArray),
            ("a.json", b"{\"a\": 1}", Layout::Jsonl),
            ("a.txt", b"[Chapter 1]\nIt was", Layout::Text(TextUnit::Line)),
            ("a.txt", b"one, two\nthree, four\n", Layout::Text(TextUnit::Line)),
            ("a.jsonl", b"broken\n{\"a\": 1}\n", Layout::Jsonl),
            ("a.jsonl.gz", b"all broken", Layout::Jsonl),
            ("a.jsonl", b"{\n{\"a\": 1}\n", Layout::Jsonl),
            ("a.csv", b"a;b\n1,5;2\n", Layout::Csv { delimiter: b';' }),
            ("a.csv.zst", b"text\nhello\n", Layout::Csv { delimiter: b',' }),
            ("a.tsv", b"a\tb\n1\t2\n", Layout::Csv { delimiter: b'\t' }),
            ("a", b"a|b|c\n1|2|3\n4|5|6\n", Layout::Csv { delimiter: b'|' }),
            ("a.json", b"PAR1\x15\x04", Layout::Parquet),
            ("a.arrow", b"ARROW1\0\0\xff\xff\xff\xff", Layout::ArrowFile),
            ("a.arrow", b"\xff\xff\xff\xff\x80\0\0\0\x10\0\0\0", Layout::ArrowStream),
        ] {
            assert_eq!(look(name, bytes).unwrap().0, layout, "{name}");
        }
    }

    #[test]
    fn a_disagreement_is_told_with_both_sides() {
        let warning = look("a.txt", b"{\"a\": 1}").unwrap().1.unwrap();
        assert_eq!(warning, "ends in .txt but holds JSON lines; it is read as that");
        assert!(
            look("a.parquet", b"{\"a\": 1}").unwrap().1.unwrap().contains(".parquet but holds JSON lines")
        );
        let warning = look("part-0", b"a|b|c\n1|2|3\n4|5|6\n").unwrap().1.unwrap();
        assert_eq!(
            warning,
            "has no ending but holds a table with `|` between its fields; it is read as that"
        );
        assert_eq!(look("a.jsonl.gz", b"{\"a\": 1}").unwrap().1, None);
    }

    #[test]
    fn what_is_not_read_is_named_with_a_way_out() {
        for (bytes, words) in [
            (&b"PK\x03\x04"[..], "unpack it"),
            (b"{\n \"a\": [", "one JSON object"),
            (b"\xff\xfea\0", "utf-16le"),
            (b"a\0b\0c\0\n\0", "UTF-16"),
            (b"BZh9\xff\xf0", "bzip2"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            (b"\n<!DOCTYPE html><html>", "HTML"),
        ] {
            let error = look("a.json", bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(look("a.txt", b"ORC is a creature").is_ok());
    }
}
