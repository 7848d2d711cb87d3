//! Careless spacing and punctuation: spaces doubled or lost, marks set off, left out or doubled.

use serde::Deserialize;

use crate::dice::Dice;
use crate::guard::Guard;

/// One kind of carelessness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slack {
    /// Two spaces for one.
    Double,
    /// Two words without the space between them.
    Join,
    /// A space before a mark.
    Loose,
    /// A mark is left out.
    Drop,
    /// A mark twice.
    Repeat,
}

/// Options of `kind = "spacing"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spacing {
    /// Part of the spaces and marks that suffer, at least one of a text.
    pub rate: f64,
    /// How they do.
    pub edits: Vec<Slack>,
}

impl Spacing {
    /// A text set carelessly.
    #[must_use]
    pub fn apply(&self, text: &str, guard: &Guard, dice: &mut Dice) -> String {
        let places = self.places(text, guard);
        let mut result = String::with_capacity(text.len() + 16);
        let mut at = 0;
        for index in dice.choose(places.len(), self.rate) {
            let (place, edits) = &places[index];
            let len = text[*place..].chars().next().map_or(0, char::len_utf8);
            let mark = &text[*place..*place + len];
            result.push_str(&text[at..*place]);
            at = place + len;
            match *dice.pick(edits) {
                Slack::Double | Slack::Repeat => {
                    result.push_str(mark);
                    result.push_str(mark);
                }
                Slack::Join | Slack::Drop => {}
                Slack::Loose => {
                    result.push(' ');
                    result.push_str(mark);
                }
            }
        }
        result.push_str(&text[at..]);
        result
    }

    /// Spaces between two words and marks behind one, each with what can happen to it.
    fn places(&self, text: &str, guard: &Guard) -> Vec<(usize, Vec<Slack>)> {
        let mut places = Vec::new();
        for range in guard.free(text) {
            let passage = &text[range.clone()];
            let (mut earlier, mut before): (Option<char>, Option<char>) = (None, None);
            let mut chars = passage.char_indices().peekable();
            while let Some((at, c)) = chars.next() {
                let behind = chars.peek().map(|&(_, next)| next);
                let is_space = c == ' ';
                let here = (is_space && wordy(earlier, before) && behind.is_some_and(char::is_alphabetic))
                    || (is_mark(c) && before.is_some_and(char::is_alphabetic) && ends(c, behind));
                if here {
                    let suits = |edit: &Slack| matches!(edit, Slack::Double | Slack::Join) == is_space;
                    let edits: Vec<Slack> = self.edits.iter().copied().filter(suits).collect();
                    if !edits.is_empty() {
                        places.push((range.start + at, edits));
                    }
                }
                (earlier, before) = (before, Some(c));
            }
        }
        places
    }
}

/// Whether a word has just ended, or a word and its mark.
fn wordy(earlier: Option<char>, before: Option<char>) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    letter(before) || (letter(earlier) && before.is_some_and(is_mark))
}

fn is_mark(c: char) -> bool {
    matches!(
        c,
        ',' | '.' | ';' | ':' | '!' | '?' | '，' | '。' | '；' | '：' | '！' | '？' | '、' | '؟' | '،' | '।'
    )
}

/// Whether a mark ends something: a space or nothing behind it, which full-width marks do not need.
fn ends(mark: char, behind: Option<char>) -> bool {
    !mark.is_ascii() || behind.is_none_or(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(&[]).unwrap());

    fn slack(edits: &[Slack], text: &str) -> String {
        Spacing { rate: 1.0, edits: edits.to_vec() }.apply(text, &GUARD, &mut Dice::new(&[1]))
    }

    #[test]
    fn each_edit_does_what_it_says() {
        let text = "well, go on. `a. b` then 3. c";
        assert_eq!(slack(&[Slack::Double], text), "well,  go  on. `a. b` then 3. c");
        assert_eq!(slack(&[Slack::Join], text), "well,goon. `a. b` then 3. c");
        assert_eq!(slack(&[Slack::Loose], text), "well , go on . `a. b` then 3. c");
        assert_eq!(slack(&[Slack::Drop], text), "well go on `a. b` then 3. c");
        assert_eq!(slack(&[Slack::Repeat], text), "well,, go on.. `a. b` then 3. c");
        assert_eq!(slack(&[Slack::Drop], "好的。走吧！"), "好的走吧");
    }

    #[test]
    fn lines_and_their_beginnings_stay() {
        assert_eq!(slack(&[Slack::Double, Slack::Join], "a\n  b\n\nc"), "a\n  b\n\nc");
    }
}
