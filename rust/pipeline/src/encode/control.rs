//! Control tokens in messages: marked before rendering, encoded as text after it.
//!
//! The rule is that of transformers' `sanitize_control_tokens`: the rendering is cut at the marks,
//! a marked token is encoded without added tokens, what stands between is encoded as usual, and
//! every piece but the first behind a newline that is taken away again (so that tokenizers that put
//! a space before a text do not). In answers only tokens that the tokenizer calls special are
//! control tokens: `<think>` or `<tool_call>` in an answer are what the model is to write.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use fastft_record::{Code, Conversation, Message, RowError};
use fastft_template::{Marks, marks};
use fastft_text::{AddedToken, ControlTokens, Encoding, Library, TextError, Tokenizer};
use serde_json::Value;

use super::Counters;
use super::noted::note;

/// The control tokens of a tokenizer and a template.
pub struct Controls {
    in_answers: ControlTokens,
    elsewhere: ControlTokens,
}

/// A rendering: its text, and which bytes of it are text whatever they look like.
#[derive(Clone, Debug, Default)]
pub struct Marked {
    /// Without marks.
    pub text: String,
    /// Marked ranges; an empty one only cuts.
    pub plain: Vec<(usize, usize)>,
}

fn note_controls(found: u64) {
    note("control_tokens_in_text", found);
    note("documents_with_control_tokens", 1);
}

impl Controls {
    /// Special tokens, and outside answers also the added tokens that the template writes.
    pub fn new(added: &[AddedToken], template: &str) -> Self {
        let written = |token: &&AddedToken| {
            token.special || (template.contains(&token.content) && !token.content.trim().is_empty())
        };
        let content = |token: &'_ AddedToken| token.content.clone();
        let special: Vec<String> = added.iter().filter(|token| token.special).map(content).collect();
        let all: Vec<String> = added.iter().filter(written).map(content).collect();
        Self {
            in_answers: ControlTokens::new(special.iter().map(String::as_str)),
            elsewhere: ControlTokens::new(all.iter().map(String::as_str)),
        }
    }

    /// A text document, its special tokens marked.
    pub fn mark_text(&self, text: &str, counters: &Counters) -> Result<Marked, RowError> {
        if !self.in_answers.any(text) {
            return Ok(Marked::unmarked(text.to_owned()));
        }
        let marks = choose(std::iter::once(text))?.0;
        let (marked, found) = self.in_answers.mark(text, marks.open, marks.close);
        counters.special_in_text.fetch_add(found as u64, Ordering::Relaxed);
        note_controls(found as u64);
        counters.documents_with_special.fetch_add(1, Ordering::Relaxed);
        Ok(Marked::from_marked(&marked, marks))
    }

    /// Whether a conversation contains control tokens anywhere.
    pub fn any(&self, conversation: &Conversation) -> bool {
        conversation.messages.iter().any(|message| {
            let tokens = if message.role == "assistant" { &self.in_answers } else { &self.elsewhere };
            [&message.content, &message.reasoning, &message.name, &message.tool_call_id]
                .into_iter()
                .flatten()
                .chain(std::iter::once(&message.role))
                .any(|text| tokens.any(text))
                || message.tool_calls.as_ref().is_some_and(|calls| any_in(tokens, calls))
        }) || conversation.tools.as_ref().is_some_and(|tools| any_in(&self.elsewhere, tools))
    }

    /// The conversation with every control token between marks.
    pub fn mark<'a>(
        &self,
        conversation: &'a Conversation,
        marks: Marks,
        counters: &Counters,
    ) -> Cow<'a, Conversation> {
        if !self.any(conversation) {
            return Cow::Borrowed(conversation);
        }
        let mut found = 0;
        let mut conversation = conversation.clone();
        for message in &mut conversation.messages {
            let tokens = if message.role == "assistant" { &self.in_answers } else { &self.elsewhere };
            let Message { role, content, reasoning, name, tool_call_id, .. } = message;
            let texts = [content, reasoning, name, tool_call_id].into_iter().flatten();
            for text in texts.chain(std::iter::once(role)) {
                mark_string(tokens, text, marks, &mut found);
            }
            if let Some(calls) = &mut message.tool_calls {
                mark_value(tokens, calls, marks, &mut found);
            }
        }
        if let Some(tools) = &mut conversation.tools {
            mark_value(&self.elsewhere, tools, marks, &mut found);
        }
        counters.special_in_text.fetch_add(found, Ordering::Relaxed);
        note_controls(found);
        counters.documents_with_special.fetch_add(1, Ordering::Relaxed);
        Cow::Owned(conversation)
    }
}

/// Marks that are in none of the texts.
pub fn choose<'a>(texts: impl Iterator<Item = &'a str>) -> Result<(Marks, Marks), RowError> {
    marks::choose(texts).ok_or_else(|| {
        RowError::new(Code::Template, "the row contains nearly all of U+FDD0 to U+FDEF, which mark spans")
    })
}

/// Every string of a conversation.
pub fn texts(conversation: &Conversation) -> Vec<&str> {
    fn inside<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
        match value {
            Value::String(text) => out.push(text),
            Value::Array(items) => items.iter().for_each(|item| inside(item, out)),
            Value::Object(fields) => {
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
        let Message { role, content, reasoning, name, tool_call_id, .. } = message;
        out.push(role.as_str());
        out.extend([content, reasoning, name, tool_call_id].into_iter().flatten().map(String::as_str));
        if let Some(calls) = &message.tool_calls {
            inside(calls, &mut out);
        }
    }
    if let Some(tools) = &conversation.tools {
        inside(tools, &mut out);
    }
    out
}

fn mark_string(tokens: &ControlTokens, text: &mut String, marks: Marks, found: &mut u64) {
    let (marked, count) = tokens.mark(text, marks.open, marks.close);
    if count > 0 {
        *text = marked;
        *found += count as u64;
    }
}

fn mark_value(tokens: &ControlTokens, value: &mut Value, marks: Marks, found: &mut u64) {
    match value {
        Value::String(text) => mark_string(tokens, text, marks, found),
        Value::Array(items) => items.iter_mut().for_each(|item| mark_value(tokens, item, marks, found)),
        Value::Object(fields) => {
            if fields.keys().any(|key| tokens.any(key)) {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(mut key, field)| {
                        mark_string(tokens, &mut key, marks, found);
                        (key, field)
                    })
                    .collect();
            }
            fields.values_mut().for_each(|field| mark_value(tokens, field, marks, found));
        }
        _ => {}
    }
}

fn any_in(tokens: &ControlTokens, value: &Value) -> bool {
    match value {
        Value::String(text) => tokens.any(text),
        Value::Array(items) => items.iter().any(|item| any_in(tokens, item)),
        Value::Object(fields) => fields.iter().any(|(key, field)| tokens.any(key) || any_in(tokens, field)),
        _ => false,
    }
}

impl Marked {
    /// A text in which nothing is marked.
    pub const fn unmarked(text: String) -> Self {
        Self { text, plain: Vec::new() }
    }

    /// Take the marks out of a rendering.
    pub fn from_marked(text: &str, marks: Marks) -> Self {
        let (text, plain) = marks::take(text, marks);
        Self { text, plain }
    }

    /// Ids and byte offsets of the text.
    pub fn encode(&self, tokenizer: &Library) -> Result<Encoding, RowError> {
        let refused = |error: TextError| RowError::new(Code::Tokenizer, error.to_string());
        if self.plain.is_empty() {
            return tokenizer.encode(&self.text).map_err(refused);
        }
        let newline = tokenizer.encode("\n").map_err(refused)?;
        let mut out = Encoding::default();
        let mut done = 0;
        for &(from, to) in self.plain.iter().chain(std::iter::once(&(self.text.len(), self.text.len()))) {
            for (begin, end, plain) in [(done, from, false), (from, to, true)] {
                if begin >= end {
                    continue;
                }
                let piece = &self.text[begin..end];
                let encode = |text: &str| {
                    let encoded = if plain { tokenizer.encode_plain(text) } else { tokenizer.encode(text) };
                    encoded.map_err(refused)
                };
                let encoding =
                    if begin == 0 { encode(piece)? } else { behind_newline(&encode, piece, &newline)? };
                if plain && tokenizer.token_to_id(piece).is_some_and(|id| encoding.ids.contains(&id)) {
                    let reason = format!(
                        "{piece:?} in a message can't be plain text: the tokenizer makes the control token of it"
                    );
                    return Err(RowError::new(Code::Tokenizer, reason));
                }
                out.ids.extend(encoding.ids);
                let base = super::count(begin);
                out.offsets.extend(encoding.offsets.into_iter().map(|(from, to)| (base + from, base + to)));
            }
            done = done.max(to);
        }
        Ok(out)
    }
}

/// Encode a piece from the middle of a text.
fn behind_newline(
    encode: &impl Fn(&str) -> Result<Encoding, RowError>,
    piece: &str,
    newline: &Encoding,
) -> Result<Encoding, RowError> {
    let Encoding { mut ids, mut offsets } = encode(&format!("\n{piece}"))?;
    if !ids.starts_with(&newline.ids) {
        return encode(piece);
    }
    ids.drain(..newline.ids.len());
    offsets.drain(..newline.ids.len());
    for offset in &mut offsets {
        *offset = (offset.0.saturating_sub(1), offset.1.saturating_sub(1));
    }
    Ok(Encoding { ids, offsets })
}
