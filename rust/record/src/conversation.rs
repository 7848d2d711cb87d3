//! The canonical record: what each input format is aligned to and what templates render.
//!
//! A `Conversation` serialises to exactly the arguments that transformers' `apply_chat_template`
//! would get: absent fields are absent, a `content` that is null in the row stays null, and key order
//! is the row's own.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what the row itself says.
    pub role: String,
    /// The text; absent for an assistant message that only calls tools.
    pub content: Option<String>,
    /// Whether the row itself says that `content` is null, which some templates tell from absent.
    pub content_is_null: bool,
    /// The thinking that came before the answer.
    pub reasoning: Option<String>,
    /// Calls of tools, as the row has them: key order is part of what a template prints.
    pub tool_calls: Option<Value>,
    /// Name of the speaker or tool.
    pub name: Option<String>,
    /// Which call a tool's answer belongs to.
    pub tool_call_id: Option<String>,
    /// Whether this message carries a loss; absent leaves it to the stage. Never rendered.
    pub train: Option<bool>,
}

/// A message's keys and values; `content` is absent, null or a text.
#[derive(Serialize, Deserialize)]
struct Fields {
    role: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[allow(clippy::option_option, reason = "absent and null are two things here")]
    content: Option<Option<String>>,
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
}

#[allow(clippy::option_option, reason = "absent and null are two things here")]
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl From<Fields> for Message {
    fn from(fields: Fields) -> Self {
        let Fields { role, content, reasoning, tool_calls, name, tool_call_id, train } = fields;
        let content_is_null = content == Some(None);
        let content = content.flatten();
        Self { role, content, content_is_null, reasoning, tool_calls, name, tool_call_id, train }
    }
}

impl From<Message> for Fields {
    fn from(message: Message) -> Self {
        let Message { role, content, content_is_null, reasoning, tool_calls, name, tool_call_id, train } =
            message;
        let content = if content.is_none() && content_is_null { Some(None) } else { content.map(Some) };
        Self { role, content, reasoning, tool_calls, name, tool_call_id, train }
    }
}

impl Message {
    /// A message with a role and a text.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_absent_and_train_is_never_rendered() {
        let mut message = Message::new("assistant", "hi");
        message.train = Some(false);
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
    fn key_order_of_tool_calls_survives() {
        let text = r#"{"messages":[{"role":"assistant","tool_calls":[{"z":1,"a":{"y":2,"b":3}}]}]}"#;
        let conversation: Conversation = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&conversation).unwrap(), text);
    }
}
