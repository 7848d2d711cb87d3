//! A tokenizer.json without its model: normalizer, pre-tokenizer, post-processor, decoder and added tokens.

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::AddedToken;

/// The parts of a tokenizer.json, unread.
#[derive(Deserialize)]
pub struct Parts<'a> {
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    added_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow)]
    model: &'a RawValue,
}

impl<'a> Parts<'a> {
    /// Those of a file; None where it is no tokenizer.json.
    pub fn of(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The model, as it stands in the file.
    pub fn model(&self) -> &'a str {
        self.model.get()
    }
}

/// A tokenizer with all parts but the model, in whose place is one that knows the added tokens.
pub struct Frame {
    /// As a tokenizer.json.
    pub json: String,
    /// As the crate reads that.
    pub tokenizer: tokenizers::Tokenizer,
}

impl Frame {
    /// The frame around a model that has these ids; None where it can't be read.
    ///
    /// The ids of added tokens are those that the crate gives: the model's, and behind them one after the other; what
    /// the file says of them it does not heed.
    pub fn new(parts: &Parts, ids: &FxHashMap<&str, u32>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Named {
            content: String,
        }
        let text = |part: Option<&RawValue>| part.map_or("null", RawValue::get).to_owned();
        let named: Vec<Named> = serde_json::from_str(parts.added_tokens.map_or("[]", RawValue::get)).ok()?;
        let mut known: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
        let mut next = ids.len();
        for Named { content } in named {
            if content.is_empty() || known.contains_key(&content) {
                continue;
            }
            let of_model = ids.get(&*content).map(|id| *id as usize);
            let id = of_model.unwrap_or(next);
            next += usize::from(of_model.is_none());
            known.insert(content, id.into());
        }
        let model = serde_json::json!({"type": "WordLevel", "vocab": known, "unk_token": ""});
        Self::read(format!(
            r#"{{"version": {}, "added_tokens": {}, "normalizer": {}, "pre_tokenizer": {}, "post_processor": {},
                "decoder": {}, "model": {model}}}"#,
            parts.version.map_or("\"1.0\"", RawValue::get),
            parts.added_tokens.map_or("[]", RawValue::get),
            text(parts.normalizer),
            text(parts.pre_tokenizer),
            text(parts.post_processor),
            text(parts.decoder),
        ))
    }

    /// One that was written before.
    pub fn read(json: String) -> Option<Self> {
        let tokenizer = json.parse().ok()?;
        Some(Self { json, tokenizer })
    }
}

/// The added tokens of a tokenizer, by id.
pub fn added(tokenizer: &tokenizers::Tokenizer) -> Vec<AddedToken> {
    let tokens = tokenizer.get_added_tokens_decoder().into_iter();
    let mut added: Vec<_> =
        tokens.map(|(id, token)| AddedToken { content: token.content, id, special: token.special }).collect();
    added.sort_unstable_by_key(|token| token.id);
    added
}
