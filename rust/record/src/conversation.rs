//! The canonical record: what each input format is aligned to and what templates render.
//!
//! A `Conversation` serialises to exactly the arguments that transformers' `apply_chat_template`
//! would get: absent fields are absent, a `content` that is null in the row stays null, and key order
//! is the row's own.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what the row itself says.
    pub role: String,
    /// The text; absent for an assistant message that only calls tools, and where there are `parts`.
    pub content: Option<String>,
    /// Whether the row itself says that `content` is null, which some templates tell from absent.
    pub content_is_null: bool,
    /// Text and media in their order; empty unless the message refers to media.
    pub parts: Vec<Part>,
    /// The thinking that came before the answer.
    pub reasoning: Option<String>,
    /// Calls of tools, as the row has them: key order is part of what a template prints.
    pub tool_calls: Option<Value>,
    /// Name of the speaker or tool.
    pub name: Option<String>,
    /// Which call a tool's answer belongs to.
    pub tool_call_id: Option<String>,
    /// What the losses of this message are multiplied by, 0 for none; absent leaves it to the
    /// stage. Never rendered.
    pub weight: Option<f32>,
}

/// A piece of a message that is not text alone. The references are the row's own: a path, a URL or
/// the data itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// Where it is.
        image: String,
    },
    /// A film.
    Video {
        /// Where it is.
        video: String,
    },
    /// A sound.
    Audio {
        /// Where it is.
        audio: String,
    },
}

/// What a `content` may be.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A message's keys and values; `content` is absent, null, a text or a list of parts.
#[derive(Serialize, Deserialize)]
struct Fields {
    role: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[allow(clippy::option_option, reason = "absent and null are two things here")]
    content: Option<Option<Content>>,
    #[serde(
        default,
        rename = "reasoning_content",
        alias = "reasoning",
        alias = "thinking",
        skip_serializing_if = "Option::is_none"
    )]
    reasoning: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(default, skip_serializing)]
    train: Option<bool>,
    #[serde(default, skip_serializing)]
    weight: Option<f32>,
}

#[allow(clippy::option_option, reason = "absent and null are two things here")]
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<Content>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl From<Fields> for Message {
    fn from(fields: Fields) -> Self {
        let Fields { role, content, reasoning, tool_calls, name, tool_call_id, train, weight } = fields;
        let content_is_null = matches!(content, Some(None));
        let (content, parts) = match content.flatten() {
            Some(Content::Text(text)) => (Some(text), Vec::new()),
            Some(Content::Parts(parts)) => (None, parts),
            None => (None, Vec::new()),
        };
        let weight = weight.or(train.map(f32::from));
        Self { role, content, content_is_null, parts, reasoning, tool_calls, name, tool_call_id, weight }
    }
}

impl From<Message> for Fields {
    fn from(message: Message) -> Self {
        let Message {
            role,
            content,
            content_is_null,
            parts,
            reasoning,
            tool_calls,
            name,
            tool_call_id,
            weight,
        } = message;
        let content = match content {
            Some(text) => Some(Some(Content::Text(text))),
            None if !parts.is_empty() => Some(Some(Content::Parts(parts))),
            None => content_is_null.then_some(None),
        };
        Self { role, content, reasoning, tool_calls, name, tool_call_id, train: None, weight }
    }
}

impl Message {
    /// A message with a role and a text.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
    }

    /// Whether the row itself says that this message carries a loss, or that it does not.
    #[must_use]
    pub fn train(&self) -> Option<bool> {
        self.weight.map(|weight| weight > 0.0)
    }

    /// Whether it refers to a picture, a film or a sound.
    #[must_use]
    pub fn has_media(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text { .. }))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let parts = self.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        });
        self.reasoning.as_deref().into_iter().chain(self.content.as_deref()).chain(parts)
    }

    fn visit_texts_mut(&mut self, visit: &mut impl FnMut(TextRole, &mut String)) {
        let role = TextRole::of(&self.role);
        if let Some(text) = &mut self.reasoning {
            visit(TextRole::Reasoning, text);
        }
        if let Some(text) = &mut self.content {
            visit(role, text);
        }
        for part in &mut self.parts {
            if let Part::Text { text } = part {
                visit(role, text);
            }
        }
    }
}

/// Messages, and the tools that the assistant may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// In order of time.
    pub messages: Vec<Message>,
    /// JSON schemas of the tools, as the row has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
}

/// What one row of the data is.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// Messages that a chat template renders.
    Conversation(Conversation),
    /// Text that is learnt as it is.
    Text(String),
    /// Answers to one prompt, of which some are better.
    Ranked {
        /// The prompt.
        conversation: Conversation,
        /// Best first, at least two; chosen and rejected are two.
        answers: Vec<Vec<Message>>,
    },
    /// A conversation that is wanted or not.
    Labelled {
        /// The whole of it, answer included.
        conversation: Conversation,
        /// Whether it is wanted.
        desirable: bool,
    },
}

/// Whose text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextRole {
    /// The system's or developer's.
    System,
    /// The user's.
    User,
    /// The assistant's, without its thinking.
    Assistant,
    /// The assistant's thinking.
    Reasoning,
    /// A tool's answer.
    Tool,
    /// No role: plain text, or a role nobody knows.
    Text,
}

impl TextRole {
    /// The kind of a message's role.
    #[must_use]
    pub fn of(role: &str) -> Self {
        match role {
            "system" | "developer" => Self::System,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "tool" | "function" => Self::Tool,
            _ => Self::Text,
        }
    }
}

impl Document {
    /// Its tools; None for text.
    #[must_use]
    pub const fn tools(&self) -> Option<&Value> {
        match self {
            Self::Text(_) => None,
            Self::Conversation(conversation)
            | Self::Ranked { conversation, .. }
            | Self::Labelled { conversation, .. } => conversation.tools.as_ref(),
        }
    }

    /// All its messages, those of the answers included, in the order of the row.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        let (prompt, answers): (&[Message], &[Vec<Message>]) = match self {
            Self::Text(_) => (&[], &[]),
            Self::Conversation(conversation) | Self::Labelled { conversation, .. } => {
                (&conversation.messages, &[])
            }
            Self::Ranked { conversation, answers } => (&conversation.messages, answers),
        };
        prompt.iter().chain(answers.iter().flatten())
    }

    /// All contents, joined by newlines: what cleaning, deduplication and decontamination look at.
    #[must_use]
    pub fn text_for_rules(&self) -> Cow<'_, str> {
        if let Self::Text(text) = self {
            return Cow::Borrowed(text);
        }
        let mut texts = self.messages().flat_map(Message::texts);
        let (first, second) = (texts.next().unwrap_or_default(), texts.next());
        let Some(second) = second else { return Cow::Borrowed(first) };
        let mut joined = String::with_capacity(first.len() + second.len() + 256);
        joined.push_str(first);
        for text in std::iter::once(second).chain(texts) {
            joined.push('\n');
            joined.push_str(text);
        }
        Cow::Owned(joined)
    }

    /// Every text in the order of the row, to be changed in place; the JSON of tools and calls is
    /// left alone.
    pub fn visit_texts_mut(&mut self, mut visit: impl FnMut(TextRole, &mut String)) {
        let (prompt, answers): (&mut [Message], &mut [Vec<Message>]) = match self {
            Self::Text(text) => return visit(TextRole::Text, text),
            Self::Conversation(conversation) | Self::Labelled { conversation, .. } => {
                (&mut conversation.messages, &mut [])
            }
            Self::Ranked { conversation, answers } => (&mut conversation.messages, answers),
        };
        for message in prompt.iter_mut().chain(answers.iter_mut().flatten()) {
            message.visit_texts_mut(&mut visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_absent_and_weights_are_never_rendered() {
        let mut message = Message::new("assistant", "hi");
        message.weight = Some(0.0);
        message.reasoning = Some("hm".into());
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(text, r#"{"role":"assistant","content":"hi","reasoning_content":"hm"}"#);
    }

    #[test]
    fn null_content_stays_null_and_absent_content_absent() {
        for text in [r#"{"role":"assistant","content":null}"#, r#"{"role":"assistant"}"#] {
            let message: Message = serde_json::from_str(text).unwrap();
            assert_eq!(message.content, None);
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
        }
    }

    #[test]
    fn train_is_a_weight_and_media_are_parts() {
        let text =
            r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","image":"1.jpg"}]}"#;
        let message: Message = serde_json::from_str(text).unwrap();
        assert!(message.has_media() && message.content.is_none());
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
        for (text, weight) in [("\"train\":false", 0.0), ("\"train\":true", 1.0), ("\"weight\":0.5", 0.5)] {
            let message: Message =
                serde_json::from_str(&format!("{{\"role\":\"assistant\",{text}}}")).unwrap();
            assert_eq!((message.weight, message.train()), (Some(weight), Some(weight > 0.0)));
        }
    }

    #[test]
    fn every_text_is_seen_and_can_be_changed() {
        let mut answer = Message::new("assistant", "c");
        answer.reasoning = Some("b".into());
        let mut media = Message { role: "user".into(), ..Message::default() };
        media.parts = vec![Part::Image { image: "1.jpg".into() }, Part::Text { text: "a".into() }];
        let conversation = Conversation { messages: vec![media], tools: None };
        let answers = vec![vec![answer], vec![Message::new("assistant", "d")]];
        let mut document = Document::Ranked { conversation, answers };
        assert_eq!(document.text_for_rules(), "a\nb\nc\nd");
        let mut roles = Vec::new();
        document.visit_texts_mut(|role, text| {
            roles.push(role);
            text.make_ascii_uppercase();
        });
        let want = [TextRole::User, TextRole::Reasoning, TextRole::Assistant, TextRole::Assistant];
        assert_eq!(roles, want);
        assert_eq!(document.text_for_rules(), "A\nB\nC\nD");
        assert!(matches!(Document::Text("x".into()).text_for_rules(), Cow::Borrowed("x")));
    }

    #[test]
    fn key_order_of_tool_calls_survives() {
        let text = r#"{"messages":[{"role":"assistant","tool_calls":[{"z":1,"a":{"y":2,"b":3}}]}]}"#;
        let conversation: Conversation = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&conversation).unwrap(), text);
    }
}
