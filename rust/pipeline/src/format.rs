//! Which fields of a row are which part of a conversation: named in the config, or found from rows.

use fastft_source::TextUnit;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Column names of instruction data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alpaca {
    /// What is asked.
    pub instruction: String,
    /// More of what is asked, set below the instruction.
    pub input: String,
    /// The answer.
    pub output: String,
    /// The system message.
    pub system: String,
    /// Earlier turns, a list of `[question, answer]`.
    pub history: String,
    /// Tools that may be called.
    pub tools: String,
}

impl Default for Alpaca {
    fn default() -> Self {
        Self {
            instruction: "instruction".into(),
            input: "input".into(),
            output: "output".into(),
            system: "system".into(),
            history: "history".into(),
            tools: "tools".into(),
        }
    }
}

/// Column and tag names of `ShareGPT` data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShareGpt {
    /// Column of the list of messages.
    pub messages: String,
    /// Column of the system message.
    pub system: String,
    /// Column of the tools.
    pub tools: String,
    /// Key of a message's role.
    pub role_tag: String,
    /// Key of a message's text.
    pub content_tag: String,
    /// Role of the user.
    pub user_tag: String,
    /// Role of the assistant.
    pub assistant_tag: String,
    /// Role of a tool's answer.
    pub observation_tag: String,
    /// Role of an assistant's call of a tool.
    pub function_tag: String,
    /// Role of a system message at the head of the list.
    pub system_tag: String,
}

impl Default for ShareGpt {
    fn default() -> Self {
        Self {
            messages: "conversations".into(),
            system: "system".into(),
            tools: "tools".into(),
            role_tag: "from".into(),
            content_tag: "value".into(),
            user_tag: "human".into(),
            assistant_tag: "gpt".into(),
            observation_tag: "observation".into(),
            function_tag: "function_call".into(),
            system_tag: "system".into(),
        }
    }
}

/// Column and tag names of messages as `OpenAI` writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAi {
    /// Column of the list of messages.
    pub messages: String,
    /// Column of the tools.
    pub tools: String,
    /// Key of a message's role.
    pub role_tag: String,
    /// Key of a message's text or parts.
    pub content_tag: String,
}

impl Default for OpenAi {
    fn default() -> Self {
        Self {
            messages: "messages".into(),
            tools: "tools".into(),
            role_tag: "role".into(),
            content_tag: "content".into(),
        }
    }
}

/// Where plain text stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Text {
    /// Column of the text in rows of JSON; a row may also be a bare string.
    pub column: String,
    /// What a document of a text file is: `line`, `paragraph` or `file`.
    pub unit: Unit,
}

impl Default for Text {
    fn default() -> Self {
        Self { column: "text".into(), unit: Unit::Line }
    }
}

/// See `TextUnit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Every line.
    #[default]
    Line,
    /// Lines up to a blank line.
    Paragraph,
    /// The whole file.
    File,
}

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
    /// Text.
    Text(Text),
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

    /// What one row looks like, None when like nothing known.
    #[must_use]
    pub fn guess(row: &Value) -> Option<Self> {
        let Value::Object(row) = row else {
            return row.is_string().then(|| Self::Text(Text::default()));
        };
        for column in ["messages", "conversations", "conversation"] {
            let Some(first) = row.get(column).and_then(Value::as_array).and_then(|list| list.first()) else {
                continue;
            };
            let Some(first) = first.as_object() else { continue };
            if first.contains_key("from") && first.contains_key("value") {
                return Some(Self::ShareGpt(ShareGpt { messages: column.into(), ..ShareGpt::default() }));
            }
            if first.contains_key("role")
                && (first.contains_key("content") || first.contains_key("tool_calls"))
            {
                return Some(Self::OpenAi(OpenAi { messages: column.into(), ..OpenAi::default() }));
            }
        }
        guess_pair(row).or_else(|| {
            let column = ["text", "content"]
                .into_iter()
                .find(|column| row.get(*column).is_some_and(Value::is_string))?;
            Some(Self::Text(Text { column: column.into(), ..Text::default() }))
        })
    }

    /// The format that most of the rows look like; the first of equals.
    #[must_use]
    pub fn guess_all<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Option<Self> {
        let mut votes: Vec<(Self, usize)> = Vec::new();
        for guess in rows.into_iter().filter_map(Self::guess) {
            match votes.iter_mut().find(|(format, _)| *format == guess) {
                Some((_, count)) => *count += 1,
                None => votes.push((guess, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(format, _)| format)
    }
}

fn guess_pair(row: &Map<String, Value>) -> Option<Format> {
    for (instruction, outputs) in [
        ("instruction", &["output", "response", "completion"][..]),
        ("prompt", &["completion", "response", "output", "answer"]),
        ("question", &["answer", "response"]),
        ("query", &["response", "answer"]),
    ] {
        let output = outputs.iter().find(|name| row.contains_key(**name));
        if let (true, Some(output)) = (row.contains_key(instruction), output) {
            let names =
                Alpaca { instruction: instruction.into(), output: (*output).into(), ..Alpaca::default() };
            return Some(Format::Alpaca(names));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_usual_shapes_are_recognised() {
        for (row, kind) in [
            (json!({"instruction": "a", "input": "", "output": "b"}), "alpaca"),
            (json!({"prompt": "a", "completion": "b"}), "alpaca"),
            (json!({"conversations": [{"from": "human", "value": "a"}], "tools": "[]"}), "sharegpt"),
            (json!({"messages": [{"role": "user", "content": "a"}]}), "openai"),
            (json!({"text": "a"}), "text"),
            (json!("a"), "text"),
        ] {
            let format = Format::guess(&row).unwrap();
            assert_eq!(serde_json::to_value(&format).unwrap()["kind"], kind);
        }
        assert_eq!(Format::guess(&json!({"a": 1})), None);
    }

    #[test]
    fn the_majority_decides() {
        let rows = [
            json!({"text": "a"}),
            json!({"prompt": "a", "answer": "b"}),
            json!({"prompt": "a", "answer": "b"}),
        ];
        assert!(!Format::guess_all(&rows).unwrap().is_text());
    }

    #[test]
    fn a_mapping_round_trips() {
        let format: Format =
            serde_json::from_value(json!({"kind": "text", "column": "body", "unit": "file"})).unwrap();
        assert_eq!(format.unit(), TextUnit::File);
        assert!(serde_json::from_value::<Format>(json!({"kind": "text", "colum": "body"})).is_err());
    }
}
