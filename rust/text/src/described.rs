//! The BPE model of a tokenizer.json.

use std::borrow::Cow;
use std::fmt;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What a model is made of, and what it is told to do.
#[derive(Deserialize)]
pub struct Described<'a> {
    /// Old files have none.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    /// Whether characters that have no token become the tokens of their bytes.
    #[serde(default)]
    pub byte_fallback: bool,
    /// Whether a word that is a token is never merged.
    #[serde(default)]
    pub ignore_merges: bool,
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

impl<'a> Described<'a> {
    /// The model as a tokenizer.json has it; None where it is another, or one that does more than merge.
    pub fn from_json(json: &'a str) -> Option<Self> {
        let model: Self = serde_json::from_str(json).ok()?;
        let is_plain = |part: &Option<String>| part.as_ref().is_none_or(String::is_empty);
        let merges_only = model.kind.as_ref().is_none_or(|kind| kind == "BPE")
            && model.dropout.is_none_or(|p| p == 0.0)
            && is_plain(&model.continuing_subword_prefix)
            && is_plain(&model.end_of_word_suffix);
        merges_only.then_some(model)
    }

    /// The ids by token.
    pub fn vocabulary(&self) -> FxHashMap<&str, u32> {
        self.vocab.0.iter().map(|(token, id)| (&*token.0, *id)).collect()
    }

    /// The two tokens of each merge, those learnt first in front; None where one can't be read.
    pub fn merges(&self) -> Option<Vec<(&str, &str)>> {
        self.merges.iter().map(Merge::two).collect()
    }

    /// The ids of the two tokens of each merge and of what they become; None where one has none.
    pub fn triples(&self, vocabulary: &FxHashMap<&str, u32>) -> Option<Vec<[u32; 3]>> {
        let id = |token: &str| vocabulary.get(token).copied();
        let mut joined = String::new();
        let mut triples = Vec::with_capacity(self.merges.len());
        for merge in &self.merges {
            let (left, right) = merge.two()?;
            joined.clear();
            joined.extend([left, right]);
            triples.push([id(left)?, id(right)?, id(&joined)?]);
        }
        Some(triples)
    }
}

impl Merge<'_> {
    fn two(&self) -> Option<(&str, &str)> {
        match self {
            Self::Two(left, right) => Some((&left.0, &right.0)),
            Self::One(both) => both.0.split_once(' '),
        }
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
