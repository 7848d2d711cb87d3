//! Copies that were made beforehand, by asking an endpoint: a file of JSON lines
//!
//! ```text
//! {"hash": "00c0ffee00c0ffee", "variant": 3, "kind": "paraphrase", "row": {"messages": [...]}}
//! ```
//!
//! `hash` is the row's, `row` a document: `text`; or `messages` with `tools`, and `answers` (ranked,
//! best first) or `desirable` where the row has them. Only where each line lies is kept in memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fastft_record::{Conversation, Document, Message};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::augmenter::Copy;
use crate::plan::AugmentError;

/// A document as JSON; messages keep their weights, which templates do not see.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<Vec<Value>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    desirable: Option<bool>,
}

/// A document as JSON; [`from_json`] leads back.
///
/// # Errors
/// Never for what came from JSON.
pub fn to_json(document: &Document) -> Result<Value, serde_json::Error> {
    let messages = |list: &[Message]| list.iter().map(message).collect::<Result<Vec<_>, _>>();
    let conversation = |conversation: &Conversation| {
        Ok::<_, serde_json::Error>(Row {
            messages: Some(messages(&conversation.messages)?),
            tools: conversation.tools.clone(),
            ..Row::default()
        })
    };
    let row = match document {
        Document::Text(text) => Row { text: Some(text.clone()), ..Row::default() },
        Document::Conversation(whole) => conversation(whole)?,
        Document::Ranked { conversation: prompt, answers } => Row {
            answers: Some(answers.iter().map(|answer| messages(answer)).collect::<Result<_, _>>()?),
            ..conversation(prompt)?
        },
        Document::Labelled { conversation: whole, desirable } => {
            Row { desirable: Some(*desirable), ..conversation(whole)? }
        }
    };
    serde_json::to_value(row)
}

fn message(message: &Message) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(message)?;
    if let (Some(weight), Some(fields)) = (message.weight, value.as_object_mut()) {
        fields.insert("weight".to_owned(), weight.into());
    }
    Ok(value)
}

/// A document from its JSON.
///
/// # Errors
/// It is none.
pub fn from_json(value: Value) -> Result<Document, String> {
    let row: Row = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let read = |list: Vec<Value>| -> Result<Vec<Message>, String> {
        list.into_iter()
            .map(|value| serde_json::from_value(value).map_err(|error| error.to_string()))
            .collect()
    };
    match row {
        Row { text: Some(text), messages: None, tools: None, answers: None, desirable: None } => {
            Ok(Document::Text(text))
        }
        Row { text: None, messages: Some(messages), tools, answers, desirable } => {
            let conversation = Conversation { messages: read(messages)?, tools };
            match (answers, desirable) {
                (None, None) => Ok(Document::Conversation(conversation)),
                (Some(answers), None) => {
                    let answers = answers.into_iter().map(read).collect::<Result<_, _>>()?;
                    Ok(Document::Ranked { conversation, answers })
                }
                (None, Some(desirable)) => Ok(Document::Labelled { conversation, desirable }),
                (Some(_), Some(_)) => Err("`answers` and `desirable` do not go together".to_owned()),
            }
        }
        _ => Err("expected `text`, or `messages`".to_owned()),
    }
}

#[derive(Deserialize)]
struct Line {
    variant: u16,
    kind: String,
    row: Value,
}

/// What a first reading looks at: all of it, so that the second finds nothing wrong.
#[derive(Deserialize)]
struct Head {
    hash: String,
    variant: u16,
    row: Value,
}

/// A file of copies, looked up by the hashes of rows.
#[derive(Debug)]
pub struct Derived {
    path: PathBuf,
    file: File,
    /// (hash, variant, number of the line, its place, its length), ascending.
    lines: Vec<(u64, u16, u32, u64, u32)>,
}

impl Derived {
    /// Find the lines of a file.
    ///
    /// # Errors
    /// It can't be read, or a line is none.
    pub fn open(path: &Path) -> Result<Self, AugmentError> {
        let unreadable = |error: std::io::Error| AugmentError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
        let (mut lines, mut text, mut place) = (Vec::new(), String::new(), 0u64);
        for number in 1.. {
            text.clear();
            let len = reader.read_line(&mut text).map_err(unreadable)?;
            if len == 0 {
                break;
            }
            let wrong = |reason: String| wrong(path, number, reason);
            let head: Head = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            from_json(head.row).map_err(wrong)?;
            let hash = parse_hash(&head.hash).ok_or_else(|| wrong(format!("`{}` is no hash", head.hash)))?;
            let short = u32::try_from(len).map_err(|_| wrong("the line is too long".to_owned()))?;
            lines.push((hash, head.variant, number, place, short));
            place += len as u64;
        }
        lines.sort_unstable();
        Ok(Self { path: path.to_owned(), file: File::open(path).map_err(unreadable)?, lines })
    }

    /// How many copies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The copies of a row, by variant.
    ///
    /// # Errors
    /// A line can't be read, or holds no document.
    pub fn copies(&self, row_hash: u64) -> Result<Vec<Copy>, AugmentError> {
        let first = self.lines.partition_point(|line| line.0 < row_hash);
        let lines = self.lines[first..].iter().take_while(|line| line.0 == row_hash);
        lines.map(|line| self.copy(line.2, line.3, line.4)).collect()
    }

    fn copy(&self, number: u32, place: u64, len: u32) -> Result<Copy, AugmentError> {
        let wrong = |reason: String| wrong(&self.path, number, reason);
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, place).map_err(|error| wrong(error.to_string()))?;
        let line: Line = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let document = from_json(line.row).map_err(wrong)?;
        Ok(Copy { variant: line.variant, kind: line.kind.into(), document })
    }
}

fn parse_hash(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn wrong(path: &Path, line: u32, reason: String) -> AugmentError {
    AugmentError::Line { path: path.to_owned(), line: line as usize, reason }
}

/// A line of such a file.
///
/// # Errors
/// Never for what came from JSON.
pub fn line(
    row_hash: u64,
    variant: u16,
    kind: &str,
    document: &Document,
) -> Result<String, serde_json::Error> {
    let mut fields = Map::new();
    fields.insert("hash".to_owned(), format!("{row_hash:016x}").into());
    fields.insert("variant".to_owned(), variant.into());
    fields.insert("kind".to_owned(), kind.into());
    fields.insert("row".to_owned(), to_json(document)?);
    serde_json::to_string(&fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn documents() -> Vec<Document> {
        let mut answer = Message::new("assistant", "yes");
        answer.weight = Some(0.5);
        answer.reasoning = Some("hm".into());
        let silent = Message { role: "assistant".into(), content_is_null: true, ..Message::default() };
        let conversation = Conversation {
            messages: vec![Message::new("user", "is it?"), answer.clone(), silent],
            tools: Some(json!([{"z": 1, "a": 2}])),
        };
        vec![
            Document::Text("a text".into()),
            Document::Conversation(conversation.clone()),
            Document::Ranked {
                conversation: conversation.clone(),
                answers: vec![vec![answer], vec![Message::new("assistant", "no")]],
            },
            Document::Labelled { conversation, desirable: false },
        ]
    }

    #[test]
    fn every_kind_of_document_comes_back() {
        for document in documents() {
            assert_eq!(from_json(to_json(&document).unwrap()), Ok(document));
        }
    }

    #[test]
    fn copies_are_found_by_hash_and_bad_lines_by_number() {
        let path = std::env::temp_dir().join(format!("fastft-derived-{}.jsonl", std::process::id()));
        let mut text = String::new();
        for (variant, document) in (1..).zip(documents().iter().rev()) {
            let hash = if variant % 2 == 0 { 7 } else { u64::MAX };
            text.push_str(&line(hash, 9 - variant, "paraphrase", document).unwrap());
            text.push('\n');
        }
        std::fs::write(&path, &text).unwrap();
        let derived = Derived::open(&path).unwrap();
        assert_eq!(derived.len(), 4);
        let variants =
            |hash| derived.copies(hash).unwrap().iter().map(|copy| copy.variant).collect::<Vec<_>>();
        assert_eq!((variants(7), variants(u64::MAX), variants(8)), (vec![5, 7], vec![6, 8], vec![]));
        assert_eq!(derived.copies(7).unwrap()[0].document, documents()[0]);
        std::fs::write(&path, text + "{\"hash\": \"12\", \"variant\": 1, \"row\": {\"text\": \"a\"}}\n")
            .unwrap();
        assert!(Derived::open(&path).unwrap_err().to_string().ends_with(".jsonl:5: `12` is no hash"));
        std::fs::remove_file(&path).unwrap();
    }
}
