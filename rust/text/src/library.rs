//! The reference: a tokenizer.json through the `tokenizers` crate.

use tokenizers::{Model, Normalizer, OffsetType, PreTokenizedString, PreTokenizer};
use tokenizers::{NormalizedString, NormalizerWrapper};

use crate::pieces::Pieces;
use crate::words::Words;
use crate::{AddedToken, Encoding, TextError, Tokenizer};

/// A tokenizer.json, loaded once and shared by all threads.
pub struct Library {
    inner: tokenizers::Tokenizer,
    added: Vec<AddedToken>,
    words: Option<Words>,
    pieces: Option<Pieces>,
}

impl Library {
    /// Load a tokenizer from the text of its tokenizer.json.
    ///
    /// # Errors
    /// `TextError::Load` when it is none, or one whose ids are random (BPE dropout).
    pub fn from_json(json: &str) -> Result<Self, TextError> {
        let inner: tokenizers::Tokenizer =
            json.parse().map_err(|error: tokenizers::Error| TextError::Load(error.to_string()))?;
        if let tokenizers::ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some_and(|p| p > 0.0)
        {
            return Err(TextError::Load(
                "its BPE has dropout, so ids would be random; set `dropout` to null".into(),
            ));
        }
        let mut added: Vec<AddedToken> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| AddedToken { content: token.content, id, special: token.special })
            .collect();
        added.sort_unstable_by_key(|token| token.id);
        let words = Words::new(&inner, json);
        let pieces = if words.is_some() { None } else { Pieces::new(&inner, json) };
        Ok(Self { inner, added, words, pieces })
    }

    /// The same tokenizer without a path of our own: what ours are compared with.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        (self.words, self.pieces) = (None, None);
        self
    }

    /// Whether a path of our own is in use.
    #[must_use]
    pub const fn has_words(&self) -> bool {
        self.words.is_some() || self.pieces.is_some()
    }

    /// The tokens that the tokenizer puts before and behind one text, when it is asked to.
    ///
    /// # Errors
    /// `TextError::Encode` when what it puts around a text depends on the text.
    pub fn around(&self) -> Result<(Vec<u32>, Vec<u32>), TextError> {
        let refused = |error: tokenizers::Error| TextError::Encode(error.to_string());
        let around = |text: &str| -> Result<_, TextError> {
            let bare = self.inner.encode(text, false).map_err(refused)?;
            let whole = self.inner.encode(text, true).map_err(refused)?;
            let (bare, whole) = (bare.get_ids(), whole.get_ids());
            let begin = whole.windows(bare.len().max(1)).position(|part| part == bare);
            Ok(begin.map(|at| (whole[..at].to_vec(), whole[at + bare.len()..].to_vec())))
        };
        match (around("a")?, around("b c")?) {
            (Some(one), Some(other)) if one == other => Ok(one),
            _ => Err(TextError::Encode("what it puts around a text depends on the text".into())),
        }
    }

    /// The reference's own pipeline, without what its post-processor does to offsets.
    fn reference(&self, mut text: PreTokenizedString) -> Result<Encoding, TextError> {
        let refused = |error: tokenizers::Error| TextError::Encode(error.to_string());
        if let Some(splitter) = self.inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut text).map_err(refused)?;
        }
        let model = self.inner.get_model();
        text.tokenize(|piece| model.tokenize(piece.get())).map_err(refused)?;
        let encoding = text.into_encoding(None, 0, OffsetType::Byte).map_err(refused)?;
        #[allow(clippy::cast_possible_truncation, reason = "`fits` refuses texts of 4 GiB and more")]
        let offsets = encoding.get_offsets().iter().map(|&(from, to)| (from as u32, to as u32)).collect();
        Ok(Encoding { ids: encoding.get_ids().to_vec(), offsets })
    }
}

fn fits(text: &str) -> Result<(), TextError> {
    u32::try_from(text.len()).map(|_| ()).map_err(|_| TextError::TooLong(text.len()))
}

impl Tokenizer for Library {
    fn encode(&self, text: &str) -> Result<Encoding, TextError> {
        fits(text)?;
        if let Some(words) = &self.words {
            return words.encode(self.inner.get_model(), text, true);
        }
        if let Some(encoding) = self.pieces.as_ref().and_then(|pieces| pieces.encode(text, true)) {
            return Ok(encoding);
        }
        let vocabulary = self.inner.get_added_vocabulary();
        self.reference(vocabulary.extract_and_normalize(self.inner.get_normalizer(), text))
    }

    fn encode_plain(&self, text: &str) -> Result<Encoding, TextError> {
        fits(text)?;
        if let Some(words) = &self.words {
            return words.encode(self.inner.get_model(), text, false);
        }
        if let Some(encoding) = self.pieces.as_ref().and_then(|pieces| pieces.encode(text, false)) {
            return Ok(encoding);
        }
        let mut normalized = NormalizedString::from(text);
        let form: Option<&NormalizerWrapper> = self.inner.get_normalizer();
        if let Some(form) = form {
            form.normalize(&mut normalized).map_err(|error| TextError::Encode(error.to_string()))?;
        }
        self.reference(PreTokenizedString::from(normalized))
    }

    fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        self.inner.decode(ids, skip_special_tokens).map_err(|error| TextError::Decode(error.to_string()))
    }

    fn added_tokens(&self) -> &[AddedToken] {
        &self.added
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}
