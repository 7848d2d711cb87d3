//! What words become, for those that come again: a table of fixed size for each thread.

/// Slots, 32 bytes each: 4 MB.
const SLOTS: usize = 1 << 17;
/// Ids of a word that is kept.
const IDS: usize = 3;

/// Words of up to 15 bytes and their ids; of the words that meet in one place the last two stay.
pub struct Kept(Vec<Slot>);

#[derive(Clone, Copy)]
#[repr(align(32))]
struct Slot {
    /// The word's bytes, and their number in the last; no word has the key 0.
    key: u128,
    ids: [u32; IDS],
    count: u32,
}

impl Default for Kept {
    fn default() -> Self {
        Self(vec![Slot { key: 0, ids: [0; IDS], count: 0 }; SLOTS])
    }
}

impl Kept {
    /// The key of a word; None for one that is not kept.
    #[inline]
    pub fn key(word: &[u8]) -> Option<u128> {
        let length = u8::try_from(word.len()).ok().filter(|length| (1..16).contains(length))?;
        let mut bytes = [0; 16];
        bytes[..word.len()].copy_from_slice(word);
        bytes[15] = length;
        Some(u128::from_le_bytes(bytes))
    }

    /// The ids of a word, if they are there.
    #[inline]
    pub fn get(&self, key: u128) -> Option<&[u32]> {
        let place = place(key);
        let slot = self.0[place..place + 2].iter().find(|slot| slot.key == key)?;
        Some(&slot.ids[..slot.count as usize])
    }

    /// Keep the ids of a word, unless they are too many.
    pub fn put(&mut self, key: u128, ids: &[u32]) {
        if ids.len() > IDS {
            return;
        }
        let place = place(key);
        self.0[place + 1] = self.0[place];
        let slot = &mut self.0[place];
        slot.key = key;
        slot.ids[..ids.len()].copy_from_slice(ids);
        slot.count = u32::try_from(ids.len()).unwrap_or(0);
    }
}

/// The first of a word's two slots.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "both halves, and the upper bits of a product")]
const fn place(key: u128) -> usize {
    let mixed = (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOTS.trailing_zeros() + 1)) as usize * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_its_own_ids_or_none() {
        let mut kept = Kept::default();
        let words: Vec<String> = (0..400_000).map(|number| format!("w{number}")).collect();
        for (number, word) in (0..).zip(&words) {
            kept.put(Kept::key(word.as_bytes()).unwrap(), &[number, 7][..=(number as usize % 2)]);
        }
        let mut found = 0;
        for (number, word) in (0..).zip(&words) {
            if let Some(ids) = kept.get(Kept::key(word.as_bytes()).unwrap()) {
                assert_eq!(ids, &[number, 7][..=(number as usize % 2)]);
                found += 1;
            }
        }
        assert!(found > SLOTS / 2, "{found}");
    }

    #[test]
    fn words_that_differ_in_zeros_are_two() {
        let key = |word: &[u8]| Kept::key(word);
        assert_ne!(key(b"a"), key(b"a\0"));
        assert_eq!((key(b""), key(&[1; 16])), (None, None));
        let mut kept = Kept::default();
        kept.put(key(b"a").unwrap(), &[1, 2, 3, 4]);
        assert_eq!(kept.get(key(b"a").unwrap()), None);
    }
}
