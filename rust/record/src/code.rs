//! Codes of what can be wrong with a row: part of the interface, so they never change meaning.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a row can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Code {
    /// Not JSON, or JSON with something after it.
    #[serde(rename = "E_JSON")]
    Json,
    /// A record of a table that does not end where its header's columns do.
    #[serde(rename = "E_CSV")]
    Csv,
    /// Bytes that are no UTF-8.
    #[serde(rename = "E_UTF8")]
    Utf8,
    /// A field has another type than its format says.
    #[serde(rename = "E_TYPE")]
    Type,
    /// A field that the format needs is missing or null.
    #[serde(rename = "E_MISSING")]
    Missing,
    /// A role that the format does not know, or roles in an impossible order.
    #[serde(rename = "E_ROLE")]
    Role,
    /// Nothing to learn from: an empty row, an empty text, an empty answer.
    #[serde(rename = "E_EMPTY")]
    Empty,
    /// Longer than `max_length`, where that is an error.
    #[serde(rename = "E_TOO_LONG")]
    TooLong,
    /// No token of the row would carry a loss.
    #[serde(rename = "E_NO_TARGET")]
    NoTarget,
    /// The chat template refuses the row.
    #[serde(rename = "E_TEMPLATE")]
    Template,
    /// Which tokens are the answer can't be proven.
    #[serde(rename = "E_MASK")]
    Mask,
    /// The tokenizer refuses the text.
    #[serde(rename = "E_TOKENIZER")]
    Tokenizer,
    /// A NUL byte in the row.
    #[serde(rename = "E_NUL")]
    Nul,
    /// The row refers to pictures, films or sounds, and text is what is learnt.
    #[serde(rename = "E_MEDIA")]
    Media,
    /// Answers that can't be compared: they have no common prompt, or are the same.
    #[serde(rename = "E_PAIR")]
    Pair,
}

impl Code {
    /// All codes, in the order of the enum.
    pub const ALL: [Self; 15] = [
        Self::Json,
        Self::Csv,
        Self::Utf8,
        Self::Type,
        Self::Missing,
        Self::Role,
        Self::Empty,
        Self::TooLong,
        Self::NoTarget,
        Self::Template,
        Self::Mask,
        Self::Tokenizer,
        Self::Nul,
        Self::Media,
        Self::Pair,
    ];

    /// The code as reports print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "E_JSON",
            Self::Csv => "E_CSV",
            Self::Utf8 => "E_UTF8",
            Self::Type => "E_TYPE",
            Self::Missing => "E_MISSING",
            Self::Role => "E_ROLE",
            Self::Empty => "E_EMPTY",
            Self::TooLong => "E_TOO_LONG",
            Self::NoTarget => "E_NO_TARGET",
            Self::Template => "E_TEMPLATE",
            Self::Mask => "E_MASK",
            Self::Tokenizer => "E_TOKENIZER",
            Self::Nul => "E_NUL",
            Self::Media => "E_MEDIA",
            Self::Pair => "E_PAIR",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What is wrong with one row; its place is known to whoever read it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}{}", self.place())]
pub struct RowError {
    /// The kind of trouble.
    pub code: Code,
    /// One sentence for a person, without a full stop.
    pub reason: String,
    /// The JSON path in the row, as `messages[2].content`; absent where the whole row is meant.
    pub at: Option<String>,
}

impl RowError {
    /// An error from its code and reason.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), at: None }
    }

    /// The same error at a place of the row.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.at = Some(path.into());
        self
    }

    fn place(&self) -> String {
        self.at.as_ref().map(|path| format!(" (at `{path}`)")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_printed_behind_the_reason() {
        let error = RowError::new(Code::Empty, "`content` is empty");
        assert_eq!(error.to_string(), "E_EMPTY: `content` is empty");
        assert_eq!(error.at("messages[2]").to_string(), "E_EMPTY: `content` is empty (at `messages[2]`)");
    }

    #[test]
    fn the_serialised_code_is_the_printed_one() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.as_str()));
        }
    }
}
