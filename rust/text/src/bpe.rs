//! Byte-level BPE: the bytes of a word to ids, as the reference merges them.

use rustc_hash::FxHashMap;

use crate::artifact::{Reader, Writer};
use crate::described::Described;
use crate::merges::{MOST_TOKENS, Merges, NONE};
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
    lengths: Vec<u16>,
}

impl Bpe {
    /// The merges of a model, whose ids are these; None where they can't be.
    pub fn new(model: &Described, vocab: &FxHashMap<&str, u32>) -> Option<Self> {
        let bytes =
            byte_chars().map(|c| vocab.get(c.encode_utf8(&mut [0; 4]) as &str).copied().unwrap_or(NONE));
        let count = vocab.values().max().map_or(0, |id| *id as usize + 1);
        if count > MOST_TOKENS {
            return None;
        }
        let mut lengths = vec![0_u16; count];
        for (token, id) in vocab {
            lengths[*id as usize] = u16::try_from(token.chars().count()).ok()?;
        }
        let merges = Merges::new(&model.triples(vocab)?)?;
        let pairs = bytes.iter().flat_map(|left| bytes.iter().map(|right| (*left, *right)));
        let known =
            |(left, right)| if left == NONE || right == NONE { NONE } else { merges.rank(left, right) };
        let first = pairs.map(known).collect();
        let whole = model.ignore_merges.then(|| Whole::new(vocab));
        Some(Self { bytes, lacks: bytes.contains(&NONE), merges, first, whole, lengths })
    }

    /// Write it down.
    pub fn store(&self, to: &mut Writer) {
        to.put(&self.bytes);
        self.merges.store(to);
        to.put(&self.first);
        to.put(&self.lengths);
        to.put(&[u8::from(self.whole.is_some())]);
        if let Some(whole) = &self.whole {
            whole.store(to);
        }
    }

    /// One that was written down.
    pub fn restore(from: &mut Reader) -> Option<Self> {
        let bytes: [u32; 256] = from.array()?;
        let merges = Merges::restore(from)?;
        let (first, lengths) = (from.values()?, from.values()?);
        let [has_whole]: [u8; 1] = from.array()?;
        let whole = if has_whole == 0 { None } else { Some(Whole::restore(from)?) };
        Some(Self { bytes, lacks: bytes.contains(&NONE), merges, first, whole, lengths })
    }

    /// One more than the largest id.
    pub const fn size(&self) -> usize {
        self.lengths.len()
    }

    /// Bytes of a token.
    pub fn length(&self, id: u32) -> u32 {
        self.lengths[id as usize].into()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Library, Tokenizer};

    fn bpe(json: &str) -> Option<Bpe> {
        let file: Value = serde_json::from_str(json).unwrap();
        let model = file["model"].to_string();
        let model = Described::from_json(&model)?;
        Bpe::new(&model, &model.vocabulary())
    }

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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn long_words_become_the_references_tokens(
            draws in prop::collection::vec((0..60_usize, 0..60_usize), 0..60),
            words in prop::collection::vec("[abc d]{129,400}|a{129,300}|(ab){70,300}|(aabc){40,200}", 1..6),
        ) {
            let json = drawn(&draws, &json!({}), &[]);
            let ours = Library::from_json(&json).unwrap();
            let reference = Library::from_json(&json).unwrap().without_words();
            for word in words {
                prop_assert_eq!(ours.encode(&word).unwrap().ids, reference.encode(&word).unwrap().ids, "{:?}", word);
            }
        }
    }

    #[test]
    fn ids_that_merges_cannot_hold_are_left_to_the_reference() {
        let chars = byte_chars();
        let bytes = chars.iter().zip(0..).map(|(c, id)| (c.to_string(), id));
        // `xy` seen as 20 bits would be `d`, and the bit above them one more in the token before it
        for id in [(1 << 20) - 1, 1 << 20, (1 << 20) + u32::from(b'd'), u32::MAX] {
            let vocab: FxHashMap<String, u32> =
                bytes.clone().chain([("xy".into(), id), ("cd".into(), 300)]).collect();
            let json = json!({
                "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
                "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
                "model": {"type": "BPE", "vocab": vocab, "merges": [["x", "y"], ["c", "d"]]},
            });
            let json = json.to_string();
            let ours = Library::from_json(&json).unwrap();
            assert_eq!(ours.has_words(), id < 1 << 20, "{id}");
            assert_eq!(ours.vocabulary_size().unwrap(), id as usize + 1);
            let reference = json.parse::<tokenizers::Tokenizer>().unwrap();
            for text in ["bxy", "cxy", "xyb", "xyd", "cd xy"] {
                let expected = reference.encode(text, false).unwrap();
                assert_eq!(ours.encode(text).unwrap().ids, expected.get_ids(), "{id} {text}");
            }
        }
    }

    #[test]
    fn models_that_the_reference_refuses_are_refused() {
        for options in [json!({"type": "XYZ"}), json!({"dropout": -1.0}), json!({"dropout": 2.0})] {
            let json = drawn(&[(0, 1)], &options, &[]);
            assert!(json.parse::<tokenizers::Tokenizer>().is_err(), "{options}");
            assert!(Library::from_json(&json).is_err(), "{options}");
        }
        assert!(Library::from_json(&drawn(&[(0, 1)], &json!({"dropout": 0.0}), &[])).unwrap().has_words());
    }

    #[test]
    fn other_models_are_left_to_the_reference() {
        for options in [
            json!({"dropout": 0.1}),
            json!({"continuing_subword_prefix": "##"}),
            json!({"end_of_word_suffix": "</w>"}),
        ] {
            assert!(bpe(&drawn(&[], &options, &[])).is_none(), "{options}");
        }
        assert!(bpe(&drawn(&[(0, 1)], &json!({"end_of_word_suffix": ""}), &[])).is_some());
        assert!(bpe(r#"{"model": {"type": "WordPiece", "vocab": {"a": 0}}}"#).is_none());
    }

    #[test]
    fn a_long_word_takes_little_more_than_linear_time() {
        let long = bpe(&drawn(&[(0, 0), (5, 5), (6, 6), (7, 7)], &json!({}), &[])).unwrap();
        let mut ids = Vec::new();
        assert!(long.encode(&vec![b'a'; 1 << 20], &mut ids));
        assert_eq!(ids.len(), (1 << 20) / 16);
    }
}
