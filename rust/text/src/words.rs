//! The word path: byte-level pipelines, a word at a time.
//!
//! ```text
//! text -> added tokens | segments -> stages (digits, regular expressions) -> words -> ids
//! ```
//!
//! The reference's regular expressions become automata, or run on the reference's engine (Oniguruma)
//! where they can't, each stage inside the pieces of the one before. Only stages that keep every
//! character (`Isolated`) are taken. What a word becomes is kept in a table of the calling thread.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::utils::SysRegex;
use tokenizers::{Model, NormalizerWrapper};

use crate::automaton::Automaton;
use crate::bpe::Bpe;
use crate::inert::is_nfc;
use crate::kept::{Kept, Owner};
use crate::normal::Normal;
use crate::sets::Set;
use crate::{Encoding, TextError};

/// What `ByteLevel` splits by when it is told to use its own expression.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Words that are found before the first of them is looked up.
const WAITING: usize = 64;

enum Stage {
    Automaton(Automaton),
    Engine(SysRegex),
}

/// A tokenizer's pipeline, if it is one that this file knows.
pub struct Words {
    owner: Owner,
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
        let mut cuts = Vec::new();
        if !read_cuts(tokenizer.get_pre_tokenizer()?, &mut cuts)? {
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
            owner: Owner::default(),
            nfc,
            stages: stages(&cuts)?,
            added,
            added_ids: tokens.into_iter().map(|(id, _)| id).collect(),
            bpe: Bpe::from_json(json)?,
            byte_chars: byte_chars(),
        })
    }

    /// Encode a text, added tokens in it or not.
    pub fn encode(&self, model: &impl Model, text: &str, added: bool) -> Result<Encoding, TextError> {
        let matches = self.added.iter().filter(|_| added).flat_map(|automaton| automaton.find_iter(text));
        let tokens =
            matches.map(|found| (found.start(), found.end(), self.added_ids[found.pattern().as_usize()]));
        if !self.nfc || is_nfc(text) {
            return self.encode_normal(model, text, tokens);
        }
        let (mut normal, mut marks, mut from) = (Normal::default(), Vec::new(), 0);
        for (begin, end, id) in tokens {
            normal.normalize(text, from, begin);
            let at = normal.text.len();
            normal.copy(text, begin, end);
            marks.push((at, normal.text.len(), id));
            from = end;
        }
        normal.normalize(text, from, text.len());
        let mut encoding = self.encode_normal(model, &normal.text, marks.into_iter())?;
        for (begin, end) in &mut encoding.offsets {
            (*begin, *end) = normal.source(*begin, *end);
        }
        Ok(encoding)
    }

    /// Encode a text that the normalizer leaves as it is, with the tokens that are added in it.
    fn encode_normal(
        &self,
        model: &impl Model,
        text: &str,
        tokens: impl Iterator<Item = (usize, usize, u32)>,
    ) -> Result<Encoding, TextError> {
        self.owner.with_kept(|kept| {
            let mut writer = Writer {
                words: self,
                model,
                text,
                kept,
                waiting: Vec::with_capacity(WAITING),
                fresh: Vec::new(),
                out: Encoding::default(),
            };
            writer.out.ids.reserve(text.len() / 3);
            writer.out.offsets.reserve(text.len() / 3);
            let mut from = 0;
            for (begin, end, id) in tokens {
                writer.segment(from, begin, 0)?;
                writer.write()?;
                writer.out.ids.push(id);
                writer.out.offsets.push((offset(begin), offset(end)));
                from = end;
            }
            writer.segment(from, text.len(), 0)?;
            writer.write()?;
            Ok(writer.out)
        })
    }
}

struct Writer<'a, M> {
    words: &'a Words,
    model: &'a M,
    text: &'a str,
    kept: &'a mut Kept,
    /// Words that were found and not yet written: where each begins and ends.
    waiting: Vec<(u32, u32)>,
    /// Ids of the word that is being made.
    fresh: Vec<u32>,
    out: Encoding,
}

impl<M: Model> Writer<'_, M> {
    /// Split `text[from..to]` by the stages from `stage` on.
    fn segment(&mut self, from: usize, to: usize, stage: usize) -> Result<(), TextError> {
        if from == to {
            return Ok(());
        }
        let words = self.words;
        let Some(splitter) = words.stages.get(stage) else {
            if self.waiting.len() == WAITING {
                self.write()?;
            }
            self.waiting.push((offset(from), offset(to)));
            return Ok(());
        };
        let piece = &self.text[from..to];
        let mut done = from;
        match splitter {
            Stage::Automaton(automaton) => {
                let mut at = 0;
                while at < piece.len() {
                    let Some(end) = automaton.end(piece, at) else {
                        at += piece[at..].chars().next().map_or(1, char::len_utf8);
                        continue;
                    };
                    self.segment(done, from + at, stage + 1)?;
                    self.segment(from + at, from + end, stage + 1)?;
                    (at, done) = (end, from + end);
                }
            }
            Stage::Engine(pattern) => {
                for (begin, end) in pattern.find_iter(piece) {
                    self.segment(done, from + begin, stage + 1)?;
                    self.segment(from + begin, from + end, stage + 1)?;
                    done = from + end;
                }
            }
        }
        self.segment(done, to, stage + 1)
    }

    /// Write the words that wait. Their places in the table are read once before they are looked up, with nothing
    /// between that depends on what is there, so that the processor waits for many of them at a time.
    fn write(&mut self) -> Result<(), TextError> {
        let bytes = self.text.as_bytes();
        let waiting = std::mem::take(&mut self.waiting);
        let mut keys = [(Kept::NO_KEY, 0); WAITING];
        let mut touched = 0;
        for ((from, to), place) in waiting.iter().zip(&mut keys) {
            if let Some(key) = Kept::key(bytes, *from as usize, *to as usize) {
                *place = (key, Kept::place(key));
                touched |= self.kept.touch(place.1);
            }
        }
        std::hint::black_box(touched);
        let (mut ids, mut offsets) = ([0; WAITING * 3], [(0, 0); WAITING * 3]);
        let mut next = 0;
        while next < waiting.len() {
            let mut count = 0;
            let mut missing = None;
            for ((from, to), (key, place)) in waiting.iter().zip(&keys).skip(next) {
                next += 1;
                let Some(slot) = self.kept.small(*key, *place) else {
                    missing = Some((*from as usize, *to as usize));
                    break;
                };
                let (some, ends, more) = slot.tokens(*from, *to);
                ids[count..count + 3].copy_from_slice(&some);
                offsets[count..count + 3].copy_from_slice(&ends);
                count += more;
            }
            self.out.ids.extend_from_slice(&ids[..count]);
            self.out.offsets.extend_from_slice(&offsets[..count]);
            if let Some((from, to)) = missing {
                self.word(from, to)?;
            }
        }
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }

    /// Write a word that the first table doesn't have.
    fn word(&mut self, from: usize, to: usize) -> Result<(), TextError> {
        let word = &self.text.as_bytes()[from..to];
        if let Some(ids) = self.kept.large(word) {
            push(&mut self.out, &self.words.bpe, from, ids);
            return Ok(());
        }
        self.fresh.clear();
        if self.words.bpe.encode(word, &mut self.fresh) {
            push(&mut self.out, &self.words.bpe, from, &self.fresh);
            self.kept.put(word, &self.fresh, |id| self.words.bpe.length(id));
            return Ok(());
        }
        for (id, first, last) in self.ask(&self.text[from..to])? {
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

/// A step of a pre-tokenizer that cuts a text and keeps every character.
enum Cut {
    /// Each character of a set is a piece.
    Alone(Set),
    /// Each match of an expression is a piece, and what lies between.
    Expression(String),
}

/// One after the other, each inside the pieces of the one before.
fn stages(cuts: &[Cut]) -> Option<Vec<Stage>> {
    let automaton = |expression: &str| match Automaton::of(expression) {
        Some(automaton) => Some(Stage::Automaton(automaton)),
        None => SysRegex::new(expression).ok().map(Stage::Engine),
    };
    let mut stages = Vec::new();
    let mut rest = cuts;
    loop {
        rest = match rest {
            [] => return Some(stages),
            [Cut::Alone(set), Cut::Expression(expression), rest @ ..] => {
                match Automaton::between(set, expression) {
                    Some(both) => stages.push(Stage::Automaton(both)),
                    None => stages
                        .extend([Stage::Automaton(Automaton::one_of(set.clone())?), automaton(expression)?]),
                }
                rest
            }
            [Cut::Alone(set), rest @ ..] => {
                stages.push(Stage::Automaton(Automaton::one_of(set.clone())?));
                rest
            }
            [Cut::Expression(expression), rest @ ..] => {
                stages.push(automaton(expression)?);
                rest
            }
        };
    }
}

/// Append the cuts of a pre-tokenizer; true when it ends in the byte-level mapping.
fn read_cuts(part: &PreTokenizerWrapper, cuts: &mut Vec<Cut>) -> Option<bool> {
    match part {
        PreTokenizerWrapper::Digits(digits) if digits.individual_digits => {
            cuts.push(Cut::Alone(Set::numeric()));
            Some(false)
        }
        PreTokenizerWrapper::Split(split)
            if !split.invert && matches!(split.behavior, SplitDelimiterBehavior::Isolated) =>
        {
            cuts.push(match &split.pattern {
                SplitPattern::Regex(expression) => Cut::Expression(expression.clone()),
                SplitPattern::String(text) => Cut::Expression(escaped(text)),
            });
            Some(false)
        }
        PreTokenizerWrapper::ByteLevel(level) if !level.add_prefix_space => {
            if level.use_regex {
                cuts.push(Cut::Expression(GPT2.into()));
            }
            Some(true)
        }
        PreTokenizerWrapper::Sequence(parts) => {
            let (last, rest) = parts.as_ref().split_last()?;
            for part in rest {
                if read_cuts(part, cuts)? {
                    return None;
                }
            }
            read_cuts(last, cuts)
        }
        _ => None,
    }
}

/// The expression that matches a text.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| c.is_ascii_punctuation().then_some('\\').into_iter().chain([c])).collect()
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
