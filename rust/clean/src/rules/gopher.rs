//! Quality rules of Gopher, Rae et al. 2021, <https://arxiv.org/abs/2112.11446>, table A1.
//!
//! In scripts written without spaces a word is a character, so that the mean length of a word and
//! English stop words say nothing there: these two rules leave such texts alone.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::cleaner::{Broken, Held};
use crate::words::{Words, fraction, lines};

/// Thresholds of the quality rules; 0 turns one off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GopherPlan {
    /// Words without symbols, at least.
    pub min_words: usize,
    /// Words without symbols, at most.
    pub max_words: usize,
    /// Mean length of a word in characters, at least.
    pub min_mean_word_length: f64,
    /// Mean length of a word in characters, at most.
    pub max_mean_word_length: f64,
    /// `#`, and ellipses, for each word, at most.
    pub max_symbol_word_ratio: f64,
    /// Part of the lines that begin with a bullet, at most.
    pub max_bullet_lines: f64,
    /// Part of the lines that end with an ellipsis, at most.
    pub max_ellipsis_lines: f64,
    /// Part of the words that have a letter, at least.
    pub min_alphabetic_words: f64,
    /// How many of `stop_words` a text has, at least.
    pub min_stop_words: usize,
    /// Words that any running text has.
    pub stop_words: Vec<String>,
}

impl Default for GopherPlan {
    fn default() -> Self {
        Self {
            min_words: 50,
            max_words: 100_000,
            min_mean_word_length: 3.0,
            max_mean_word_length: 10.0,
            max_symbol_word_ratio: 0.1,
            max_bullet_lines: 0.9,
            max_ellipsis_lines: 0.3,
            min_alphabetic_words: 0.8,
            min_stop_words: 2,
            stop_words: ["the", "be", "to", "of", "and", "that", "have", "with"].map(str::to_owned).into(),
        }
    }
}

pub(crate) struct Gopher {
    plan: GopherPlan,
    stop_words: FxHashSet<String>,
}

impl Gopher {
    pub(crate) fn new(plan: &GopherPlan) -> Self {
        Self { stop_words: plan.stop_words.iter().cloned().collect(), plan: plan.clone() }
    }

    pub(crate) fn check(&self, text: &str, words: &Words) -> Held {
        let plan = &self.plan;
        let count = words.num_plain;
        if count < plan.min_words {
            return Err(Broken::new("gopher.short", format!("{count} words")));
        }
        if plan.max_words > 0 && count > plan.max_words {
            return Err(Broken::new("gopher.long", format!("{count} words")));
        }
        let mean = fraction(words.plain_chars, count);
        if !words.is_unspaced() {
            if mean < plan.min_mean_word_length {
                return Err(Broken::new("gopher.short_words", format!("{mean:.2} characters a word")));
            }
            if plan.max_mean_word_length > 0.0 && mean > plan.max_mean_word_length {
                return Err(Broken::new("gopher.long_words", format!("{mean:.2} characters a word")));
            }
        }
        symbols(plan, text, words.all.len())?;
        bullets(plan, text)?;
        let alphabetic = fraction(words.num_alphabetic, words.all.len());
        if alphabetic < plan.min_alphabetic_words {
            return Err(Broken::new("gopher.alphabetic", format!("{alphabetic:.2} of the words")));
        }
        if plan.min_stop_words > 0 && !words.is_unspaced() {
            let mut found: Vec<&str> = Vec::new();
            for &word in &words.all {
                if !found.contains(&word) && self.stop_words.contains(word) {
                    found.push(word);
                    if found.len() >= plan.min_stop_words {
                        return Ok(());
                    }
                }
            }
            return Err(Broken::new("gopher.stop_words", format!("{} stop words", found.len())));
        }
        Ok(())
    }
}

fn symbols(plan: &GopherPlan, text: &str, num_words: usize) -> Held {
    if plan.max_symbol_word_ratio <= 0.0 {
        return Ok(());
    }
    let hashes = fraction(text.matches('#').count(), num_words);
    if hashes > plan.max_symbol_word_ratio {
        return Err(Broken::new("gopher.hashes", format!("{hashes:.2} a word")));
    }
    let ellipses = fraction(text.matches("...").count() + text.matches('…').count(), num_words);
    if ellipses > plan.max_symbol_word_ratio {
        return Err(Broken::new("gopher.ellipses", format!("{ellipses:.2} a word")));
    }
    Ok(())
}

fn bullets(plan: &GopherPlan, text: &str) -> Held {
    let (mut all, mut bullets, mut ellipses) = (0, 0, 0);
    for line in lines(text) {
        all += 1;
        bullets += usize::from(line.trim_start().starts_with(['•', '-']));
        let line = line.trim_end();
        ellipses += usize::from(line.ends_with("...") || line.ends_with('…'));
    }
    let (bullets, ellipses) = (fraction(bullets, all), fraction(ellipses, all));
    if plan.max_bullet_lines > 0.0 && bullets > plan.max_bullet_lines {
        return Err(Broken::new("gopher.bullet_lines", format!("{bullets:.2} of the lines")));
    }
    if plan.max_ellipsis_lines > 0.0 && ellipses > plan.max_ellipsis_lines {
        return Err(Broken::new("gopher.ellipsis_lines", format!("{ellipses:.2} of the lines")));
    }
    Ok(())
}
