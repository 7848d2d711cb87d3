//! Which fields of a row are which part of a document: named in the config, or found from rows.
//!
//! An empty column name reads no column. The names of a format are its fields in
//! `python/fastft/data/formats`, where they are documented for users; `align` reads rows by them.

mod guess;
mod names;

use fastft_source::TextUnit;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use names::{Alpaca, Answer, Completion, Kto, OpenAi, Preference, Ranked, ShareGpt, Text, Ties, Unit};

use crate::plan::Rows;

/// A format with its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Format {
    /// Instruction, input, output.
    Alpaca(Alpaca),
    /// Conversations of `from` and `value`.
    ShareGpt(ShareGpt),
    /// Messages of `role` and `content`.
    OpenAi(OpenAi),
    /// A better and a worse answer.
    Preference(Preference),
    /// Answers with ranks or scores.
    Ranked(Ranked),
    /// An answer with a label.
    Kto(Kto),
    /// Prompt and answer.
    Completion(Completion),
    /// Text.
    Text(Text),
}

/// What a source's format has that the stage does not want: what is wrong, and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwanted {
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub hint: &'static str,
}

impl Format {
    /// The unit of text files.
    #[must_use]
    pub fn unit(&self) -> TextUnit {
        match self {
            Self::Text(Text { unit: Unit::Paragraph, .. }) => TextUnit::Paragraph,
            Self::Text(Text { unit: Unit::File, .. }) => TextUnit::File,
            _ => TextUnit::Line,
        }
    }

    /// Whether rows are text rather than conversations.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// What rows of this format are.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let of = |chosen: &str, label: &str, answer: Option<Answer>| match answer {
            _ if !label.is_empty() => Rows::Labelled,
            None if !chosen.is_empty() => Rows::Preference,
            _ => Rows::Conversation,
        };
        match self {
            Self::Alpaca(names) => of(&names.chosen, &names.label, names.answer),
            Self::ShareGpt(names) => of(&names.chosen, &names.label, names.answer),
            Self::OpenAi(names) => of(&names.chosen, &names.label, names.answer),
            Self::Preference(names) => of("chosen", "", names.answer),
            Self::Ranked(names) => of("answers", "", names.answer),
            Self::Kto(_) => Rows::Labelled,
            Self::Completion(_) => Rows::Conversation,
            Self::Text(_) => Rows::Text,
        }
    }

    /// Why a stage that wants `wanted` can't use this format; None when it can. Conversations are
    /// also text, once rendered.
    #[must_use]
    pub fn unwanted(&self, wanted: Rows) -> Option<Unwanted> {
        let what = |rows| match rows {
            Rows::Conversation => "conversations",
            Rows::Text => "plain text",
            Rows::Preference => "preferences (better and worse answers)",
            Rows::Labelled => "answers with a label (wanted or not)",
        };
        let hint = match (wanted, self.rows()) {
            (Rows::Text, Rows::Conversation) => return None,
            (wanted, rows) if wanted == rows => return None,
            (Rows::Conversation | Rows::Text, Rows::Preference) => {
                "use a stage that compares answers, or learn from the better one alone: \
                 `format = { kind = ..., answer = \"chosen\" }`"
            }
            (Rows::Conversation | Rows::Text, Rows::Labelled) => {
                "use a stage that learns from labels, or name a format without `label` (or the column in `ignore`): \
                 then every answer is learnt, wanted or not"
            }
            (Rows::Preference, _) => {
                "name the columns: `format = { kind = \"preference\", chosen = \"...\", rejected = \"...\" }`"
            }
            (Rows::Labelled, _) => {
                "name the columns: `format = { kind = \"kto\", prompt = \"...\", completion = \"...\", label = \"...\" }`"
            }
            (_, _) => "use the stage `pretrain`, or name the source's `format`",
        };
        let message = format!("rows are {}, but the stage learns from {}", what(self.rows()), what(wanted));
        Some(Unwanted { message, hint })
    }

    /// The columns that are read, in the order of the fields.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        macro_rules! list {
            ($names:ident: $($field:ident)*) => { vec![$($names.$field.as_str()),*] };
        }
        let mut columns = match self {
            Self::Alpaca(names) => list!(names: instruction input output system history tools images videos
                audios chosen rejected label),
            Self::ShareGpt(names) => {
                list!(names: messages system tools images videos audios chosen rejected label)
            }
            Self::OpenAi(names) => {
                list!(names: messages system tools functions images videos audios chosen rejected label)
            }
            Self::Preference(names) => list!(names: prompt chosen rejected system tools images videos audios),
            Self::Ranked(names) => {
                list!(names: prompt answers ranks scores system tools images videos audios)
            }
            Self::Kto(names) => list!(names: prompt completion label system tools images videos audios),
            Self::Completion(names) => list!(names: prompt completion system tools images videos audios),
            Self::Text(names) => list!(names: column),
        };
        columns.retain(|column| !column.is_empty());
        columns
    }
}

/// The columns in which a label is looked for.
pub fn labels() -> impl Iterator<Item = &'static str> {
    guess::LABELS.into_iter()
}

/// The columns of a row that the format does not read, in the row's order.
#[must_use]
pub fn unused_columns(format: &Format, row: &Value) -> Vec<String> {
    let used = format.columns();
    let keys = row.as_object().into_iter().flat_map(|row| row.keys());
    keys.filter(|key| !used.contains(&key.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mapping_round_trips() {
        let format: Format =
            serde_json::from_value(json!({"kind": "text", "column": "body", "unit": "file"})).unwrap();
        assert_eq!(format.unit(), TextUnit::File);
        assert!(serde_json::from_value::<Format>(json!({"kind": "text", "colum": "body"})).is_err());
    }

    #[test]
    fn columns_that_no_name_reads_are_told() {
        let row = json!({"id": 1, "prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 3});
        let format = Format::Preference(Preference::default());
        assert_eq!(unused_columns(&format, &row), ["id", "score_chosen"]);
        assert_eq!(unused_columns(&Format::Text(Text::default()), &json!("bare")), Vec::<String>::new());
    }

    #[test]
    fn a_stage_gets_what_it_wants_or_a_way_out() {
        let pairs = |answer| Format::Preference(Preference { answer, ..Preference::default() });
        let chat = Format::OpenAi(OpenAi::default());
        assert_eq!(pairs(None).unwanted(Rows::Preference), None);
        assert_eq!(pairs(Some(Answer::Chosen)).unwanted(Rows::Conversation), None);
        assert_eq!(chat.unwanted(Rows::Text), None);
        let unwanted = pairs(None).unwanted(Rows::Conversation).unwrap();
        let want = "rows are preferences (better and worse answers), but the stage learns from conversations";
        assert_eq!(unwanted.message, want);
        assert!(unwanted.hint.contains("answer = \"chosen\""));
        assert!(chat.unwanted(Rows::Preference).unwrap().hint.contains("chosen = "));
        assert!(chat.unwanted(Rows::Labelled).unwrap().hint.contains("label = "));
        let labelled = Format::Alpaca(Alpaca { label: "label".into(), ..Alpaca::default() });
        assert_eq!(labelled.unwanted(Rows::Labelled), None);
        assert!(labelled.unwanted(Rows::Conversation).unwrap().hint.contains("without `label`"));
    }
}
