//! BPE on characters, as `SentencePiece` has it: the characters of a word, or their bytes, to ids.
//!
//! A word is spelled as the text is, with a space where the model has its mark for one (`▁`). Most neighbouring
//! characters stand at the seam of no merge. Between two that don't, nothing can ever be joined, so that a text falls
//! into short words there, with the same tokens.

use rustc_hash::FxHashMap;

use crate::artifact::{Reader, Writer};
use crate::described::Described;
use crate::huge::upper;
use crate::merges::{MOST_TOKENS, Merges, NONE};

/// What stands for a space in the vocabulary.
pub const MARK: char = '\u{2581}';

/// Code points of a page.
const PAGE: usize = 128;
const PAGE_OF_ASCII: u32 = 128;

/// Characters and merges of a vocabulary.
pub struct Symbols {
    /// Where the ids of each page of code points begin.
    pages: Vec<u32>,
    ids: Vec<u32>,
    /// Tokens of bytes, for characters that have none.
    bytes: [u32; 256],
    merges: Merges,
    /// How early two characters of ASCII are merged.
    first: Vec<u32>,
    /// Where words are cut.
    pub seams: Seams,
    /// Bytes of each token in the text, by id.
    lengths: Vec<u32>,
}

impl Symbols {
    /// The characters and merges of a model, whose ids are these; None where it does what this can't.
    ///
    /// With `split` every mark begins a word, whatever the merges say.
    pub fn new(model: &Described, vocabulary: &FxHashMap<&str, u32>, split: bool) -> Option<Self> {
        if model.ignore_merges {
            return None;
        }
        let mut bytes = [NONE; 256];
        if model.byte_fallback {
            for (byte, id) in bytes.iter_mut().enumerate() {
                *id = vocabulary.get(format!("<0x{byte:02X}>").as_str()).copied().unwrap_or(NONE);
            }
        }
        let count = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        if count > MOST_TOKENS {
            return None;
        }
        let mut lengths = vec![NONE; count];
        // the first page is that of no character, the second ASCII's
        let mut pages = vec![0; (char::MAX as usize + 1) / PAGE];
        pages[0] = PAGE_OF_ASCII;
        let mut ids = vec![NONE; 2 * PAGE];
        for (token, id) in vocabulary {
            let marks = token.matches(MARK).count();
            let length = &mut lengths[*id as usize];
            if *length != NONE {
                return None;
            }
            *length = u32::try_from(token.len() - marks * (MARK.len_utf8() - 1)).ok()?;
            let mut chars = token.chars();
            if let (Some(c), None) = (chars.next(), chars.next())
                && c != ' '
            {
                let code = spelled(c) as usize;
                let page = &mut pages[code / PAGE];
                if *page == 0 {
                    *page = u32::try_from(ids.len()).ok()?;
                    ids.resize(ids.len() + PAGE, NONE);
                }
                ids[*page as usize + code % PAGE] = *id;
            }
        }
        let mut of_bytes = vec![false; count];
        for id in bytes.into_iter().filter(|id| *id != NONE) {
            of_bytes[id as usize] = true;
            lengths[id as usize] = 1;
        }
        // what is a byte's token and merged too may be one byte or the characters of its name
        let triples = model.triples(vocabulary)?;
        if ids[PAGE + b' ' as usize] == NONE || triples.iter().flatten().any(|id| of_bytes[*id as usize]) {
            return None;
        }
        let merges = Merges::new(&triples)?;
        let ascii = &ids[PAGE..2 * PAGE];
        let known =
            |(left, right)| if left == NONE || right == NONE { NONE } else { merges.rank(left, right) };
        let first =
            ascii.iter().flat_map(|left| ascii.iter().map(|right| (*left, *right))).map(known).collect();
        let seams = Seams::new(&model.merges()?, split);
        Some(Self { pages, ids, bytes, merges, first, seams, lengths })
    }

    /// Write them down.
    pub fn store(&self, to: &mut Writer) {
        to.put(&self.pages);
        to.put(&self.ids);
        to.put(&self.bytes);
        self.merges.store(to);
        to.put(&self.first);
        to.put(&self.seams.ascii);
        to.put(&self.seams.bits);
        to.put(&self.lengths);
    }

    /// Those that were written down.
    pub fn restore(from: &mut Reader) -> Option<Self> {
        let (pages, ids, bytes) = (from.values()?, from.values()?, from.array()?);
        let (merges, first) = (Merges::restore(from)?, from.values()?);
        let (ascii, bits): (_, Vec<u64>) = (from.array()?, from.values()?);
        let seams = Seams { ascii, shift: upper(bits.len() * 64), bits };
        Some(Self { pages, ids, bytes, merges, first, seams, lengths: from.values()? })
    }

    /// One more than the largest id.
    pub const fn size(&self) -> usize {
        self.lengths.len()
    }

    /// Bytes of a token in the text.
    pub fn length(&self, id: u32) -> u32 {
        self.lengths[id as usize]
    }

    /// Append the ids of a word; false where only the reference knows them.
    pub fn encode(&self, word: &str, ids: &mut Vec<u32>) -> bool {
        let from = ids.len();
        let ascii = &self.ids[PAGE..2 * PAGE];
        if word.is_ascii() && word.bytes().all(|byte| ascii[usize::from(byte)] != NONE) {
            let word = word.as_bytes();
            ids.extend(word.iter().map(|byte| ascii[usize::from(*byte)]));
            let pair = |at: usize| usize::from(word[at]) * PAGE + usize::from(word[at + 1]);
            self.merges.join(ids, from, |at| self.first[pair(at)]);
            return true;
        }
        for c in word.chars() {
            let code = spelled(c) as usize;
            let id = self.ids[self.pages[code / PAGE] as usize + code % PAGE];
            if id != NONE {
                ids.push(id);
                continue;
            }
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                ids.push(self.bytes[usize::from(byte)]);
                if self.bytes[usize::from(byte)] == NONE {
                    return false;
                }
            }
        }
        self.merges.join_unranked(ids, from);
        true
    }
}

/// A character's code point, or that of a space where it is the mark.
pub const fn spelled(c: char) -> u32 {
    if c as u32 == MARK as u32 { ' ' as u32 } else { c as u32 }
}

/// The pairs of characters that some merge joins: the last of what is on its left, the first of what is on its right.
///
/// Of other characters than ASCII a bit of many may be that of several pairs: then a word is longer than need be.
pub struct Seams {
    ascii: [[u64; 2]; 128],
    bits: Vec<u64>,
    shift: u32,
}

impl Seams {
    fn new(merges: &[(&str, &str)], split: bool) -> Self {
        let mut pairs: Vec<(u32, u32)> = merges
            .iter()
            .filter_map(|(left, right)| {
                Some((spelled(left.chars().next_back()?), spelled(right.chars().next()?)))
            })
            .filter(|(_, right)| !(split && *right == u32::from(' ')))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let size = (pairs.len() * 16).next_power_of_two().max(64);
        let mut seams = Self { ascii: [[0; 2]; 128], bits: vec![0; size / 64], shift: upper(size) };
        for (left, right) in pairs {
            if left < 128 && right < 128 {
                seams.ascii[left as usize][right as usize / 64] |= 1 << (right % 64);
            } else {
                let bit = seams.bit(left, right);
                seams.bits[bit / 64] |= 1 << (bit % 64);
            }
        }
        seams
    }

    /// Whether a merge may join what ends in one character and what begins with another, both spelled.
    #[inline]
    pub fn joins(&self, left: u32, right: u32) -> bool {
        if left < 128 && right < 128 {
            return self.ascii[left as usize][right as usize / 64] >> (right % 64) & 1 != 0;
        }
        let bit = self.bit(left, right);
        self.bits[bit / 64] >> (bit % 64) & 1 != 0
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the upper bits, as many as there are")]
    const fn bit(&self, left: u32, right: u32) -> usize {
        ((((left as u64) << 21) | right as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}
