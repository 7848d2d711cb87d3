//! Where in a rendering the answers stand.

use std::borrow::Cow;

use fastft_record::{Code, Conversation, RowError};
use fastft_template::{Marks, Value, marks, messages, tools};
use fastft_text::Encoding;
use serde::Serialize;

use super::control::{self, Marked};
use super::{Encoder, Renderer, SpecialInText, TrainOn, count};

/// A rendered conversation.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// The rendering.
    pub marked: Marked,
    /// Byte ranges of the answers that are trained, in order.
    pub answers: Vec<(usize, usize)>,
    /// Where each message begins, if that was asked for.
    pub turns: Vec<usize>,
}

/// A conversation as its renderer sees it.
pub struct View<'a> {
    encoder: &'a Encoder,
    conversation: Cow<'a, Conversation>,
    values: Option<(Vec<Value>, Value)>,
    /// Around control tokens in messages.
    plain: Marks,
    /// Around generation blocks.
    generation: Marks,
}

impl<'a> View<'a> {
    /// As it stands, nothing marked.
    pub fn new(encoder: &'a Encoder, conversation: &'a Conversation) -> Self {
        let marks = Marks { open: '\u{FDD0}', close: '\u{FDD1}' };
        Self::over(encoder, Cow::Borrowed(conversation), marks, marks)
    }

    /// With control tokens marked, if they are to be plain text.
    fn marked(encoder: &'a Encoder, conversation: &'a Conversation) -> Result<Self, RowError> {
        let (plain, generation) = control::choose(texts(conversation).into_iter())?;
        let conversation = match encoder.options.special_in_text {
            SpecialInText::Plain => encoder.controls.mark(conversation, plain, &encoder.counters),
            SpecialInText::Parse => Cow::Borrowed(conversation),
        };
        Ok(Self::over(encoder, conversation, plain, generation))
    }

    fn over(
        encoder: &'a Encoder,
        conversation: Cow<'a, Conversation>,
        plain: Marks,
        generation: Marks,
    ) -> Self {
        let values = matches!(encoder.renderer, Some(Renderer::Rust(_)))
            .then(|| (messages(&conversation), tools(&conversation)));
        Self { encoder, conversation, values, plain, generation }
    }

    /// Render the first `len` messages.
    pub fn render(&self, len: usize, add_generation_prompt: bool) -> Result<String, RowError> {
        self.render_marked(len, add_generation_prompt, None)
    }

    fn render_marked(&self, len: usize, prompt: bool, marks: Option<Marks>) -> Result<String, RowError> {
        self.encoder.count_rendering();
        let refused = |reason: String| {
            RowError::new(Code::Template, format!("the chat template refuses the row: {reason}"))
        };
        match (&self.encoder.renderer, &self.values) {
            (Some(Renderer::Rust(template)), Some((messages, tools))) => template
                .render_values(&messages[..len], tools, prompt, marks)
                .map_err(|error| refused(error.0)),
            (Some(Renderer::Elsewhere(render)), _) => {
                #[derive(Serialize)]
                struct Call<'a> {
                    messages: &'a [fastft_record::Message],
                    tools: &'a Option<serde_json::Value>,
                    add_generation_prompt: bool,
                }
                let call = Call {
                    messages: &self.conversation.messages[..len],
                    tools: &self.conversation.tools,
                    add_generation_prompt: prompt,
                };
                let json = serde_json::to_string(&call).map_err(|error| refused(error.to_string()))?;
                render(&json).map_err(refused)
            }
            _ => {
                Err(RowError::new(Code::Template, "there is no chat template, and the row is a conversation"))
            }
        }
    }
}

impl Spans {
    /// Render a conversation and find its answers, by the definition in `encode.rs`.
    pub fn find(encoder: &Encoder, conversation: &Conversation) -> Result<Self, RowError> {
        if conversation.messages.is_empty() {
            return Err(RowError::new(Code::Empty, "the conversation has no messages"));
        }
        let chosen = encoder.trained_messages(conversation)?;
        let view = View::marked(encoder, conversation)?;
        let len = conversation.messages.len();
        let everything = encoder.options.train_on == TrainOn::All;
        let silent = everything && conversation.messages.iter().any(|message| message.train() == Some(false));
        let by_tags =
            matches!(&encoder.renderer, Some(Renderer::Rust(template)) if template.has_generation());
        let (text, mut answers) = if everything {
            (view.render(len, false)?, Vec::new())
        } else if by_tags {
            let (text, blocks) =
                marks::take(&view.render_marked(len, false, Some(view.generation))?, view.generation);
            (text, by_message(conversation, &chosen, blocks)?)
        } else {
            let text = view.render(len, false)?;
            let answers = by_prefix(&view, &text, &chosen)?;
            (text, answers)
        };
        let mut turns = Vec::new();
        if silent || encoder.options.turns {
            turns = begins(&view, &text).unwrap_or_default();
        }
        if everything {
            answers = spoken(conversation, text.len(), &turns, silent)?;
        }
        if !encoder.options.turns {
            turns.clear();
        }
        let unmark = |at: usize| at - 3 * text[..at].matches([view.plain.open, view.plain.close]).count();
        if matches!(view.conversation, Cow::Owned(_)) {
            // Something was marked.
            for answer in &mut answers {
                *answer = (unmark(answer.0), unmark(answer.1));
            }
            for at in &mut turns {
                *at = unmark(*at);
            }
            return Ok(Self { marked: Marked::from_marked(&text, view.plain), answers, turns });
        }
        Ok(Self { marked: Marked::unmarked(text), answers, turns })
    }
}

/// The answers between the prompt before and the rendering with each chosen message.
fn by_prefix(view: &View<'_>, text: &str, chosen: &[usize]) -> Result<Vec<(usize, usize)>, RowError> {
    let len = view.conversation.messages.len();
    let unproven = |index: usize, what: &str| {
        let reason = format!(
            "what the assistant wrote in message {} can't be told from the template's text: {what}; \
             train on `last_response`, or use a template with {{% generation %}} blocks (built-in templates have them)",
            index + 1
        );
        RowError::new(Code::Mask, reason)
    };
    let mut answers = Vec::with_capacity(chosen.len());
    for &index in chosen {
        if index == 0 {
            return Err(unproven(0, "nothing was asked before it"));
        }
        let prompt = view.render(index, true).map_err(|error| {
            unproven(index, &format!("the messages before it can't be rendered alone ({})", error.reason))
        })?;
        if !text.starts_with(&prompt) {
            return Err(unproven(index, "the prompt before it reads differently in the whole conversation"));
        }
        let end = if index + 1 == len {
            text.len()
        } else {
            let whole = view.render(index + 1, false).map_err(|error| {
                unproven(index, &format!("the messages up to it can't be rendered alone ({})", error.reason))
            })?;
            prefix(text, &whole, view.encoder.eos.as_deref())
                .ok_or_else(|| unproven(index, "the template changes it when later messages follow"))?
        };
        if end < prompt.len() {
            return Err(unproven(index, "it ends before its prompt does"));
        }
        answers.push((prompt.len(), end));
    }
    Ok(answers)
}

/// Bytes of `text` that `part` covers: it is a prefix as it stands, or without the final EOS.
fn prefix(text: &str, part: &str, eos: Option<&str>) -> Option<usize> {
    if text.starts_with(part) {
        return Some(part.len());
    }
    let part = part.strip_suffix(eos.filter(|eos| !eos.is_empty())?)?;
    text.starts_with(part).then_some(part.len())
}

/// The generation blocks of the chosen messages: one block an assistant message, or all chosen.
fn by_message(
    conversation: &Conversation,
    chosen: &[usize],
    blocks: Vec<(usize, usize)>,
) -> Result<Vec<(usize, usize)>, RowError> {
    let all: Vec<usize> = (0..conversation.messages.len())
        .filter(|&index| conversation.messages[index].role == "assistant")
        .collect();
    if chosen.len() == all.len() {
        return Ok(blocks);
    }
    if blocks.len() != all.len() {
        let reason = format!(
            "the template has {} generation blocks for {} assistant messages, so those that are trained can't be told apart",
            blocks.len(),
            all.len()
        );
        return Err(RowError::new(Code::Mask, reason));
    }
    Ok(all.iter().zip(blocks).filter(|(index, _)| chosen.contains(index)).map(|(_, block)| block).collect())
}

/// Where each message begins; None where the template makes no such place.
fn begins(view: &View<'_>, text: &str) -> Option<Vec<usize>> {
    let mut turns = vec![0];
    for index in 1..view.conversation.messages.len() {
        let before = view.render(index, false).ok()?;
        let at = prefix(text, &before, view.encoder.eos.as_deref())?;
        turns.push(at.max(turns[index - 1]));
    }
    Some(turns)
}

/// Everything but messages that carry no loss.
fn spoken(
    conversation: &Conversation,
    len: usize,
    turns: &[usize],
    silent: bool,
) -> Result<Vec<(usize, usize)>, RowError> {
    if !silent {
        return Ok(vec![(0, len)]);
    }
    if turns.is_empty() {
        return Err(RowError::new(
            Code::Mask,
            "where the messages without loss begin and end can't be proven",
        ));
    }
    let ends = turns[1..].iter().copied().chain(std::iter::once(len));
    let spans = turns.iter().copied().zip(ends).zip(&conversation.messages);
    Ok(spans.filter(|(_, message)| message.train() != Some(false)).map(|(span, _)| span).collect())
}

/// Every string of a conversation.
fn texts(conversation: &Conversation) -> Vec<&str> {
    fn inside<'a>(value: &'a serde_json::Value, out: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::String(text) => out.push(text),
            serde_json::Value::Array(items) => items.iter().for_each(|item| inside(item, out)),
            serde_json::Value::Object(fields) => {
                for (key, field) in fields {
                    out.push(key);
                    inside(field, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    for message in &conversation.messages {
        out.push(message.role.as_str());
        out.extend(
            [&message.content, &message.reasoning, &message.name].into_iter().flatten().map(String::as_str),
        );
        if let Some(calls) = &message.tool_calls {
            inside(calls, &mut out);
        }
    }
    if let Some(tools) = &conversation.tools {
        inside(tools, &mut out);
    }
    out
}

/// The tokens that share a byte with an answer, as merged runs.
///
/// With `is_added`, tokens of whitespace behind the last added token of an answer are left out.
pub fn token_runs(
    text: &str,
    encoding: &Encoding,
    answers: &[(usize, usize)],
    is_added: Option<&dyn Fn(u32) -> bool>,
) -> Vec<(u32, u32)> {
    let offsets = &encoding.offsets;
    let mut runs: Vec<(u32, u32)> = Vec::with_capacity(answers.len());
    for &(from, to) in answers {
        if from >= to {
            continue;
        }
        let first =
            offsets.partition_point(|&(begin, end)| (end as usize) <= from && (begin as usize) < from.max(1));
        let mut last = first + offsets[first..].partition_point(|&(begin, _)| (begin as usize) < to);
        if let Some(is_added) = is_added {
            let blank = |index: usize| {
                let (begin, end) = offsets[index];
                let token = text.get(begin as usize..end as usize);
                !is_added(encoding.ids[index]) && token.is_some_and(|token| token.trim().is_empty())
            };
            let end = (first..last).rev().find(|&index| !blank(index));
            if let Some(end) = end.filter(|&end| is_added(encoding.ids[end])) {
                last = end + 1;
            }
        }
        if first >= last {
            continue;
        }
        let run = (count(first), count(last));
        match runs.last_mut() {
            Some(before) if before.1 >= run.0 => before.1 = before.1.max(run.1),
            _ => runs.push(run),
        }
    }
    runs
}
