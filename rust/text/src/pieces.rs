//! The path of `SentencePiece`'s BPE: pipelines that write `▁` for spaces and leave words to the merges.
//!
//! ```text
//! text -> added tokens | segments -> words, cut where no merge can join -> ids
//! ```
//!
//! The reference merges a segment between added tokens as one word. What a word becomes is kept in a table of the
//! calling thread, by its bytes in the text.

use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::pre_tokenizers::split::SplitPattern;

use crate::added::Added;
use crate::kept::{Kept, SEEDED, WAITING};
use crate::owner::Owner;
use crate::symbols::{MARK, Symbols, spelled};
use crate::{Encoding, offset};

/// What marks are spelled as.
const SPACE: u32 = ' ' as u32;

/// Before which segments a mark is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Never,
    Always,
    /// Before those that begin with none.
    Missing,
    /// Before one that begins the text, with none.
    First,
}

/// A tokenizer's pipeline, if it is one that this file knows.
pub struct Pieces {
    /// What threads keep.
    pub owner: Owner,
    prefix: Prefix,
    added: Added,
    /// The vocabulary.
    pub symbols: Symbols,
}

impl Pieces {
    /// The path of a pipeline, or None where only the reference knows what to do.
    ///
    /// `symbols` is asked for the vocabulary when all else is known, and told whether every mark begins a word.
    pub fn new(
        tokenizer: &tokenizers::Tokenizer,
        symbols: impl FnOnce(bool) -> Option<Symbols>,
    ) -> Option<Self> {
        let (replaces, prepends) = read_normalizer(tokenizer)?;
        let (prefix, split) = match tokenizer.get_pre_tokenizer() {
            None if replaces => (if prepends { Prefix::Always } else { Prefix::Never }, false),
            // no space is left to split at
            Some(PreTokenizerWrapper::Split(split))
                if replaces
                    && !split.invert
                    && matches!(&split.pattern, SplitPattern::String(text) if text == " ") =>
            {
                (if prepends { Prefix::Always } else { Prefix::Never }, false)
            }
            Some(PreTokenizerWrapper::Metaspace(space)) if !prepends && space.get_replacement() == MARK => {
                let prefix = match space.prepend_scheme {
                    PrependScheme::Never => Prefix::Never,
                    PrependScheme::Always => Prefix::Missing,
                    PrependScheme::First => Prefix::First,
                };
                (prefix, space.split)
            }
            _ => return None,
        };
        // a normalized text differs from the text in spaces and marks, and in one that is put before it
        let alike =
            |content: &str, strips: bool| !replaces || !prepends && !strips && !content.contains([' ', MARK]);
        let added = Added::new(tokenizer, alike)?;
        Some(Self { owner: Owner::default(), prefix, added, symbols: symbols(split)? })
    }

    /// Let the tables of threads begin with what the words of a vocabulary become; those of low ids stay.
    pub fn seed(&mut self, vocabulary: &FxHashMap<&str, u32>) {
        let (mut kept, mut fresh) = (Kept::default(), Vec::new());
        let mut tokens: Vec<_> = vocabulary.iter().map(|(token, id)| (*id, *token)).collect();
        tokens.sort_unstable();
        for (_, token) in tokens.into_iter().rev() {
            let word = token.replace(MARK, " ");
            if (1..=SEEDED).contains(&word.len()) {
                // one that the reference has to make is not kept
                let _ = made(&self.symbols, &mut kept, &mut fresh, &word, false);
            }
        }
        self.owner.begin_with(kept.into_seed());
    }

    /// Append what a text becomes, added tokens in it matched or not; None when the reference has to make it.
    pub fn encode(&self, text: &str, added: bool, out: &mut Encoding) -> Option<()> {
        self.owner.with_kept(|kept| {
            let mut writer = Writer {
                pieces: self,
                text,
                kept,
                waiting: Vec::with_capacity(WAITING),
                fresh: Vec::new(),
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
}

struct Writer<'a> {
    pieces: &'a Pieces,
    text: &'a str,
    kept: &'a mut Kept,
    /// Words that were found and not yet written: where each begins and ends.
    waiting: Vec<(u32, u32, bool)>,
    /// Ids of the word that is being made.
    fresh: Vec<u32>,
    out: &'a mut Encoding,
}

impl Writer<'_> {
    /// Write what lies between added tokens; None where only the reference can.
    fn segment(&mut self, from: usize, to: usize) -> Option<()> {
        // white space that belongs to two added tokens: nothing is between them
        if from >= to {
            return Some(());
        }
        let (first, _) = self.spelled(from);
        let prefixed = match self.pieces.prefix {
            Prefix::Never => false,
            Prefix::Always => true,
            Prefix::Missing => first != SPACE,
            Prefix::First => from == 0 && first != SPACE,
        };
        let mut at = from;
        if prefixed {
            at = self.end(SPACE, from, to);
            self.prefixed(from, at)?;
        }
        while at < to {
            let (first, width) = self.spelled(at);
            let end = self.end(first, at + width, to);
            if self.waiting.len() == WAITING {
                self.write()?;
            }
            self.waiting.push((offset(at), offset(end), true));
            at = end;
        }
        self.write()
    }

    /// The character at a place, spelled, and its bytes.
    #[inline]
    fn spelled(&self, at: usize) -> (u32, usize) {
        match self.text.as_bytes()[at] {
            byte @ 0..128 => (u32::from(byte), 1),
            _ => self.text[at..].chars().next().map_or((SPACE, 1), |c| (spelled(c), c.len_utf8())),
        }
    }

    /// Where the word ends that goes on at a place, behind a character.
    #[inline]
    fn end(&self, mut left: u32, mut at: usize, to: usize) -> usize {
        while at < to {
            let (right, width) = self.spelled(at);
            if !self.pieces.symbols.seams.joins(left, right) {
                break;
            }
            (left, at) = (right, at + width);
        }
        at
    }

    /// Write the words that wait.
    fn write(&mut self) -> Option<()> {
        let (text, symbols, fresh) = (self.text, &self.pieces.symbols, &mut self.fresh);
        let missing = |kept: &mut Kept, out: &mut Encoding, (from, to, _)| {
            let word = &text[from..to];
            // a mark of the text itself is longer than the space that it is told by elsewhere
            let marked = word.contains(MARK);
            let mut push = |ids: &[u32]| {
                let mut at = from;
                for id in ids {
                    let length = symbols.length(*id);
                    let end = if marked { behind(text, at, length) } else { at + length as usize };
                    out.ids.push(*id);
                    out.offsets.push((offset(at), offset(end)));
                    at = end;
                }
            };
            match kept.large(word.as_bytes(), true) {
                Some(ids) => push(ids),
                None => push(made(symbols, kept, fresh, word, marked).ok_or(())?),
            }
            Ok::<(), ()>(())
        };
        let written = self.kept.write(text.as_bytes(), &self.waiting, self.out, missing);
        self.waiting.clear();
        written.ok()
    }

    /// Write the word that a mark is put before; it may be the mark alone.
    fn prefixed(&mut self, from: usize, to: usize) -> Option<()> {
        let symbols = &self.pieces.symbols;
        let width = self.spelled(from).1;
        let word = [" ", &self.text[from..to]].concat();
        let ids = match self.kept.ids(word.as_bytes(), true) {
            Some(ids) => {
                self.fresh.clear();
                self.fresh.extend_from_slice(ids);
                &self.fresh
            }
            None => made(symbols, self.kept, &mut self.fresh, &word, word.contains(MARK))?,
        };
        let mut at = from;
        for (index, id) in ids.iter().enumerate() {
            let end = behind(self.text, at, symbols.length(*id) - u32::from(index == 0));
            // a token that is the mark alone has the character behind it, which it is put before
            let shown = if end == from { from + width } else { end };
            self.out.ids.push(*id);
            self.out.offsets.push((offset(at), offset(shown)));
            at = end;
        }
        Some(())
    }
}

/// The ids of a word, which are kept from now on; None where it has a character that has no token, nor tokens of its bytes.
fn made<'a>(
    symbols: &Symbols,
    kept: &mut Kept,
    fresh: &'a mut Vec<u32>,
    word: &str,
    marked: bool,
) -> Option<&'a [u32]> {
    fresh.clear();
    if !symbols.encode(word, fresh) {
        return None;
    }
    if !marked {
        kept.put(word.as_bytes(), true, fresh, |id| symbols.length(id));
    }
    Some(fresh)
}

/// The place behind so many bytes of a text, of which a mark has one.
fn behind(text: &str, mut at: usize, length: u32) -> usize {
    let mark = "\u{2581}".as_bytes();
    for _ in 0..length {
        // tokens of bytes end inside of characters
        at += if text.as_bytes()[at..].starts_with(mark) { mark.len() } else { 1 };
    }
    at
}

/// Whether a normalizer writes marks for spaces, and puts one before a text; None where it does anything else.
fn read_normalizer(tokenizer: &tokenizers::Tokenizer) -> Option<(bool, bool)> {
    let Some(normalizer) = tokenizer.get_normalizer() else {
        return Some((false, false));
    };
    let described = serde_json::to_value(normalizer).ok()?;
    let parts = match &described["normalizers"] {
        Value::Array(parts) => parts.as_slice(),
        _ => std::slice::from_ref(&described),
    };
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": MARK});
    let prepend = json!({"type": "Prepend", "prepend": MARK});
    match parts {
        [part] if *part == replace => Some((true, false)),
        [one, other] if [one, other] == [&prepend, &replace] || [one, other] == [&replace, &prepend] => {
            Some((true, true))
        }
        _ => None,
    }
}
