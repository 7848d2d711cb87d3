//! The Unigram model: of all ways to write a word in tokens the one whose scores sum up highest.
//!
//! Sums are made and compared in the reference's order, so that they round alike and of two that are equal the same is
//! taken.

use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::merges::NONE;
use crate::spread::Token;
use crate::trie::Trie;

/// By how much a character that has no token scores lower than the lowest token.
const PENALTY: f64 = 10.0;

/// The model of a tokenizer.json.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    #[serde(rename = "type")]
    kind: String,
    unk_id: Option<u32>,
    #[serde(default)]
    byte_fallback: bool,
    vocab: Vec<(String, f64)>,
}

impl Described {
    /// The model as a tokenizer.json has it; None where it is another.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().filter(|model: &Self| model.kind == "Unigram")
    }

    /// The ids by token; None where two tokens are alike.
    pub fn vocabulary(&self) -> Option<FxHashMap<&str, u32>> {
        let ids: FxHashMap<&str, u32> = self.vocab.iter().map(|(token, _)| &**token).zip(0..).collect();
        (ids.len() == self.vocab.len()).then_some(ids)
    }
}

/// Tokens and their scores.
pub struct Best {
    trie: Trie,
    scores: Vec<f64>,
    /// The token of what has none, and its score.
    unknown: u32,
    unknown_score: f64,
    /// Tokens of bytes, for what has none.
    bytes: [u32; 256],
}

/// The best way to write a word up to a place.
#[derive(Clone, Copy)]
struct Place {
    score: f64,
    /// Where its last token begins, `NONE` before there is a way; and that token.
    begin: u32,
    token: u32,
}

const NOWHERE: Place = Place { score: 0.0, begin: NONE, token: NONE };

/// Memory that is used for one word after the other.
#[derive(Default)]
pub struct Places {
    places: Vec<Place>,
    tokens: Vec<Token>,
}

impl Best {
    /// The tokens of a model; None where only the reference knows what it does.
    pub fn new(model: &Described, ids: &FxHashMap<&str, u32>) -> Option<Self> {
        let unknown = model.unk_id.filter(|id| (*id as usize) < model.vocab.len())?;
        let mut bytes = [NONE; 256];
        if model.byte_fallback {
            for (byte, id) in bytes.iter_mut().enumerate() {
                *id = ids.get(format!("<0x{byte:02X}>").as_str()).copied().unwrap_or(NONE);
            }
        }
        let scores: Vec<f64> = model.vocab.iter().map(|(_, score)| *score).collect();
        let lowest =
            scores.iter().copied().fold(f64::INFINITY, |low, score| if score < low { score } else { low });
        Some(Self {
            trie: Trie::new(model.vocab.iter().map(|(token, _)| &**token).zip(0..))?,
            scores,
            unknown,
            unknown_score: lowest - PENALTY,
            bytes,
        })
    }

    /// How many tokens there are: one more than the largest id.
    pub const fn size(&self) -> usize {
        self.scores.len()
    }

    /// The tokens of a word.
    pub fn tokens(&self, word: &[char], memory: &mut Places, tokens: &mut Vec<Token>) {
        let places = &mut memory.places;
        places.clear();
        places.resize(word.len() + 1, NOWHERE);
        for from in 0..word.len() {
            let so_far = places[from].score;
            let mut offer = |to: usize, token: u32, score: f64| {
                let place = &mut places[to];
                let score = score + so_far;
                if place.begin == NONE || score > place.score {
                    #[allow(clippy::cast_possible_truncation, reason = "texts of 4 GiB and more are refused")]
                    let begin = from as u32;
                    *place = Place { score, begin, token };
                }
            };
            let mut single = false;
            let mut to = from;
            let mut node = self.trie.begin(word[from]);
            while let Some(here) = node {
                to += 1;
                let token = self.trie.token(here);
                if token != NONE {
                    offer(to, token, self.scores[token as usize]);
                    single |= to == from + 1;
                }
                node = word.get(to).and_then(|c| self.trie.step(here, *c));
            }
            if !single {
                offer(from + 1, self.unknown, self.unknown_score);
            }
        }
        // back from the word's end
        let traced = &mut memory.tokens;
        traced.clear();
        let mut to = word.len();
        while to > 0 {
            let Place { begin, token, .. } = places[to];
            let from = begin as usize;
            match traced.last_mut() {
                // what is unknown is one
                Some((last, begin, _)) if *last == self.unknown && token == self.unknown => *begin = from,
                _ => traced.push((token, from, to)),
            }
            to = from;
        }
        tokens.clear();
        for token in traced.iter().rev() {
            if token.0 == self.unknown { self.known(word, *token, tokens) } else { tokens.push(*token) }
        }
    }

    /// Append what is said of what is unknown: a token that it is all the same, those of its bytes, or that it is unknown.
    fn known(&self, word: &[char], (_, from, to): Token, tokens: &mut Vec<Token>) {
        let chars = &word[from..to];
        let whole = self.trie.walk(chars.iter().copied()).map_or(NONE, |node| self.trie.token(node));
        if whole != NONE {
            return tokens.push((whole, from, to));
        }
        let begin = tokens.len();
        for byte in chars.iter().collect::<String>().bytes() {
            let id = self.bytes[usize::from(byte)];
            if id == NONE {
                tokens.truncate(begin);
                return tokens.push((self.unknown, from, to));
            }
            tokens.push((id, from, to));
        }
    }
}
