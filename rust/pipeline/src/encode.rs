//! Documents to token ids and the tokens that carry a loss.
//!
//! Ids of a conversation are those of transformers' `apply_chat_template`: the whole rendering,
//! tokenized whole. With `special_in_text = plain` control tokens that stand in the messages are
//! ordinary text, as with its `sanitize_control_tokens`.
//!
//! **The mask.** Let `F` be the rendering of all messages. The answer of assistant message `i` is
//! the text of `F` between
//! - the end of `P`, the rendering of the messages before `i` with the generation prompt, and
//! - the end of `R`, the rendering of the messages up to and with `i`,
//!
//! where `P` and `R` (if need be without the EOS token that ends a rendering) have to be prefixes
//! of `F`: otherwise the model would be trained on what it is never asked to write, and the row is
//! refused. A token is trained if it shares a byte with an answer; whitespace behind the last added
//! token (the end of the turn) is not. A template with `{% generation %}` blocks says itself what
//! the answers are, and is believed. `encode/spans.rs` finds the answers, `encode/control.rs` keeps
//! control tokens in messages apart.

mod control;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use fastft_record::{Code, Conversation, Document, Message, RowError};
use fastft_template::{Moment, SpecialTokens, Template};
use fastft_text::{Library, TextError, Tokenizer};
use serde::Deserialize;

use control::Controls;
use spans::Spans;

/// Which tokens carry a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// The answer of every assistant message.
    Responses,
    /// The answer of the last assistant message.
    LastResponse,
    /// Every token.
    All,
}

/// What control tokens in the text of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecialInText {
    /// Ordinary text.
    Plain,
    /// Control tokens, as the tokenizer takes them.
    Parse,
}

/// What becomes of thinking in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// It is rendered and trained like the rest.
    Keep,
    /// It is removed from the messages before rendering.
    Strip,
    /// It is trained, but an empty block is not.
    MaskEmpty,
}

/// How documents are encoded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EncodeOptions {
    /// Which tokens carry a loss.
    pub train_on: TrainOn,
    /// What control tokens in messages are.
    pub special_in_text: SpecialInText,
    /// What becomes of thinking.
    pub thinking: Thinking,
    /// Put the EOS token behind a text document.
    pub append_eos_to_text: bool,
    /// Put the BOS token before a text document.
    pub add_bos_to_text: bool,
    /// Say where each message begins.
    pub turns: bool,
    /// What `strftime_now` prints: `YYYY-MM-DD`, with or without `THH:MM:SS`.
    pub today: Option<String>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            train_on: TrainOn::Responses,
            special_in_text: SpecialInText::Plain,
            thinking: Thinking::Keep,
            append_eos_to_text: true,
            add_bos_to_text: false,
            turns: false,
            today: None,
        }
    }
}

/// A document as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The text that was tokenized; without the BOS and EOS that are put around text documents.
    pub text: String,
    /// Token ids.
    pub ids: Vec<u32>,
    /// Half-open runs of token indices that carry a loss, in order, none empty, none touching.
    pub trained: Vec<(u32, u32)>,
    /// Token index at which each message begins; empty unless `EncodeOptions::turns` asks for it,
    /// and where the template makes no such place (a message that changes what stands before it).
    pub turns: Vec<u32>,
}

/// Renders a conversation elsewhere: given the JSON of `messages`, `tools` and
/// `add_generation_prompt`, it returns the text or what is wrong.
pub type Fallback = Box<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// An encoder that can't be made from what it is given.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The tokenizer can't be used.
    #[error(transparent)]
    Tokenizer(#[from] TextError),
    /// The template can't be compiled.
    #[error("the chat template can't be compiled: {0}")]
    Template(String),
    /// A token that the options ask for is not in the vocabulary.
    #[error("the tokenizer has no `{0}`, which text documents need")]
    NoToken(&'static str),
    /// `today` is no date.
    #[error("`{0}` is no date of the form YYYY-MM-DD")]
    Date(String),
}

/// What was seen on the way; read while encoding goes on.
#[derive(Debug, Default)]
pub struct Counters {
    /// Control tokens found in the text of messages.
    pub special_in_text: AtomicU64,
    /// Documents that had one.
    pub documents_with_special: AtomicU64,
    /// Renderings by the template engine or the fallback.
    pub renderings: AtomicU64,
}

enum Renderer {
    Rust(Box<Template>),
    Elsewhere(Fallback),
}

/// Documents to ids; shared by all threads.
pub struct Encoder {
    tokenizer: Library,
    renderer: Option<Renderer>,
    controls: Controls,
    eos: Option<String>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    options: EncodeOptions,
    counters: Counters,
}

impl Encoder {
    /// An encoder from the text of a tokenizer.json and, for conversations, a chat template.
    ///
    /// With `fallback`, conversations are rendered by it and not by `template`, which then only
    /// tells which added tokens are the template's.
    ///
    /// # Errors
    /// `EncoderError` when a part can't be used.
    pub fn new(
        tokenizer_json: &str,
        template: Option<&str>,
        special_tokens: &SpecialTokens,
        fallback: Option<Fallback>,
        options: EncodeOptions,
    ) -> Result<Self, EncoderError> {
        let tokenizer = Library::from_json(tokenizer_json)?;
        let token =
            |name: &str| special_tokens.iter().find(|(key, _)| key == name).map(|(_, token)| token.clone());
        let id = |name: &str| token(name).and_then(|token| tokenizer.token_to_id(&token));
        let (bos_id, eos_id) = (id("bos_token"), id("eos_token"));
        if options.append_eos_to_text && template.is_none() && eos_id.is_none() {
            return Err(EncoderError::NoToken("eos_token"));
        }
        if options.add_bos_to_text && bos_id.is_none() {
            return Err(EncoderError::NoToken("bos_token"));
        }
        let now = match &options.today {
            Some(today) => Moment::parse(today).ok_or_else(|| EncoderError::Date(today.clone()))?,
            None => Moment::default(),
        };
        let renderer = match (fallback, template) {
            (Some(fallback), _) => Some(Renderer::Elsewhere(fallback)),
            (None, Some(source)) => {
                let template = Template::compile(source, special_tokens, now);
                Some(Renderer::Rust(Box::new(template.map_err(|error| EncoderError::Template(error.0))?)))
            }
            (None, None) => None,
        };
        let controls = Controls::new(tokenizer.added_tokens(), template.unwrap_or_default());
        let eos = token("eos_token");
        Ok(Self {
            tokenizer,
            renderer,
            controls,
            eos,
            bos_id,
            eos_id,
            options,
            counters: Counters::default(),
        })
    }

    /// Encode one document.
    ///
    /// # Errors
    /// `RowError` with `E_TEMPLATE` when the template refuses the row, `E_MASK` when its answers
    /// can't be proven, `E_NO_TARGET` when nothing would be trained, `E_TOKENIZER` when the
    /// tokenizer refuses its text, `E_EMPTY` when there is none.
    pub fn encode(&self, document: &Document) -> Result<Encoded, RowError> {
        match document {
            Document::Conversation(conversation) => self.conversation(conversation),
            Document::Text(text) => self.text(text),
            Document::Ranked { .. } | Document::Labelled { .. } => {
                Err(RowError::new(Code::Role, "preference data is not encoded yet"))
            }
        }
    }

    /// The text of a conversation, as its template renders it.
    ///
    /// # Errors
    /// `RowError` with `E_TEMPLATE` when the template refuses it.
    pub fn render(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, RowError> {
        let view = spans::View::new(self, conversation);
        view.render(conversation.messages.len(), add_generation_prompt)
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The tokenizer.
    #[must_use]
    pub const fn tokenizer(&self) -> &Library {
        &self.tokenizer
    }

    fn text(&self, text: &str) -> Result<Encoded, RowError> {
        if text.is_empty() {
            return Err(RowError::new(Code::Empty, "the text is empty"));
        }
        let marked = match self.options.special_in_text {
            SpecialInText::Plain => self.controls.mark_text(text, &self.counters)?,
            SpecialInText::Parse => control::Marked::unmarked(text.to_owned()),
        };
        let encoding = marked.encode(&self.tokenizer)?;
        let bos = self.bos_id.filter(|_| self.options.add_bos_to_text);
        let eos = self.eos_id.filter(|_| self.options.append_eos_to_text);
        let ids: Vec<u32> = bos.into_iter().chain(encoding.ids).chain(eos).collect();
        let len = count(ids.len());
        Ok(Encoded { text: marked.text, ids, trained: vec![(0, len)], turns: Vec::new() })
    }

    fn conversation(&self, conversation: &Conversation) -> Result<Encoded, RowError> {
        if let Some(index) = conversation.messages.iter().position(Message::has_media) {
            let reason = "the message refers to media, which training on text can't use";
            return Err(RowError::new(Code::Media, reason).at(format!("messages[{index}].content")));
        }
        if conversation.messages.iter().any(|message| !matches!(message.weight, None | Some(0.0 | 1.0))) {
            return Err(RowError::new(
                Code::Type,
                "a message's weight other than 0 and 1 is not encoded yet",
            ));
        }
        let stripped;
        let conversation = if self.options.thinking == Thinking::Strip {
            stripped = without_thinking(conversation);
            &stripped
        } else {
            conversation
        };
        let Spans { marked, mut answers, turns } = self.spans(conversation)?;
        check_calls(conversation, &marked.text)?;
        if self.options.thinking == Thinking::MaskEmpty {
            for answer in &mut answers {
                answer.0 += empty_thinking(&marked.text[answer.0..answer.1]);
            }
        }
        let encoding = marked.encode(&self.tokenizer)?;
        let added = self.tokenizer.added_tokens();
        let is_added = |id: u32| added.binary_search_by_key(&id, |token| token.id).is_ok();
        let cut = self.options.train_on != TrainOn::All;
        let trained = spans::token_runs(&marked.text, &encoding, &answers, cut.then_some(&is_added));
        if trained.is_empty() {
            return Err(RowError::new(Code::NoTarget, "no token of the row carries a loss"));
        }
        let turns = turns
            .iter()
            .map(|at| count(encoding.offsets.partition_point(|offset| (offset.0 as usize) < *at)))
            .collect();
        Ok(Encoded { text: marked.text, ids: encoding.ids, trained, turns })
    }

    /// The rendering and its answers. A template that refuses the row as it stands is asked again
    /// without `content` that is null, which `in` and `+` can't look into, and then with an empty
    /// `content` beside calls of tools: the calls are what such a message says.
    fn spans(&self, conversation: &Conversation) -> Result<Spans, RowError> {
        let found = Spans::find(self, conversation);
        let Err(refusal) = &found else { return found };
        if refusal.code != Code::Template {
            return found;
        }
        for other in [without_null, with_empty_content] {
            let Some(conversation) = other(conversation) else { continue };
            match Spans::find(self, &conversation) {
                Err(error) if error.code == Code::Template => {}
                rendered => return rendered,
            }
        }
        found
    }

    /// Which messages carry a loss, in order.
    fn trained_messages(&self, conversation: &Conversation) -> Result<Vec<usize>, RowError> {
        let messages = &conversation.messages;
        let is_answer = |message: &Message| message.role == "assistant";
        let last = messages.iter().rposition(is_answer);
        let chosen: Vec<usize> = (0..messages.len())
            .filter(|&index| {
                let message = &messages[index];
                let by_rule = match self.options.train_on {
                    TrainOn::LastResponse => Some(index) == last,
                    TrainOn::Responses | TrainOn::All => true,
                };
                is_answer(message) && message.train().unwrap_or(by_rule)
            })
            .collect();
        if chosen.is_empty() && self.options.train_on != TrainOn::All {
            return Err(RowError::new(Code::NoTarget, "no assistant message of the row carries a loss"));
        }
        Ok(chosen)
    }

    fn count_rendering(&self) {
        self.counters.renderings.fetch_add(1, Ordering::Relaxed);
    }
}

/// The conversation with null `content` left out; None if there is no such message.
fn without_null(conversation: &Conversation) -> Option<Conversation> {
    changed(conversation, |message| {
        let is_null = message.content.is_none() && message.content_is_null;
        message.content_is_null &= !is_null;
        is_null
    })
}

/// The conversation with an empty `content` where the assistant calls tools and has none; None if
/// there is no such message.
fn with_empty_content(conversation: &Conversation) -> Option<Conversation> {
    changed(conversation, |message| {
        let calls = message.tool_calls.as_ref().and_then(serde_json::Value::as_array);
        let only_calls = message.role == "assistant"
            && message.content.is_none()
            && calls.is_some_and(|calls| !calls.is_empty());
        if only_calls {
            message.content = Some(String::new());
            message.content_is_null = false;
        }
        only_calls
    })
}

/// A copy of which some messages were changed; None if none was.
fn changed(conversation: &Conversation, change: impl Fn(&mut Message) -> bool) -> Option<Conversation> {
    let mut conversation = conversation.clone();
    let count = conversation.messages.iter_mut().map(change).filter(|changed| *changed).count();
    (count > 0).then_some(conversation)
}

/// Refuse a row of which an answer is nothing but calls of tools that the template does not print:
/// the model would learn to answer with nothing.
fn check_calls(conversation: &Conversation, text: &str) -> Result<(), RowError> {
    for (index, message) in conversation.messages.iter().enumerate() {
        let silent = message.content.as_deref().is_none_or(|content| content.trim().is_empty());
        let calls = message.tool_calls.as_ref().and_then(serde_json::Value::as_array);
        let (true, true, Some(calls)) = (silent, message.train() != Some(false), calls) else { continue };
        let name = |call: &serde_json::Value| {
            let name = call.get("function").unwrap_or(call).get("name")?.as_str()?;
            name.is_ascii().then(|| name.to_owned())
        };
        if message.role == "assistant"
            && let Some(name) = calls.iter().find_map(name).filter(|name| !text.contains(name.as_str()))
        {
            let reason = format!(
                "the chat template does not print the call of `{name}` in message {}, which is all that it says",
                index + 1
            );
            return Err(RowError::new(Code::Template, reason));
        }
    }
    Ok(())
}

/// The conversation without reasoning fields and without the thinking block that begins an answer.
fn without_thinking(conversation: &Conversation) -> Conversation {
    let mut conversation = conversation.clone();
    for message in conversation.messages.iter_mut().filter(|message| message.role == "assistant") {
        message.reasoning = None;
        if let Some(content) = &message.content
            && content.trim_start().starts_with("<think>")
            && let Some((_, answer)) = content.split_once("</think>")
        {
            message.content = Some(answer.trim_start().to_owned());
        }
    }
    conversation
}

/// Bytes of an empty thinking block at the beginning of an answer.
fn empty_thinking(answer: &str) -> usize {
    let inner = answer.trim_start().strip_prefix("<think>").map(str::trim_start);
    let rest = inner.and_then(|inner| inner.strip_prefix("</think>")).map(str::trim_start);
    rest.map_or(0, |rest| answer.len() - rest.len())
}

#[allow(clippy::cast_possible_truncation, reason = "a text has less than 2^32 bytes, so less tokens")]
const fn count(n: usize) -> u32 {
    n as u32
}
