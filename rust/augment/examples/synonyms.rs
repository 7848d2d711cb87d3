//! Make `data/synonyms.tsv` from a `WordNet` 3.0 folder: words that texts were seen to use.
//!
//! ```text
//! cargo run -p fastft-augment --example synonyms -- /usr/share/wordnet > rust/augment/data/synonyms.tsv
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use fastft_augment::wordnet;

/// Times that a word must have been counted.
const COUNTED: u64 = 1;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: synonyms WORDNET_FOLDER");
        return ExitCode::FAILURE;
    };
    let folder = Path::new(&folder);
    let read = wordnet::read(folder).map_err(|error| error.to_string());
    let counted = std::fs::read_to_string(folder.join("cntlist.rev")).map_err(|error| error.to_string());
    match read.and_then(|words| Ok((words, counted?))) {
        Ok((words, counted)) => print!("{}", list(&words, &counted)),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn list(words: &[(String, Vec<String>)], counted: &str) -> String {
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for line in counted.lines() {
        let mut fields = line.split(' ');
        let word = fields.next().and_then(|key| key.split('%').next()).unwrap_or_default();
        *times.entry(word).or_default() += fields.nth(1).and_then(|times| times.parse().ok()).unwrap_or(0);
    }
    let counts = |word: &str| times.get(word).is_some_and(|&times| times >= COUNTED);
    // an inflected form counts as often as its verb
    let used = |word: &str| {
        let stems = ["s", "es", "ed", "d", "ing"].iter().filter_map(|ending| word.strip_suffix(ending));
        counts(word)
            || stems
                .clone()
                .any(|stem| counts(stem) || (word.ends_with("ing") && counts(&format!("{stem}e"))))
            || stems.filter_map(|stem| stem.strip_suffix('i')).any(|stem| counts(&format!("{stem}y")))
    };
    let mut text = String::from(
        "# English synonyms, made from WordNet 3.0 by examples/synonyms.rs.\n\
         # WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. See LICENSE.wordnet.\n",
    );
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (word, synonyms) in words.iter().filter(|(word, _)| used(word)) {
        let known = all.entry(word).or_default();
        known.extend(synonyms.iter().map(String::as_str).filter(|synonym| used(synonym)));
    }
    for (word, mut synonyms) in all {
        synonyms.sort_unstable();
        synonyms.dedup();
        if !synonyms.is_empty() {
            text.extend([word, "\t", &synonyms.join(","), "\n"]);
        }
    }
    text
}
