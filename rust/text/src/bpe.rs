//! Byte-level BPE: the bytes of a word to ids, as the reference merges them.
//!
//! Of all neighbouring pairs the one that was learnt first is joined, the leftmost of equals, until
//! none is left. Short words go through arrays, long ones through a heap, so that time grows with
//! n log n; no word is asked of the reference but one with a byte that the vocabulary lacks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::words::byte_chars;

/// No rank, no id, no place.
const NONE: u32 = u32::MAX;
/// Words of up to so many bytes are merged in arrays.
const SHORT: usize = 32;

/// Merges of a byte-level vocabulary.
pub struct Bpe {
    bytes: [u32; 256],
    merges: Pairs,
    /// Tokens that a whole word is, before any merge; only where the tokenizer says so.
    whole: Option<FxHashMap<Box<[u8]>, u32>>,
    /// Bytes of each token, by id.
    lengths: Vec<u32>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    model: Described<'a>,
}

#[derive(Deserialize)]
struct Described<'a> {
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(borrow)]
    vocab: FxHashMap<std::borrow::Cow<'a, str>, u32>,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge<'a> {
    Two(#[serde(borrow)] std::borrow::Cow<'a, str>, #[serde(borrow)] std::borrow::Cow<'a, str>),
    One(#[serde(borrow)] std::borrow::Cow<'a, str>),
}

impl Bpe {
    /// The merges of a tokenizer.json; None where its model is another, or not one of bytes.
    pub fn from_json(json: &str) -> Option<Self> {
        let Described {
            dropout,
            continuing_subword_prefix,
            end_of_word_suffix,
            ignore_merges,
            vocab,
            merges,
        } = serde_json::from_str::<File>(json).ok()?.model;
        let is_plain = |part: Option<String>| part.is_none_or(|part| part.is_empty());
        if dropout.is_some_and(|p| p > 0.0)
            || !is_plain(continuing_subword_prefix)
            || !is_plain(end_of_word_suffix)
        {
            return None;
        }
        let mut byte_of: FxHashMap<char, u8> = FxHashMap::default();
        let mut bytes = [NONE; 256];
        for (byte, c) in (0..=u8::MAX).zip(byte_chars()) {
            byte_of.insert(c, byte);
            bytes[usize::from(byte)] = vocab.get(c.encode_utf8(&mut [0; 4]) as &str).copied().unwrap_or(NONE);
        }
        let mut lengths = vec![0; vocab.values().max().map_or(0, |id| *id as usize + 1)];
        for (token, id) in &vocab {
            lengths[*id as usize] = u32::try_from(token.chars().count()).ok()?;
        }
        let mut pairs = Pairs::with_room_for(merges.len());
        let mut joined = String::new();
        for (rank, merge) in (0..).zip(&merges) {
            let (left, right) = match merge {
                Merge::Two(left, right) => (left.as_ref(), right.as_ref()),
                Merge::One(both) => both.split_once(' ')?,
            };
            joined.clear();
            joined.extend([left, right]);
            let id = |token: &str| vocab.get(token).copied();
            pairs.insert(id(left)?, id(right)?, rank, id(&joined)?);
        }
        let whole = ignore_merges.then(|| {
            let as_bytes =
                |token: &str| token.chars().map(|c| byte_of.get(&c).copied()).collect::<Option<Box<[u8]>>>();
            vocab.iter().filter_map(|(token, id)| Some((as_bytes(token)?, *id))).collect()
        });
        Some(Self { bytes, merges: pairs, whole, lengths })
    }

    /// Bytes of a token.
    pub fn length(&self, id: u32) -> u32 {
        self.lengths[id as usize]
    }

    /// Append the ids of a word; false where only the reference knows them.
    pub fn encode(&self, word: &[u8], ids: &mut Vec<u32>) -> bool {
        if let Some(id) = self.whole.as_ref().and_then(|whole| whole.get(word)) {
            ids.push(*id);
            return true;
        }
        if word.iter().any(|byte| self.bytes[usize::from(*byte)] == NONE) {
            return false;
        }
        if word.len() <= SHORT {
            self.short(word, ids);
        } else {
            self.long(word, ids);
        }
        true
    }

    fn short(&self, word: &[u8], ids: &mut Vec<u32>) {
        let mut tokens = [0; SHORT];
        let mut pairs = [(NONE, NONE); SHORT];
        let mut count = word.len();
        for (token, byte) in tokens.iter_mut().zip(word) {
            *token = self.bytes[usize::from(*byte)];
        }
        for at in 1..count {
            pairs[at - 1] = self.merges.get(tokens[at - 1], tokens[at]);
        }
        while count > 1 {
            let (mut best, mut rank) = (0, NONE);
            for (at, pair) in pairs[..count - 1].iter().enumerate() {
                if pair.0 < rank {
                    (best, rank) = (at, pair.0);
                }
            }
            if rank == NONE {
                break;
            }
            tokens[best] = pairs[best].1;
            tokens.copy_within(best + 2..count, best + 1);
            count -= 1;
            pairs.copy_within(best + 1..count, best);
            if best > 0 {
                pairs[best - 1] = self.merges.get(tokens[best - 1], tokens[best]);
            }
            pairs[best] =
                if best + 1 < count { self.merges.get(tokens[best], tokens[best + 1]) } else { (NONE, NONE) };
        }
        ids.extend_from_slice(&tokens[..count]);
    }

    fn long(&self, word: &[u8], ids: &mut Vec<u32>) {
        // a token's place is that of its first byte; those joined to one before are NONE
        let mut tokens: Vec<u32> = word.iter().map(|byte| self.bytes[usize::from(*byte)]).collect();
        let mut next: Vec<usize> = (1..=word.len()).collect();
        let mut before: Vec<usize> = (0..word.len()).map(|at| at.wrapping_sub(1)).collect();
        let mut open = BinaryHeap::with_capacity(word.len());
        let pair = |tokens: &[u32], left: usize, right: usize| {
            let (rank, id) = self.merges.get(tokens[left], tokens[right]);
            (rank != NONE).then_some(Reverse((rank, left, tokens[left], tokens[right], id)))
        };
        open.extend((1..word.len()).filter_map(|right| pair(&tokens, right - 1, right)));
        while let Some(Reverse((_, left, first, second, id))) = open.pop() {
            let right = next[left];
            // what was pushed before a merge changed either side
            if tokens[left] != first || right >= word.len() || tokens[right] != second {
                continue;
            }
            tokens[left] = id;
            tokens[right] = NONE;
            next[left] = next[right];
            if next[left] < word.len() {
                before[next[left]] = left;
                open.extend(pair(&tokens, left, next[left]));
            }
            if before[left] != usize::MAX {
                open.extend(pair(&tokens, before[left], left));
            }
        }
        ids.extend(tokens.into_iter().filter(|token| *token != NONE));
    }
}

/// What two neighbouring tokens become, and how early it was learnt: a table with open addresses.
struct Pairs {
    slots: Vec<(u64, u32, u32)>,
    shift: u32,
}

impl Pairs {
    fn with_room_for(count: usize) -> Self {
        let size = (count * 2).next_power_of_two().max(16);
        Self { slots: vec![(u64::MAX, NONE, NONE); size], shift: 64 - size.trailing_zeros() }
    }

    fn insert(&mut self, left: u32, right: u32, rank: u32, id: u32) {
        let key = u64::from(left) << 32 | u64::from(right);
        let slot = self.find(key);
        self.slots[slot] = (key, rank, id);
    }

    #[allow(clippy::cast_possible_truncation, reason = "the upper bits, as many as there are slots")]
    fn find(&self, key: u64) -> usize {
        let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.slots[slot].0 != key && self.slots[slot].0 != u64::MAX {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    /// Rank and id, both NONE where two tokens stay two.
    fn get(&self, left: u32, right: u32) -> (u32, u32) {
        let found = self.slots[self.find(u64::from(left) << 32 | u64::from(right))];
        (found.1, found.2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Library, Tokenizer};

    /// A byte-level tokenizer whose merges are drawn from the tokens made so far.
    fn drawn(draws: &[(usize, usize)], options: &Value, without: &[u8]) -> String {
        let chars = byte_chars();
        let kept = (0..=u8::MAX).filter(|byte| !without.contains(byte)).map(|byte| chars[usize::from(byte)]);
        let mut tokens: Vec<String> = kept.map(String::from).collect();
        // merges begin with few letters, so that they meet
        let mut pool: Vec<String> =
            b"abc d".iter().map(|byte| chars[usize::from(*byte)].to_string()).collect();
        let mut merges: Vec<[String; 2]> = Vec::new();
        for (left, right) in draws {
            let pair = [pool[left % pool.len()].clone(), pool[right % pool.len()].clone()];
            let joined = pair.concat();
            merges.push(pair);
            if !tokens.contains(&joined) {
                tokens.push(joined.clone());
                pool.push(joined);
            }
        }
        let vocab: serde_json::Map<String, Value> =
            tokens.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
        let mut model = json!({"type": "BPE", "vocab": vocab, "merges": merges});
        model.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            "model": model,
        })
        .to_string()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn words_become_the_references_tokens(
            draws in prop::collection::vec((0..60_usize, 0..60_usize), 0..60),
            words in prop::collection::vec("[abc d]{0,80}|[a-e]{0,40}|a{0,90}|[ab\u{4}é]{0,12}", 1..12),
            whole in any::<bool>(),
            lacks in any::<bool>(),
        ) {
            let without: &[u8] = if lacks { &[4, 0xa9] } else { &[] };
            let json = drawn(&draws, &json!({"ignore_merges": whole}), without);
            let ours = Library::from_json(&json).unwrap();
            let reference = Library::from_json(&json).unwrap().without_words();
            prop_assert!(ours.has_words());
            for word in words {
                prop_assert_eq!(ours.encode(&word).unwrap().ids, reference.encode(&word).unwrap().ids, "{:?}", word);
            }
        }
    }

    #[test]
    fn other_models_are_left_to_the_reference() {
        for options in [
            json!({"dropout": 0.1}),
            json!({"continuing_subword_prefix": "##"}),
            json!({"end_of_word_suffix": "</w>"}),
        ] {
            assert!(Bpe::from_json(&drawn(&[], &options, &[])).is_none(), "{options}");
        }
        assert!(Bpe::from_json(&drawn(&[(0, 1)], &json!({"end_of_word_suffix": ""}), &[])).is_some());
        assert!(Bpe::from_json(r#"{"model": {"type": "WordPiece", "vocab": {"a": 0}}}"#).is_none());
    }

    #[test]
    fn a_long_word_takes_little_more_than_linear_time() {
        let bpe = Bpe::from_json(&drawn(&[(0, 0), (5, 5), (6, 6), (7, 7)], &json!({}), &[])).unwrap();
        let mut ids = Vec::new();
        assert!(bpe.encode(&vec![b'a'; 1 << 20], &mut ids));
        assert_eq!(ids.len(), (1 << 20) / 16);
    }
}
