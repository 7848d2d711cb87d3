//! Byte-level BPE: the bytes of a word to ids, as the reference merges them.

use std::borrow::Cow;
use std::fmt;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::merges::{Merges, NONE};
use crate::whole::Whole;
use crate::words::byte_chars;

/// Merges of a byte-level vocabulary.
pub struct Bpe {
    bytes: [u32; 256],
    /// Whether a byte has no token.
    lacks: bool,
    merges: Merges,
    /// How early two bytes are merged.
    first: Vec<u32>,
    /// Tokens that a whole word is, before any merge; only where the tokenizer says so.
    whole: Option<Whole>,
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
    vocab: Vocabulary<'a>,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
}

/// Tokens and ids as they stand in the file.
struct Vocabulary<'a>(Vec<(Text<'a>, u32)>);

/// A string of the file, without a copy where it has no escapes.
struct Text<'a>(Cow<'a, str>);

/// Two tokens, as a list or as one string with a space between them.
enum Merge<'a> {
    Two(Text<'a>, Text<'a>),
    One(Text<'a>),
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
        let vocab: FxHashMap<&str, u32> = vocab.0.iter().map(|(token, id)| (&*token.0, *id)).collect();
        let bytes =
            byte_chars().map(|c| vocab.get(c.encode_utf8(&mut [0; 4]) as &str).copied().unwrap_or(NONE));
        let mut lengths = vec![0; vocab.values().max().map_or(0, |id| *id as usize + 1)];
        for (token, id) in &vocab {
            lengths[*id as usize] = u32::try_from(token.chars().count()).ok()?;
        }
        let mut triples = Vec::with_capacity(merges.len());
        let mut joined = String::new();
        for merge in &merges {
            let (left, right) = match merge {
                Merge::Two(left, right) => (&*left.0, &*right.0),
                Merge::One(both) => both.0.split_once(' ')?,
            };
            joined.clear();
            joined.extend([left, right]);
            let id = |token: &str| vocab.get(token).copied();
            triples.push([id(left)?, id(right)?, id(&joined)?]);
        }
        let merges = Merges::new(&triples)?;
        let pairs = bytes.iter().flat_map(|left| bytes.iter().map(|right| (*left, *right)));
        let known =
            |(left, right)| if left == NONE || right == NONE { NONE } else { merges.rank(left, right) };
        let first = pairs.map(known).collect();
        let whole = ignore_merges.then(|| Whole::new(&vocab));
        Some(Self { bytes, lacks: bytes.contains(&NONE), merges, first, whole, lengths })
    }

    /// Bytes of a token.
    pub fn length(&self, id: u32) -> u32 {
        self.lengths[id as usize]
    }

    /// Append the ids of a word; false where only the reference knows them.
    pub fn encode(&self, word: &[u8], ids: &mut Vec<u32>) -> bool {
        if let Some(id) = self.whole.as_ref().and_then(|whole| whole.get(word)) {
            ids.push(id);
            return true;
        }
        if self.lacks && word.iter().any(|byte| self.bytes[usize::from(*byte)] == NONE) {
            return false;
        }
        let from = ids.len();
        ids.extend(word.iter().map(|byte| self.bytes[usize::from(*byte)]));
        self.merges.join(ids, from, |at| self.first[usize::from(word[at]) << 8 | usize::from(word[at + 1])]);
        true
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Vocabulary<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocabulary<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens and their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Vocabulary(entries))
            }
        }
        from.deserialize_map(Entries)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Borrowed)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens")
            }

            fn visit_borrowed_str<E: Error>(self, both: &'de str) -> Result<Self::Value, E> {
                Ok(Merge::One(Text(Cow::Borrowed(both))))
            }

            fn visit_str<E: Error>(self, both: &str) -> Result<Self::Value, E> {
                Ok(Merge::One(Text(Cow::Owned(both.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mut part =
                    || parts.next_element()?.ok_or_else(|| A::Error::custom("two tokens are needed"));
                Ok(Merge::Two(part()?, part()?))
            }
        }
        from.deserialize_any(Either)
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
