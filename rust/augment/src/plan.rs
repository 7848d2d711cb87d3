//! What copies are wanted: made by Python from `[[data.augment]]`, part of the engine's plan.

use std::path::PathBuf;

use fastft_record::TextRole;
use serde::Deserialize;

use crate::characters::Characters;
use crate::sentences::Sentences;
use crate::spacing::Spacing;
use crate::synonyms::Synonyms;
use crate::words::Words;

/// All copies that are wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentPlan {
    /// Another seed gives other copies.
    pub seed: u64,
    /// Texts that are never touched: the control tokens of the tokenizer.
    #[serde(default)]
    pub control: Vec<String>,
    /// One table of the config each.
    pub ops: Vec<OpPlan>,
    /// Files of copies that were made beforehand, see [`crate::derived`].
    #[serde(default)]
    pub derived: Vec<PathBuf>,
}

/// One way to alter a row.
///
/// No `deny_unknown_fields`: serde can't have it with a flattened enum; the variants have it.
#[derive(Clone, Debug, Deserialize)]
pub struct OpPlan {
    /// Which table of the config it is, where it is not the one that its place in `ops` says.
    #[serde(default)]
    pub table: Option<usize>,
    /// Number of this table's first copy among all copies of a row; tables that the engine does not
    /// serve have numbers too.
    pub first: u16,
    /// How many copies of a row.
    pub copies: u16,
    /// Part of the rows that get each of them.
    pub probability: f64,
    /// Whose texts are altered.
    pub roles: Vec<Role>,
    /// What is done.
    #[serde(flatten)]
    pub kind: Kind,
}

/// Whose text may be altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// System messages.
    System,
    /// The user's messages.
    User,
    /// Answers, without their thinking.
    Assistant,
    /// Thinking.
    Reasoning,
    /// What tools answered.
    Tool,
    /// Plain text, and roles that nobody knows.
    Text,
}

impl From<TextRole> for Role {
    fn from(role: TextRole) -> Self {
        match role {
            TextRole::System => Self::System,
            TextRole::User => Self::User,
            TextRole::Assistant => Self::Assistant,
            TextRole::Reasoning => Self::Reasoning,
            TextRole::Tool => Self::Tool,
            TextRole::Text => Self::Text,
        }
    }
}

/// What is done to a text.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Typing errors.
    Characters(Characters),
    /// Words left out, in another order or twice.
    Words(Words),
    /// Careless spaces and marks.
    Spacing(Spacing),
    /// Words for which there is another.
    Synonyms(Synonyms),
    /// Sentences in another order.
    Sentences(Sentences),
}

impl Kind {
    /// The name as the config and the books have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Characters(_) => "characters",
            Self::Words(_) => "words",
            Self::Spacing(_) => "spacing",
            Self::Synonyms(_) => "synonyms",
            Self::Sentences(_) => "sentences",
        }
    }
}

/// A plan that can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum AugmentError {
    /// The tokenizer's control tokens make no pattern.
    #[error("the control tokens can't be watched for: {0}")]
    Control(String),
    /// A number out of its bounds.
    #[error("data.augment.{table}: `{key}` is {value}; expected {expected}")]
    Bounds {
        /// Which table, from 0.
        table: usize,
        /// Its key.
        key: &'static str,
        /// What it says.
        value: f64,
        /// What it may say.
        expected: &'static str,
    },
    /// A list that names nothing.
    #[error("data.augment.{table}: `{key}` is empty, so there is nothing to do")]
    Nothing {
        /// Which table, from 0.
        table: usize,
        /// Its key.
        key: &'static str,
    },
    /// A dictionary that can't be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A line of a dictionary that is none.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}
