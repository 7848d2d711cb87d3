//! The books: what became of each row that was read.
//!
//! For each source and in total, at the end of a run of the engine:
//!
//! ```text
//! read = used + filtered + duplicates + quarantined + dropped
//! ```
//!
//! where *filtered* rows were left out by a rule of cleaning, *duplicates* are like an earlier row,
//! *quarantined* rows could not be used (with a code), and *dropped* rows could have been but an option
//! said otherwise (too long).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Code, Lengths};

/// Counts of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceBooks {
    /// Rows read, good and bad.
    pub read: u64,
    /// Rows of which tokens are in the store; `pieces` may be more.
    pub used: u64,
    /// Rows set aside, by code.
    pub quarantined: BTreeMap<String, u64>,
    /// Good rows left out because an option says so, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Good rows left out by a rule of cleaning, by rule.
    pub filtered: BTreeMap<String, u64>,
    /// Good rows that are like an earlier one, by `exact` or `near`.
    #[serde(default)]
    pub duplicates: BTreeMap<String, u64>,
    /// Used rows that cleaning changed, by what it did; a row may be counted under several names.
    #[serde(default)]
    pub repaired: BTreeMap<String, u64>,
    /// Augmented copies in the store, besides the rows.
    #[serde(default)]
    pub augmented: u64,
    /// What was noticed on the way, by name.
    #[serde(default)]
    pub notes: BTreeMap<String, u64>,
    /// Documents in the store: more than `used` where long texts were split.
    pub pieces: u64,
    /// Rows of which cutting to `max_length` took tokens away; splitting takes none.
    pub cut_rows: u64,
    /// Tokens that cutting took away.
    pub cut_tokens: u64,
    /// Tokens in the store.
    pub tokens: u64,
    /// Tokens in the store that carry a loss.
    pub trained_tokens: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How long rows were, their longest document, before any was cut or left out.
    #[serde(default)]
    pub lengths: Lengths,
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

/// The books do not balance: rows were lost without a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the books of `{source_name}` do not balance: {read} rows read, {accounted} accounted for")]
pub struct Unbalanced {
    /// The source's name.
    pub source_name: String,
    /// Rows read.
    pub read: u64,
    /// Rows with a known end.
    pub accounted: u64,
}

impl SourceBooks {
    /// Note a row that can't be used.
    pub fn quarantine(&mut self, code: Code) {
        count(&mut self.quarantined, code.as_str());
    }

    /// Note a good row that an option leaves out.
    pub fn drop_row(&mut self, reason: &str) {
        count(&mut self.dropped, reason);
    }

    /// Note a good row that a rule leaves out.
    pub fn filter(&mut self, rule: &str) {
        count(&mut self.filtered, rule);
    }

    /// Note a good row that is like an earlier one.
    pub fn duplicate(&mut self, kind: &str) {
        count(&mut self.duplicates, kind);
    }

    /// Note what cleaning changed in a row.
    pub fn repair(&mut self, name: &str) {
        count(&mut self.repaired, name);
    }

    /// Rows set aside, over all codes.
    #[must_use]
    pub fn num_quarantined(&self) -> u64 {
        self.quarantined.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Rows with a known end.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        let counts = [&self.quarantined, &self.dropped, &self.filtered, &self.duplicates];
        counts.into_iter().flat_map(BTreeMap::values).fold(self.used, |sum, count| sum.saturating_add(*count))
    }

    /// Add the counts of another part of the same source.
    pub fn merge(&mut self, other: &Self) {
        self.lengths.merge(&other.lengths);
        // counts come from files, too: one that is damaged must not end the process
        for (mine, theirs) in [
            (&mut self.read, other.read),
            (&mut self.used, other.used),
            (&mut self.pieces, other.pieces),
            (&mut self.cut_rows, other.cut_rows),
            (&mut self.cut_tokens, other.cut_tokens),
            (&mut self.tokens, other.tokens),
            (&mut self.trained_tokens, other.trained_tokens),
            (&mut self.bytes, other.bytes),
            (&mut self.augmented, other.augmented),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in [
            (&mut self.quarantined, &other.quarantined),
            (&mut self.dropped, &other.dropped),
            (&mut self.filtered, &other.filtered),
            (&mut self.duplicates, &other.duplicates),
            (&mut self.repaired, &other.repaired),
            (&mut self.notes, &other.notes),
        ] {
            for (key, count) in theirs {
                let mine = mine.entry(key.clone()).or_default();
                *mine = mine.saturating_add(*count);
            }
        }
    }
}

/// Counts of all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// By source name, in the config's order of names.
    pub sources: BTreeMap<String, SourceBooks>,
    /// The sum over sources.
    pub total: SourceBooks,
}

impl Books {
    /// Close the books of the sources.
    ///
    /// # Errors
    /// When rows of a source were lost without a record.
    pub fn close(sources: impl IntoIterator<Item = (String, SourceBooks)>) -> Result<Self, Unbalanced> {
        let mut books = Self::default();
        for (name, source) in sources {
            if source.read != source.accounted() {
                return Err(Unbalanced {
                    source_name: name,
                    read: source.read,
                    accounted: source.accounted(),
                });
            }
            books.total.merge(&source);
            books.sources.entry(name).or_default().merge(&source);
        }
        Ok(books)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_row_is_noticed() {
        let mut source = SourceBooks { read: 3, used: 1, ..SourceBooks::default() };
        source.quarantine(Code::Json);
        assert_eq!(Books::close([("a".into(), source.clone())]).unwrap_err().accounted, 2);
        source.drop_row("too_long");
        let books = Books::close([("a".into(), source)]).unwrap();
        assert_eq!((books.total.read, books.total.num_quarantined()), (3, 1));
    }

    #[test]
    fn counts_of_a_damaged_file_do_not_overflow() {
        let mut source = SourceBooks { read: u64::MAX, used: u64::MAX, ..SourceBooks::default() };
        source.quarantined.insert("E_JSON".into(), u64::MAX);
        let mut merged = source.clone();
        merged.lengths.add(usize::MAX);
        merged.merge(&source);
        assert_eq!((merged.accounted(), merged.num_quarantined()), (u64::MAX, u64::MAX));
    }
}
