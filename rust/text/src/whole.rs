//! Words that are a token as they are: the tokens by their bytes.

use rustc_hash::FxHashMap;

use crate::artifact::{Reader, Writer};
use crate::huge::{Table, upper};
use crate::words::byte_chars;

/// Tokens one behind the other, and a table with open addresses that says where.
pub struct Whole {
    /// The upper half of a token's number, and one more than where its entry begins; zero is nothing.
    slots: Table<u64>,
    shift: u32,
    /// The id, how many bytes follow, and these.
    entries: Vec<u8>,
}

impl Whole {
    /// The tokens of a byte-level vocabulary; those with other characters than the bytes' are no word.
    pub fn new(vocabulary: &FxHashMap<&str, u32>) -> Self {
        let byte_of: FxHashMap<char, u8> = byte_chars().into_iter().zip(0..=u8::MAX).collect();
        let size = (vocabulary.len() * 2).next_power_of_two().max(16);
        let mut whole = Self {
            slots: Table::zeroed(size),
            shift: upper(size),
            entries: Vec::with_capacity(vocabulary.len() * 16),
        };
        let mut token = Vec::new();
        for (text, id) in vocabulary {
            token.clear();
            token.extend(text.chars().map_while(|c| byte_of.get(&c)));
            let (Ok(begin), Ok(length)) =
                (u32::try_from(whole.entries.len() + 1), u32::try_from(token.len()))
            else {
                continue;
            };
            if token.is_empty() || token.len() != text.chars().count() {
                continue;
            }
            let number = number(&token);
            let mut at = whole.first(number);
            while whole.slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            whole.slots[at] = number & !u64::from(u32::MAX) | u64::from(begin);
            whole.entries.extend(id.to_le_bytes());
            whole.entries.extend(length.to_le_bytes());
            whole.entries.extend_from_slice(&token);
        }
        whole
    }

    /// Write them down.
    pub fn store(&self, to: &mut Writer) {
        to.put(&self.slots);
        to.put(&self.entries);
    }

    /// Those that were written down.
    pub fn restore(from: &mut Reader) -> Option<Self> {
        let (slots, entries): (Table<u64>, _) = (from.table()?, from.values()?);
        let shift = upper(slots.len());
        Some(Self { slots, shift, entries })
    }

    /// The id of the token that a word is.
    #[inline]
    pub fn get(&self, word: &[u8]) -> Option<u32> {
        let number = number(word);
        let mut at = self.first(number);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if (slot ^ number) >> 32 == 0
                && let Some(id) = self.entry(slot, word)
            {
                return Some(id);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the lower half of a slot is a place of 32 bits")]
    fn entry(&self, slot: u64, word: &[u8]) -> Option<u32> {
        let entry = &self.entries[slot as u32 as usize - 1..];
        let (id, rest) = entry.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let same = u32::from_le_bytes(*length) as usize == word.len() && rest.starts_with(word);
        same.then_some(u32::from_le_bytes(*id))
    }

    #[allow(clippy::cast_possible_truncation, reason = "the upper bits, as many as there are slots")]
    const fn first(&self, number: u64) -> usize {
        (number >> self.shift) as usize
    }
}

/// A number that spreads words well in its upper bits.
fn number(word: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (eights, rest) = word.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mixed =
        |number: u64, eight: [u8; 8]| (number.rotate_left(23) ^ u64::from_le_bytes(eight)).wrapping_mul(ODD);
    let number = eights.iter().fold(word.len() as u64, |number, eight| mixed(number, *eight));
    let number = mixed(number, last);
    (number ^ number >> 29).wrapping_mul(ODD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_all_their_bytes() {
        let chars = byte_chars();
        let words: Vec<String> =
            (0..50_000_usize).map(|number| "ab\u{e9} 12".repeat(number % 9) + &number.to_string()).collect();
        let mapped: Vec<String> =
            words.iter().map(|word| word.bytes().map(|byte| chars[usize::from(byte)]).collect()).collect();
        let vocabulary: FxHashMap<&str, u32> =
            mapped.iter().map(String::as_str).zip(0..).chain([("\u{4e00}", 7), ("", 8)]).collect();
        let whole = Whole::new(&vocabulary);
        for (word, id) in words.iter().zip(0..) {
            assert_eq!(whole.get(word.as_bytes()), Some(id));
            assert_eq!(whole.get(format!("{word} ").as_bytes()), None);
        }
        assert_eq!((whole.get(b""), whole.get("\u{4e00}".as_bytes())), (None, None));
    }
}
