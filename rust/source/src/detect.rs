//! What a file is, by its content first; the ending only decides where content says nothing.

use std::path::Path;

use crate::SourceError;

/// What one document of a text file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextUnit {
    /// Every line that is not blank.
    #[default]
    Line,
    /// Lines up to a blank line.
    Paragraph,
    /// The whole file.
    File,
}

/// How rows lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One JSON value a line; blank lines are no rows.
    Jsonl,
    /// One JSON array whose elements are the rows.
    JsonArray,
    /// Text.
    Text(TextUnit),
}

/// What was found, and a warning where content and ending disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// How rows lie in the file.
    pub layout: Layout,
    /// One sentence naming both sides of a disagreement.
    pub warning: Option<String>,
}

/// The bytes of a byte order mark in UTF-8.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// Look at a file's first bytes.
///
/// # Errors
/// When it is compressed, columnar, UTF-16 or one JSON object over many lines.
pub fn detect(path: &Path, bytes: &[u8], unit: TextUnit) -> Result<Detected, SourceError> {
    let unsupported = |found| Err(SourceError::Unsupported { path: path.to_owned(), found });
    for (magic, name) in [
        (&b"\x1f\x8b"[..], "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"PK\x03\x04", "a zip archive"),
        (b"PAR1", "Parquet"),
        (b"ARROW1", "an Arrow file"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ] {
        if bytes.starts_with(magic) {
            return unsupported(name);
        }
    }
    let body = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let ending =
        path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    // a first row that was cut off after its brace makes no object of a file of rows
    let is_lines = matches!(ending.as_str(), "jsonl" | "ndjson")
        && body.split(|byte| *byte == b'\n').skip(1).take(10).any(|line| {
            let line = line.trim_ascii();
            starts_an_object(line) && line.ends_with(b"}")
        });
    let layout = match by_content(body) {
        Content::Array => Layout::JsonArray,
        Content::Object if !is_lines => return unsupported("one JSON object over many lines"),
        Content::Lines | Content::Object => Layout::Jsonl,
        Content::Other if matches!(ending.as_str(), "jsonl" | "ndjson" | "json") => Layout::Jsonl,
        Content::Other => Layout::Text(unit),
    };
    let is_text = matches!(layout, Layout::Text(_));
    let warning = match ending.as_str() {
        "txt" | "text" | "md" if !is_text => {
            Some(format!("`{}` ends in .{ending} but holds JSON", path.display()))
        }
        "jsonl" | "ndjson" if layout == Layout::JsonArray => {
            Some(format!("`{}` ends in .{ending} but holds one JSON array", path.display()))
        }
        _ => None,
    };
    Ok(Detected { layout, warning })
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
    let head = &body[..body.len().min(1 << 20)];
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
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

    fn layout(name: &str, bytes: &[u8]) -> Layout {
        detect(Path::new(name), bytes, TextUnit::Line).unwrap().layout
    }

    #[test]
    fn content_decides_before_the_ending() {
        assert_eq!(layout("a.txt", b"{\"a\": 1}\n"), Layout::Jsonl);
        assert_eq!(layout("a.jsonl", b"\xef\xbb\xbf [\n {\"a\": 1}]"), Layout::JsonArray);
        assert_eq!(layout("a.json", b"{\"a\": 1}"), Layout::Jsonl);
        assert_eq!(layout("a.txt", b"[Chapter 1]\nIt was"), Layout::Text(TextUnit::Line));
        assert_eq!(layout("a.jsonl", b"broken\n{\"a\": 1}\n"), Layout::Jsonl);
        assert_eq!(layout("a.jsonl", b"all broken"), Layout::Jsonl);
        assert_eq!(layout("a.jsonl", b"{\n{\"a\": 1}\n"), Layout::Jsonl);
        assert!(detect(Path::new("a.txt"), b"{\"a\": 1}", TextUnit::Line).unwrap().warning.is_some());
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (bytes, word) in
            [(&b"\x1f\x8b\x08"[..], "gzip"), (b"PAR1", "Parquet"), (b"{\n \"a\": [", "one JSON object")]
        {
            let error = detect(Path::new("a.json"), bytes, TextUnit::Line).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
