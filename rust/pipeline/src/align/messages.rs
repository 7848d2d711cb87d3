//! Messages: a role, a text or parts, and what goes with them.

use fastft_record::{Code, Message, Part, RowError};
use serde_json::{Map, Value};

use super::at::{At, nearest, optional, required, take};
use super::{media, tools};
use crate::format::{OpenAi, ShareGpt};

/// Roles that every list of messages may use besides the format's own names; `function` is what
/// `tool` once was.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

const PARTS: [&str; 4] = ["text", "image_url", "video_url", "input_audio"];

/// Reads messages by a format's keys and roles.
pub(super) struct Reader<'a> {
    role: &'a str,
    content: &'a str,
    user: &'a str,
    assistant: &'a str,
    observation: &'a str,
    function: &'a str,
    system: &'a str,
    /// Only the format's own roles are known.
    strict: bool,
    /// Questions and answers take turns, a question first.
    turns: bool,
}

impl<'a> Reader<'a> {
    /// A reader of turns, as in LLaMA-Factory.
    pub fn sharegpt(names: &'a ShareGpt) -> Self {
        Self {
            role: &names.role_tag,
            content: &names.content_tag,
            user: &names.user_tag,
            assistant: &names.assistant_tag,
            observation: &names.observation_tag,
            function: &names.function_tag,
            system: &names.system_tag,
            strict: true,
            turns: true,
        }
    }

    /// A reader of messages, of which the order is the template's business.
    pub fn openai(names: &'a OpenAi) -> Self {
        Self {
            role: &names.role_tag,
            content: &names.content_tag,
            user: &names.user_tag,
            assistant: &names.assistant_tag,
            observation: &names.observation_tag,
            function: &names.function_tag,
            system: &names.system_tag,
            strict: false,
            turns: false,
        }
    }

    /// A reader of messages with either `OpenAI`'s or `ShareGPT`'s roles.
    pub const fn any(role: &'a str, content: &'a str) -> Self {
        Self {
            role,
            content,
            user: "human",
            assistant: "gpt",
            observation: "observation",
            function: "function_call",
            system: "system",
            strict: false,
            turns: false,
        }
    }

    /// The same reader for answers, which do not begin with a question.
    pub const fn of_answers(&self) -> Self {
        Self { turns: false, ..*self }
    }

    /// The messages in a column.
    pub fn column(&self, row: &mut Map<String, Value>, key: &str) -> Result<Vec<Message>, RowError> {
        let at = At::ROW.key(key);
        match take(row, key) {
            None => Err(at.missing("a list of messages", row)),
            Some(Value::Array(list)) => self.list(list, &at),
            Some(other) => Err(at.wrong_type(&other, "a list of messages")),
        }
    }

    /// A list of messages.
    pub fn list(&self, list: Vec<Value>, at: &At<'_>) -> Result<Vec<Message>, RowError> {
        if list.is_empty() {
            return Err(at.empty());
        }
        let messages = list.into_iter().enumerate().map(|(index, turn)| self.message(turn, &at.index(index)));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        if self.turns {
            self.check_turns(&messages, at)?;
        }
        Ok(messages)
    }

    /// One message.
    pub fn message(&self, turn: Value, at: &At<'_>) -> Result<Message, RowError> {
        let Value::Object(mut turn) = turn else { return Err(at.wrong_type(&turn, "an object with a role")) };
        let written = required(&mut turn, self.role, at)?;
        let role = self.canonical(&written).ok_or_else(|| self.unknown_role(&written, at))?;
        let mut message = Message { role: role.into(), weight: weight(&turn, at)?, ..Message::default() };
        for key in ["reasoning_content", "reasoning", "thinking"] {
            if message.reasoning.is_none() {
                message.reasoning = optional(&mut turn, key, at)?;
            }
        }
        message.name = optional(&mut turn, "name", at)?;
        message.tool_call_id = optional(&mut turn, "tool_call_id", at)?;
        if let Some(calls) = take(&mut turn, "tool_calls") {
            message.tool_calls = tools::field(calls, &at.key("tool_calls"))?;
        }
        if let (None, Some(call)) = (&message.tool_calls, take(&mut turn, "function_call")) {
            message.tool_calls = Some(tools::legacy(call, &at.key("function_call"))?);
        }
        let inside = at.key(self.content);
        let content = turn.get_mut(self.content).map(Value::take);
        if written == self.function && message.tool_calls.is_none() {
            calls_in_text(&mut message, content, &inside, &turn)?;
        } else {
            read_content(&mut message, content, &inside)?;
        }
        let silent = message.content.as_deref().is_none_or(|text| text.trim().is_empty());
        let silent = silent && message.parts.is_empty();
        if role == "assistant" && silent && message.tool_calls.is_none() && message.train() != Some(false) {
            return Err(inside.empty());
        }
        if role != "assistant" && message.content.is_none() && message.parts.is_empty() {
            return Err(inside.missing("a string", &turn));
        }
        if role == "user" && silent {
            return Err(inside.empty());
        }
        Ok(message)
    }

    fn canonical(&self, role: &str) -> Option<&'static str> {
        let own = [
            (self.user, "user"),
            (self.assistant, "assistant"),
            (self.observation, "tool"),
            (self.function, "assistant"),
            (self.system, "system"),
        ];
        let own = own.into_iter().find(|(name, _)| *name == role && !name.is_empty()).map(|(_, known)| known);
        let standard = || ROLES.into_iter().find(|known| *known == role && !self.strict);
        own.or_else(standard).map(|role| if role == "function" { "tool" } else { role })
    }

    fn unknown_role(&self, role: &str, at: &At<'_>) -> RowError {
        let own = [self.system, self.user, self.assistant, self.observation, self.function];
        let known: Vec<&str> = if self.strict { own.to_vec() } else { ROLES[..5].to_vec() };
        let near = nearest(role, known.iter().copied());
        let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let near = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        let reason = format!("the role `{role}` is unknown, expected {}{near}", known.join(", "));
        at.key(self.role).error(Code::Role, reason)
    }

    /// A system message may begin, then questions and answers take turns, a question first.
    fn check_turns(&self, messages: &[Message], at: &At<'_>) -> Result<(), RowError> {
        let mut answered = true;
        for (index, message) in messages.iter().enumerate() {
            if index == 0 && message.role == "system" {
                continue;
            }
            let answers = message.role == "assistant";
            if message.role == "system" || answers == answered {
                let name = match (message.role.as_str(), &message.tool_calls) {
                    ("system", _) => self.system,
                    ("assistant", None) => self.assistant,
                    ("assistant", Some(_)) => self.function,
                    ("tool", _) => self.observation,
                    _ => self.user,
                };
                let expected = if answered { "a question" } else { "an answer" };
                let reason = format!("a message from `{name}` stands where {expected} should");
                return Err(at.index(index).key(self.role).error(Code::Role, reason));
            }
            answered = answers;
        }
        if messages.iter().all(|message| message.role == "system") {
            return Err(at.empty());
        }
        Ok(())
    }
}

/// A string, null, or a list of parts: texts, thinking, calls of tools, references of media.
fn read_content(message: &mut Message, value: Option<Value>, at: &At<'_>) -> Result<(), RowError> {
    let parts = match value {
        None => return Ok(()),
        Some(Value::Null) => {
            message.content_is_null = true;
            return Ok(());
        }
        Some(Value::String(text)) => {
            message.content = Some(text);
            return Ok(());
        }
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(at.wrong_type(&other, "a string or a list of parts")),
    };
    let mut found = Vec::new();
    let mut calls = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let at = at.index(index);
        let mut part = match part {
            Value::String(text) => {
                found.push(Part::Text { text });
                continue;
            }
            Value::Object(part) => part,
            other => return Err(at.wrong_type(&other, "a part with a `type`")),
        };
        let kind = required(&mut part, "type", &at)?;
        match kind.as_str() {
            "text" | "input_text" | "output_text" => {
                found.push(Part::Text { text: part_text(&mut part, "text", &at)? });
            }
            "reasoning" | "thinking" => {
                message.reasoning.get_or_insert_default().push_str(&part_text(&mut part, &kind, &at)?);
            }
            "tool_call" => {
                if let Value::Array(list) = tools::written(&part_text(&mut part, &kind, &at)?, &at)? {
                    calls.extend(list);
                }
            }
            "image" | "image_url" | "input_image" => {
                found.push(Part::Image { image: part_reference(&mut part, &kind, &at)? });
            }
            "video" | "video_url" | "input_video" => {
                found.push(Part::Video { video: part_reference(&mut part, &kind, &at)? });
            }
            "audio" | "audio_url" | "input_audio" => {
                found.push(Part::Audio { audio: part_reference(&mut part, &kind, &at)? });
            }
            other => {
                let near = nearest(other, PARTS.into_iter());
                let near = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                let reason = format!("a part of type `{other}` is unknown, expected text or media{near}");
                return Err(at.key("type").error(Code::Type, reason));
            }
        }
    }
    if !calls.is_empty() {
        message.tool_calls = Some(Value::Array(calls));
    }
    if found.iter().all(|part| matches!(part, Part::Text { .. })) {
        let texts =
            found.into_iter().map(|part| if let Part::Text { text } = part { text } else { String::new() });
        message.content = texts.reduce(|all, text| all + &text);
    } else {
        message.parts = found;
    }
    Ok(())
}

/// The text of a part, under the name of its type or `text` or `value`.
fn part_text(part: &mut Map<String, Value>, kind: &str, at: &At<'_>) -> Result<String, RowError> {
    let key = [kind, "text", "value"].into_iter().find(|key| part.contains_key(*key)).unwrap_or("text");
    required(part, key, at)
}

/// The reference of a part; empty when it is only a place for one of the row's columns.
fn part_reference(part: &mut Map<String, Value>, kind: &str, at: &At<'_>) -> Result<String, RowError> {
    let bare = kind.trim_start_matches("input_").trim_end_matches("_url");
    let urls = [kind, bare, "image_url", "video_url", "audio_url", "url", "path", "value"];
    let Some((key, value)) = urls.into_iter().find_map(|key| Some((key, take(part, key)?))) else {
        return Ok(String::new());
    };
    let at = at.key(key);
    if let Value::Object(object) = &value
        && let (Some(Value::String(data)), format) = (object.get("data"), object.get("format"))
    {
        let format = format.and_then(Value::as_str).unwrap_or("wav");
        return Ok(format!("data:{bare}/{format};base64,{data}"));
    }
    media::reference(value, &at)
}

/// Calls of tools as the text of a message: JSON, perhaps after a block of thinking.
fn calls_in_text(
    message: &mut Message,
    content: Option<Value>,
    at: &At<'_>,
    turn: &Map<String, Value>,
) -> Result<(), RowError> {
    let text = match content {
        None | Some(Value::Null) => return Err(at.missing("calls of tools as JSON in a string", turn)),
        Some(Value::String(text)) => text,
        Some(calls @ (Value::Array(_) | Value::Object(_))) => calls.to_string(),
        Some(other) => return Err(at.wrong_type(&other, "calls of tools as JSON in a string")),
    };
    if text.trim().is_empty() {
        return Err(at.empty());
    }
    let mut calls = text.as_str();
    if text.trim_start().starts_with("<think>")
        && let Some(end) = text.find("</think>")
    {
        let (thinking, rest) = text.split_at(end + "</think>".len());
        message.content = Some(thinking.to_owned());
        calls = rest;
    }
    message.tool_calls = Some(tools::written(calls, at)?);
    Ok(())
}

/// `weight` or `loss_weight`: a number from 0; `train = false` is 0 whatever the weight.
fn weight(turn: &Map<String, Value>, at: &At<'_>) -> Result<Option<f32>, RowError> {
    let mut weight = None;
    for key in ["loss_weight", "weight"] {
        match turn.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(flag)) => weight = Some(f32::from(*flag)),
            Some(value @ Value::Number(number)) => {
                #[allow(clippy::cast_possible_truncation, reason = "a weight needs no more than 24 bits")]
                let found = number.as_f64().map(|number| number as f32);
                let fits = |found: &f32| *found >= 0.0 && found.is_finite();
                let found = found.filter(fits);
                weight = Some(found.ok_or_else(|| {
                    at.key(key).error(Code::Type, format!("`{key}` is {value}, expected a number from 0"))
                })?);
            }
            Some(other) => return Err(at.key(key).wrong_type(other, "a number from 0")),
        }
    }
    match turn.get("train") {
        None | Some(Value::Null) => Ok(weight),
        Some(Value::Bool(true)) => Ok(weight.or(Some(1.0))),
        Some(Value::Bool(false)) => Ok(Some(0.0)),
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(Some(0.0)),
        Some(Value::Number(number)) if number.as_f64() == Some(1.0) => Ok(weight.or(Some(1.0))),
        Some(other) => Err(at.key("train").wrong_type(other, "a boolean")),
    }
}
