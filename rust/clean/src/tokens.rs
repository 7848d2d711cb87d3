//! Tokens as 64-bit hashes: what near duplicates and evaluation sets are found by.
//!
//! A token is a run of letters and digits without regard to case; in scripts written without spaces
//! between words, every character is a token. Everything else only separates. A sequence of tokens
//! is hashed as a polynomial over its tokens, so that any stretch costs one step.

use crate::script::{is_mark, is_unspaced};

/// Base of the polynomial: odd, so that no token is lost by multiplication.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;
const SEED: u64 = 0x2D35_8DCC_AA6C_78A5;
const PRIME: u64 = 0x8BB8_4B93_962E_ACC9;
const LOWER: u64 = 0x2020_2020_2020_2020;

const OTHER: u8 = 0;
const ALNUM: u8 = 1;
const WIDE: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let letter = byte as u8;
        if letter.is_ascii_alphanumeric() {
            class[byte] = ALNUM;
        } else if letter >= 0x80 {
            class[byte] = WIDE;
        }
        byte += 1;
    }
    class
};

/// Mix all bits of `x` into all bits of the result.
#[inline]
pub(crate) const fn scramble(x: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let x = (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x ^ (x >> 32)
}

#[inline]
const fn fold(hash: u64, part: u64) -> u64 {
    let wide = (hash ^ part) as u128 * PRIME as u128;
    #[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
    let both = (wide as u64) ^ ((wide >> 64) as u64);
    both
}

/// Append the hashes of the tokens of `text`.
pub fn hash_tokens(text: &str, out: &mut Vec<u64>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match CLASS[usize::from(bytes[at])] {
            OTHER => at += 1,
            ALNUM => {
                let start = at;
                while at < bytes.len() && CLASS[usize::from(bytes[at])] == ALNUM {
                    at += 1;
                }
                if at < bytes.len() && CLASS[usize::from(bytes[at])] == WIDE {
                    at = wide_word(text, start, out);
                } else {
                    out.push(ascii_word(bytes, start, at));
                }
            }
            _ => at = wide_word(text, at, out),
        }
    }
}

/// The hash of `bytes[start..end]`, ASCII letters and digits. In these, bit 5 is all that case is.
#[inline]
fn ascii_word(bytes: &[u8], start: usize, end: usize) -> u64 {
    let mut hash = SEED ^ (end - start) as u64;
    let mut at = start;
    while at + 8 <= end {
        hash = fold(hash, eight(bytes, at) | LOWER);
        at += 8;
    }
    let left = end - at;
    if left > 0 {
        let part = if at + 8 <= bytes.len() {
            eight(bytes, at)
        } else {
            let mut part = [0; 8];
            part[..left].copy_from_slice(&bytes[at..end]);
            u64::from_le_bytes(part)
        };
        hash = fold(hash, (part | LOWER) & (u64::MAX >> (64 - 8 * left)));
    }
    scramble(hash)
}

#[inline]
fn eight(bytes: &[u8], at: usize) -> u64 {
    let mut part = [0; 8];
    part.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(part)
}

/// Hash the tokens from `start` up to the next separator; gives where that is.
fn wide_word(text: &str, start: usize, out: &mut Vec<u64>) -> usize {
    let mut hash = SEED;
    let mut open = false;
    for (at, letter) in text[start..].char_indices() {
        if is_unspaced(letter) {
            if open {
                out.push(scramble(hash));
                (hash, open) = (SEED, false);
            }
            out.push(scramble(fold(SEED, u64::from(u32::from(letter)))));
        } else if letter.is_alphanumeric() || (open && is_mark(letter)) {
            for lower in letter.to_lowercase() {
                hash = fold(hash, u64::from(u32::from(lower)));
            }
            open = true;
        } else {
            if open {
                out.push(scramble(hash));
            }
            return start + at + letter.len_utf8();
        }
    }
    if open {
        out.push(scramble(hash));
    }
    text.len()
}

/// Call `each` with the hash of every run of `n` tokens.
#[inline]
pub fn each_run(tokens: &[u64], n: usize, mut each: impl FnMut(u64)) {
    if n == 0 || tokens.len() < n {
        return;
    }
    let mut high = 1_u64;
    for _ in 1..n {
        high = high.wrapping_mul(BASE);
    }
    let mut sum = tokens[..n].iter().fold(0_u64, |sum, &token| sum.wrapping_mul(BASE).wrapping_add(token));
    each(scramble(sum));
    for (&old, &new) in tokens.iter().zip(&tokens[n..]) {
        sum = sum.wrapping_sub(old.wrapping_mul(high)).wrapping_mul(BASE).wrapping_add(new);
        each(scramble(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(text: &str) -> Vec<u64> {
        let mut out = Vec::new();
        hash_tokens(text, &mut out);
        out
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        assert_eq!(tokens("Hello, WORLD! it's 42"), tokens("hello world it s 42"));
        assert_eq!(tokens("ÉCOLE publique"), tokens("école -- Publique."));
        assert_ne!(tokens("hello world"), tokens("helloworld"));
    }

    #[test]
    fn characters_of_unspaced_scripts_are_tokens() {
        assert_eq!(tokens("你好，world").len(), 3);
        assert_eq!(tokens("abc你def").len(), 3);
        assert_eq!(tokens("naïve café").len(), 2);
    }

    proptest! {
        #[test]
        fn runs_hash_the_same_wherever_they_stand(
            before in prop::collection::vec(any::<u64>(), 0..9), run in prop::collection::vec(any::<u64>(), 5)
        ) {
            let mut alone = Vec::new();
            each_run(&run, 5, |hash| alone.push(hash));
            let all: Vec<u64> = before.iter().chain(&run).copied().collect();
            let mut hashes = Vec::new();
            each_run(&all, 5, |hash| hashes.push(hash));
            prop_assert_eq!(hashes.len(), all.len() - 4);
            prop_assert_eq!(hashes.last(), alone.first());
        }

        #[test]
        fn a_word_hashes_the_same_wherever_it_stands(before in "[ a-z.é你]{0,12}", word in "[a-zA-Z0-9]{1,20}") {
            let alone = tokens(&word);
            let after = tokens(&format!("{before} {word}"));
            let amid = tokens(&format!("{before} {word} and more words"));
            prop_assert_eq!(after.last(), alone.first());
            prop_assert_eq!(amid[amid.len() - 4], alone[0]);
        }
    }
}
