//! Rules of `FineWeb`, Penedo et al. 2024, <https://arxiv.org/abs/2406.17557>.

use serde::{Deserialize, Serialize};

use super::repetition::seen_before;
use crate::cleaner::{Broken, Held};
use crate::words::{Words, fraction};

/// Thresholds of the rules; 0 turns one off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinewebPlan {
    /// Part of the lines that end with terminal punctuation, at least.
    pub min_punctuated_lines: f64,
    /// Part of the lines that are short, at most.
    pub max_short_lines: f64,
    /// Characters of a short line, at most.
    pub short_line_chars: usize,
    /// Part of the characters in lines that were there before, at most.
    pub max_duplicate_chars: f64,
    /// Line breaks for each word, at most.
    pub max_newlines_per_word: f64,
}

impl Default for FinewebPlan {
    fn default() -> Self {
        Self {
            min_punctuated_lines: 0.12,
            max_short_lines: 0.67,
            short_line_chars: 30,
            max_duplicate_chars: 0.01,
            max_newlines_per_word: 0.3,
        }
    }
}

impl FinewebPlan {
    pub(crate) fn check(&self, text: &str, words: &Words) -> Held {
        let lines: Vec<&str> = text.split('\n').filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return Err(Broken::new("fineweb.empty", ""));
        }
        let ended = lines.iter().filter(|line| line.ends_with(ends_a_sentence)).count();
        let ended = fraction(ended, lines.len());
        if ended < self.min_punctuated_lines {
            return Err(Broken::new("fineweb.punctuation", format!("{ended:.2} of the lines")));
        }
        let short = lines.iter().filter(|line| line.chars().count() <= self.short_line_chars).count();
        let short = fraction(short, lines.len());
        if self.max_short_lines > 0.0 && short > self.max_short_lines {
            return Err(Broken::new("fineweb.short_lines", format!("{short:.2} of the lines")));
        }
        let newlines = text.matches('\n').count();
        let again = fraction(seen_before(&lines).1, text.chars().count() - newlines);
        if self.max_duplicate_chars > 0.0 && again > self.max_duplicate_chars {
            return Err(Broken::new("fineweb.duplicate_chars", format!("{again:.3} of the characters")));
        }
        let breaks = fraction(newlines, words.all.len());
        if self.max_newlines_per_word > 0.0 && breaks > self.max_newlines_per_word {
            return Err(Broken::new("fineweb.newlines", format!("{breaks:.2} a word")));
        }
        Ok(())
    }
}

/// Whether a letter ends sentences in some script: Unicode's `Sentence_Terminal`, without most
/// historic scripts.
pub(crate) fn ends_a_sentence(letter: char) -> bool {
    if letter.is_ascii() {
        return matches!(letter, '.' | '!' | '?');
    }
    matches!(u32::from(letter),
        0x589 | 0x61D..=0x61F | 0x6D4 | 0x700..=0x702 | 0x7F9 | 0x837 | 0x839 | 0x83D..=0x83E | 0x964..=0x965
        | 0x104A..=0x104B | 0x1362 | 0x1367..=0x1368 | 0x166E | 0x1735..=0x1736 | 0x17D4..=0x17D6
        | 0x17D9..=0x17DA | 0x1803 | 0x1809 | 0x1944..=0x1945 | 0x1AA8..=0x1AAB | 0x1B5A..=0x1B5B
        | 0x1B5E..=0x1B5F | 0x1B7D..=0x1B7E | 0x1C3B..=0x1C3C | 0x1C7E..=0x1C7F | 0x203C..=0x203D
        | 0x2047..=0x2049 | 0x2E2E | 0x2E3C | 0x2E53..=0x2E54 | 0x3002 | 0xA4FF | 0xA60E..=0xA60F | 0xA6F3
        | 0xA6F7 | 0xA876..=0xA877 | 0xA8CE..=0xA8CF | 0xA92F | 0xA9C8..=0xA9C9 | 0xAA5D..=0xAA5F
        | 0xAAF0..=0xAAF1 | 0xABEB | 0xFE52 | 0xFE56..=0xFE57 | 0xFF01 | 0xFF0E | 0xFF1F | 0xFF61
        | 0x10A56..=0x10A57 | 0x11047..=0x11048)
}
