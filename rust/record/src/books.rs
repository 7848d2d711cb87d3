//! The books: what became of each row that was read.
//!
//! For each source and in total, at the end of a run of the engine:
//!
//! ```text
//! read = used + quarantined + dropped + filtered
//! ```
//!
//! where *quarantined* rows could not be used (with a code), *dropped* rows could have been but an
//! option said otherwise (too long), and *filtered* rows were set aside by choice (the split).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Code;

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
    /// Good rows that belong elsewhere, by rule.
    pub filtered: BTreeMap<String, u64>,
    /// Documents in the store: more than `used` where long texts were split.
    pub pieces: u64,
    /// Rows that were cut to `max_length`.
    pub cut_rows: u64,
    /// Tokens that cutting took away.
    pub cut_tokens: u64,
    /// Tokens in the store.
    pub tokens: u64,
    /// Tokens in the store that carry a loss.
    pub trained_tokens: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// The books do not balance: rows were lost without a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the books of `{source_name}` do not balance: {read} rows read, {accounted} accounted for")]
pub struct Unbalanced {
    /// The source's name.
    pub source_name: String,
    /// Rows read.
    pub read: u64,
    /// Rows used, quarantined, dropped and filtered.
    pub accounted: u64,
}

impl SourceBooks {
    /// Note a row that can't be used.
    pub fn quarantine(&mut self, code: Code) {
        *self.quarantined.entry(code.as_str().to_owned()).or_default() += 1;
    }

    /// Note a good row that an option leaves out.
    pub fn drop_row(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    /// Note a good row that belongs elsewhere.
    pub fn filter(&mut self, rule: &str) {
        *self.filtered.entry(rule.to_owned()).or_default() += 1;
    }

    /// Rows set aside, over all codes.
    #[must_use]
    pub fn num_quarantined(&self) -> u64 {
        self.quarantined.values().sum()
    }

    /// Rows with a known end.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.used
            + self.num_quarantined()
            + self.dropped.values().sum::<u64>()
            + self.filtered.values().sum::<u64>()
    }

    /// Add the counts of another part of the same source.
    pub fn merge(&mut self, other: &Self) {
        self.read += other.read;
        self.used += other.used;
        self.pieces += other.pieces;
        self.cut_rows += other.cut_rows;
        self.cut_tokens += other.cut_tokens;
        self.tokens += other.tokens;
        self.trained_tokens += other.trained_tokens;
        self.bytes += other.bytes;
        for (mine, theirs) in [
            (&mut self.quarantined, &other.quarantined),
            (&mut self.dropped, &other.dropped),
            (&mut self.filtered, &other.filtered),
        ] {
            for (key, count) in theirs {
                *mine.entry(key.clone()).or_default() += count;
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
}
