//! What is wrong with rows as texts, and which of them say the same.
//!
//! [`Cleaner`] looks at one row: it repairs obvious errors, masks personal data, and says by which
//! rule a row is to be left out. [`Dedup`] looks at all rows. Both are pure: the same rows and
//! options give the same outcome, for any number of threads. Every rule has a name for the books.

mod cleaner;
mod decontaminate;
pub mod dedup;
mod language;
mod pii;
mod repair;
mod rules;
mod script;
mod tokens;
mod words;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use cleaner::{CleanPlan, Cleaner, Verdict};
pub use decontaminate::{DecontaminatePlan, EvaluationSet};
pub use dedup::{Adder, Besides, Dedup, DedupPlan, Duplicate, Duplicates, NearPlan, Reason, RowRef};
pub use language::LanguagePlan;
pub use pii::{PiiAction, PiiPlan};
pub use repair::RepairPlan;
pub use rules::block::BlockPlan;
pub use rules::c4::C4Plan;
pub use rules::fineweb::FinewebPlan;
pub use rules::gopher::GopherPlan;
pub use rules::length::LengthPlan;
pub use rules::repetition::RepetitionPlan;
pub use rules::sft::SftPlan;

/// An option that can't be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its key in the config without `data.`, such as `clean.block.words[0]`.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Wrong {
    /// Name an option and what is wrong with it.
    #[must_use]
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`data.{}`: {}", self.key, self.reason)
    }
}

/// Cleaning can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// Options that can't be met, all of them.
    #[error("{}", joined(.0))]
    Plan(Vec<Wrong>),
    /// A file of the search can't be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn joined(wrong: &[Wrong]) -> String {
    wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
