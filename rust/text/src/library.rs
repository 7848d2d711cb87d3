//! A tokenizer.json: by a path of our own where one is known, else by the `tokenizers` crate.
//!
//! The crate's tokenizer is the reference. Reading a large vocabulary takes it a second, so where a path of our own
//! is in use it is read only when somebody asks for something that only it has.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetType, PostProcessor, PreTokenizedString, PreTokenizer, Token,
};

use crate::described::Described;
use crate::pieces::Pieces;
use crate::words::{Ask, Words};
use crate::{AddedToken, Encoding, TextError, Tokenizer};

/// A tokenizer.json, loaded once and shared by all threads.
pub struct Library {
    /// Its text, as long as the reference may have to be read.
    json: String,
    reference: OnceLock<Result<tokenizers::Tokenizer, String>>,
    /// Everything but the model, where a path of our own is in use.
    frame: Option<tokenizers::Tokenizer>,
    added: Vec<AddedToken>,
    path: Path,
    watch: Watch,
}

/// One text in so many is encoded by the reference as well ...
const SAMPLED: u64 = 4096;
/// ... behind the first so many: fewer take less time than reading the reference.
const UNSAMPLED: u64 = 1 << 16;
/// Bytes of the longest text that is.
const LONGEST_SAMPLED: usize = 1 << 16;

/// What is known of how a path of our own does.
#[derive(Default)]
struct Watch {
    texts: AtomicU64,
    /// The first text of which the reference gave other ids: from then on it gives them all.
    different: OnceLock<String>,
}

enum Path {
    Words(Box<Words>),
    Pieces(Box<Pieces>),
    Reference,
}

/// The parts of a tokenizer.json, unread.
#[derive(Deserialize)]
struct Parts<'a> {
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

impl Library {
    /// Load a tokenizer from the text of its tokenizer.json.
    ///
    /// # Errors
    /// `TextError::Load` when it is none, or one whose ids are random (BPE dropout).
    pub fn from_json(json: &str) -> Result<Self, TextError> {
        if let Some(own) = Self::own(json) {
            return Ok(own);
        }
        let reference = read(json).map_err(TextError::Load)?;
        if let tokenizers::ModelWrapper::BPE(model) = reference.get_model()
            && model.dropout.is_some_and(|p| p > 0.0)
        {
            return Err(TextError::Load(
                "its BPE has dropout, so ids would be random; set `dropout` to null".into(),
            ));
        }
        let added = added(&reference);
        let reference = OnceLock::from(Ok(reference));
        Ok(Self {
            json: String::new(),
            reference,
            frame: None,
            added,
            path: Path::Reference,
            watch: Watch::default(),
        })
    }

    /// The tokenizer with a path of our own, where one knows all of its parts.
    fn own(json: &str) -> Option<Self> {
        let parts: Parts = serde_json::from_str(json).ok()?;
        let model = Described::from_json(parts.model.get())?;
        let ids = model.vocabulary();
        let frame = frame(&parts, &ids)?;
        let words = Words::new(&frame, &model, &ids).map(|words| Path::Words(Box::new(words)));
        let path = words
            .or_else(|| Pieces::new(&frame, &model, &ids).map(|pieces| Path::Pieces(Box::new(pieces))))?;
        let reference = OnceLock::new();
        Some(Self {
            json: json.to_owned(),
            reference,
            added: added(&frame),
            frame: Some(frame),
            path,
            watch: Watch::default(),
        })
    }

    fn reference(&self) -> Result<&tokenizers::Tokenizer, TextError> {
        let read = self.reference.get_or_init(|| read(&self.json));
        read.as_ref().map_err(|error| TextError::Load(error.clone()))
    }

    /// A tokenizer with the reference's normalizer, pre-tokenizer and post-processor.
    fn frame(&self) -> Result<&tokenizers::Tokenizer, TextError> {
        self.frame.as_ref().map_or_else(|| self.reference(), Ok)
    }

    /// The same tokenizer without a path of our own: what ours are compared with.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        self.path = Path::Reference;
        self
    }

    /// Whether a path of our own is in use.
    #[must_use]
    pub fn has_words(&self) -> bool {
        !matches!(self.path, Path::Reference) && self.different().is_none()
    }

    /// The first text of which a path of our own was seen to give other ids than the reference, which has given them
    /// all since.
    #[must_use]
    pub fn different(&self) -> Option<&str> {
        self.watch.different.get().map(String::as_str)
    }

    /// The tokens that the tokenizer puts before and behind one text, when it is asked to.
    ///
    /// # Errors
    /// `TextError::Encode` when what it puts around a text depends on the text.
    pub fn around(&self) -> Result<(Vec<u32>, Vec<u32>), TextError> {
        let Some(processor) = self.frame()?.get_post_processor() else {
            return Ok((Vec::new(), Vec::new()));
        };
        // tokens that are in no vocabulary, so that they are found again
        let around = |bare: &[u32]| -> Result<_, TextError> {
            let tokens = bare.iter().map(|id| Token::new(*id, String::new(), (0, 0))).collect();
            let whole = processor
                .process(tokenizers::Encoding::from_tokens(tokens, 0), None, true)
                .map_err(|error| TextError::Encode(error.to_string()))?;
            let whole = whole.get_ids();
            let begin = whole.windows(bare.len()).position(|part| part == bare);
            Ok(begin.map(|at| (whole[..at].to_vec(), whole[at + bare.len()..].to_vec())))
        };
        match (around(&[u32::MAX])?, around(&[u32::MAX, u32::MAX - 1])?) {
            (Some(one), Some(other)) if one == other => Ok(one),
            _ => Err(TextError::Encode("what it puts around a text depends on the text".into())),
        }
    }

    /// The reference's own pipeline, without what its post-processor does to offsets.
    fn by_reference(&self, mut text: PreTokenizedString) -> Result<Encoding, TextError> {
        let refused = |error: tokenizers::Error| TextError::Encode(error.to_string());
        if let Some(splitter) = self.frame()?.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut text).map_err(refused)?;
        }
        let model = self.reference()?.get_model();
        text.tokenize(|piece| model.tokenize(piece.get())).map_err(refused)?;
        let encoding = text.into_encoding(None, 0, OffsetType::Byte).map_err(refused)?;
        #[allow(clippy::cast_possible_truncation, reason = "`encode_with` refuses texts of 4 GiB and more")]
        let offsets = encoding.get_offsets().iter().map(|&(from, to)| (from as u32, to as u32)).collect();
        Ok(Encoding { ids: encoding.get_ids().to_vec(), offsets })
    }
}

/// The crate's tokenizer.
fn read(json: &str) -> Result<tokenizers::Tokenizer, String> {
    json.parse().map_err(|error: tokenizers::Error| error.to_string())
}

/// A tokenizer with all parts but the model, in whose place is one that knows the added tokens.
///
/// Their ids are those that the crate gives: the model's, and behind them one after the other; what the file says
/// of them it does not heed.
fn frame(parts: &Parts, ids: &FxHashMap<&str, u32>) -> Option<tokenizers::Tokenizer> {
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
    let json = format!(
        r#"{{"version": {}, "added_tokens": {}, "normalizer": {}, "pre_tokenizer": {}, "post_processor": {},
            "decoder": {}, "model": {model}}}"#,
        parts.version.map_or("\"1.0\"", RawValue::get),
        parts.added_tokens.map_or("[]", RawValue::get),
        text(parts.normalizer),
        text(parts.pre_tokenizer),
        text(parts.post_processor),
        text(parts.decoder),
    );
    read(&json).ok()
}

fn added(tokenizer: &tokenizers::Tokenizer) -> Vec<AddedToken> {
    let tokens = tokenizer.get_added_tokens_decoder().into_iter();
    let mut added: Vec<_> =
        tokens.map(|(id, token)| AddedToken { content: token.content, id, special: token.special }).collect();
    added.sort_unstable_by_key(|token| token.id);
    added
}

impl Ask for Library {
    fn ask(&self, word: &str) -> Result<Vec<Token>, TextError> {
        let tokens = self.reference()?.get_model().tokenize(word);
        tokens.map_err(|error| TextError::Encode(error.to_string()))
    }
}

impl Library {
    /// Encode a text, added tokens in it or not.
    fn encode_with(&self, text: &str, added: bool) -> Result<Encoding, TextError> {
        u32::try_from(text.len()).map_err(|_| TextError::TooLong(text.len()))?;
        if self.different().is_some() {
            return self.encode_by_reference(text, added);
        }
        let own = match &self.path {
            Path::Words(words) => Some(words.encode(self, text, added)?),
            Path::Pieces(pieces) => pieces.encode(text, added),
            Path::Reference => None,
        };
        let Some(own) = own else {
            return self.encode_by_reference(text, added);
        };
        let number = self.watch.texts.fetch_add(1, Ordering::Relaxed);
        if number < UNSAMPLED || !number.is_multiple_of(SAMPLED) || text.len() > LONGEST_SAMPLED {
            return Ok(own);
        }
        let reference = self.encode_by_reference(text, added)?;
        if own.ids == reference.ids {
            return Ok(own);
        }
        let _ = self.watch.different.set(text.to_owned());
        Ok(reference)
    }

    fn encode_by_reference(&self, text: &str, added: bool) -> Result<Encoding, TextError> {
        let form = self.frame()?.get_normalizer();
        if added {
            let vocabulary = self.reference()?.get_added_vocabulary();
            return self.by_reference(vocabulary.extract_and_normalize(form, text));
        }
        let mut normalized = NormalizedString::from(text);
        if let Some(form) = form {
            form.normalize(&mut normalized).map_err(|error| TextError::Encode(error.to_string()))?;
        }
        self.by_reference(PreTokenizedString::from(normalized))
    }
}

impl Tokenizer for Library {
    fn encode(&self, text: &str) -> Result<Encoding, TextError> {
        self.encode_with(text, true)
    }

    fn encode_plain(&self, text: &str) -> Result<Encoding, TextError> {
        self.encode_with(text, false)
    }

    fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        self.reference()?
            .decode(ids, skip_special_tokens)
            .map_err(|error| TextError::Decode(error.to_string()))
    }

    fn added_tokens(&self) -> &[AddedToken] {
        &self.added
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        let added = self.added.iter().find(|added| added.content == token);
        added.map(|added| added.id).or_else(|| self.reference().ok()?.token_to_id(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = include_str!("../../../tests/templates/fixtures/chatml_tokenizer.json");

    /// A tokenizer whose own path has another vocabulary than its reference.
    fn damaged() -> Library {
        let mut file: serde_json::Value = serde_json::from_str(JSON).unwrap();
        let vocabulary = file["model"]["vocab"].as_object_mut().unwrap();
        let (a, b) = (vocabulary["a"].clone(), vocabulary["b"].clone());
        vocabulary.insert("a".into(), b);
        vocabulary.insert("b".into(), a);
        Library { json: JSON.to_owned(), ..Library::from_json(&file.to_string()).unwrap() }
    }

    #[test]
    fn a_path_that_gives_other_ids_is_left_at_the_first_sample_that_shows_it() {
        let (library, reference) = (damaged(), Library::from_json(JSON).unwrap());
        let ids = |library: &Library, text: &str| library.encode(text).unwrap().ids;
        for _ in 0..UNSAMPLED {
            assert_ne!(ids(&library, "b"), ids(&reference, "b"));
        }
        assert!(library.has_words() && library.different().is_none());
        assert_eq!(ids(&library, "ab b"), ids(&reference, "ab b"));
        assert_eq!((library.has_words(), library.different()), (false, Some("ab b")));
        assert_eq!(ids(&library, "b"), ids(&reference, "b"));
        for _ in 0..=UNSAMPLED {
            ids(&reference, "b");
        }
        assert!(reference.reference.get().is_some() && reference.has_words());
    }

    #[test]
    fn the_reference_is_read_when_it_is_needed() {
        let library = Library::from_json(JSON).unwrap();
        let ids = library.encode("some text <|im_end|>").unwrap().ids;
        assert_eq!(library.token_to_id("<|im_end|>"), ids.last().copied());
        library.around().unwrap();
        assert!(library.reference.get().is_none());
        assert_eq!(library.decode(&ids, false).unwrap(), "some text <|im_end|>");
        assert!(library.reference.get().is_some());
    }

    #[test]
    fn added_tokens_have_the_ids_that_the_reference_gives_them() {
        let mut file: serde_json::Value = serde_json::from_str(JSON).unwrap();
        let tokens = file["added_tokens"].as_array_mut().unwrap();
        for (content, id) in [("a", 9_999), ("<new>", 7), ("", 8), ("<newer>", 77_777), ("<new>", 3)] {
            let mut token = tokens[0].clone();
            (token["content"], token["id"]) = (content.into(), id.into());
            tokens.push(token);
        }
        let json = file.to_string();
        let (ours, reference) =
            (Library::from_json(&json).unwrap(), Library::from_json(&json).unwrap().without_words());
        assert!(ours.has_words());
        for text in ["<new>a<newer>b", "<newer><new>"] {
            assert_eq!(ours.encode(text).unwrap(), reference.encode(text).unwrap());
        }
        assert_eq!(ours.added_tokens(), reference.added_tokens());
        assert_eq!(ours.token_to_id("<newer>"), ours.token_to_id("<new>").map(|id| id + 1));
    }
}
