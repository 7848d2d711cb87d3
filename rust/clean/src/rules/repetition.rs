//! Repetition rules of Gopher, Rae et al. 2021, <https://arxiv.org/abs/2112.11446>, table A1.
//!
//! Parts are measured in characters of the text. Runs of words are told apart by a 64-bit hash that
//! costs one step however long the run is.

use std::hash::Hash;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::cleaner::{Broken, Held};
use crate::tokens::each_run;
use crate::words::{Words, fraction};

/// Parts of a text that may be repeated; 0 turns one off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepetitionPlan {
    /// Part of the lines that were there before, at most.
    pub max_duplicate_lines: f64,
    /// Part of the paragraphs that were there before, at most.
    pub max_duplicate_paragraphs: f64,
    /// Part of the characters in lines that were there before, at most.
    pub max_duplicate_line_chars: f64,
    /// Part of the characters in paragraphs that were there before, at most.
    pub max_duplicate_paragraph_chars: f64,
    /// Part of the characters in the most frequent run of 2, 3, 4 words, at most.
    pub max_top_ngrams: [f64; 3],
    /// Part of the characters in repeated runs of 5, 6, 7, 8, 9, 10 words, at most.
    pub max_duplicate_ngrams: [f64; 6],
}

impl Default for RepetitionPlan {
    fn default() -> Self {
        Self {
            max_duplicate_lines: 0.3,
            max_duplicate_paragraphs: 0.3,
            max_duplicate_line_chars: 0.2,
            max_duplicate_paragraph_chars: 0.2,
            max_top_ngrams: [0.2, 0.18, 0.16],
            max_duplicate_ngrams: [0.15, 0.14, 0.13, 0.12, 0.11, 0.10],
        }
    }
}

const TOP: [&str; 3] = ["repetition.top_2gram", "repetition.top_3gram", "repetition.top_4gram"];
const DUPLICATE: [&str; 6] = [
    "repetition.duplicate_5gram",
    "repetition.duplicate_6gram",
    "repetition.duplicate_7gram",
    "repetition.duplicate_8gram",
    "repetition.duplicate_9gram",
    "repetition.duplicate_10gram",
];

impl RepetitionPlan {
    pub(crate) fn check(&self, text: &str, words: &Words) -> Held {
        let chars = text.chars().count();
        let limit = |rule, value: f64, most: f64| {
            if most > 0.0 && value > most {
                return Err(Broken::new(rule, format!("{value:.2} of it")));
            }
            Ok(())
        };
        let paragraphs = split(text.trim(), 2);
        let (again, again_chars) = seen_before(&paragraphs);
        limit("repetition.paragraphs", fraction(again, paragraphs.len()), self.max_duplicate_paragraphs)?;
        let part = fraction(again_chars, chars);
        limit("repetition.paragraph_chars", part, self.max_duplicate_paragraph_chars)?;
        let lines = split(text, 1);
        let (again, again_chars) = seen_before(&lines);
        limit("repetition.lines", fraction(again, lines.len()), self.max_duplicate_lines)?;
        limit("repetition.line_chars", fraction(again_chars, chars), self.max_duplicate_line_chars)?;

        let hashes: Vec<u64> = words.all.iter().map(|word| xxh3_64(word.as_bytes())).collect();
        let mut ends = vec![0; words.all.len() + 1];
        for (index, word) in words.all.iter().enumerate() {
            ends[index + 1] = ends[index] + word.chars().count();
        }
        let mut runs = Vec::with_capacity(hashes.len());
        for (n, (rule, &most)) in (2..).zip(TOP.iter().zip(&self.max_top_ngrams)) {
            if most > 0.0 && n <= hashes.len() {
                runs_of(&hashes, n, &mut runs);
                limit(rule, fraction(top(&runs, n, &ends), chars), most)?;
            }
        }
        for (n, (rule, &most)) in (5..).zip(DUPLICATE.iter().zip(&self.max_duplicate_ngrams)) {
            if most > 0.0 && n <= hashes.len() {
                runs_of(&hashes, n, &mut runs);
                limit(rule, fraction(repeated(&runs, n, &ends), chars), most)?;
            }
        }
        Ok(())
    }
}

/// Pieces between runs of at least `least` newlines.
fn split(text: &str, least: usize) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let breaks = bytes[at..].iter().take_while(|&&byte| byte == b'\n').count();
        if breaks >= least {
            pieces.push(&text[start..at]);
            start = at + breaks;
        }
        at += breaks.max(1);
    }
    pieces.push(&text[start..]);
    pieces
}

/// How many items were there before, and their characters.
pub(crate) fn seen_before(items: &[&str]) -> (usize, usize) {
    let mut seen = new_set(items.len());
    let again = items.iter().filter(|item| !seen.insert(**item));
    again.fold((0, 0), |(count, chars), item| (count + 1, chars + item.chars().count()))
}

fn new_set<T: Eq + Hash>(capacity: usize) -> FxHashSet<T> {
    FxHashSet::with_capacity_and_hasher(capacity, rustc_hash::FxBuildHasher)
}

fn runs_of(hashes: &[u64], n: usize, runs: &mut Vec<u64>) {
    runs.clear();
    each_run(hashes, n, |hash| runs.push(hash));
}

/// Characters of the most frequent run, spaces between its words included, times how often it is
/// there; of equally frequent ones, the first.
fn top(runs: &[u64], n: usize, ends: &[usize]) -> usize {
    let mut counts: FxHashMap<u64, (usize, usize)> = FxHashMap::default();
    for (first, &run) in runs.iter().enumerate() {
        counts.entry(run).or_insert((0, first)).0 += 1;
    }
    let best = counts.into_values().max_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
    best.map_or(0, |(count, first)| count * (ends[first + n] - ends[first] + n - 1))
}

/// Characters in runs that were there before, none counted twice.
fn repeated(runs: &[u64], n: usize, ends: &[usize]) -> usize {
    let mut seen = new_set(runs.len());
    let (mut chars, mut at) = (0, 0);
    while at < runs.len() {
        if seen.insert(runs[at]) {
            at += 1;
        } else {
            chars += ends[at + n] - ends[at];
            at += n;
        }
    }
    chars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_those_between_breaks() {
        assert_eq!(split("a\n\n\nb\nc", 2), ["a", "b\nc"]);
        assert_eq!(split("\na\n\nb\n", 1), ["", "a", "b", ""]);
    }

    #[test]
    fn repeated_runs_are_counted_once() {
        let words = Words::of("a b c d e a b c d e a b c d e");
        let hashes: Vec<u64> = words.all.iter().map(|word| xxh3_64(word.as_bytes())).collect();
        let mut runs = Vec::new();
        runs_of(&hashes, 5, &mut runs);
        let ends: Vec<usize> = (0..=15).collect();
        assert_eq!(repeated(&runs, 5, &ends), 10);
        runs_of(&hashes, 2, &mut runs);
        assert_eq!(top(&runs, 2, &ends), 9);
    }
}
