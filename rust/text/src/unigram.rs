//! The path of Unigram: pipelines that write `▁` for spaces, and take the tokens that score highest.
//!
//! ```text
//! text -> added tokens | segments -> normalized characters -> words, which begin with a mark -> ids
//! ```
//!
//! Where each character of a segment is normalized by itself, it is cut into words as it stands, and what a word
//! becomes is kept in a table of the calling thread, by its bytes in the text. Any other segment is normalized first: the
//! characters around one that may be taken together with others by the reference.

use serde_json::json;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{NormalizerWrapper, Tokenizer};
use unicode_segmentation::UnicodeSegmentation;

use crate::added::Added;
use crate::best::{Best, Places};
use crate::characters::{Characters, Kind, Rule};
use crate::kept::{Kept, WAITING};
use crate::owner::Owner;
use crate::spread::{Spread, Token};
use crate::symbols::MARK;
use crate::{Encoding, offset};

/// A tokenizer's pipeline, if it is one that this file knows.
pub struct Unigram {
    owner: Owner,
    added: Added,
    characters: Characters,
    form: Form,
    cut: Cut,
    /// The tokens.
    pub best: Best,
}

/// What a normalizer does.
struct Form {
    /// Whether it maps characters.
    maps: bool,
    /// Whether white space at a segment's end is left out.
    strips: bool,
    /// Whether several spaces in a row are one.
    collapses: bool,
}

/// Where words begin.
struct Cut {
    /// Whether all white space ends words and is left out, so that each begins with a mark of its own.
    separates: bool,
    /// Whether a mark begins a word.
    splits: bool,
    prefix: PrependScheme,
}

impl Unigram {
    /// The path of a pipeline, or None where only the reference knows what to do.
    pub fn new(tokenizer: &Tokenizer, best: Best) -> Option<Self> {
        let (charsmap, strips, several) = read_normalizer(tokenizer.get_normalizer())?;
        let (separates, space) = read_splitter(tokenizer.get_pre_tokenizer()?)?;
        let (prefix, splits) = (space.prepend_scheme, space.split);
        // a mark that is written for several spaces is no white space
        let knows_separate = prefix == PrependScheme::Always && several != Some(MARK);
        if space.get_replacement() != MARK || separates && !knows_separate {
            return None;
        }
        let rule = Rule::Spaces { graphemes: charsmap.is_some(), all: separates };
        let characters = Characters::new(charsmap.clone(), None, rule);
        let alike = |_: &str, _| tokenizer.get_normalizer().is_none();
        Some(Self {
            owner: Owner::default(),
            added: Added::new(tokenizer, alike)?,
            characters,
            form: Form { maps: charsmap.is_some(), strips, collapses: several.is_some() },
            cut: Cut { separates, splits, prefix },
            best,
        })
    }

    /// Append what a text becomes, added tokens in it matched or not; None when the reference has to make it.
    pub fn encode(&self, text: &str, added: bool, out: &mut Encoding) -> Option<()> {
        self.owner.with_kept(|kept| {
            let mut writer = Writer {
                pipeline: self,
                text,
                kept,
                waiting: Vec::with_capacity(WAITING),
                spread: Spread::default(),
                word: Spread::default(),
                places: Places::default(),
                tokens: Vec::new(),
                out,
            };
            let mut from = 0;
            for (begin, end, id) in if added { self.added.find(text) } else { Vec::new() } {
                writer.segment(from, begin)?;
                writer.out.push(id, begin, end);
                from = end;
            }
            writer.segment(from, text.len())
        })
    }

    /// Whether something becomes of a text's first character, by itself and with others: what the reference leaves out at
    /// a text's beginning changes where everything behind it is said to be from.
    fn begins(&self, text: &str) -> bool {
        let becomes = |part: &str| self.characters.made(part).is_some_and(|made| !made.is_empty());
        let first = text.chars().next().map_or(0, char::len_utf8);
        !self.form.maps || becomes(&text[..first]) && text.graphemes(true).next().is_some_and(becomes)
    }

    /// Whether a character is normalized by itself.
    fn is_loose(&self, c: char) -> bool {
        matches!(self.characters.kind(c), Kind::Word | Kind::Space)
    }
}

struct Writer<'a> {
    pipeline: &'a Unigram,
    text: &'a str,
    kept: &'a mut Kept,
    /// Words that were found and not yet written: where each begins and ends, and whether it begins with a space rather
    /// than with a mark that is put before it.
    waiting: Vec<(u32, u32, bool)>,
    /// A segment that is normalized.
    spread: Spread,
    /// The word that is being made, and its tokens.
    word: Spread,
    places: Places,
    tokens: Vec<Token>,
    out: &'a mut Encoding,
}

impl Writer<'_> {
    /// Write what lies between added tokens; None where only the reference can.
    fn segment(&mut self, from: usize, to: usize) -> Option<()> {
        // white space that belongs to two added tokens: nothing is between them
        if from >= to {
            return Some(());
        }
        let written = self.out.ids.len();
        if self.pipeline.cut.splits && self.as_it_stands(from, to).is_some() {
            return Some(());
        }
        self.waiting.clear();
        self.out.ids.truncate(written);
        self.out.offsets.truncate(written);
        self.normalize(from, to)?;
        self.write_normalized(from);
        Some(())
    }

    /// Whether a mark is put before a segment that begins with none.
    fn is_prefixed(&self, from: usize) -> bool {
        match self.pipeline.cut.prefix {
            PrependScheme::Always => true,
            PrependScheme::First => from == 0,
            PrependScheme::Never => false,
        }
    }

    /// Write a segment of which every character is normalized by itself; None where one is not.
    fn as_it_stands(&mut self, from: usize, to: usize) -> Option<()> {
        let (pipeline, text) = (self.pipeline, self.text);
        let (collapses, separates) = (pipeline.form.collapses, pipeline.cut.separates);
        let to = if pipeline.form.strips { self.stripped(from, to)? } else { to };
        let mut at = from;
        let mut word = from;
        while at < to {
            let (kind, width) = pipeline.characters.kind_at(text, at);
            match kind {
                Kind::Word => {}
                Kind::Space => {
                    // of spaces in a row the last begins the next word
                    let alone = word < at
                        && (!collapses
                            || pipeline.characters.kind_at(text, word) != (Kind::Space, at - word));
                    if alone {
                        self.wait(word, at, from)?;
                    }
                    word = if separates { at + width } else { at };
                }
                _ => return None,
            }
            at += width;
        }
        if word < to {
            self.wait(word, to, from)?;
        }
        self.write()
    }

    /// Where a segment ends without the white space at its end; None where that is not told from each character.
    fn stripped(&self, from: usize, to: usize) -> Option<usize> {
        let mut end = to;
        for c in self.text[from..to].chars().rev() {
            match self.pipeline.characters.kind(c) {
                Kind::Space => end -= c.len_utf8(),
                Kind::Word => {
                    let mut blank = true;
                    self.pipeline.characters.each(c, |c| blank = c.is_whitespace());
                    return (!blank).then_some(end);
                }
                _ => return None,
            }
        }
        Some(end)
    }

    #[inline]
    fn wait(&mut self, from: usize, to: usize, segment: usize) -> Option<()> {
        if self.waiting.len() == WAITING {
            self.write()?;
        }
        let prefixed = self.pipeline.cut.separates
            || from == segment
                && self.is_prefixed(segment)
                && self.pipeline.characters.kind_at(self.text, from).0 != Kind::Space;
        self.waiting.push((offset(from), offset(to), !prefixed));
        Some(())
    }

    /// Write the words that wait.
    fn write(&mut self) -> Option<()> {
        let Self { pipeline, text, kept, waiting, word, places, tokens, out, .. } = self;
        let missing = |kept: &mut Kept, out: &mut Encoding, (from, to, kind): (usize, usize, bool)| {
            let piece = &text[from..to];
            if kept.write_large(piece.as_bytes(), from, kind, out) {
                return Ok::<(), ()>(());
            }
            word.clear();
            if let (false, Some(first)) = (kind, piece.chars().next()) {
                word.push(MARK, 0, first.len_utf8());
            }
            for (at, c) in piece.char_indices() {
                pipeline.characters.each(c, |made| {
                    word.push(if made == ' ' { MARK } else { made }, at, at + c.len_utf8());
                });
            }
            pipeline.best.tokens(&word.chars, places, tokens);
            word.write(tokens, from, out);
            word.keep(tokens, piece, kind, kept);
            Ok(())
        };
        let written = kept.write(text.as_bytes(), waiting, out, missing);
        self.waiting.clear();
        written.ok()
    }

    /// Normalize a segment; None where the reference shows characters as from others than they are from.
    fn normalize(&mut self, from: usize, to: usize) -> Option<()> {
        let (pipeline, text) = (self.pipeline, self.text);
        self.spread.clear();
        let mut chars =
            text[from..to].char_indices().map(|(at, c)| (from + at, c, pipeline.is_loose(c))).peekable();
        while let Some((at, c, loose)) = chars.next() {
            if loose && chars.peek().is_none_or(|next| next.2) {
                pipeline.characters.each(c, |made| self.spread.push(made, at, at + c.len_utf8()));
                continue;
            }
            if !loose && at == from && !pipeline.begins(&text[at..to]) {
                return None;
            }
            // up to a loose character with another behind it
            let (mut end, mut last) = (at + c.len_utf8(), loose);
            while let Some((next, c, loose)) = chars.next_if(|next| !(last && next.2)) {
                (end, last) = (next + c.len_utf8(), loose);
            }
            for made in pipeline.characters.made(&text[at..end])? {
                self.spread.push(made.c, at + made.from, at + made.to);
            }
        }
        Some(())
    }

    /// Write the segment that was normalized.
    fn write_normalized(&mut self, segment: usize) {
        let Unigram { form, cut, .. } = self.pipeline;
        let spread = std::mem::take(&mut self.spread);
        let mut end = spread.chars.len();
        while form.strips && end > 0 && spread.chars[end - 1].is_whitespace() {
            end -= 1;
        }
        // whether a mark is missing before what comes
        let mut missing = cut.separates || self.is_prefixed(segment);
        self.word.clear();
        for (at, (&c, &(from, to))) in spread.chars[..end].iter().zip(&spread.ranges).enumerate() {
            if cut.separates && c.is_whitespace() {
                self.write_word();
                missing = true;
                continue;
            }
            if form.collapses && c == ' ' && at + 1 < end && spread.chars[at + 1] == ' ' {
                continue;
            }
            let is_mark = c == ' ' || c == MARK;
            if is_mark && cut.splits {
                self.write_word();
            }
            if !is_mark && missing {
                self.word.push(MARK, from, to);
            }
            missing = false;
            self.word.push(if is_mark { MARK } else { c }, from, to);
        }
        self.write_word();
        self.spread = spread;
    }

    /// Write the word that is complete.
    fn write_word(&mut self) {
        if !self.word.chars.is_empty() {
            self.pipeline.best.tokens(&self.word.chars, &mut self.places, &mut self.tokens);
            self.word.write(&self.tokens, 0, self.out);
            self.word.clear();
        }
    }
}

/// What a normalizer does: its map of characters, whether it strips what is at a text's end, and what it writes for several
/// spaces; None where it does anything else.
type Steps = (Option<NormalizerWrapper>, bool, Option<char>);

fn read_normalizer(normalizer: Option<&NormalizerWrapper>) -> Option<Steps> {
    let mut parts = match normalizer {
        None => &[],
        Some(NormalizerWrapper::Sequence(parts)) => parts.as_ref(),
        Some(one) => std::slice::from_ref(one),
    };
    let mut charsmap = None;
    if let [first @ NormalizerWrapper::Precompiled(_), rest @ ..] = parts {
        (charsmap, parts) = (Some(first.clone()), rest);
    }
    let mut strips = false;
    if let [NormalizerWrapper::StripNormalizer(strip), rest @ ..] = parts
        && !strip.strip_left
        && strip.strip_right
    {
        (strips, parts) = (true, rest);
    }
    match parts {
        [] => Some((charsmap, strips, None)),
        [replace] => {
            let replace = serde_json::to_value(replace).ok()?;
            let writes = |content| {
                replace == json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content})
            };
            Some((charsmap, strips, Some([' ', MARK].into_iter().find(|content| writes(*content))?)))
        }
        _ => None,
    }
}

/// Whether a pre-tokenizer leaves out white space first, and how it writes marks; None where it does anything else.
fn read_splitter(splitter: &PreTokenizerWrapper) -> Option<(bool, &Metaspace)> {
    match splitter {
        PreTokenizerWrapper::Metaspace(space) => Some((false, space)),
        PreTokenizerWrapper::Sequence(parts) => match parts.as_ref() {
            [PreTokenizerWrapper::WhitespaceSplit(_), PreTokenizerWrapper::Metaspace(space)] => {
                Some((true, space))
            }
            [one] => read_splitter(one),
            _ => None,
        },
        _ => None,
    }
}
