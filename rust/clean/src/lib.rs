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

/// Cleaning can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// An option that can't be met.
    #[error("{0}")]
    Plan(String),
    /// A file of the options, or of the search, can't be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line of a file of the options is not what it should be.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}
