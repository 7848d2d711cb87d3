//! What a pipeline makes of a character, where it treats each by itself.
//!
//! It is read out of the reference, for the 256 code points of a page when the first of them is met: all of them go
//! through its normalizer and its pre-tokenizer in one text, each between two letters, and what comes out says by its
//! offsets where it is from.

use std::sync::OnceLock;

use tokenizers::{
    NormalizedString, Normalizer, NormalizerWrapper, OffsetType, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper, Token,
};
use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_segmentation::UnicodeSegmentation;

use crate::symbols::MARK;

/// What becomes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It ends a word and is no part of any.
    Space,
    /// It is a word by itself.
    Alone,
    /// It is part of a word.
    Word,
    /// It is left out, and what is on its two sides is one word.
    Gone,
    /// Only the reference knows, from what is around it.
    Unknown,
}

const KINDS: [Kind; 5] = [Kind::Space, Kind::Alone, Kind::Word, Kind::Gone, Kind::Unknown];

/// Code points of a page.
const PAGE: u32 = 256;
/// Pages of Han characters, and of nothing else: none of them is decomposed, has two cases, is a mark, a number or
/// punctuation, so that they are what those of the page before are.
const ALIKE: std::ops::Range<u32> = 0x4f..0xa0;
/// The letter between two characters.
const LETTER: char = 'x';

/// Where the kind stands in an entry, above a code point or the place of several.
const KIND_BITS: u32 = 24;
const MANY: u32 = 1 << 28;
const CODE: u32 = (1 << 21) - 1;

/// What says of which kind a character is.
#[derive(Clone, Copy)]
pub enum Rule {
    /// The pre-tokenizer, but that nothing is known of combining marks where the normalizer `decomposes`, and so may
    /// change their places.
    Split { decomposes: bool },
    /// What becomes of it: a space is a `Space`. Nothing is known of what becomes a space and something else, a mark for
    /// one, or nothing; nor, where the normalizer takes `graphemes` whole, of what may be in one with another character.
    /// With `all` that is said of all white space.
    Spaces { graphemes: bool, all: bool },
}

/// The characters of a pipeline.
pub struct Characters {
    normalizer: Option<NormalizerWrapper>,
    splitter: Option<PreTokenizerWrapper>,
    rule: Rule,
    pages: Vec<OnceLock<Page>>,
    /// The kinds of ASCII.
    ascii: [Kind; 128],
}

/// A character that came out: the bytes that it is from, and the number of its word.
pub struct Made {
    pub c: char,
    pub from: usize,
    pub to: usize,
    word: usize,
}

struct Page {
    entries: [u32; PAGE as usize],
    many: Vec<Box<[char]>>,
}

impl Characters {
    /// The characters of a normalizer and a pre-tokenizer that treat each by itself, but for what the rule says.
    pub fn new(
        normalizer: Option<NormalizerWrapper>,
        splitter: Option<PreTokenizerWrapper>,
        rule: Rule,
    ) -> Self {
        let pages = (0..=char::MAX as usize / PAGE as usize).map(|_| OnceLock::new()).collect();
        let mut made = Self { normalizer, splitter, rule, pages, ascii: [Kind::Unknown; 128] };
        made.ascii = std::array::from_fn(|code| made.kind(char::from(code.to_le_bytes()[0])));
        made
    }

    /// What becomes of a character.
    #[inline]
    pub fn kind(&self, c: char) -> Kind {
        let (entry, _) = self.entry(c);
        KINDS[(entry >> KIND_BITS & 7) as usize]
    }

    /// What becomes of the character at a place of a text, and its bytes.
    #[inline]
    pub fn kind_at(&self, text: &str, at: usize) -> (Kind, usize) {
        match text.as_bytes()[at] {
            byte @ 0..128 => (self.ascii[usize::from(byte)], 1),
            _ => text[at..].chars().next().map_or((Kind::Unknown, 1), |c| (self.kind(c), c.len_utf8())),
        }
    }

    /// Give the characters that it becomes.
    #[inline]
    pub fn each(&self, c: char, mut give: impl FnMut(char)) {
        let (entry, page) = self.entry(c);
        if entry & MANY != 0 {
            page.many[(entry & CODE) as usize].iter().copied().for_each(give);
        } else if let Some(one) = char::from_u32(entry & CODE) {
            give(one);
        }
    }

    #[inline]
    fn entry(&self, c: char) -> (u32, &Page) {
        let number = u32::from(c) / PAGE;
        let page = self.pages[number as usize].get_or_init(|| self.read(number));
        (page.entries[(u32::from(c) % PAGE) as usize], page)
    }

    /// Read a page, out of the reference or from the one before those that are all like it.
    fn read(&self, number: u32) -> Page {
        if matches!(self.rule, Rule::Split { .. }) && ALIKE.contains(&number) {
            let first = self.pages[ALIKE.start as usize - 1].get_or_init(|| self.read(ALIKE.start - 1));
            let (kind, from) = (first.entries[0] >> KIND_BITS, (ALIKE.start - 1) * PAGE);
            if (from..).zip(&first.entries).all(|(code, entry)| *entry == kind << KIND_BITS | code) {
                let mut codes = number * PAGE..;
                let own = std::array::from_fn(|_| kind << KIND_BITS | codes.next().unwrap_or(0));
                return Page { entries: own, many: Vec::new() };
            }
        }
        self.read_out(number)
    }

    /// Read a page out of the reference.
    fn read_out(&self, number: u32) -> Page {
        let mut page =
            Page { entries: [Kind::Unknown as u32 * (1 << KIND_BITS); PAGE as usize], many: Vec::new() };
        let chars: Vec<char> = (number * PAGE..(number + 1) * PAGE).filter_map(char::from_u32).collect();
        let mut text = String::from(LETTER);
        for c in &chars {
            text.extend([*c, LETTER]);
        }
        let Some(made) = self.made(&text) else {
            return page;
        };
        // where a character that came out is from: those from elsewhere than one character are from none
        let mut parts = made.iter().peekable();
        let mut next = |from: usize, to: usize| {
            let mut found = Vec::new();
            while let Some(part) = parts.next_if(|part| part.to <= to) {
                found.push((part.from == from && part.to == to).then_some(part));
            }
            found.into_iter().collect::<Option<Vec<&Made>>>()
        };
        let letter = |parts: Option<Vec<&Made>>| match parts?[..] {
            [part] if part.c == LETTER => Some(part.word),
            _ => None,
        };
        let mut at = 1;
        let mut before = letter(next(0, at));
        for c in chars {
            let own = next(at, at + c.len_utf8());
            at += c.len_utf8() + 1;
            let after = letter(next(at - 1, at));
            if let (Some(own), Some(before), Some(after)) = (own, before, after) {
                page.enter(c, self.kind_of(c, &own, before, after), &own);
            }
            before = after;
        }
        page
    }

    /// Of which kind a character is, by what it becomes and the words before and behind it.
    fn kind_of(&self, c: char, own: &[&Made], before: usize, after: usize) -> Kind {
        let first = match own.first() {
            Some(first) => first.word,
            None if before == after => return Kind::Gone,
            None => return Kind::Space,
        };
        let uncertain = match self.rule {
            Rule::Split { decomposes } => {
                decomposes && own.iter().any(|part| canonical_combining_class(part.c) != 0)
            }
            Rule::Spaces { graphemes, all } => {
                let is_space = |part: &&Made| part.c == ' ' || all && part.c.is_whitespace();
                let certain = !graphemes || stands_alone(c);
                if certain && own.len() == 1 && own.iter().all(is_space) {
                    return Kind::Space;
                }
                !certain || own.iter().any(|part| is_space(part) || part.c == MARK)
            }
        };
        match (first == before, first == after) {
            _ if uncertain || own.iter().any(|part| part.word != first) => Kind::Unknown,
            (true, true) => Kind::Word,
            (false, false) => Kind::Alone,
            _ => Kind::Unknown,
        }
    }

    /// The characters that the reference makes of a text.
    pub fn made(&self, text: &str) -> Option<Vec<Made>> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = &self.normalizer {
            normalizer.normalize(&mut normalized).ok()?;
        }
        let mut words = PreTokenizedString::from(normalized);
        if let Some(splitter) = &self.splitter {
            splitter.pre_tokenize(&mut words).ok()?;
        }
        let token = |(at, c): (usize, char)| Token::new(u32::from(c), String::new(), (at, at + c.len_utf8()));
        words.tokenize(|word| Ok(word.get().char_indices().map(token).collect())).ok()?;
        let encoding = words.into_encoding(None, 0, OffsetType::Byte).ok()?;
        let parts = encoding.get_ids().iter().zip(encoding.get_offsets()).zip(encoding.get_word_ids());
        parts
            .map(|((c, (from, to)), word)| {
                Some(Made { c: char::from_u32(*c)?, from: *from, to: *to, word: (*word)? as usize })
            })
            .collect()
    }
}

/// Whether a character is a grapheme by itself between any others of which that is so: it joins neither a letter, nor
/// itself, nor a line's end.
fn stands_alone(c: char) -> bool {
    let text: String = [LETTER, c, LETTER, c, c, '\n'].iter().collect();
    text.graphemes(true).count() == text.chars().count()
}

impl Page {
    fn enter(&mut self, c: char, kind: Kind, own: &[&Made]) {
        let text = if let [one] = own {
            u32::from(one.c)
        } else {
            self.many.push(own.iter().map(|part| part.c).collect());
            MANY | u32::try_from(self.many.len() - 1).unwrap_or(0)
        };
        self.entries[(u32::from(c) % PAGE) as usize] = (kind as u32) << KIND_BITS | text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_that_are_said_to_be_alike_are_alike_in_the_reference() {
        let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                          "strip_accents": null, "lowercase": true});
        let forms = ["NFKD", "StripAccents", "Lowercase"].map(|form| json!({"type": form}));
        let splitters = [
            json!({"type": "BertPreTokenizer"}),
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": true},
                {"type": "Punctuation", "behavior": "Isolated"},
            ]}),
        ];
        let mut kinds = Vec::new();
        for normalizer in [bert, json!({"type": "Sequence", "normalizers": forms})] {
            for splitter in &splitters {
                let normalizer = serde_json::from_value(normalizer.clone()).unwrap();
                let splitter = serde_json::from_value(splitter.clone()).unwrap();
                let characters =
                    Characters::new(Some(normalizer), Some(splitter), Rule::Split { decomposes: true });
                for number in ALIKE {
                    assert_eq!(characters.read(number).entries, characters.read_out(number).entries);
                }
                kinds.push(characters.kind('\u{6587}'));
            }
        }
        assert_eq!(kinds, [Kind::Alone, Kind::Alone, Kind::Word, Kind::Word]);
    }
}
