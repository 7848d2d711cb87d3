//! The common split patterns, by hand, for as long as the text is ASCII.
//!
//! A scanner gives the end of the match that begins at a byte, or None as soon as deciding that
//! needs a byte beyond ASCII: then the regular expression is asked for this one match. Tests compare
//! every string over the patterns' character classes up to a length, and random longer ones.

/// A pattern that has a scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ascii {
    /// GPT-2's, which `ByteLevel` has built in.
    Gpt2,
    /// tiktoken's `cl100k_base` and its relatives: numbers in groups of at most so many digits.
    Tiktoken {
        /// Digits of the longest number.
        digits: usize,
    },
}

/// What `ByteLevel` splits by when it is told to use its own expression.
pub const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3 and `cl100k_base`.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2 and 3.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 3.5: marks count as letters, and there are none in ASCII.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Space,
    Other,
    Beyond,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Beyond; 256];
    let mut byte = 0;
    while byte < 128 {
        #[allow(clippy::cast_possible_truncation, reason = "below 128")]
        let b = byte as u8;
        classes[byte] = if b.is_ascii_alphabetic() {
            Class::Letter
        } else if b.is_ascii_digit() {
            Class::Digit
        } else if b == b' ' || (b >= b'\t' && b <= b'\r') {
            Class::Space
        } else {
            Class::Other
        };
        byte += 1;
    }
    classes
};

impl Ascii {
    /// The scanner of a pattern, if there is one.
    pub fn of(pattern: &str) -> Option<Self> {
        match pattern {
            GPT2 => Some(Self::Gpt2),
            CL100K => Some(Self::Tiktoken { digits: 3 }),
            QWEN2 | QWEN35 => Some(Self::Tiktoken { digits: 1 }),
            _ => None,
        }
    }

    /// The end of the match at `at`; None when it depends on a byte beyond ASCII.
    pub fn next(self, text: &[u8], at: usize) -> Option<usize> {
        let first = text[at];
        if first == b'\''
            && let Some(end) = contraction(text, at + 1, matches!(self, Self::Tiktoken { .. }))?
        {
            return Some(end);
        }
        match self {
            Self::Gpt2 => {
                let from = at + usize::from(first == b' ');
                match class(text, from) {
                    Some(Class::Beyond) => None,
                    None | Some(Class::Space) => blank(text, at),
                    Some(kind) => run(text, from, kind),
                }
            }
            Self::Tiktoken { digits } => match class(text, at)? {
                Class::Beyond => None,
                Class::Letter => run(text, at, Class::Letter),
                Class::Digit => {
                    let mut end = at + 1;
                    while end - at < digits {
                        match class(text, end) {
                            Some(Class::Digit) => end += 1,
                            Some(Class::Beyond) => return None,
                            _ => break,
                        }
                    }
                    Some(end)
                }
                kind => {
                    let next = class(text, at + 1);
                    if next == Some(Class::Beyond) {
                        return None;
                    }
                    if next == Some(Class::Letter) && first != b'\n' && first != b'\r' {
                        return run(text, at + 1, Class::Letter);
                    }
                    if kind == Class::Other || (first == b' ' && next == Some(Class::Other)) {
                        let mut end = run(text, at + 1 - usize::from(kind == Class::Other), Class::Other)?;
                        while matches!(text.get(end), Some(b'\r' | b'\n')) {
                            end += 1;
                        }
                        return Some(end);
                    }
                    let end = run(text, at, Class::Space)?;
                    match text[at..end].iter().rposition(|byte| matches!(byte, b'\r' | b'\n')) {
                        Some(last) => Some(at + last + 1),
                        None => blank(text, at),
                    }
                }
            },
        }
    }
}

fn class(text: &[u8], at: usize) -> Option<Class> {
    text.get(at).map(|byte| CLASSES[usize::from(*byte)])
}

/// The end of the characters of one class from `at` on; None if one beyond ASCII follows.
fn run(text: &[u8], at: usize, kind: Class) -> Option<usize> {
    let mut end = at;
    while end < text.len() {
        let here = CLASSES[usize::from(text[end])];
        if here != kind {
            return (here != Class::Beyond).then_some(end);
        }
        end += 1;
    }
    Some(end)
}

/// `\s+(?!\S)|\s+`: whitespace, but for its last character if a word follows.
fn blank(text: &[u8], at: usize) -> Option<usize> {
    let end = run(text, at, Class::Space)?;
    Some(if end < text.len() && end - at > 1 { end - 1 } else { end })
}

/// The end of `s`, `t`, `re`, `ve`, `m`, `ll` or `d` at `at`; None when what follows is beyond
/// ASCII, where folding case could match it (`ſ` is an `s`).
#[allow(clippy::option_option, reason = "the outer one is `next`'s None")]
fn contraction(text: &[u8], at: usize, any_case: bool) -> Option<Option<usize>> {
    let letter = |at: usize| {
        let byte = text.get(at).copied().unwrap_or(0);
        if any_case { byte.to_ascii_lowercase() } else { byte }
    };
    let beyond = |at: usize| any_case && text.get(at).is_some_and(|byte| !byte.is_ascii());
    if beyond(at) {
        return None;
    }
    Some(match letter(at) {
        b's' | b't' | b'm' | b'd' => Some(at + 1),
        b'r' | b'v' if letter(at + 1) == b'e' => Some(at + 2),
        b'l' if letter(at + 1) == b'l' => Some(at + 2),
        b'r' | b'v' | b'l' if beyond(at + 1) => return None,
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::utils::SysRegex;

    fn by_hand(ascii: Ascii, pattern: &SysRegex, text: &str) -> Vec<usize> {
        let (mut ends, mut at) = (Vec::new(), 0);
        while at < text.len() {
            at = ascii
                .next(text.as_bytes(), at)
                .unwrap_or_else(|| at + pattern.find_iter(&text[at..]).next().unwrap().1);
            ends.push(at);
        }
        ends
    }

    fn check(text: &str, patterns: &[(Ascii, SysRegex)]) {
        for (ascii, pattern) in patterns {
            let expected: Vec<usize> = pattern.find_iter(text).map(|(_, end)| end).collect();
            assert_eq!(by_hand(*ascii, pattern, text), expected, "{ascii:?} {text:?}");
        }
    }

    fn patterns() -> Vec<(Ascii, SysRegex)> {
        [GPT2, CL100K, QWEN2, QWEN35]
            .iter()
            .map(|p| (Ascii::of(p).unwrap(), SysRegex::new(p).unwrap()))
            .collect()
    }

    #[test]
    fn every_short_string_over_the_classes_is_cut_as_by_the_pattern() {
        let patterns = patterns();
        let alphabet = ['s', 'L', '1', ' ', '\n', '\t', '\'', '!', '\u{e9}', '\u{a0}'];
        for len in 1..=5_u32 {
            for number in 0..alphabet.len().pow(len) {
                let mut rest = number;
                let text: String = (0..len)
                    .map(|_| {
                        let c = alphabet[rest % alphabet.len()];
                        rest /= alphabet.len();
                        c
                    })
                    .collect();
                check(&text, &patterns);
            }
        }
    }

    #[test]
    fn every_ascii_character_has_the_class_that_the_pattern_gives_it() {
        let patterns = patterns();
        for c in '\0'..='\u{7f}' {
            for around in ["", "a", " ", "1", "!", "'", "\n"] {
                check(&format!("{around}{c}{around}{c}{c}{around}"), &patterns);
            }
        }
    }

    proptest! {
        #[test]
        fn contractions_and_runs_are_cut_as_by_the_pattern(text in "[a-tvRVELS'0-9 \r\n\tſK½é-]{0,30}") {
            check(&text, &patterns());
        }
    }
}
