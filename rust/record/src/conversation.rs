//! The canonical record: what each input format is aligned to and what templates render.
//!
//! A `Conversation` serialises to exactly the arguments that transformers' `apply_chat_template`
//! would get: absent fields are absent, never null, and key order is the row's own.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what the row itself says.
    pub role: String,
    /// The text; absent for an assistant message that only calls tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The thinking that came before the answer.
    #[serde(
        default,
        rename = "reasoning_content",
        alias = "reasoning",
        alias = "thinking",
        skip_serializing_if = "Option::is_none"
    )]
    pub reasoning: Option<String>,
    /// Calls of tools, as the row has them: key order is part of what a template prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// Name of the speaker or tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which call a tool's answer belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Whether this message carries a loss; absent leaves it to the stage. Never rendered.
    #[serde(default, skip_serializing)]
    pub train: Option<bool>,
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
    fn key_order_of_tool_calls_survives() {
        let text = r#"{"messages":[{"role":"assistant","tool_calls":[{"z":1,"a":{"y":2,"b":3}}]}]}"#;
        let conversation: Conversation = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&conversation).unwrap(), text);
    }
}
