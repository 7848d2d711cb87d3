//! Whether a tokenizer's ids, offsets and decoded texts are the reference's: with the ids that are given, with all code
//! points in four surroundings, and with the texts of files.
//!
//!     cargo run --release -p fastft-text --example differ -- FOLDER [text.jsonl ...] [--megabytes N]
//!
//! FOLDER has a tokenizer.json and may have a reference.jsonl of `{"text": ..., "ids": [...]}`. Prints one JSON object:
//! what was compared, and how many differ, of which the first are shown on stderr.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};

use fastft_text::{Encoding, Library, Tokenizer};
use serde_json::{Value, json};

/// What stands before and behind a code point.
const SURROUNDINGS: [(&str, &str); 4] = [("", ""), ("a", "b "), (" ", "s1\n"), ("1\n ", "'ll")];
/// Differences that are shown.
const SHOWN: usize = 5;

struct Differ {
    ours: Library,
    reference: Library,
    /// Texts of which ids, offsets or the decoded text differ.
    differences: [usize; 3],
}

impl Differ {
    fn compare(&mut self, text: &str) {
        let ours = self.ours.encode(text).expect("ids");
        let theirs = self.reference.encode(text).expect("ids");
        let offsets = ours.offsets.iter().zip(&theirs.offsets).all(|(our, their)| within(*our, *their, text));
        let decode =
            |library: &Library, encoding: &Encoding| library.decode(&encoding.ids, false).expect("text");
        let decoded = decode(&self.ours, &ours) == decode(&self.reference, &theirs);
        self.enter(text, &ours, &theirs, [ours.ids == theirs.ids, offsets, decoded]);
    }

    fn enter(&mut self, text: &str, ours: &Encoding, theirs: &Encoding, same: [bool; 3]) {
        for (count, same) in self.differences.iter_mut().zip(same) {
            *count += usize::from(!same);
        }
        if same != [true; 3] && self.differences.iter().sum::<usize>() <= SHOWN {
            let text: String = text.chars().take(200).collect();
            eprintln!("{text:?}: {ours:?}, reference {theirs:?}");
        }
    }

    /// What differs, by kind.
    fn told(&mut self) -> Value {
        let [ids, offsets, decoded] = std::mem::take(&mut self.differences);
        json!({"ids": ids, "offsets": offsets, "decoded": decoded})
    }

    /// Compare what `texts` gives, and say how much it was and how much of it differs.
    fn section(&mut self, texts: impl Iterator<Item = String>) -> Value {
        let (mut count, mut bytes) = (0usize, 0usize);
        for text in texts {
            count += 1;
            bytes += text.len();
            self.compare(&text);
        }
        json!({"texts": count, "bytes": bytes, "different": self.told()})
    }
}

/// Byte-level tokens that share a character may each have all of it or their own bytes.
fn within(our: (u32, u32), their: (u32, u32), text: &str) -> bool {
    let edge = |at: u32| text.is_char_boundary(at as usize);
    our == their || (our.0 >= their.0 && our.1 <= their.1 && !(edge(our.0) && edge(our.1)))
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut limit = usize::MAX;
    if let Some(at) = args.iter().position(|arg| arg == "--megabytes") {
        limit = args.remove(at + 1).parse::<usize>().expect("a number") << 20;
        args.remove(at);
    }
    let folder = args.remove(0);
    let json = fs::read_to_string(format!("{folder}/tokenizer.json")).expect("a tokenizer.json");
    let load = || Library::from_json(&json).expect("a tokenizer");
    let mut differ = Differ { ours: load(), reference: load().without_words(), differences: [0; 3] };

    let given = fs::read_to_string(format!("{folder}/reference.jsonl")).unwrap_or_default();
    let rows: Vec<Value> = given.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    for row in &rows {
        let text = row["text"].as_str().expect("a text");
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).expect("ids");
        let ours = differ.ours.encode(text).expect("ids");
        let theirs = Encoding { ids, offsets: ours.offsets.clone() };
        let same = ours.ids == theirs.ids;
        differ.enter(text, &ours, &theirs, [same, true, true]);
    }
    let given = json!({"texts": rows.len(), "different": differ.told()});
    let points = differ.section(
        SURROUNDINGS
            .iter()
            .flat_map(|(before, after)| ('\0'..=char::MAX).map(move |c| format!("{before}{c}{after}"))),
    );
    let mut left = limit;
    let files = differ.section(args.iter().flat_map(|name| texts(name)).take_while(|text| {
        left = left.saturating_sub(text.len());
        left > 0
    }));
    let own = differ.ours.has_words();
    println!(
        "{}",
        json!({"tokenizer": folder, "own": own, "given": given, "code_points": points, "files": files})
    );
}

/// The texts of a JSONL file: the field `text`, or all strings of a row; of other files, the lines.
fn texts(name: &str) -> impl Iterator<Item = String> {
    let lines = BufReader::new(File::open(name).expect("a file")).lines().map(|line| line.expect("UTF-8"));
    lines.flat_map(|line| match serde_json::from_str::<Value>(&line) {
        Ok(Value::Object(mut row)) => match row.remove("text") {
            Some(Value::String(text)) => vec![text],
            _ => strings(Value::Object(row)),
        },
        _ => vec![line],
    })
}

fn strings(value: Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.into_iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.into_iter().flat_map(|(_, value)| strings(value)).collect(),
        _ => Vec::new(),
    }
}
