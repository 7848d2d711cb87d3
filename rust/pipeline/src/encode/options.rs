//! What can be chosen about encoding.

use serde::Deserialize;

/// Which tokens carry a loss where a message does not say so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// The answer of every assistant message.
    Responses,
    /// The answer of the last assistant message.
    LastResponse,
    /// Every token.
    All,
    /// None: messages that say so themselves are trained, nothing else.
    PerMessage,
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
    /// It is removed from the messages before rendering, and an empty block that the template prints
    /// instead is not trained.
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
    /// Whether a row is bad of which no token carries a loss.
    pub needs_target: bool,
    /// Put the EOS token behind a text document.
    pub append_eos_to_text: bool,
    /// Put the BOS token before a text document.
    pub add_bos_to_text: bool,
    /// What `strftime_now` prints: `YYYY-MM-DD`, with or without `THH:MM:SS`.
    pub today: Option<String>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            train_on: TrainOn::Responses,
            special_in_text: SpecialInText::Plain,
            thinking: Thinking::MaskEmpty,
            needs_target: true,
            append_eos_to_text: true,
            add_bos_to_text: false,
            today: None,
        }
    }
}
