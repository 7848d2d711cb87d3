//! Where synonyms come from: lines of text, a `WordNet` folder, or the list that comes with the crate.
//!
//! A line is `word<TAB>synonym,synonym`, all in small letters; `#` begins a comment. Words are
//! looked up as they stand, so inflected forms have lines of their own.

use std::path::Path;

use rustc_hash::FxHashMap;

use crate::plan::AugmentError;
use crate::wordnet;

/// Made from `WordNet` 3.0 by `examples/synonyms.rs`; its notice is in `data/LICENSE.wordnet`.
const BUILT_IN: &str = include_str!("../data/synonyms.tsv");

/// Words and what may take their place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dictionary {
    words: FxHashMap<String, Vec<String>>,
    longest: usize,
}

impl Dictionary {
    /// Read a file of lines, or a folder with the files of `WordNet` (`data.noun`, `index.noun`, ...).
    ///
    /// # Errors
    /// It can't be read, or a line is none.
    pub fn open(path: &Path) -> Result<Self, AugmentError> {
        if path.is_dir() {
            return Ok(Self::new(wordnet::read(path)?));
        }
        let unreadable = |reason: String| AugmentError::Unreadable { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let dictionary = Self::parse(&text, path)?;
        if dictionary.words.is_empty() {
            return Err(unreadable("it holds no words; a line is `word<TAB>synonym,synonym`".to_owned()));
        }
        Ok(dictionary)
    }

    /// The English list that comes with the crate.
    ///
    /// # Panics
    /// When the list is broken, which a test would have told.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN, Path::new("synonyms.tsv")).expect("the list that comes with the crate is good")
    }

    /// Read lines; `path` is for messages.
    ///
    /// # Errors
    /// A line is none.
    pub fn parse(text: &str, path: &Path) -> Result<Self, AugmentError> {
        let mut words: Vec<(String, Vec<String>)> = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong =
                |reason: String| AugmentError::Line { path: path.to_owned(), line: number + 1, reason };
            let Some((word, rest)) = line.split_once('\t') else {
                return Err(wrong(format!(
                    "expected `word<TAB>synonym,synonym`, got `{}`",
                    line.escape_debug()
                )));
            };
            let synonyms: Vec<String> = rest
                .split(',')
                .map(|synonym| synonym.trim().to_owned())
                .filter(|synonym| !synonym.is_empty())
                .collect();
            if word.trim().is_empty() || synonyms.is_empty() {
                return Err(wrong("a word and at least one synonym are needed".to_owned()));
            }
            words.push((word.trim().to_lowercase(), synonyms));
        }
        Ok(Self::new(words))
    }

    fn new(list: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let mut words: FxHashMap<String, Vec<String>> = FxHashMap::default();
        for (word, synonyms) in list {
            let known = words.entry(word).or_default();
            for synonym in synonyms {
                if !known.contains(&synonym) {
                    known.push(synonym);
                }
            }
        }
        let longest = words.keys().map(|word| word.chars().count()).max().unwrap_or(0);
        Self { words, longest }
    }

    /// What may take the place of a word in small letters; never the word itself.
    pub fn synonyms<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.words.get(word).map(Vec::as_slice).unwrap_or_default();
        found.iter().map(String::as_str).filter(move |synonym| *synonym != word)
    }

    /// Letters of the longest word.
    #[must_use]
    pub const fn longest(&self) -> usize {
        self.longest
    }

    /// How many words have synonyms.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_none_is_told_with_its_place() {
        let said = |text| Dictionary::parse(text, Path::new("words.tsv")).unwrap_err().to_string();
        assert_eq!(
            said("# list\nbig large\n"),
            "words.tsv:2: expected `word<TAB>synonym,synonym`, got `big large`"
        );
        assert_eq!(said("big\t ,\n"), "words.tsv:1: a word and at least one synonym are needed");
    }

    #[test]
    fn a_missing_file_is_told() {
        let error = Dictionary::open(Path::new("nowhere.tsv")).unwrap_err().to_string();
        assert!(error.starts_with("nowhere.tsv: "), "{error}");
    }

    #[test]
    fn lines_of_one_word_are_put_together() {
        let dictionary =
            Dictionary::parse("Big\tlarge, huge\nbig\thuge,great,big\n", Path::new("x")).unwrap();
        assert_eq!(dictionary.synonyms("big").collect::<Vec<_>>(), ["large", "huge", "great"]);
        assert_eq!(dictionary.len(), 1);
    }

    #[test]
    fn the_built_in_list_is_read() {
        assert!(Dictionary::built_in().len() > 2000);
    }
}
