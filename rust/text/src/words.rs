//! The word path: byte-level pipelines, a word at a time.
//!
//! ```text
//! text -> added tokens | segments -> stages (digits, regular expressions) -> words -> ids
//! ```
//!
//! The reference's regular expressions become automata, or run on the reference's engine (Oniguruma)
//! where they can't, each stage inside the pieces of the one before. Only stages that keep every
//! character (`Isolated`) are taken. What a piece of the first stage becomes by the later ones and the
//! merges depends on it alone, so that is what is kept in a table of the calling thread.

use rustc_hash::FxHashMap;
use tokenizers::{NormalizerWrapper, Token};

use crate::added::{Added, Found};
use crate::bpe::Bpe;
use crate::inert::Form;
use crate::kept::{Kept, MOST, SEEDED, WAITING};
use crate::normal::Normal;
use crate::owner::Owner;
use crate::stages::{Stage, cut_by, stages};
use crate::{Encoding, TextError, offset};

/// Knows the tokens of words with bytes that the vocabulary lacks.
pub trait Ask {
    /// The model's tokens of a word, written with the characters that stand for bytes.
    fn ask(&self, word: &str) -> Result<Vec<Token>, TextError>;
}

/// A tokenizer's pipeline, if it is one that this file knows.
pub struct Words {
    /// What threads keep.
    pub owner: Owner,
    form: Option<Form>,
    stages: Vec<Stage>,
    added: Added,
    /// The vocabulary.
    pub bpe: Bpe,
    byte_chars: [char; 256],
}

impl Words {
    /// The word path of a pipeline, or None where only the reference knows what to do.
    pub fn new(tokenizer: &tokenizers::Tokenizer, bpe: impl FnOnce() -> Option<Bpe>) -> Option<Self> {
        let form = match tokenizer.get_normalizer() {
            None => None,
            Some(NormalizerWrapper::NFC(_)) => Some(Form::Canonical),
            Some(NormalizerWrapper::NFKC(_)) => Some(Form::Compatible),
            Some(_) => return None,
        };
        Some(Self {
            owner: Owner::default(),
            form,
            stages: stages(tokenizer.get_pre_tokenizer()?)?,
            added: Added::new(tokenizer, |_, _| true)?,
            bpe: bpe()?,
            byte_chars: byte_chars(),
        })
    }

    /// Append what a text becomes, added tokens in it matched or not.
    pub fn encode(
        &self,
        model: &impl Ask,
        text: &str,
        added: bool,
        out: &mut Encoding,
    ) -> Result<(), TextError> {
        let given = if added { self.added.find_given(text) } else { Vec::new() };
        let find_more =
            |text: &str, given| if added { self.added.find_normalized(text, given) } else { given };
        let form = match self.form {
            Some(form) if !form.holds(text) => form,
            _ => return self.encode_normal(model, text, &find_more(text, given), out),
        };
        let (mut normal, mut tokens, mut from) = (Normal::new(form), Vec::new(), 0);
        for (begin, end, id) in given {
            normal.normalize(text, from, begin);
            let at = normal.text.len();
            normal.copy(text, begin, end);
            tokens.push((at, normal.text.len(), id));
            from = end;
        }
        normal.normalize(text, from, text.len());
        let tokens = find_more(&normal.text, tokens);
        let made_before = out.offsets.len();
        self.encode_normal(model, &normal.text, &tokens, out)?;
        for (begin, end) in &mut out.offsets[made_before..] {
            (*begin, *end) = normal.source(*begin, *end);
        }
        Ok(())
    }

    /// Append what a text that the normalizer leaves as it is becomes, with the tokens that are added in it.
    fn encode_normal(
        &self,
        model: &impl Ask,
        text: &str,
        tokens: &[Found],
        out: &mut Encoding,
    ) -> Result<(), TextError> {
        self.owner.with_kept(|kept| {
            let mut writer = Writer {
                words: self,
                model,
                text,
                kept,
                waiting: Vec::with_capacity(WAITING),
                cut: Vec::new(),
                fresh: Vec::new(),
                out,
            };
            let mut from = 0;
            for &(begin, end, id) in tokens {
                writer.segment(from, begin)?;
                writer.out.push(id, begin, end);
                from = end;
            }
            writer.segment(from, text.len())
        })
    }
}

impl Words {
    /// Let the tables of threads begin with what the words of a vocabulary become; those of low ids stay.
    pub fn seed(&mut self, vocabulary: &FxHashMap<&str, u32>) {
        let byte_of: FxHashMap<char, u8> = self.byte_chars.into_iter().zip(0..=u8::MAX).collect();
        let mut kept = Kept::default();
        let (mut cut, mut fresh) = (Vec::new(), Vec::new());
        let is_word = self.stages.len() < 2;
        let mut tokens: Vec<_> = vocabulary.iter().map(|(token, id)| (*id, *token)).collect();
        tokens.sort_unstable();
        for (_, token) in tokens.into_iter().rev() {
            let bytes: Option<Vec<u8>> = token.chars().map(|c| byte_of.get(&c).copied()).collect();
            if let Some(word) = bytes.and_then(|bytes| String::from_utf8(bytes).ok())
                && (1..=SEEDED).contains(&word.len())
                && matches!(self.fresh(&word, 0, word.len(), is_word, &mut cut, &mut fresh), Ok(true))
            {
                kept.put(word.as_bytes(), is_word, &fresh, |id| self.bpe.length(id));
            }
        }
        self.owner.begin_with(kept.into_seed());
    }

    /// Make the ids of the piece `text[from..to]`, which no stage cuts any more when it is a word; false where only
    /// the reference knows them. `cut` has its words then.
    fn fresh(
        &self,
        text: &str,
        from: usize,
        to: usize,
        is_word: bool,
        cut: &mut Vec<(usize, usize)>,
        fresh: &mut Vec<u32>,
    ) -> Result<bool, TextError> {
        cut.clear();
        fresh.clear();
        let left = if is_word { &[] } else { &self.stages[1..] };
        cut_by(left, text, from, to, &mut |begin, end| {
            cut.push((begin, end));
            Ok(())
        })?;
        Ok(cut.iter().all(|&(begin, end)| self.bpe.encode(&text.as_bytes()[begin..end], fresh)))
    }

    /// Append the model's tokens of the word `text[from..to]`.
    fn ask(
        &self,
        model: &impl Ask,
        text: &str,
        from: usize,
        to: usize,
        out: &mut Encoding,
    ) -> Result<(), TextError> {
        let mut mapped = String::with_capacity((to - from) * 2);
        let mut byte_at = Vec::with_capacity((to - from) * 2 + 1);
        for (at, byte) in (from..to).zip(text[from..to].bytes()) {
            let c = self.byte_chars[usize::from(byte)];
            byte_at.resize(byte_at.len() + c.len_utf8(), offset(at));
            mapped.push(c);
        }
        for token in model.ask(&mapped)? {
            out.ids.push(token.id);
            // behind a character that has no token, the model tells places that lie inside of characters
            let (begin, last) = (byte_at[token.offsets.0], byte_at[token.offsets.1.max(1) - 1]);
            out.offsets.push((begin, last + 1));
        }
        Ok(())
    }
}

struct Writer<'a, M> {
    words: &'a Words,
    model: &'a M,
    text: &'a str,
    kept: &'a mut Kept,
    /// What was found and is not yet written: where it begins and ends, and whether it is a word, to which no
    /// stage does anything more, or a piece of the first.
    waiting: Vec<(u32, u32, bool)>,
    /// Words of the piece that is being made, and their ids.
    cut: Vec<(usize, usize)>,
    fresh: Vec<u32>,
    out: &'a mut Encoding,
}

impl<M: Ask> Writer<'_, M> {
    /// Write the tokens of `text[from..to]`, in which nothing is added.
    fn segment(&mut self, from: usize, to: usize) -> Result<(), TextError> {
        // white space that belongs to two added tokens: nothing is between them
        if from >= to {
            return Ok(());
        }
        let words = self.words;
        match &words.stages[..] {
            [] => self.wait(from, to, true)?,
            [only] => only.pieces(self.text, from, to, |begin, end| self.wait(begin, end, true))?,
            [first, rest @ ..] => first.pieces(self.text, from, to, |begin, end| {
                if end - begin <= MOST {
                    return self.wait(begin, end, false);
                }
                cut_by(rest, self.text, begin, end, &mut |begin, end| self.wait(begin, end, true))
            })?,
        }
        self.write()
    }

    fn wait(&mut self, from: usize, to: usize, is_word: bool) -> Result<(), TextError> {
        if self.waiting.len() == WAITING {
            self.write()?;
        }
        self.waiting.push((offset(from), offset(to), is_word));
        Ok(())
    }

    /// Write what waits.
    fn write(&mut self) -> Result<(), TextError> {
        let Self { words, model, text, kept, waiting, cut, fresh, out } = self;
        let bpe = &words.bpe;
        kept.write(text.as_bytes(), waiting, out, |kept, out, (from, to, is_word)| {
            let piece = &text.as_bytes()[from..to];
            if let Some(ids) = kept.large(piece, is_word) {
                push(out, bpe, from, ids);
                return Ok(());
            }
            if words.fresh(text, from, to, is_word, cut, fresh)? {
                push(out, bpe, from, fresh);
                kept.put(piece, is_word, fresh, |id| bpe.length(id));
                return Ok(());
            }
            for &(begin, end) in &*cut {
                words.ask(*model, text, begin, end, out)?;
            }
            Ok(())
        })?;
        waiting.clear();
        Ok(())
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
