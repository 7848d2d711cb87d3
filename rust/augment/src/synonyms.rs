//! Words replaced by others that mean the same.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::dice::Dice;
use crate::dictionary::Dictionary;
use crate::guard::Guard;
use crate::plan::AugmentError;

/// Options of `kind = "synonyms"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synonyms {
    /// Part of the words that have a synonym that are replaced, at least one of a text.
    pub rate: f64,
    /// A file or a folder, see [`Dictionary`]; absent means the list that comes with the crate.
    #[serde(default)]
    pub dictionary: Option<PathBuf>,
    #[serde(skip)]
    read: Option<Arc<Dictionary>>,
}

impl Synonyms {
    /// Read the dictionary, once.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(&mut self) -> Result<(), AugmentError> {
        let dictionary = match &self.dictionary {
            Some(path) => Dictionary::open(path)?,
            None => Dictionary::built_in(),
        };
        self.read = Some(Arc::new(dictionary));
        Ok(())
    }

    /// A text with synonyms.
    ///
    /// # Panics
    /// When [`Self::open`] was not called.
    #[must_use]
    pub fn apply(&self, text: &str, guard: &Guard, dice: &mut Dice) -> String {
        let dictionary = self.read.as_ref().expect("open was called");
        let words = guard.words(text);
        let mut places: Vec<(usize, usize, Vec<String>)> = Vec::new();
        let mut number = 0;
        while number < words.len() {
            // Scripts without spaces are cut letter by letter: the longest run that is a word counts.
            let mut last = number;
            while last + 1 < words.len()
                && words[last + 1].start == words[last].end
                && last + 1 - number < dictionary.longest()
            {
                last += 1;
            }
            let found = (number..=last).rev().find_map(|last| {
                let (start, end) = (words[number].start, words[last].end);
                let options = options(dictionary, text, start, end);
                (!options.is_empty()).then_some((last, (start, end, options)))
            });
            number = match found {
                Some((last, place)) => {
                    places.push(place);
                    last + 1
                }
                None => number + 1,
            };
        }
        let mut result = String::with_capacity(text.len() + 16);
        let mut at = 0;
        for index in dice.choose(places.len(), self.rate) {
            let (start, end, options) = &places[index];
            result.push_str(&text[at..*start]);
            result.push_str(&options[dice.below(options.len())]);
            at = *end;
        }
        result.push_str(&text[at..]);
        result
    }
}

/// What may take a word's place, in its case.
fn options(dictionary: &Dictionary, text: &str, start: usize, end: usize) -> Vec<String> {
    let word = &text[start..end];
    let Some(shape) = Shape::of(word) else { return Vec::new() };
    // A capital inside a sentence is a name's.
    if shape == Shape::Capital && !begins_sentence(&text[..start]) {
        return Vec::new();
    }
    let before =
        text[..start].strip_suffix(' ').and_then(|head| head.rsplit(|c: char| !c.is_alphabetic()).next());
    let article = before.map(str::to_lowercase).filter(|word| word == "a" || word == "an");
    let suits = |synonym: &&str| match article.as_deref() {
        Some(article) => vowel_sound(synonym).is_some_and(|vowel| vowel == (article == "an")),
        None => true,
    };
    let lower = word.to_lowercase();
    dictionary.synonyms(&lower).filter(suits).map(|synonym| shape.put_on(synonym)).collect()
}

/// The case of a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Small,
    Capital,
    Capitals,
}

impl Shape {
    /// None for mixed case, and for capitals that may be an abbreviation.
    fn of(word: &str) -> Option<Self> {
        let mut letters = word.chars();
        let first = letters.next()?;
        let rest_small = letters.clone().all(|c| !c.is_uppercase());
        match (first.is_uppercase(), rest_small) {
            (false, true) => Some(Self::Small),
            (true, true) => Some(Self::Capital),
            (true, false) if word.chars().count() > 4 && letters.all(char::is_uppercase) => {
                Some(Self::Capitals)
            }
            _ => None,
        }
    }

    fn put_on(self, word: &str) -> String {
        let mut letters = word.chars();
        match (self, letters.next()) {
            (Self::Capital, Some(first)) => first.to_uppercase().chain(letters).collect(),
            (Self::Capitals, _) => word.to_uppercase(),
            _ => word.to_owned(),
        }
    }
}

fn begins_sentence(before: &str) -> bool {
    let line = before.trim_end_matches([' ', '"', '“', '(', '*']);
    line.is_empty() || line.ends_with(['.', '!', '?', '\n', ':'])
}

/// Whether a word is said with a vowel first; None where its letters do not tell.
fn vowel_sound(word: &str) -> Option<bool> {
    match word.bytes().next()? {
        b'a' | b'i' => Some(true),
        b'e' | b'h' | b'o' | b'u' => None,
        first => first.is_ascii_lowercase().then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(&[]).unwrap());

    fn replaced(lines: &str, text: &str) -> String {
        let read = Some(Arc::new(Dictionary::parse(lines, "test".as_ref()).unwrap()));
        let op = Synonyms { rate: 1.0, dictionary: None, read };
        op.apply(text, &GUARD, &mut Dice::new(&[1]))
    }

    #[test]
    fn case_is_kept() {
        let lines = "quick\tfast\n";
        assert_eq!(replaced(lines, "Quick and quick. QUICK"), "Fast and fast. FAST");
        assert_eq!(replaced(lines, "a QuiCk `quick` Mr Quick"), "a QuiCk `quick` Mr Quick");
    }

    #[test]
    fn an_article_still_fits() {
        let lines = "big\tenormous,large\nact\tdeed\ncat\tape\n";
        assert_eq!(replaced(lines, "a big dog"), "a large dog");
        assert_eq!(replaced(lines, "an act, a cat"), "an act, a cat");
    }

    #[test]
    fn words_without_spaces_are_found_longest_first() {
        assert_eq!(replaced("高兴\t快乐\n高\t大\n", "我很高兴,山很高"), "我很快乐,山很大");
    }

    #[test]
    fn the_list_that_comes_with_it_knows_common_words() {
        let mut op = Synonyms { rate: 1.0, dictionary: None, read: None };
        op.open().unwrap();
        let text = "please help me to purchase an automobile quickly";
        let new = op.apply(text, &GUARD, &mut Dice::new(&[1]));
        assert_ne!(new, text);
    }
}
