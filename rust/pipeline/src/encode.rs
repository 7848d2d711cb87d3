//! Documents to token ids and the tokens that carry a loss.
//!
//! Ids of a conversation are those of transformers' `apply_chat_template`: the whole rendering,
//! tokenized whole. With `special_in_text = plain` control tokens that stand in the messages are
//! ordinary text, as with its `sanitize_control_tokens`.
//!
//! **The mask.** The answer of an assistant message is what the model is asked for: the text of the
//! rendering behind the prompt, up to the end of the message. A template with `{% generation %}`
//! blocks says itself what the answers are, and is believed; `encode/prefix.rs` finds and proves
//! them for others, and a row of which an answer can't be proven is refused. A token is trained if
//! it shares a byte with an answer; whitespace behind the last added token (the end of the turn) is
//! not. Of another role's message that says it is trained, its text and what ends it are.
//! `encode/targets.rs` says which messages are trained and how strongly.
//!
//! One row may be several documents: each answer of a ranked row is one, behind the whole prompt.

mod control;
mod losses;
#[cfg(test)]
mod losses_tests;
mod noted;
mod options;
mod prefix;
mod repairs;
mod runs;
mod spans;
mod targets;
#[cfg(test)]
mod tests;
mod thinking;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use fastft_record::{Code, Conversation, Document, Message, RowError};
use fastft_template::{Moment, SpecialTokens, Template};
use fastft_text::{Library, TextError, Tokenizer};

pub use noted::take_noted;
pub use options::{EncodeOptions, SpecialInText, Thinking, TrainOn};

use control::Controls;
use spans::{Spans, View};

/// A document as tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// The text that was tokenized; without the BOS and EOS that are put around text documents.
    pub text: String,
    /// Token ids.
    pub ids: Vec<u32>,
    /// Half-open runs of token indices that carry a loss, in order, none empty; runs that touch have
    /// different weights.
    pub trained: Vec<(u32, u32)>,
    /// What the losses of each run are multiplied by; empty where all are 1.
    pub weights: Vec<f32>,
    /// Of the answers to one prompt: 0 for the best or wanted one, 1 and more for worse ones.
    pub rank: u8,
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
    /// Ids of our own that are not the reference's.
    #[error("fastft's own ids differ from those of the `tokenizers` library for the text {0:?}")]
    Differs(String),
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
    /// Documents of which calls of tools got ids that the template accepts.
    pub documents_with_new_ids: AtomicU64,
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
    losses: losses::Losses,
    counters: Counters,
}

impl Encoder {
    /// An encoder from a tokenizer and, for conversations, a chat template.
    ///
    /// With `fallback`, conversations are rendered by it and not by `template`, which then only
    /// tells which added tokens are the template's.
    ///
    /// # Errors
    /// `EncoderError` when a part can't be used.
    pub fn new(
        tokenizer: Library,
        template: Option<&str>,
        special_tokens: &SpecialTokens,
        fallback: Option<Fallback>,
        options: EncodeOptions,
    ) -> Result<Self, EncoderError> {
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
            losses: losses::Losses::default(),
            counters: Counters::default(),
        })
    }

    /// The same encoder, with all ids by the library that is the tokenizer's reference.
    #[must_use]
    pub fn by_reference(self) -> Self {
        Self { tokenizer: self.tokenizer.without_words(), ..self }
    }

    /// Whether all samples so far had the reference's ids.
    ///
    /// # Errors
    /// `EncoderError::Differs` with the beginning of the first text of which they were others.
    pub fn proven(&self) -> Result<(), EncoderError> {
        match self.tokenizer.different() {
            Some(text) => Err(EncoderError::Differs(text.chars().take(200).collect())),
            None => Ok(()),
        }
    }

    /// Encode one document of the data: one for conversations, labelled ones and text, one an answer
    /// for ranked rows, best first.
    ///
    /// # Errors
    /// `RowError` with `E_TEMPLATE` when the template refuses the row, `E_MASK` when its answers
    /// can't be proven, `E_NO_TARGET` when nothing would be trained, `E_TOKENIZER` when the
    /// tokenizer refuses its text, `E_EMPTY` when there is none.
    pub fn encode(&self, document: &Document) -> Result<Vec<Encoded>, RowError> {
        match document {
            Document::Conversation(conversation) => Ok(vec![self.conversation(conversation)?]),
            Document::Text(text) => Ok(vec![self.text(text)?]),
            Document::Labelled { conversation, desirable } => {
                let encoded = self.answer(&targets::labelled(conversation))?;
                Ok(vec![Encoded { rank: u8::from(!*desirable), ..encoded }])
            }
            Document::Ranked { conversation, answers } => {
                let encode = |(rank, answer): (usize, &Vec<Message>)| {
                    let rank = u8::try_from(rank).map_err(|_| {
                        let reason =
                            format!("the row has {} answers, at most 256 can be ranked", answers.len());
                        RowError::new(Code::Type, reason)
                    })?;
                    let encoded = self.answer(&targets::answered(conversation, answer));
                    Ok(Encoded { rank, ..encoded? })
                };
                answers.iter().enumerate().map(encode).collect()
            }
        }
    }

    /// Tokens of a prompt up to the end of its last message's text: without what asks for the answer,
    /// and without the token that ends the message. None where the template does not show it.
    #[must_use]
    pub fn question(&self, prompt: &Conversation) -> Option<usize> {
        let conversation = self.shown(prompt);
        let view = View::marked(self, &conversation).ok()?;
        let text = view.render(conversation.messages.len(), false).ok()?;
        let ids = view.unmarked(text).encode(&self.tokenizer).ok()?.ids;
        ids.iter().rposition(|id| self.is_added(*id))
    }

    /// Whether a token is one of those that are matched before anything else.
    #[must_use]
    pub fn is_added(&self, id: u32) -> bool {
        self.tokenizer.added_tokens().binary_search_by_key(&id, |token| token.id).is_ok()
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
        let view = View::new(self, conversation);
        view.render(conversation.messages.len(), add_generation_prompt)
    }

    /// How documents are encoded.
    #[must_use]
    pub const fn options(&self) -> &EncodeOptions {
        &self.options
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
        Ok(Encoded { text: marked.text, ids, trained: vec![(0, len)], ..Encoded::default() })
    }

    /// The conversation as it is rendered.
    fn shown<'a>(&self, conversation: &'a Conversation) -> Cow<'a, Conversation> {
        match self.options.thinking {
            Thinking::Strip => Cow::Owned(thinking::without(conversation)),
            Thinking::Keep | Thinking::MaskEmpty => Cow::Borrowed(conversation),
        }
    }

    fn conversation(&self, conversation: &Conversation) -> Result<Encoded, RowError> {
        self.encode_as(conversation, self.options.train_on)
    }

    /// A conversation of which each message says whether it is trained.
    fn answer(&self, conversation: &Conversation) -> Result<Encoded, RowError> {
        self.encode_as(conversation, TrainOn::PerMessage)
    }

    fn encode_as(&self, conversation: &Conversation, rule: TrainOn) -> Result<Encoded, RowError> {
        if let Some(index) = conversation.messages.iter().position(Message::has_media) {
            let reason = "the message refers to media, which training on text can't use";
            return Err(RowError::new(Code::Media, reason).at(format!("messages[{index}].content")));
        }
        let conversation = self.shown(conversation);
        let Spans { marked, mut answers } = self.spans(&conversation, rule)?;
        if self.options.thinking != Thinking::Keep {
            for answer in &mut answers {
                answer.from += thinking::empty_block(&marked.text, answer.from, answer.to);
            }
        }
        let encoding = marked.encode(&self.tokenizer)?;
        let is_added = |id: u32| self.is_added(id);
        let cut = rule != TrainOn::All;
        let (trained, weights) =
            runs::token_runs(&marked.text, &encoding, &answers, cut.then_some(&is_added));
        if trained.is_empty() {
            return Err(RowError::new(Code::NoTarget, "no token of the row carries a loss"));
        }
        #[allow(clippy::float_cmp, reason = "1 is written as it is")]
        let weights = if weights.iter().all(|weight| *weight == 1.0) { Vec::new() } else { weights };
        Ok(Encoded { text: marked.text, ids: encoding.ids, trained, weights, rank: 0 })
    }

    /// The rendering and its answers. As in `apply_chat_template`, `content` that is null is left
    /// out. A template that refuses that, or leaves something out then (`losses.rs`), is asked again
    /// with the row as it stands and with the changes of `repairs.rs`.
    fn spans(&self, conversation: &Conversation, rule: TrainOn) -> Result<Spans, RowError> {
        let absent = repairs::without_null(conversation);
        let empty = repairs::with_empty_content(conversation);
        let forms = || absent.iter().chain(std::iter::once(conversation)).chain(&empty);
        let (mut refusal, mut unprinted) = (None, None);
        let mut find = |form: &Conversation| -> Option<Result<Spans, RowError>> {
            let found = match Spans::find(self, form, rule) {
                Err(error) if error.code == Code::Template => {
                    refusal.get_or_insert(error);
                    return None;
                }
                found => found,
            };
            match found.as_ref().map_or(Ok(()), |_| losses::check(self, form, rule)) {
                Ok(()) => Some(found),
                Err(error) => {
                    unprinted.get_or_insert(error);
                    None
                }
            }
        };
        for form in forms() {
            if let Some(found) = find(form) {
                return found;
            }
        }
        for form in forms().filter_map(repairs::with_call_ids) {
            if let Some(found) = find(&form) {
                self.counters.documents_with_new_ids.fetch_add(1, Ordering::Relaxed);
                noted::note("documents_with_new_call_ids", 1);
                return found;
            }
        }
        let error = unprinted.or(refusal);
        Err(error.unwrap_or_else(|| RowError::new(Code::Template, "the row can't be rendered")))
    }

    /// Whether the template says itself what the answers are.
    fn by_tags(&self) -> bool {
        matches!(&self.renderer, Some(Renderer::Rust(template)) if template.has_generation())
    }

    fn count_rendering(&self) {
        self.counters.renderings.fetch_add(1, Ordering::Relaxed);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a text has less than 2^32 bytes, so less tokens")]
const fn count(n: usize) -> u32 {
    n as u32
}
