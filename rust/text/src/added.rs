//! Added tokens: found in a text before anything else, as the reference finds them.
//!
//! Those that are to stand in the text as they are come first. Those that are compared with the normalized text are
//! looked for in what is left; that is done here only where the normalizer leaves alone both them and the text.

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use tokenizers::{NormalizedString, Normalizer};

/// A token in a text: where it begins and ends, and its id.
pub type Found = (usize, usize, u32);

/// The added tokens of a tokenizer.
pub struct Added {
    given: Option<Pass>,
    normalized: Option<Pass>,
}

struct Pass {
    automaton: AhoCorasick,
    tokens: Vec<Token>,
}

struct Token {
    id: u32,
    /// Whether white space before it, or behind it, is part of it.
    lstrip: bool,
    rstrip: bool,
}

impl Added {
    /// The added tokens of a tokenizer; None where only the reference can find them.
    ///
    /// `alike` says of a token that is compared with the normalized text, from how it looks there and whether it takes
    /// the white space around it, whether it is found in the text as it is wherever the reference finds it.
    pub fn new(tokenizer: &tokenizers::Tokenizer, alike: impl Fn(&str, bool) -> bool) -> Option<Self> {
        let mut tokens: Vec<_> = tokenizer.get_added_tokens_decoder().into_iter().collect();
        tokens.sort_unstable_by_key(|(id, _)| *id);
        let (mut given, mut normalized) = (Vec::new(), Vec::new());
        for (id, token) in tokens {
            if token.single_word || token.content.is_empty() {
                return None;
            }
            let one = Token { id, lstrip: token.lstrip, rstrip: token.rstrip };
            if !token.normalized {
                given.push((token.content, one));
                continue;
            }
            let mut content = NormalizedString::from(token.content);
            if let Some(form) = tokenizer.get_normalizer() {
                form.normalize(&mut content).ok()?;
            }
            if !alike(content.get(), one.lstrip || one.rstrip) {
                return None;
            }
            normalized.push((content.get().to_owned(), one));
        }
        Some(Self { given: Pass::new(given).ok()?, normalized: Pass::new(normalized).ok()? })
    }

    /// The tokens in a text that the normalizer leaves alone, in their order.
    ///
    /// Where white space belongs to two of them, a token begins before the one in front of it ends.
    pub fn find(&self, text: &str) -> Vec<Found> {
        self.find_normalized(text, self.find_given(text))
    }

    /// The tokens that are found in a text before it is normalized.
    pub fn find_given(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(pass) = &self.given {
            pass.find(text, 0, text.len(), &mut found);
        }
        found
    }

    /// Those tokens, and the ones that are found between them in a text after it is normalized.
    pub fn find_normalized(&self, text: &str, given: Vec<Found>) -> Vec<Found> {
        let Some(pass) = &self.normalized else {
            return given;
        };
        let (mut found, mut from) = (Vec::new(), 0);
        for token in given {
            pass.find(text, from, token.0, &mut found);
            found.push(token);
            from = token.1;
        }
        pass.find(text, from, text.len(), &mut found);
        found
    }
}

impl Pass {
    fn new(tokens: Vec<(String, Token)>) -> Result<Option<Self>, BuildError> {
        if tokens.is_empty() {
            return Ok(None);
        }
        let (contents, tokens): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(contents)?;
        Ok(Some(Self { automaton, tokens }))
    }

    /// Append the tokens in `text[from..to]`, a stretch that is split by itself.
    fn find(&self, text: &str, from: usize, to: usize, found: &mut Vec<Found>) {
        if from >= to {
            return;
        }
        let piece = &text[from..to];
        let mut done = 0;
        for place in self.automaton.find_iter(piece) {
            let token = &self.tokens[place.pattern()];
            let (mut start, mut end) = (place.start(), place.end());
            if token.lstrip {
                start = piece[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                end = piece.len() - piece[end..].trim_start().len();
            }
            found.push((from + start, from + end, token.id));
            done = end;
        }
    }
}
