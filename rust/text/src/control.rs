//! Control tokens in text that users wrote.

use aho_corasick::{AhoCorasick, MatchKind};

/// Finds any of a set of tokens in a text.
#[derive(Clone, Debug)]
pub struct ControlTokens {
    automaton: Option<AhoCorasick>,
}

impl ControlTokens {
    /// A finder of these tokens; of two that begin at one place the longer is found.
    pub fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let tokens: Vec<&str> = tokens.filter(|token| !token.is_empty()).collect();
        let automaton = (!tokens.is_empty())
            .then(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(tokens).ok())
            .flatten();
        Self { automaton }
    }

    /// Whether `text` contains one.
    #[must_use]
    pub fn any(&self, text: &str) -> bool {
        self.automaton.as_ref().is_some_and(|automaton| automaton.is_match(text))
    }

    /// `text` with `open` before and `close` after each token in it, and how many there are.
    #[must_use]
    pub fn mark(&self, text: &str, open: char, close: char) -> (String, usize) {
        let mut out = String::with_capacity(text.len() + 16);
        let (mut done, mut count) = (0, 0);
        if let Some(automaton) = &self.automaton {
            for found in automaton.find_iter(text) {
                out.push_str(&text[done..found.start()]);
                out.push(open);
                out.push_str(&text[found.range()]);
                out.push(close);
                done = found.end();
                count += 1;
            }
        }
        out.push_str(&text[done..]);
        (out, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_two_tokens_is_marked() {
        let tokens = ControlTokens::new(["<a>", "<a><b>", ""].into_iter());
        assert_eq!(tokens.mark("x<a><b><a>", '[', ']'), ("x[<a><b>][<a>]".to_owned(), 2));
        assert!(!tokens.any("<b>"));
        assert!(!ControlTokens::new(std::iter::empty()).any("x"));
    }
}
