//! What words become, for those that come again: two tables of fixed size for each thread.
//!
//! Words of up to 15 bytes that are up to three tokens, which most are, take 32 bytes; those of up to 31 bytes
//! and six tokens take 64.

use bytemuck::{Pod, Zeroable};

use crate::huge::Table;
use crate::{Encoding, offset};

/// Slots of either table: 4 MB and 4 MB.
const SMALL: usize = 1 << 17;
const LARGE: usize = 1 << 16;

/// Bytes of the longest word that is kept.
pub const MOST: usize = 31;

/// Tokens of a word that is kept, at most.
pub const TOKENS: usize = 6;

/// Bytes of the longest word that tables begin with.
pub const SEEDED: usize = 15;

/// Words that are looked up at a time, so that their places in memory are waited for together.
pub const WAITING: usize = 64;

/// Words and their ids; of the words that meet in one place the last two stay.
pub struct Kept {
    small: Table<Small>,
    large: Table<Large>,
}

/// A word of up to three tokens.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(32))]
pub struct Small {
    /// The word's bytes, and their number in the last; no word has the key 0.
    key: u128,
    ids: [u32; 3],
    /// 0 for a word that has more, which the other table keeps.
    count: u8,
    /// Bytes of the first two tokens.
    lengths: [u8; 2],
    rest: u8,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Large {
    key: [u128; 2],
    ids: [u32; TOKENS],
    count: u8,
    /// Bytes of each token.
    lengths: [u8; TOKENS],
    rest: u8,
}

impl Default for Kept {
    fn default() -> Self {
        Self::from(Table::zeroed(SMALL))
    }
}

/// Tables that begin with what others kept.
impl From<Table<Small>> for Kept {
    fn from(small: Table<Small>) -> Self {
        Self { small, large: Table::zeroed(LARGE) }
    }
}

impl Small {
    /// Its ids and where each ends, with the word beginning at `from` and ending at `to`; how many of the three count.
    #[inline]
    pub fn tokens(&self, from: u32, to: u32) -> ([u32; 3], [(u32, u32); 3], usize) {
        let one = from + u32::from(self.lengths[0]);
        let two = one + u32::from(self.lengths[1]);
        let ends = match self.count {
            1 => [(from, to), (0, 0), (0, 0)],
            2 => [(from, one), (one, to), (0, 0)],
            _ => [(from, one), (one, two), (two, to)],
        };
        (self.ids, ends, usize::from(self.count))
    }
}

impl Kept {
    /// What other tables can begin with.
    pub fn into_seed(self) -> Table<Small> {
        self.small
    }

    /// What is no word's key.
    pub const NO_KEY: u128 = u128::MAX;

    /// The key of `text[from..to]`, a word of 1 to 15 bytes of one of two kinds; None for any other.
    #[inline]
    pub fn key(text: &[u8], from: usize, to: usize, kind: bool) -> Option<u128> {
        let length = to - from;
        if length == 0 || length > 15 {
            return None;
        }
        let bytes = match text.get(from..from + 16).and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => bytes,
            None => padded(&text[from..to]),
        };
        Some(u128::from_le_bytes(bytes) & MASKS[length] | (length as u128) << 120 | u128::from(kind) << 127)
    }

    /// Where the word of a key is, if it is there.
    #[inline]
    pub const fn place(key: u128) -> usize {
        place::<SMALL>(mixed(key))
    }

    /// The ids of a word of up to 15 bytes, if they are there.
    #[inline]
    pub fn small(&self, key: u128, place: usize) -> Option<&Small> {
        self.small.get(place..place + 2)?.iter().find(|slot| slot.key == key)
    }

    /// The ids of any other word, if they are there.
    #[inline]
    pub fn large(&self, word: &[u8], kind: bool) -> Option<&[u32]> {
        self.large_tokens(word, kind).map(|(ids, _)| ids)
    }

    /// The ids of any other word and the bytes of each, if they are there.
    #[inline]
    pub fn large_tokens(&self, word: &[u8], kind: bool) -> Option<(&[u32], &[u8])> {
        if let Some(key) = Self::key(word, 0, word.len(), kind)
            && self.small(key, Self::place(key)).is_none_or(|slot| slot.count > 0)
        {
            return None;
        }
        let key = long_key(word, kind)?;
        let place = place::<LARGE>(mixed(key[0]) ^ mixed(key[1]).rotate_left(32));
        let slot = self.large[place..place + 2].iter().find(|slot| slot.key == key)?;
        let count = usize::from(slot.count);
        Some((&slot.ids[..count], &slot.lengths[..count]))
    }

    /// Write the tokens of any other word that begins at `from`, if they are there.
    pub fn write_large(&self, word: &[u8], from: usize, kind: bool, out: &mut Encoding) -> bool {
        let Some((ids, lengths)) = self.large_tokens(word, kind) else {
            return false;
        };
        out.ids.extend_from_slice(ids);
        out.offsets.extend(lengths.iter().scan(offset(from), |at, length| {
            let begin = *at;
            *at += u32::from(*length);
            Some((begin, *at))
        }));
        true
    }

    /// The ids of a word of any length, if they are there.
    pub fn ids(&self, word: &[u8], kind: bool) -> Option<&[u32]> {
        let slot = Self::key(word, 0, word.len(), kind).and_then(|key| self.small(key, Self::place(key)));
        match slot {
            Some(slot) if slot.count > 0 => Some(&slot.ids[..usize::from(slot.count)]),
            _ => self.large(word, kind),
        }
    }

    /// Write the tokens of words of a text, each told by where it begins and ends and its kind; `missing` writes those
    /// that the first table lacks.
    ///
    /// Their places in the table are read once before they are looked up, with nothing between that depends on what is
    /// there, so that the processor waits for many of them at a time.
    pub fn write<E>(
        &mut self,
        text: &[u8],
        words: &[(u32, u32, bool)],
        out: &mut Encoding,
        mut missing: impl FnMut(&mut Self, &mut Encoding, (usize, usize, bool)) -> Result<(), E>,
    ) -> Result<(), E> {
        for words in words.chunks(WAITING) {
            let mut keys = [(Self::NO_KEY, 0); WAITING];
            for ((from, to, kind), place) in words.iter().zip(&mut keys) {
                if let Some(key) = Self::key(text, *from as usize, *to as usize, *kind) {
                    *place = (key, Self::place(key));
                }
            }
            let small: &[Small] = &self.small;
            let touched =
                keys[..words.len()].iter().fold(0, |touched, (_, place)| touched | small[*place].count);
            std::hint::black_box(touched);
            let (mut ids, mut offsets) = ([0; WAITING * 3], [(0, 0); WAITING * 3]);
            let mut next = 0;
            while next < words.len() {
                let mut count = 0;
                let mut lacking = None;
                let small: &[Small] = &self.small;
                for ((from, to, kind), (key, place)) in words.iter().zip(&keys).skip(next) {
                    next += 1;
                    let Some(slot) =
                        small[*place..*place + 2].iter().find(|slot| slot.key == *key && slot.count > 0)
                    else {
                        lacking = Some((*from as usize, *to as usize, *kind));
                        break;
                    };
                    let (some, ends, more) = slot.tokens(*from, *to);
                    ids[count..count + 3].copy_from_slice(&some);
                    offsets[count..count + 3].copy_from_slice(&ends);
                    count += more;
                }
                out.ids.extend_from_slice(&ids[..count]);
                out.offsets.extend_from_slice(&offsets[..count]);
                if let Some(word) = lacking {
                    missing(self, out, word)?;
                }
            }
        }
        Ok(())
    }

    /// Keep the ids of a word, and the bytes of each, unless there are too many.
    #[allow(clippy::cast_possible_truncation, reason = "a word that is kept has at most 31 bytes")]
    pub fn put(&mut self, word: &[u8], kind: bool, ids: &[u32], length: impl Fn(u32) -> u32) {
        if let Some(lengths) = [0; TOKENS].get_mut(..ids.len()) {
            for (kept, id) in lengths.iter_mut().zip(ids) {
                *kept = length(*id) as u8;
            }
            self.put_tokens(word, kind, ids, lengths);
        }
    }

    /// Keep the ids of a word and the bytes of each, which follow upon one another, unless there are too many.
    #[allow(clippy::cast_possible_truncation, reason = "at most six tokens")]
    pub fn put_tokens(&mut self, word: &[u8], kind: bool, ids: &[u32], lengths: &[u8]) {
        if ids.is_empty() || ids.len() > TOKENS {
            return;
        }
        if let Some(key) = Self::key(word, 0, word.len(), kind) {
            let place = Self::place(key);
            self.small[place + 1] = self.small[place];
            let slot = &mut self.small[place];
            *slot = Small { key, ..Small::zeroed() };
            if let Some(kept) = slot.ids.get_mut(..ids.len()) {
                kept.copy_from_slice(ids);
                slot.count = ids.len() as u8;
                for (kept, length) in slot.lengths.iter_mut().zip(lengths) {
                    *kept = *length;
                }
                return;
            }
        }
        if let Some(key) = long_key(word, kind) {
            let place = place::<LARGE>(mixed(key[0]) ^ mixed(key[1]).rotate_left(32));
            self.large[place + 1] = self.large[place];
            let slot = &mut self.large[place];
            (slot.key, slot.count) = (key, ids.len() as u8);
            slot.ids[..ids.len()].copy_from_slice(ids);
            slot.lengths[..ids.len()].copy_from_slice(lengths);
        }
    }
}

/// Ones for the first bytes.
const MASKS: [u128; 16] = {
    let (mut masks, mut at) = ([0; 16], 1);
    while at < 16 {
        masks[at] = (1 << (8 * at)) - 1;
        at += 1;
    }
    masks
};

fn padded(word: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..word.len()].copy_from_slice(word);
    bytes
}

/// The key of a word of up to `MOST` bytes.
fn long_key(word: &[u8], kind: bool) -> Option<[u128; 2]> {
    let length = u8::try_from(word.len()).ok().filter(|length| (1..=MOST).contains(&usize::from(*length)))?;
    let mut bytes = [0; 32];
    bytes[..word.len()].copy_from_slice(word);
    bytes[31] = length | u8::from(kind) << 7;
    let (low, high) = bytes.split_at(16);
    Some([u128::from_le_bytes(low.try_into().ok()?), u128::from_le_bytes(high.try_into().ok()?)])
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "both halves")]
const fn mixed(key: u128) -> u64 {
    (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The first of a word's two slots.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper bits")]
const fn place<const SLOTS: usize>(mixed: u64) -> usize {
    (mixed >> (64 - SLOTS.trailing_zeros() + 1)) as usize * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kept: &Kept, word: &[u8]) -> Option<Vec<u32>> {
        kept.ids(word, false).map(<[u32]>::to_vec)
    }

    #[test]
    fn a_word_has_its_own_ids_or_none() {
        let mut kept = Kept::default();
        let words: Vec<String> = (0..400_000)
            .map(|number| format!("w{number}{}", ["", " and a longer one"][number % 2]))
            .collect();
        let ids = |number: usize| [u32::try_from(number).unwrap(), 7, 8, 9, 10, 11][..=number % 6].to_vec();
        for (number, word) in words.iter().enumerate() {
            kept.put(word.as_bytes(), false, &ids(number), |_| 2);
        }
        let mut found = 0;
        for (number, word) in words.iter().enumerate() {
            if let Some(kept) = find(&kept, word.as_bytes()) {
                assert_eq!(kept, ids(number));
                found += 1;
            }
        }
        assert!(found > LARGE, "{found}");
    }

    #[test]
    fn the_tokens_of_a_word_end_where_their_bytes_do() {
        let mut kept = Kept::default();
        for (word, ids) in [("abcdefghi", &[4][..]), ("bcdefghi", &[4, 3]), ("cdefghi", &[4, 2, 1])] {
            kept.put(word.as_bytes(), false, ids, |id| id);
        }
        let tokens = |word: &str| {
            let key = Kept::key(word.as_bytes(), 0, word.len(), false).unwrap();
            let to = 100 + u32::try_from(word.len()).unwrap();
            let (_, ends, count) = kept.small(key, Kept::place(key)).unwrap().tokens(100, to);
            ends[..count].to_vec()
        };
        assert_eq!(tokens("abcdefghi"), [(100, 109)]);
        assert_eq!(tokens("bcdefghi"), [(100, 104), (104, 108)]);
        assert_eq!(tokens("cdefghi"), [(100, 104), (104, 106), (106, 107)]);
    }

    #[test]
    fn words_that_differ_in_zeros_are_two_and_long_ones_are_not_kept() {
        let mut kept = Kept::default();
        kept.put(b"a", false, &[1], |_| 1);
        kept.put(&[b'b'; 32], false, &[1], |_| 32);
        kept.put(b"c", false, &[1, 2, 3, 4, 5, 6, 7], |_| 0);
        assert_eq!(find(&kept, b"a"), Some(vec![1]));
        for word in [&b"a\0"[..], &[b'b'; 32], b"c", b""] {
            assert_eq!(find(&kept, word), None);
        }
    }

    #[test]
    fn the_two_kinds_of_a_word_are_two_words() {
        let mut kept = Kept::default();
        for (word, ids) in [("word", &[1][..]), ("a word of more bytes", &[2])] {
            kept.put(word.as_bytes(), true, ids, |_| 1);
            assert_eq!(find(&kept, word.as_bytes()), None);
            kept.put(word.as_bytes(), false, &[3], |_| 1);
            assert_eq!(find(&kept, word.as_bytes()), Some(vec![3]));
        }
        assert_eq!(kept.large(b"a word of more bytes", true), Some(&[2][..]));
    }

    #[test]
    fn a_key_does_not_depend_on_what_stands_behind_the_word() {
        let text = b"one two three and more behind it";
        assert_eq!(Kept::key(text, 4, 7, false), Kept::key(b"two", 0, 3, false));
        assert_ne!(Kept::key(text, 4, 7, false), Some(Kept::NO_KEY));
        assert_eq!((Kept::key(text, 3, 3, false), Kept::key(text, 0, 16, false)), (None, None));
    }
}
