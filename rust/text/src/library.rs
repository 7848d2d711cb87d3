//! A tokenizer.json: by a path of our own where one is known, else by the `tokenizers` crate.
//!
//! The crate's tokenizer is the reference. Reading a large vocabulary takes it a second, so where a path of our own
//! is in use it is read only when somebody asks for something that only it has.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use tokenizers::{Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, Token};

use crate::around;
use crate::artifact::{self, Reader, Writer};
use crate::best::{self, Best};
use crate::bpe::Bpe;
use crate::described::Described;
use crate::frame::{Frame, Parts, added};
use crate::pieces::Pieces;
use crate::symbols::Symbols;
use crate::trim::{Trim, Trims};
use crate::unigram::Unigram;
use crate::wordpiece::{self, WordPiece};
use crate::words::{Ask, Words};
use crate::{AddedToken, Encoding, TextError, Tokenizer};

/// A tokenizer.json, loaded once and shared by all threads.
pub struct Library {
    /// Its bytes.
    json: Vec<u8>,
    reference: OnceLock<Result<tokenizers::Tokenizer, String>>,
    /// Everything but the model, where a path of our own is in use.
    frame: Option<Frame>,
    added: Vec<AddedToken>,
    /// None where the reference makes all ids.
    own: Option<Own>,
    trim: Trims,
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

/// A path of our own.
enum Own {
    Words(Box<Words>),
    Pieces(Box<Pieces>),
    WordPiece(Box<WordPiece>),
    Unigram(Box<Unigram>),
}

/// What they are told by in what is kept.
const WORDS: u8 = 0;
const PIECES: u8 = 1;

impl Library {
    /// Load a tokenizer from the text of its tokenizer.json.
    ///
    /// # Errors
    /// `TextError::Load` when it is none, or one whose ids are random (BPE dropout).
    pub fn from_json(json: &str) -> Result<Self, TextError> {
        Self::new(json.as_bytes().to_vec())
    }

    /// Load a tokenizer.json; what was made of it is kept in a folder for the next time, where it can be.
    ///
    /// # Errors
    /// As `from_json`, and where the file can't be read.
    pub fn from_file(path: &Path, kept: Option<&Path>) -> Result<Self, TextError> {
        let read = |error: io::Error| TextError::Load(format!("`{}`: {error}", path.display()));
        Self::from_bytes(fs::read(path).map_err(read)?, kept)
    }

    /// Load a tokenizer from the bytes of its tokenizer.json; as `from_file`.
    ///
    /// # Errors
    /// As `from_json`.
    pub fn from_bytes(json: Vec<u8>, kept: Option<&Path>) -> Result<Self, TextError> {
        let Some(kept) = kept.map(|folder| artifact::path(folder, &json)) else {
            return Self::new(json);
        };
        if let Some((frame, own)) = restored(&kept) {
            return Ok(Self::with_own(json, frame, own));
        }
        let library = Self::new(json)?;
        // a folder that can't be written to costs time and nothing else
        let _ = library.keep(&kept);
        Ok(library)
    }

    fn new(json: Vec<u8>) -> Result<Self, TextError> {
        if let Some((frame, own)) = own(&json) {
            return Ok(Self::with_own(json, frame, own));
        }
        let reference = read(&json).map_err(TextError::Load)?;
        if let tokenizers::ModelWrapper::BPE(model) = reference.get_model()
            && model.dropout.is_some_and(|p| p > 0.0)
        {
            return Err(TextError::Load(
                "its BPE has dropout, so ids would be random; set `dropout` to null".into(),
            ));
        }
        let added = added(&reference);
        let reference = OnceLock::from(Ok(reference));
        let (trim, watch) = Default::default();
        Ok(Self { json, reference, frame: None, added, own: None, trim, watch })
    }

    fn with_own(json: Vec<u8>, frame: Frame, own: Own) -> Self {
        let (reference, added) = (OnceLock::new(), added(&frame.tokenizer));
        let (trim, watch) = Default::default();
        Self { json, reference, frame: Some(frame), added, own: Some(own), trim, watch }
    }

    /// Write what was made of the file.
    fn keep(&self, to: &Path) -> io::Result<()> {
        let (Some(frame), Some(own)) = (&self.frame, &self.own) else {
            return Ok(());
        };
        let mut kept = Writer::default();
        kept.put(frame.json.as_bytes());
        let owner = match own {
            Own::Words(words) => {
                kept.put(&[WORDS]);
                words.bpe.store(&mut kept);
                &words.owner
            }
            Own::Pieces(pieces) => {
                kept.put(&[PIECES]);
                pieces.symbols.store(&mut kept);
                &pieces.owner
            }
            // made in less time than the file is read
            Own::WordPiece(_) | Own::Unigram(_) => return Ok(()),
        };
        kept.put(owner.seed().map_or(&[][..], |seed| seed));
        kept.write(to)
    }

    fn reference(&self) -> Result<&tokenizers::Tokenizer, TextError> {
        let read = self.reference.get_or_init(|| read(&self.json));
        read.as_ref().map_err(|error| TextError::Load(error.clone()))
    }

    /// A tokenizer with the reference's normalizer, pre-tokenizer and post-processor.
    fn frame(&self) -> Result<&tokenizers::Tokenizer, TextError> {
        self.frame.as_ref().map_or_else(|| self.reference(), |frame| Ok(&frame.tokenizer))
    }

    /// The bytes of its tokenizer.json.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The same tokenizer without a path of our own: what ours are compared with.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        self.own = None;
        self
    }

    /// Whether a path of our own is in use.
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.own.is_some() && self.different().is_none()
    }

    /// The first text of which a path of our own was seen to give other ids than the reference, which has given them
    /// all since.
    #[must_use]
    pub fn different(&self) -> Option<&str> {
        self.watch.different.get().map(String::as_str)
    }

    /// One more than the largest id.
    ///
    /// # Errors
    /// `TextError::Load` when the reference is needed and can't be read.
    pub fn vocabulary_size(&self) -> Result<usize, TextError> {
        let of_model = match &self.own {
            Some(Own::Words(words)) => words.bpe.size(),
            Some(Own::Pieces(pieces)) => pieces.symbols.size(),
            Some(Own::WordPiece(words)) => words.size,
            Some(Own::Unigram(words)) => words.best.size(),
            None => self.reference()?.get_vocab(false).values().max().map_or(0, |id| *id as usize + 1),
        };
        Ok(self.added.last().map_or(0, |token| token.id as usize + 1).max(of_model))
    }

    /// The tokens that the tokenizer puts before and behind one text, when it is asked to.
    ///
    /// # Errors
    /// `TextError::Encode` when what it puts around a text depends on the text, `TextError::Load` when nothing says
    /// what that is.
    pub fn around(&self) -> Result<(Vec<u32>, Vec<u32>), TextError> {
        let Some(processor) = self.frame()?.get_post_processor() else {
            return Ok((Vec::new(), Vec::new()));
        };
        around::around(processor)
    }

    /// Make of the offsets of a whole text what the tokenizer's post-processor does (`trim_offsets`).
    ///
    /// # Errors
    /// `TextError::Load` when the reference is needed and can't be read.
    pub fn trim(&self, made: &mut Encoding) -> Result<(), TextError> {
        let tokens = || Ok(self.reference()?.get_vocab(true));
        self.trim.apply(made, || Trim::new(self.frame()?.get_post_processor(), tokens))
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
fn read(json: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    tokenizers::Tokenizer::from_bytes(json).map_err(|error| error.to_string())
}

/// The path of our own that knows all parts of a tokenizer.json, and what stands around its model.
fn own(json: &[u8]) -> Option<(Frame, Own)> {
    let parts = Parts::of(json)?;
    if let Some(model) = wordpiece::Described::from_json(parts.model()) {
        let frame = Frame::new(&parts, &model.vocabulary())?;
        let own = WordPiece::new(&frame.tokenizer, &model)?;
        return Some((frame, Own::WordPiece(Box::new(own))));
    }
    if let Some(model) = best::Described::from_json(parts.model()) {
        let ids = model.vocabulary()?;
        let frame = Frame::new(&parts, &ids)?;
        let own = Unigram::new(&frame.tokenizer, Best::new(&model, &ids)?)?;
        return Some((frame, Own::Unigram(Box::new(own))));
    }
    let model = Described::from_json(parts.model())?;
    let ids = model.vocabulary();
    let frame = Frame::new(&parts, &ids)?;
    if let Some(mut words) = Words::new(&frame.tokenizer, || Bpe::new(&model, &ids)) {
        words.seed(&ids);
        return Some((frame, Own::Words(Box::new(words))));
    }
    let mut pieces = Pieces::new(&frame.tokenizer, |split| Symbols::new(&model, &ids, split))?;
    pieces.seed(&ids);
    Some((frame, Own::Pieces(Box::new(pieces))))
}

/// The same from what was kept.
fn restored(from: &Path) -> Option<(Frame, Own)> {
    let mut kept = Reader::open(from)?;
    let frame = Frame::read(String::from_utf8(kept.values()?).ok()?)?;
    let own = match kept.array::<u8, 1>()? {
        [WORDS] => {
            let bpe = Bpe::restore(&mut kept)?;
            let mut words = Words::new(&frame.tokenizer, || Some(bpe))?;
            words.owner.begin_with(kept.table()?);
            Own::Words(Box::new(words))
        }
        [PIECES] => {
            let symbols = Symbols::restore(&mut kept)?;
            let mut pieces = Pieces::new(&frame.tokenizer, |_| Some(symbols))?;
            pieces.owner.begin_with(kept.table()?);
            Own::Pieces(Box::new(pieces))
        }
        _ => return None,
    };
    kept.holds().then_some((frame, own))
}

impl Ask for Library {
    fn ask(&self, word: &str) -> Result<Vec<Token>, TextError> {
        let tokens = self.reference()?.get_model().tokenize(word);
        tokens.map_err(|error| TextError::Encode(error.to_string()))
    }
}

impl Library {
    fn encode_with(&self, text: &str, added: bool) -> Result<Encoding, TextError> {
        let mut out = Encoding::default();
        out.reserve(text.len());
        self.append(text, added, &mut out)?;
        Ok(out)
    }

    /// Append what a text becomes, added tokens in it matched or not; its offsets are those in itself.
    ///
    /// # Errors
    /// `TextError` when the tokenizer refuses the text; what was appended by then is of no use.
    pub fn append(&self, text: &str, added: bool, out: &mut Encoding) -> Result<(), TextError> {
        u32::try_from(text.len()).map_err(|_| TextError::TooLong(text.len()))?;
        let from = out.ids.len();
        let is_made = match &self.own {
            _ if self.different().is_some() => false,
            Some(Own::Words(words)) => words.encode(self, text, added, out).map(|()| true)?,
            Some(Own::Pieces(pieces)) => pieces.encode(text, added, out).is_some(),
            Some(Own::WordPiece(words)) => words.encode(text, added, out).is_some(),
            Some(Own::Unigram(words)) => words.encode(text, added, out).is_some(),
            None => false,
        };
        if is_made {
            let number = self.watch.texts.fetch_add(1, Ordering::Relaxed);
            if number < UNSAMPLED || !number.is_multiple_of(SAMPLED) || text.len() > LONGEST_SAMPLED {
                return Ok(());
            }
        }
        let reference = self.encode_by_reference(text, added)?;
        if is_made {
            if out.ids[from..] == reference.ids {
                return Ok(());
            }
            let _ = self.watch.different.set(text.to_owned());
        }
        out.ids.truncate(from);
        out.offsets.truncate(from);
        out.ids.extend_from_slice(&reference.ids);
        out.offsets.extend_from_slice(&reference.offsets);
        Ok(())
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
        Library { json: JSON.as_bytes().to_vec(), ..Library::from_json(&file.to_string()).unwrap() }
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
