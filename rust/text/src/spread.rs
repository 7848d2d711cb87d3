//! The normalized characters of a word, and which of its bytes each is from.

use crate::Encoding;
use crate::kept::{Kept, MOST, TOKENS};

/// A token of a word: its id, and where in the normalized characters it begins and ends.
pub type Token = (u32, usize, usize);

/// A word that is being made.
#[derive(Default)]
pub struct Spread {
    /// Its characters, normalized.
    pub chars: Vec<char>,
    /// Where in the word what each is from begins and ends.
    pub ranges: Vec<(usize, usize)>,
}

impl Spread {
    /// Begin another word.
    pub fn clear(&mut self) {
        self.chars.clear();
        self.ranges.clear();
    }

    /// Append a character that is from these bytes of the word.
    pub fn push(&mut self, c: char, from: usize, to: usize) {
        self.chars.push(c);
        self.ranges.push((from, to));
    }

    /// The bytes of a token.
    fn range(&self, (_, from, to): Token) -> (usize, usize) {
        (self.ranges[from].0, self.ranges[to - 1].1)
    }

    /// Write the tokens of a word that begins at `from`.
    pub fn write(&self, tokens: &[Token], from: usize, out: &mut Encoding) {
        for token in tokens {
            let (begin, end) = self.range(*token);
            out.push(token.0, from + begin, from + end);
        }
    }

    /// Keep the tokens of a word, if they follow upon one another from its first byte to its last.
    pub fn keep(&self, tokens: &[Token], word: &str, kind: bool, kept: &mut Kept) {
        if word.len() > MOST || tokens.len() > TOKENS {
            return;
        }
        let (mut ids, mut lengths) = ([0; TOKENS], [0; TOKENS]);
        let mut at = 0;
        for ((token, id), length) in tokens.iter().zip(&mut ids).zip(&mut lengths) {
            let (begin, end) = self.range(*token);
            if begin != at {
                return;
            }
            at = end;
            *id = token.0;
            *length = u8::try_from(end - begin).unwrap_or(u8::MAX);
        }
        if at == word.len() {
            kept.put_tokens(word.as_bytes(), kind, &ids[..tokens.len()], &lengths[..tokens.len()]);
        }
    }
}
