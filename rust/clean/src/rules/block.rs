//! Words, phrases and patterns that no row may hold, as the user lists them. None is built in.
//!
//! A word counts where a word begins and ends, without regard to case; an end that is written in a
//! script without spaces counts anywhere. `/.../` is a regular expression.

use std::path::PathBuf;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::Wrong;
use crate::cleaner::{Broken, Held};
use crate::script::is_unspaced;

/// What no row may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockPlan {
    /// Words, phrases, or regular expressions between slashes.
    pub words: Vec<String>,
    /// Files of the same, one a line; lines that begin with `#` are comments.
    pub files: Vec<PathBuf>,
}

pub(crate) struct BlockList {
    words: Option<Regex>,
    patterns: Vec<Regex>,
}

impl BlockList {
    pub(crate) fn new(plan: &BlockPlan) -> Result<Self, Vec<Wrong>> {
        let (mut words, mut patterns, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (index, entry) in plan.words.iter().enumerate() {
            if let Err(reason) = take(entry, &mut words, &mut patterns) {
                wrong.push(Wrong::new(format!("clean.block.words[{index}]"), format!("`{entry}`: {reason}")));
            }
        }
        for (index, path) in plan.files.iter().enumerate() {
            let key = || format!("clean.block.files[{index}]");
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) => {
                    wrong.push(Wrong::new(key(), format!("`{}`: {error}", path.display())));
                    continue;
                }
            };
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            for (line, entry) in (1..).zip(text.lines()).filter(|(_, entry)| !entry.starts_with('#')) {
                if let Err(reason) = take(entry, &mut words, &mut patterns) {
                    wrong.push(Wrong::new(key(), format!("{}:{line}: {reason}", path.display())));
                }
            }
        }
        let words = (!words.is_empty()).then(|| compile(&words.join("|"))).transpose();
        let words = words.map_err(|reason| wrong.push(Wrong::new("clean.block", reason))).ok().flatten();
        if wrong.is_empty() { Ok(Self { words, patterns }) } else { Err(wrong) }
    }

    pub(crate) fn check(&self, text: &str) -> Held {
        if let Some(found) = self.words.as_ref().and_then(|words| words.find(text)) {
            return Err(Broken::new("block.word", found.as_str()));
        }
        match self.patterns.iter().find_map(|pattern| pattern.find(text)) {
            Some(found) => Err(Broken::new("block.pattern", found.as_str())),
            None => Ok(()),
        }
    }
}

/// Sort one entry into words and patterns.
fn take(entry: &str, words: &mut Vec<String>, patterns: &mut Vec<Regex>) -> Result<(), String> {
    let entry = entry.trim();
    if let Some(pattern) = entry.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        let pattern = compile(pattern)?;
        if pattern.is_match("") {
            return Err("matches the empty text, and so every row".into());
        }
        patterns.push(pattern);
    } else if let (Some(first), Some(last)) = (entry.chars().next(), entry.chars().next_back()) {
        let edge = |letter: char, boundary| {
            let needs = (letter.is_alphanumeric() || letter == '_') && !is_unspaced(letter);
            if needs { boundary } else { "" }
        };
        // phrases match over any white space
        let phrase: Vec<String> = entry.split_whitespace().map(regex::escape).collect();
        words.push(format!(
            "{}{}{}",
            edge(first, r"\b{start-half}"),
            phrase.join(r"\s+"),
            edge(last, r"\b{end-half}")
        ));
    }
    Ok(())
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(pattern).case_insensitive(true).size_limit(256 << 20).build();
    // a syntax error is a picture of several lines; the last one says what is wrong
    regex.map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}
