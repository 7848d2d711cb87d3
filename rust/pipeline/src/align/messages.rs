//! Lists of messages: `ShareGPT`'s `from` and `value`, `OpenAI`'s `role` and `content`.

use fastft_record::{Code, Conversation, Message, RowError};
use serde_json::{Map, Value};

use super::tools::{self, Bare};
use super::{empty, missing, optional, required, wrong_type};
use crate::format::{OpenAi, ShareGpt};

const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

fn list(row: &mut Map<String, Value>, key: &str) -> Result<Vec<Map<String, Value>>, RowError> {
    let messages = match row.get_mut(key).map(Value::take) {
        None | Some(Value::Null) => return Err(missing(key)),
        Some(Value::Array(messages)) if messages.is_empty() => return Err(empty(key)),
        Some(Value::Array(messages)) => messages,
        Some(other) => return Err(wrong_type(key, &other, "a list of messages")),
    };
    let object = |message| match message {
        Value::Object(message) => Ok(message),
        other => Err(wrong_type(key, &other, "a list of objects")),
    };
    messages.into_iter().map(object).collect()
}

/// Turns must alternate, user or observation first, and end with an answer, as in LLaMA-Factory.
pub(super) fn sharegpt(row: &mut Map<String, Value>, names: &ShareGpt) -> Result<Conversation, RowError> {
    let mut messages = Vec::new();
    if let Some(system) = optional(row, &names.system)?.filter(|text| !text.is_empty()) {
        messages.push(Message::new("system", system));
    }
    let mut answered = true;
    for (index, mut turn) in list(row, &names.messages)?.into_iter().enumerate() {
        let role = required(&mut turn, &names.role_tag)?;
        let content = required(&mut turn, &names.content_tag)?;
        let train = train_flag(&turn)?;
        if role == names.system_tag && index == 0 {
            messages.retain(|message| message.role != "system");
            messages.push(Message::new("system", content));
            continue;
        }
        let asks = role == names.user_tag || role == names.observation_tag;
        let answers = role == names.assistant_tag || role == names.function_tag;
        if !asks && !answers {
            return Err(RowError::new(
                Code::Role,
                format!("message {} has the unknown role `{role}`", index + 1),
            ));
        }
        if asks != answered {
            let expected = if answered { "a question" } else { "an answer" };
            let reason = format!("message {} is from `{role}` where {expected} should stand", index + 1);
            return Err(RowError::new(Code::Role, reason));
        }
        answered = answers;
        if answers && content.trim().is_empty() && train != Some(false) {
            return Err(empty(&names.content_tag));
        }
        let mut message = if role == names.function_tag {
            let calls = tools::calls(&content, &names.content_tag)?;
            Message { role: "assistant".into(), tool_calls: Some(calls), ..Message::default() }
        } else {
            let role = match role {
                _ if answers => "assistant",
                _ if role == names.observation_tag => "tool",
                _ => "user",
            };
            Message::new(role, content)
        };
        message.weight = train.map(f32::from);
        messages.push(message);
    }
    if !messages.iter().any(|message| message.role != "system") {
        return Err(empty(&names.messages));
    }
    if !answered {
        return Err(RowError::new(Code::Role, "the last message is not an answer"));
    }
    Ok(Conversation { messages, tools: tools::column(row, &names.tools, Bare::Wrap)? })
}

/// Messages as `apply_chat_template` takes them; which orders are possible is the template's business.
pub(super) fn openai(row: &mut Map<String, Value>, names: &OpenAi) -> Result<Conversation, RowError> {
    let mut messages = Vec::new();
    for (index, mut turn) in list(row, &names.messages)?.into_iter().enumerate() {
        let role = required(&mut turn, &names.role_tag)?;
        if !ROLES.contains(&role.as_str()) {
            return Err(RowError::new(
                Code::Role,
                format!("message {} has the unknown role `{role}`", index + 1),
            ));
        }
        let mut message = Message { role, weight: train_flag(&turn)?.map(f32::from), ..Message::default() };
        for key in ["reasoning_content", "reasoning", "thinking"] {
            if message.reasoning.is_none() {
                message.reasoning = optional(&mut turn, key)?;
            }
        }
        message.name = optional(&mut turn, "name")?;
        message.tool_call_id = optional(&mut turn, "tool_call_id")?;
        message.tool_calls = match turn.get_mut("tool_calls").map(Value::take) {
            None | Some(Value::Null) => None,
            Some(Value::Array(calls)) if calls.is_empty() => None,
            Some(calls @ Value::Array(_)) => Some(calls),
            Some(other) => return Err(wrong_type("tool_calls", &other, "a list")),
        };
        content(&mut message, turn.get_mut(&names.content_tag).map(Value::take), &names.content_tag)?;
        let silent = message.content.as_deref().is_none_or(|text| text.trim().is_empty());
        if message.role == "assistant"
            && message.train() != Some(false)
            && silent
            && message.tool_calls.is_none()
        {
            return Err(empty(&names.content_tag));
        }
        if message.role != "assistant" && message.content.is_none() {
            return Err(missing(&names.content_tag));
        }
        messages.push(message);
    }
    if !messages.iter().any(|message| message.role == "assistant") {
        return Err(RowError::new(Code::NoTarget, "no message is from the assistant"));
    }
    Ok(Conversation { messages, tools: tools::column(row, &names.tools, Bare::Keep)? })
}

/// A string, or parts of type `text`, `reasoning` and `tool_call` with their text in `text` or `value`.
fn content(message: &mut Message, value: Option<Value>, key: &str) -> Result<(), RowError> {
    match value {
        None => {}
        Some(Value::Null) => message.content_is_null = true,
        Some(Value::String(text)) => message.content = Some(text),
        Some(Value::Array(parts)) => {
            let mut calls = Vec::new();
            for part in parts {
                let Value::Object(mut part) = part else {
                    return Err(wrong_type(key, &part, "a string or a list of parts"));
                };
                let kind = required(&mut part, "type")?;
                let field = if part.contains_key("text") { "text" } else { "value" };
                match kind.as_str() {
                    "text" => {
                        message.content.get_or_insert_default().push_str(&required(&mut part, field)?);
                    }
                    "reasoning" => {
                        message.reasoning.get_or_insert_default().push_str(&required(&mut part, field)?);
                    }
                    "tool_call" => {
                        if let Value::Array(found) = tools::calls(&required(&mut part, field)?, key)? {
                            calls.extend(found);
                        }
                    }
                    other => {
                        return Err(RowError::new(
                            Code::Type,
                            format!("`{key}` has a part of type `{other}`, expected text"),
                        ));
                    }
                }
            }
            if !calls.is_empty() {
                message.tool_calls = Some(Value::Array(calls));
            }
        }
        Some(other) => return Err(wrong_type(key, &other, "a string or a list of parts")),
    }
    Ok(())
}

/// `train: bool`, or a weight that is 0 or 1 under `loss_weight` or `weight`.
fn train_flag(turn: &Map<String, Value>) -> Result<Option<bool>, RowError> {
    for key in ["train", "loss_weight", "weight"] {
        match turn.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(flag)) => return Ok(Some(*flag)),
            Some(Value::Number(weight)) if weight.as_f64() == Some(0.0) => return Ok(Some(false)),
            Some(Value::Number(weight)) if weight.as_f64() == Some(1.0) => return Ok(Some(true)),
            Some(Value::Number(weight)) => {
                return Err(RowError::new(Code::Type, format!("`{key}` is {weight}, expected 0 or 1")));
            }
            Some(other) => return Err(wrong_type(key, other, "a boolean, 0 or 1")),
        }
    }
    Ok(None)
}
