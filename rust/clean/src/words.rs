//! Words as quality rules count them.
//!
//! A word is a run of letters, digits, underscores and marks, with apostrophes inside; each other
//! character that is not white space is a word of its own, a symbol. In scripts written without
//! spaces every character is a word.

use crate::script::{is_mark, is_unspaced};

/// The words of a text, in order.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    /// All of them, symbols included.
    pub(crate) all: Vec<&'a str>,
    /// Words that are not symbols.
    pub(crate) num_plain: usize,
    /// Characters of words that are not symbols.
    pub(crate) plain_chars: usize,
    /// Words of scripts without spaces.
    pub(crate) num_unspaced: usize,
    /// Words with a letter.
    pub(crate) num_alphabetic: usize,
}

impl<'a> Words<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let mut words = Self::default();
        let mut letters = text.char_indices().peekable();
        while let Some((start, letter)) = letters.next() {
            if letter.is_whitespace() {
                continue;
            }
            let mut end = start + letter.len_utf8();
            let unspaced = is_unspaced(letter);
            let plain = unspaced || is_word(letter);
            let (mut chars, mut alphabetic) = (1, letter.is_alphabetic());
            if plain {
                while let Some(&(at, next)) = letters.peek() {
                    let joins = if unspaced {
                        is_mark(next)
                    } else {
                        (is_word(next) && !is_unspaced(next)) || joins_words(next, &text[at..])
                    };
                    if !joins {
                        break;
                    }
                    letters.next();
                    end = at + next.len_utf8();
                    chars += 1;
                    alphabetic |= next.is_alphabetic();
                }
            }
            words.all.push(&text[start..end]);
            words.num_plain += usize::from(plain);
            words.plain_chars += if plain { chars } else { 0 };
            words.num_unspaced += usize::from(unspaced);
            words.num_alphabetic += usize::from(alphabetic);
        }
        words
    }

    /// Whether most of it is in scripts without spaces, where the length of a word means nothing.
    pub(crate) const fn is_unspaced(&self) -> bool {
        self.num_unspaced * 2 > self.num_plain
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || is_mark(letter)
}

/// Whether `letter`, where `rest` begins, is an apostrophe within a word.
fn joins_words(letter: char, rest: &str) -> bool {
    matches!(letter, '\'' | '’')
        && rest.chars().nth(1).is_some_and(|next| next.is_alphanumeric() && !is_unspaced(next))
}

/// Pieces of `text` between line breaks, as many as there are breaks; one at the end adds none.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let breaks = |letter: char| {
        matches!(
            letter,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut rest = Some(text).filter(|text| !text.is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(breaks) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(end);
        let width = if tail.starts_with("\r\n") { 2 } else { tail.chars().next().map_or(0, char::len_utf8) };
        rest = Some(&tail[width..]).filter(|text| !text.is_empty());
        Some(line)
    })
}

/// A part of a whole; 0 of nothing.
#[allow(clippy::cast_precision_loss, reason = "counts in a text")]
pub(crate) fn fraction(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_symbols() {
        let words = Words::of("It's 3.5 — «naïve» snake_case, isn’t it?");
        let expected = ["It's", "3", ".", "5", "—", "«", "naïve", "»", "snake_case", ",", "isn’t", "it", "?"];
        assert_eq!(words.all, expected);
        assert_eq!(words.num_plain, 7);
        assert_eq!(words.num_alphabetic, 5);
    }

    #[test]
    fn characters_of_scripts_without_spaces_are_words() {
        assert_eq!(Words::of("我爱abc，").all, ["我", "爱", "abc", "，"]);
        assert!(Words::of("我爱abc").is_unspaced());
        assert_eq!(Words::of("ที่").all, ["ที่"]);
        assert_eq!(Words::of("हिन्दी में").all, ["हिन्दी", "में"]);
    }

    #[test]
    fn lines_are_those_of_a_reader() {
        let all: Vec<&str> = lines("a\r\nb\n\nc\u{2028}d\n").collect();
        assert_eq!(all, ["a", "b", "", "c", "d"]);
        assert_eq!(lines("").count(), 0);
    }
}
