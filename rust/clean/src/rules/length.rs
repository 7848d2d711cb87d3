//! Length: characters and words of a row.

use serde::{Deserialize, Serialize};

use crate::cleaner::{Broken, Held};
use crate::words::Words;

/// Bounds of a row's length; 0 is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LengthPlan {
    /// Characters, at least.
    pub min_chars: usize,
    /// Characters, at most.
    pub max_chars: usize,
    /// Words without symbols, at least.
    pub min_words: usize,
    /// Words without symbols, at most.
    pub max_words: usize,
}

impl LengthPlan {
    pub(crate) fn check(&self, text: &str, words: &Words) -> Held {
        let chars = text.chars().count();
        let count = words.num_plain;
        if chars < self.min_chars {
            return Err(Broken::new("length.few_chars", format!("{chars} characters")));
        }
        if self.max_chars > 0 && chars > self.max_chars {
            return Err(Broken::new("length.many_chars", format!("{chars} characters")));
        }
        if count < self.min_words {
            return Err(Broken::new("length.few_words", format!("{count} words")));
        }
        if self.max_words > 0 && count > self.max_words {
            return Err(Broken::new("length.many_words", format!("{count} words")));
        }
        Ok(())
    }
}
