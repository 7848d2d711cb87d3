//! The path of `WordPiece`: pipelines that treat each character by itself, and the longest token first.
//!
//! ```text
//! text -> added tokens | segments -> words, by the kinds of their characters -> normalized characters -> ids
//! ```
//!
//! What a word becomes is kept in a table of the calling thread, by its bytes in the text, if its tokens follow upon
//! one another there.

use rustc_hash::FxHashMap;
use serde::Deserialize;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{NormalizerWrapper, SplitDelimiterBehavior};

use crate::added::Added;
use crate::characters::{Characters, Kind, Rule};
use crate::kept::{Kept, WAITING};
use crate::merges::NONE;
use crate::owner::Owner;
use crate::spread::Spread;
use crate::trie::Trie;
use crate::{Encoding, offset};

/// The model of a tokenizer.json.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    #[serde(rename = "type")]
    kind: String,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    vocab: FxHashMap<String, u32>,
}

impl Described {
    /// The model as a tokenizer.json has it; None where it is another.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().filter(|model: &Self| model.kind == "WordPiece")
    }

    /// The ids by token.
    pub fn vocabulary(&self) -> FxHashMap<&str, u32> {
        self.vocab.iter().map(|(token, id)| (&**token, *id)).collect()
    }
}

/// A tokenizer's pipeline, if it is one that this file knows.
pub struct WordPiece {
    owner: Owner,
    added: Added,
    characters: Characters,
    trie: Trie,
    /// Where tokens begin that go on with a word.
    inner: Option<u32>,
    unknown: Option<u32>,
    /// One more than the largest id.
    pub size: usize,
    /// Characters of the longest word that is more than unknown.
    longest: usize,
}

impl WordPiece {
    /// The path of a pipeline, or None where only the reference knows what to do.
    pub fn new(tokenizer: &tokenizers::Tokenizer, model: &Described) -> Option<Self> {
        let normalizer = tokenizer.get_normalizer();
        let splitter = tokenizer.get_pre_tokenizer().filter(|splitter| splits_each(splitter))?;
        let decomposes = normalizer.map_or(Some(false), decomposes)?;
        let alike = |_: &str, _| normalizer.is_none();
        let characters =
            Characters::new(normalizer.cloned(), Some(splitter.clone()), Rule::Split { decomposes });
        let trie = Trie::new(model.vocab.iter().map(|(token, id)| (&**token, *id)))?;
        Some(Self {
            owner: Owner::default(),
            added: Added::new(tokenizer, alike)?,
            characters,
            inner: trie.walk(model.continuing_subword_prefix.chars()),
            unknown: model.vocab.get(&model.unk_token).copied(),
            size: model.vocab.values().max().map_or(0, |id| *id as usize + 1),
            longest: model.max_input_chars_per_word,
            trie,
        })
    }

    /// Append what a text becomes, added tokens in it matched or not; None when the reference has to make it.
    pub fn encode(&self, text: &str, added: bool, out: &mut Encoding) -> Option<()> {
        self.owner.with_kept(|kept| {
            let mut writer = Writer {
                pipeline: self,
                text,
                kept,
                waiting: Vec::with_capacity(WAITING),
                spread: Spread::default(),
                tokens: Vec::new(),
                out,
            };
            let mut from = 0;
            for (begin, end, id) in if added { self.added.find(text) } else { Vec::new() } {
                writer.segment(from, begin)?;
                writer.out.push(id, begin, end);
                from = end;
            }
            writer.segment(from, text.len())
        })
    }

    /// The longest tokens of a normalized word, one after the other, or the unknown one for all of it; None where there
    /// is no such token.
    fn tokens(&self, word: &[char], tokens: &mut Vec<(u32, usize, usize)>) -> Option<()> {
        tokens.clear();
        let mut from = 0;
        while from < word.len() && word.len() <= self.longest {
            let mut node = if from == 0 { Some(Trie::ROOT) } else { self.inner };
            let mut found = None;
            for (at, c) in word.iter().enumerate().skip(from) {
                node = node.and_then(|node| self.trie.step(node, *c));
                let Some(node) = node else { break };
                let token = self.trie.token(node);
                if token != NONE {
                    found = Some((token, from, at + 1));
                }
            }
            let Some(token) = found else { break };
            tokens.push(token);
            from = token.2;
        }
        if from < word.len() {
            tokens.clear();
            tokens.push((self.unknown?, 0, word.len()));
        }
        Some(())
    }
}

struct Writer<'a> {
    pipeline: &'a WordPiece,
    text: &'a str,
    kept: &'a mut Kept,
    /// Words that were found and not yet written: where each begins and ends.
    waiting: Vec<(u32, u32, bool)>,
    /// The word that is being made, and its tokens.
    spread: Spread,
    tokens: Vec<(u32, usize, usize)>,
    out: &'a mut Encoding,
}

impl Writer<'_> {
    /// Write what lies between added tokens; None where only the reference can.
    fn segment(&mut self, from: usize, to: usize) -> Option<()> {
        // the word that is being found, without what is left out before and behind it
        let mut word = None;
        let mut at = from;
        while at < to {
            let (kind, width) = self.pipeline.characters.kind_at(self.text, at);
            match kind {
                Kind::Word => word = Some((word.map_or(at, |(begin, _)| begin), at + width)),
                Kind::Gone => {}
                Kind::Unknown => return None,
                Kind::Space | Kind::Alone => {
                    if let Some((begin, end)) = word.take() {
                        self.wait(begin, end)?;
                    }
                    if kind == Kind::Alone {
                        self.wait(at, at + width)?;
                    }
                }
            }
            at += width;
        }
        if let Some((begin, end)) = word {
            self.wait(begin, end)?;
        }
        self.write()
    }

    #[inline]
    fn wait(&mut self, from: usize, to: usize) -> Option<()> {
        if self.waiting.len() == WAITING {
            self.write()?;
        }
        self.waiting.push((offset(from), offset(to), true));
        Some(())
    }

    /// Write the words that wait.
    fn write(&mut self) -> Option<()> {
        let Self { pipeline, text, kept, waiting, spread, tokens, out } = self;
        let missing = |kept: &mut Kept, out: &mut Encoding, (from, to, _)| {
            let word = &text[from..to];
            if kept.write_large(word.as_bytes(), from, true, out) {
                return Ok(());
            }
            spread.clear();
            for (at, c) in word.char_indices() {
                pipeline.characters.each(c, |made| spread.push(made, at, at + c.len_utf8()));
            }
            pipeline.tokens(&spread.chars, tokens).ok_or(())?;
            spread.write(tokens, from, out);
            spread.keep(tokens, word, true, kept);
            Ok::<(), ()>(())
        };
        let written = kept.write(text.as_bytes(), waiting, out, missing);
        self.waiting.clear();
        written.ok()
    }
}

/// Whether a normalizer decomposes; None where it does not treat each character by itself.
fn decomposes(normalizer: &NormalizerWrapper) -> Option<bool> {
    match normalizer {
        NormalizerWrapper::BertNormalizer(bert) => Some(bert.strip_accents.unwrap_or(bert.lowercase)),
        NormalizerWrapper::NFD(_) | NormalizerWrapper::NFKD(_) => Some(true),
        NormalizerWrapper::Lowercase(_) | NormalizerWrapper::StripAccents(_) => Some(false),
        NormalizerWrapper::Sequence(parts) => {
            parts.as_ref().iter().try_fold(false, |any, part| Some(decomposes(part)? || any))
        }
        _ => None,
    }
}

/// Whether a pre-tokenizer tells from each character by itself where words end.
fn splits_each(splitter: &PreTokenizerWrapper) -> bool {
    match splitter {
        PreTokenizerWrapper::BertPreTokenizer(_) | PreTokenizerWrapper::WhitespaceSplit(_) => true,
        PreTokenizerWrapper::Punctuation(marks) => marks.behavior == SplitDelimiterBehavior::Isolated,
        PreTokenizerWrapper::Digits(digits) => digits.individual_digits,
        PreTokenizerWrapper::Sequence(parts) => parts.as_ref().iter().all(splits_each),
        _ => false,
    }
}
