//! The word path: byte-level pipelines, a word at a time.
//!
//! ```text
//! text -> added tokens | segments -> stages (digits, regular expressions) -> words -> ids
//! ```
//!
//! The reference's regular expressions become automata, or run on the reference's engine (Oniguruma)
//! where they can't, each stage inside the pieces of the one before. Only stages that keep every
//! character (`Isolated`) are taken. What a word becomes is kept in a table of the calling thread.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::utils::SysRegex;
use tokenizers::{Model, NormalizerWrapper};

use crate::automaton::Automaton;
use crate::bpe::Bpe;
use crate::inert::is_nfc;
use crate::kept::Kept;
use crate::sets::Set;
use crate::{Encoding, TextError};

/// What `ByteLevel` splits by when it is told to use its own expression.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Tokenizers whose words a thread keeps at a time.
const MOST_TABLES: usize = 4;

static OWNERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static TABLES: RefCell<Vec<(u64, Kept)>> = const { RefCell::new(Vec::new()) };
}

enum Stage {
    Automaton(Automaton),
    Engine(SysRegex),
}

/// A tokenizer's pipeline, if it is one that this file knows.
pub struct Words {
    owner: u64,
    nfc: bool,
    stages: Vec<Stage>,
    added: Option<AhoCorasick>,
    added_ids: Vec<u32>,
    bpe: Bpe,
    byte_chars: [char; 256],
}

impl Words {
    /// The word path of a pipeline, or None where only the reference knows what to do.
    pub fn new(tokenizer: &tokenizers::Tokenizer, json: &str) -> Option<Self> {
        let nfc = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let mut stages = Vec::new();
        if !read_stages(tokenizer.get_pre_tokenizer()?, &mut stages)? {
            return None;
        }
        let mut tokens: Vec<_> = tokenizer.get_added_tokens_decoder().into_iter().collect();
        tokens.sort_unstable_by_key(|(id, _)| *id);
        let simple = tokens.iter().all(|(_, token)| {
            !(token.lstrip
                || token.rstrip
                || token.single_word
                || token.normalized
                || token.content.is_empty())
        });
        if !simple {
            return None;
        }
        let added = if tokens.is_empty() {
            None
        } else {
            let patterns = tokens.iter().map(|(_, token)| token.content.as_bytes());
            Some(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns).ok()?)
        };
        Some(Self {
            owner: OWNERS.fetch_add(1, Ordering::Relaxed),
            nfc,
            stages,
            added,
            added_ids: tokens.into_iter().map(|(id, _)| id).collect(),
            bpe: Bpe::from_json(json)?,
            byte_chars: byte_chars(),
        })
    }

    /// Encode a text; None when the reference has to.
    pub fn encode(&self, model: &impl Model, text: &str, added: bool) -> Result<Option<Encoding>, TextError> {
        if self.nfc && !is_nfc(text) {
            return Ok(None);
        }
        TABLES.with_borrow_mut(|tables| {
            let at = tables.iter().position(|(owner, _)| *owner == self.owner).unwrap_or_else(|| {
                if tables.len() == MOST_TABLES {
                    tables.remove(0);
                }
                tables.push((self.owner, Kept::default()));
                tables.len() - 1
            });
            let mut writer = Writer {
                words: self,
                model,
                kept: &mut tables[at].1,
                fresh: Vec::new(),
                out: Encoding::default(),
            };
            writer.out.ids.reserve(text.len() / 3);
            writer.out.offsets.reserve(text.len() / 3);
            let mut from = 0;
            if let (Some(automaton), true) = (&self.added, added) {
                for found in automaton.find_iter(text) {
                    writer.segment(text, from, found.start(), 0)?;
                    writer.out.ids.push(self.added_ids[found.pattern().as_usize()]);
                    writer.out.offsets.push((offset(found.start()), offset(found.end())));
                    from = found.end();
                }
            }
            writer.segment(text, from, text.len(), 0)?;
            Ok(Some(writer.out))
        })
    }
}

struct Writer<'a, M> {
    words: &'a Words,
    model: &'a M,
    kept: &'a mut Kept,
    /// Ids of the word that is being made.
    fresh: Vec<u32>,
    out: Encoding,
}

impl<M: Model> Writer<'_, M> {
    /// Split `text[from..to]` by the stages from `stage` on.
    fn segment(&mut self, text: &str, from: usize, to: usize, stage: usize) -> Result<(), TextError> {
        if from == to {
            return Ok(());
        }
        let words = self.words;
        let Some(splitter) = words.stages.get(stage) else {
            return self.word(text, from, to);
        };
        let piece = &text[from..to];
        let mut done = from;
        match splitter {
            Stage::Automaton(automaton) => {
                let mut at = 0;
                while at < piece.len() {
                    let Some(end) = automaton.end(piece, at) else {
                        at += piece[at..].chars().next().map_or(1, char::len_utf8);
                        continue;
                    };
                    self.segment(text, done, from + at, stage + 1)?;
                    self.segment(text, from + at, from + end, stage + 1)?;
                    (at, done) = (end, from + end);
                }
            }
            Stage::Engine(pattern) => {
                for (begin, end) in pattern.find_iter(piece) {
                    self.segment(text, done, from + begin, stage + 1)?;
                    self.segment(text, from + begin, from + end, stage + 1)?;
                    done = from + end;
                }
            }
        }
        self.segment(text, done, to, stage + 1)
    }

    fn word(&mut self, text: &str, from: usize, to: usize) -> Result<(), TextError> {
        let word = &text.as_bytes()[from..to];
        let key = Kept::key(word);
        if let Some(ids) = key.and_then(|key| self.kept.get(key)) {
            push(&mut self.out, &self.words.bpe, from, ids);
            return Ok(());
        }
        self.fresh.clear();
        if self.words.bpe.encode(word, &mut self.fresh) {
            push(&mut self.out, &self.words.bpe, from, &self.fresh);
            if let Some(key) = key {
                self.kept.put(key, &self.fresh);
            }
            return Ok(());
        }
        for (id, first, last) in self.ask(&text[from..to])? {
            self.out.ids.push(id);
            self.out.offsets.push((offset(from) + first, offset(from) + last));
        }
        Ok(())
    }

    /// The model's tokens of one word, with their bytes in the word.
    fn ask(&self, word: &str) -> Result<Vec<(u32, u32, u32)>, TextError> {
        let mut mapped = String::with_capacity(word.len() * 2);
        let mut byte_at = Vec::with_capacity(word.len() * 2 + 1);
        for (index, byte) in word.bytes().enumerate() {
            let c = self.words.byte_chars[usize::from(byte)];
            byte_at.resize(byte_at.len() + c.len_utf8(), offset(index));
            mapped.push(c);
        }
        byte_at.push(offset(word.len()));
        let tokens = self.model.tokenize(&mapped).map_err(|error| TextError::Encode(error.to_string()))?;
        Ok(tokens
            .into_iter()
            .map(|token| (token.id, byte_at[token.offsets.0], byte_at[token.offsets.1]))
            .collect())
    }
}

fn push(out: &mut Encoding, bpe: &Bpe, from: usize, ids: &[u32]) {
    let mut at = offset(from);
    for id in ids {
        let end = at + bpe.length(*id);
        out.ids.push(*id);
        out.offsets.push((at, end));
        at = end;
    }
}

fn pattern(expression: &str) -> Option<Stage> {
    match Automaton::of(expression) {
        Some(automaton) => Some(Stage::Automaton(automaton)),
        None => SysRegex::new(expression).ok().map(Stage::Engine),
    }
}

/// Append the stages of a pre-tokenizer; true when it ends in the byte-level mapping.
fn read_stages(part: &PreTokenizerWrapper, stages: &mut Vec<Stage>) -> Option<bool> {
    match part {
        PreTokenizerWrapper::Digits(digits) if digits.individual_digits => {
            stages.push(Stage::Automaton(Automaton::one_of(Set::numeric())?));
            Some(false)
        }
        PreTokenizerWrapper::Split(split)
            if !split.invert && matches!(split.behavior, SplitDelimiterBehavior::Isolated) =>
        {
            stages.push(match &split.pattern {
                SplitPattern::Regex(expression) => pattern(expression)?,
                SplitPattern::String(_) => Stage::Engine(split.clone().regex),
            });
            Some(false)
        }
        PreTokenizerWrapper::ByteLevel(level) if !level.add_prefix_space => {
            if level.use_regex {
                stages.push(pattern(GPT2)?);
            }
            Some(true)
        }
        PreTokenizerWrapper::Sequence(parts) => {
            let (last, rest) = parts.as_ref().split_last()?;
            for part in rest {
                if read_stages(part, stages)? {
                    return None;
                }
            }
            read_stages(last, stages)
        }
        _ => None,
    }
}

/// Which character stands for each byte in a byte-level vocabulary.
pub fn byte_chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let mut next = 256_u32;
    for byte in 0..=255_u8 {
        chars[usize::from(byte)] = if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            char::from(byte)
        } else {
            next += 1;
            char::from_u32(next - 1).unwrap_or('\0')
        };
    }
    chars
}

#[allow(clippy::cast_possible_truncation, reason = "`Library::encode` refuses texts of 4 GiB and more")]
const fn offset(at: usize) -> u32 {
    at as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    #[test]
    fn bytes_stand_for_the_characters_of_the_reference() {
        let ours: std::collections::BTreeSet<char> = byte_chars().into_iter().collect();
        assert_eq!(ours, ByteLevel::alphabet().into_iter().collect());
        assert_eq!(byte_chars()[usize::from(b' ')], 'Ġ');
        assert_eq!(byte_chars()[usize::from(b'\n')], 'Ċ');
    }
}
