//! What a template leaves out of a row, so that nothing of it is lost in silence.
//!
//! A row is rendered once more with a word of our own in the place of each text, call, argument and
//! tool: a word that is not printed is a part that the template can't show. Searching the row's own
//! words would be fooled by a tool `w` and the word "weather". What is found holds for all rows of
//! one shape: the same roles, with the same things present.
//!
//! Thinking of earlier turns, and sometimes answers, are left out by templates on purpose. They are
//! lost only where the template does not show them even when their message is the last one.

use std::sync::{PoisonError, RwLock};

use fastft_record::{Code, Conversation, Message, RowError};
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::spans::View;
use super::{Encoder, TrainOn, targets, thinking};

/// Shapes that are remembered; rows of others are looked at one by one.
const SHAPES: usize = 4096;

/// What is known of shapes.
#[derive(Default)]
pub struct Losses(RwLock<FxHashMap<Vec<u8>, Option<Loss>>>);

/// The first part of a row that is not printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Tools,
    Text(usize),
    Call(usize, usize),
    Thinking(usize),
}

/// Refuse a row of which the template leaves something out.
pub fn check(encoder: &Encoder, conversation: &Conversation, rule: TrainOn) -> Result<(), RowError> {
    let Ok(weights) = targets::weights(conversation, rule) else { return Ok(()) };
    let shape = shape(conversation, &weights);
    let seen = &encoder.losses.0;
    let known = seen.read().unwrap_or_else(PoisonError::into_inner).get(&shape).copied();
    let loss = match known {
        Some(loss) => loss,
        // a template that refuses our words says nothing about the row's
        None => match find(encoder, conversation, &weights) {
            None => return Ok(()),
            Some(loss) => {
                let mut seen = seen.write().unwrap_or_else(PoisonError::into_inner);
                if seen.len() < SHAPES {
                    seen.insert(shape, loss);
                }
                loss
            }
        },
    };
    loss.map_or(Ok(()), |loss| Err(loss.told(conversation)))
}

impl Loss {
    fn told(self, conversation: &Conversation) -> RowError {
        let role = |index: usize| conversation.messages[index].role.as_str();
        let error = |reason: String| RowError::new(Code::Template, reason);
        match self {
            Self::Tools => error(
                "the chat template does not print the tools of the row; choose a `data.template` that does, or \
                 leave them out by a `format` with `tools = \"\"`"
                    .to_owned(),
            )
            .at("tools"),
            Self::Text(index) => {
                let calls = !calls(&conversation.messages[index]).is_empty();
                let beside = if calls { " beside its calls of tools" } else { "" };
                error(format!(
                    "the chat template does not print the text of message {} (`{}`){beside}; choose a \
                     `data.template` that does",
                    index + 1,
                    role(index),
                ))
                .at(format!("messages[{index}].content"))
            }
            Self::Call(index, call) => {
                let name = calls(&conversation.messages[index]).get(call).and_then(name).unwrap_or("?");
                error(format!(
                    "the chat template does not print the call of `{name}` in message {}; choose a \
                     `data.template` that does",
                    index + 1
                ))
                .at(format!("messages[{index}].tool_calls[{call}]"))
            }
            Self::Thinking(index) => error(format!(
                "the chat template does not print the thinking of message {}; choose a `data.template` that \
                 does, or leave thinking out by `data.thinking = \"strip\"`",
                index + 1
            ))
            .at(format!("messages[{index}]")),
        }
    }
}

/// The first loss; None where the template refuses what it is asked.
#[allow(clippy::option_option, reason = "the outer one is a refusal, the inner one a loss")]
fn find(encoder: &Encoder, conversation: &Conversation, weights: &[f32]) -> Option<Option<Loss>> {
    let (probe, parts) = probe(conversation);
    let render = |len| View::new(encoder, &probe).render(len, false).ok();
    let text = render(probe.messages.len())?;
    let mut lost = parts.into_iter().filter(|(_, word)| !text.contains(word.as_str()));
    Some(lost.find_map(|(loss, word)| {
        let shown_last = |index: usize| {
            let answers = probe.messages[index].role == "assistant";
            answers && render(index + 1).is_none_or(|text| text.contains(&word))
        };
        let is_lost = match loss {
            Loss::Tools => true,
            Loss::Text(index) | Loss::Call(index, _) => !shown_last(index),
            Loss::Thinking(index) => weights[index] > 0.0 && !shown_last(index),
        };
        is_lost.then_some(loss)
    }))
}

/// The conversation in words of our own, and which word stands for what.
fn probe(conversation: &Conversation) -> (Conversation, Vec<(Loss, String)>) {
    let mut probe = conversation.clone();
    let mut parts = Vec::new();
    let mut word = |loss: Loss| {
        let word = format!("kqz{}zqk", parts.len());
        parts.push((loss, word.clone()));
        word
    };
    for (index, message) in probe.messages.iter_mut().enumerate() {
        if let Some(reasoning) = message.reasoning.as_mut().filter(|text| !text.trim().is_empty()) {
            *reasoning = word(Loss::Thinking(index));
        }
        if let Some(content) = message.content.as_mut().filter(|text| !text.trim().is_empty()) {
            *content = match thinking::block(content).filter(|_| message.role == "assistant") {
                Some((open, inside, close, rest)) => {
                    let mut said = |text: &str, loss: Loss| {
                        if text.trim().is_empty() { String::new() } else { word(loss) }
                    };
                    let inside = said(inside, Loss::Thinking(index));
                    let rest = said(rest, Loss::Text(index));
                    format!("{open}\n{inside}\n{close}\n\n{rest}")
                }
                None => word(Loss::Text(index)),
            };
        }
        let calls = message.tool_calls.as_mut().and_then(Value::as_array_mut);
        for (number, call) in calls.into_iter().flatten().enumerate() {
            let Some(function) = function(call) else { continue };
            if function.get("name").is_some_and(Value::is_string) {
                function.insert("name".to_owned(), word(Loss::Call(index, number)).into());
            }
            let written = match function.get("arguments") {
                Some(Value::Object(fields)) => !fields.is_empty(),
                Some(Value::String(text)) => text.contains(':'),
                _ => false,
            };
            if written && let Some(arguments) = function.get_mut("arguments") {
                let (key, value) = (word(Loss::Call(index, number)), word(Loss::Call(index, number)));
                let fields = Map::from_iter([(key, Value::String(value))]);
                *arguments = match arguments {
                    Value::String(_) => Value::Object(fields).to_string().into(),
                    _ => fields.into(),
                };
            }
        }
    }
    for tool in probe.tools.as_mut().and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(function) = function(tool).filter(|tool| tool.get("name").is_some_and(Value::is_string)) {
            function.insert("name".to_owned(), word(Loss::Tools).into());
        }
    }
    (probe, parts)
}

/// What templates tell rows apart by, as bytes.
fn shape(conversation: &Conversation, weights: &[f32]) -> Vec<u8> {
    let mut shape = Vec::with_capacity(conversation.messages.len() * 16);
    for (message, weight) in conversation.messages.iter().zip(weights) {
        let text = |text: &Option<String>| match text.as_deref().map(|text| (text, text.trim().is_empty())) {
            None => b'0',
            Some(("", _)) => b'1',
            Some((_, true)) => b'2',
            Some((_, false)) => b'3',
        };
        shape.extend(message.role.as_bytes());
        shape.extend([
            0xFF,
            text(&message.content) + u8::from(message.content_is_null) * 8,
            text(&message.reasoning),
            text(&message.name),
            text(&message.tool_call_id),
            u8::from(*weight > 0.0),
        ]);
        if message.role == "assistant"
            && let Some((open, inside, _, rest)) = message.content.as_deref().and_then(thinking::block)
        {
            shape.extend(open.as_bytes());
            shape.extend([u8::from(inside.trim().is_empty()), u8::from(rest.trim().is_empty())]);
        }
        shape.extend(calls(message).iter().map(|call| match field(call, "arguments") {
            None => b'n',
            Some(Value::Object(fields)) if fields.is_empty() => b'e',
            Some(Value::Object(_)) => b'o',
            Some(Value::String(text)) if text.contains(':') => b's',
            Some(_) => b'x',
        }));
        shape.push(0xFF);
    }
    let tools = conversation.tools.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
    shape.extend(tools.to_le_bytes());
    shape
}

fn calls(message: &Message) -> &[Value] {
    message.tool_calls.as_ref().and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object that names a call or a tool, which may stand below `function` or alone.
fn function(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let inside = value.get("function").is_some_and(Value::is_object);
    if inside { value.get_mut("function")?.as_object_mut() } else { value.as_object_mut() }
}

fn field<'a>(call: &'a Value, key: &str) -> Option<&'a Value> {
    call.get("function").filter(|inside| inside.is_object()).unwrap_or(call).get(key)
}

fn name(call: &Value) -> Option<&str> {
    field(call, "name")?.as_str()
}
