//! Typing errors: a key beside, two letters in the wrong order, a letter too few or too many, a shift.

use serde::Deserialize;
use unicode_segmentation::UnicodeSegmentation;

use crate::dice::Dice;
use crate::guard::Guard;
use crate::keyboard::Keyboard;

/// One kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// The key beside; where a letter has no key, it is left.
    Typo,
    /// Changes places with the next letter of the word.
    Swap,
    /// Is left out, unless the word has no other.
    Delete,
    /// A key beside is hit as well; a letter that has no key is doubled.
    Insert,
    /// A capital for a small letter and the other way round.
    Case,
}

/// Options of `kind = "characters"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Characters {
    /// Part of the letters that get an error, at least one of a text.
    pub rate: f64,
    /// Which errors are made.
    pub edits: Vec<Edit>,
    /// Which keys lie beside which.
    #[serde(default)]
    pub keyboard: Keyboard,
}

impl Characters {
    /// A text with errors.
    #[must_use]
    pub fn apply(&self, text: &str, guard: &Guard, dice: &mut Dice) -> String {
        // A letter with its marks is one; each word knows where its letters begin.
        let words: Vec<(usize, Vec<&str>)> = guard
            .words(text)
            .into_iter()
            .map(|range| (range.start, text[range].graphemes(true).collect()))
            .collect();
        let places: Vec<(usize, usize)> = words
            .iter()
            .enumerate()
            .flat_map(|(word, (_, letters))| (0..letters.len()).map(move |letter| (word, letter)))
            .filter(|&(word, letter)| !self.possible(&words[word].1, letter).is_empty())
            .collect();
        let mut chosen =
            dice.choose(places.len(), self.rate).into_iter().map(|index| places[index]).peekable();
        let mut result = String::with_capacity(text.len() + 16);
        let mut at = 0;
        for (word, (start, letters)) in words.iter().enumerate() {
            let mut errors = Vec::new();
            while let Some(&(_, letter)) = chosen.peek().filter(|place| place.0 == word) {
                errors.push(letter);
                chosen.next();
            }
            if errors.is_empty() {
                continue;
            }
            result.push_str(&text[at..*start]);
            result.push_str(&self.misspell(letters, &errors, dice));
            at = start + letters.iter().map(|letter| letter.len()).sum::<usize>();
        }
        result.push_str(&text[at..]);
        result
    }

    fn misspell(&self, letters: &[&str], errors: &[usize], dice: &mut Dice) -> String {
        let mut word: Vec<String> = letters.iter().map(|&letter| letter.to_owned()).collect();
        let mut left = letters.len();
        for &letter in errors {
            match *dice.pick(&self.possible(letters, letter)) {
                Edit::Typo => word[letter] = self.beside(letters[letter], dice),
                // the one before may have changed places with this one already: then this is another error there
                Edit::Swap => word.swap(letter, letter + 1),
                Edit::Delete if left > 1 => {
                    left -= 1;
                    word[letter].clear();
                }
                Edit::Delete => {}
                Edit::Insert => {
                    let extra = self.beside(letters[letter], dice);
                    word[letter].push_str(&extra);
                }
                Edit::Case => {
                    if let Some(other) = other_case(letters[letter]) {
                        word[letter] = other;
                    }
                }
            }
        }
        let misspelt = word.concat();
        if misspelt.is_empty() { letters.concat() } else { misspelt }
    }

    /// The errors that can be made at a letter.
    fn possible(&self, letters: &[&str], letter: usize) -> Vec<Edit> {
        let this = letters[letter];
        if !this.chars().next().is_some_and(char::is_alphabetic) {
            return Vec::new();
        }
        let can = |edit: &Edit| match edit {
            Edit::Typo => !self.keys(this).is_empty(),
            Edit::Swap => letters.get(letter + 1).is_some_and(|next| *next != this),
            Edit::Delete => letters.len() > 1,
            Edit::Insert => true,
            Edit::Case => other_case(this).is_some(),
        };
        self.edits.iter().copied().filter(can).collect()
    }

    fn keys(&self, letter: &str) -> Vec<char> {
        let mut chars = letter.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => self.keyboard.neighbours(only),
            _ => Vec::new(),
        }
    }

    fn beside(&self, letter: &str, dice: &mut Dice) -> String {
        let keys = self.keys(letter);
        if keys.is_empty() { letter.to_owned() } else { dice.pick(&keys).to_string() }
    }
}

/// The letter in the other case, where that is one letter and leads back.
fn other_case(letter: &str) -> Option<String> {
    let lower = letter.to_lowercase();
    let other = if lower == letter { letter.to_uppercase() } else { lower };
    let back = if other.to_lowercase() == other { other.to_uppercase() } else { other.to_lowercase() };
    (other != letter && back == letter && other.graphemes(true).count() == 1).then_some(other)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(&[]).unwrap());

    fn noise(edits: &[Edit], rate: f64, text: &str, key: u64) -> String {
        let op = Characters { rate, edits: edits.to_vec(), keyboard: Keyboard::Qwerty };
        op.apply(text, &GUARD, &mut Dice::new(&[key]))
    }

    #[test]
    fn each_edit_does_what_it_says() {
        for key in 0..50 {
            let typo = noise(&[Edit::Typo], 0.01, "hello", key);
            assert_eq!(typo.len(), 5);
            assert_eq!(typo.chars().zip("hello".chars()).filter(|(a, b)| a != b).count(), 1);
            let mut swapped: Vec<char> = noise(&[Edit::Swap], 0.01, "hear", key).chars().collect();
            assert_ne!(swapped.iter().collect::<String>(), "hear");
            swapped.sort_unstable();
            assert_eq!(swapped, ['a', 'e', 'h', 'r']);
            assert_eq!(noise(&[Edit::Delete], 0.01, "hello", key).len(), 4);
            assert_eq!(noise(&[Edit::Insert], 0.01, "hello", key).len(), 6);
            assert_eq!(noise(&[Edit::Case], 0.01, "hello", key).to_lowercase(), "hello");
        }
    }

    #[test]
    fn a_word_keeps_a_letter_even_at_rate_one() {
        for key in 0..50 {
            let text = noise(&[Edit::Delete], 1.0, "all of them go", key);
            assert_eq!(text.split(' ').count(), 4, "{text}");
            assert!(text.split(' ').all(|word| !word.is_empty()));
        }
    }

    #[test]
    fn a_letter_stays_whole_with_its_marks() {
        for key in 0..50 {
            let text = noise(&[Edit::Delete, Edit::Swap], 0.3, "re\u{301}sume\u{301} के लिए", key);
            assert!(!text.contains(" \u{301}") && !text.starts_with('\u{301}'), "{text}");
        }
    }

    #[test]
    fn code_and_numbers_are_as_they_were() {
        let text = noise(&Edit::ALL, 1.0, "look at `code` and 12 apples", 3);
        assert!(text.contains("`code`") && text.contains(" 12 "), "{text}");
    }

    impl Edit {
        const ALL: [Self; 5] = [Self::Typo, Self::Swap, Self::Delete, Self::Insert, Self::Case];
    }
}
