//! Text to token ids, equal to the `tokenizers` library that transformers uses.
//!
//! `Library` is a tokenizer.json. In front of the library stand a word path (`words`) for byte-level BPE:
//! the reference's expressions as automata over its own character classes, and its merges; and one
//! (`pieces`) for `SentencePiece`'s BPE, which merges characters; one (`wordpiece`) for BERT's models; and one
//! (`unigram`) for T5's and XLM-R's. Each is taken only for pipelines whose every part it knows.

mod added;
mod around;
mod artifact;
mod automaton;
mod best;
mod bpe;
mod characters;
mod control;
mod cuts;
mod described;
mod frame;
mod huge;
mod inert;
mod kept;
mod library;
mod merges;
mod normal;
mod open;
mod owner;
mod pattern;
mod pieces;
mod sets;
mod spread;
mod stages;
mod symbols;
mod trie;
mod trim;
mod unigram;
mod whole;
mod wordpiece;
mod words;

pub use control::ControlTokens;
pub use cuts::Cuts;
pub use library::Library;

/// Token ids, and where in the text each comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// One id a token.
    pub ids: Vec<u32>,
    /// Half-open byte range of each token in the text. Of byte-level tokens that share a character,
    /// each may have the whole character or its own bytes; ranges never reach into a neighbouring
    /// character.
    pub offsets: Vec<(u32, u32)>,
}

impl Encoding {
    /// Make room for what a text of so many bytes becomes, or most of it.
    pub fn reserve(&mut self, bytes: usize) {
        self.ids.reserve(bytes / 3);
        self.offsets.reserve(bytes / 3);
    }

    fn push(&mut self, id: u32, from: usize, to: usize) {
        self.ids.push(id);
        self.offsets.push((offset(from), offset(to)));
    }
}

/// A place in a text, as offsets have it.
#[allow(clippy::cast_possible_truncation, reason = "`Library` refuses texts of 4 GiB and more")]
const fn offset(at: usize) -> u32 {
    at as u32
}

/// A token that is matched in the text before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    /// Its text.
    pub content: String,
    /// Its id.
    pub id: u32,
    /// Whether it is a control token, as its tokenizer says.
    pub special: bool,
}

/// What can go wrong between text and ids.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The tokenizer's description can't be read.
    #[error("the tokenizer can't be read: {0}")]
    Load(String),
    /// The tokenizer refuses a text.
    #[error("the tokenizer refuses the text: {0}")]
    Encode(String),
    /// Ids that can't be turned into text.
    #[error("the ids can't be decoded: {0}")]
    Decode(String),
    /// A text too long for 32-bit offsets.
    #[error("a text of {0} bytes is too long: at most 4,294,967,295")]
    TooLong(usize),
}

/// Anything that turns text into ids as its reference does.
pub trait Tokenizer: Send + Sync {
    /// Encode a text; added tokens in it are matched, none are put around it.
    ///
    /// # Errors
    /// `TextError` when the tokenizer refuses the text.
    fn encode(&self, text: &str) -> Result<Encoding, TextError>;

    /// Encode a text as if the tokenizer had no added tokens.
    ///
    /// # Errors
    /// `TextError` when the tokenizer refuses the text.
    fn encode_plain(&self, text: &str) -> Result<Encoding, TextError>;

    /// Turn ids into text.
    ///
    /// # Errors
    /// `TextError` when an id is unknown to the decoder.
    fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError>;

    /// The tokens that are matched before anything else, by id.
    fn added_tokens(&self) -> &[AddedToken];

    /// The id of a token, by its text in the vocabulary.
    fn token_to_id(&self, token: &str) -> Option<u32>;
}
