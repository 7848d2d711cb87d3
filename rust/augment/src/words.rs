//! Words left out, two in the wrong order, or one said twice.

use std::ops::Range;

use serde::Deserialize;

use crate::dice::Dice;
use crate::guard::Guard;

/// One kind of slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slip {
    /// Is left out with the space before it, unless it is the last one left.
    Drop,
    /// Changes places with the next word, where only a space is between them.
    Swap,
    /// Is said twice.
    Repeat,
}

/// Options of `kind = "words"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Part of the words that slip, at least one of a text.
    pub rate: f64,
    /// Which slips are made.
    pub edits: Vec<Slip>,
}

impl Words {
    /// A text with slips.
    #[must_use]
    pub fn apply(&self, text: &str, guard: &Guard, dice: &mut Dice) -> String {
        let words = guard.words(text);
        let places: Vec<usize> =
            (0..words.len()).filter(|&at| !self.possible(text, &words, at).is_empty()).collect();
        let chosen = dice.choose(places.len(), self.rate);
        let mut result = String::with_capacity(text.len() + 16);
        let (mut at, mut left, mut swapped) = (0, words.len(), None);
        for index in chosen {
            let number = places[index];
            let word = &words[number];
            if swapped == Some(number) {
                continue; // it has changed places with the one before
            }
            let edits = self.possible(text, &words, number);
            match *dice.pick(&edits) {
                Slip::Drop if left > 1 => {
                    left -= 1;
                    // the space before goes too; at the head of a line, the one behind
                    let before = &text[at..word.start];
                    let kept =
                        before.strip_suffix(' ').filter(|rest| !ends_line(rest, at == 0)).unwrap_or(before);
                    result.push_str(kept);
                    let skipped = kept.len() == before.len() && text[word.end..].starts_with(' ');
                    at = word.end + usize::from(skipped);
                }
                Slip::Drop => {}
                Slip::Swap => {
                    let next = &words[number + 1];
                    result.push_str(&text[at..word.start]);
                    for part in [next.clone(), word.end..next.start, word.clone()] {
                        result.push_str(&text[part]);
                    }
                    at = next.end;
                    swapped = Some(number + 1);
                }
                Slip::Repeat => {
                    result.push_str(&text[at..word.end]);
                    result.push_str(if is_spaced(&text[word.clone()]) { " " } else { "" });
                    result.push_str(&text[word.clone()]);
                    at = word.end;
                }
            }
        }
        result.push_str(&text[at..]);
        result
    }

    /// The slips that can be made at a word.
    fn possible(&self, text: &str, words: &[Range<usize>], at: usize) -> Vec<Slip> {
        let word = &text[words[at].clone()];
        let can = |slip: &Slip| match slip {
            Slip::Drop => words.len() > 1,
            Slip::Swap => words.get(at + 1).is_some_and(|next| {
                let between = &text[words[at].end..next.start];
                (between == " " || (between.is_empty() && !is_spaced(word))) && text[next.clone()] != *word
            }),
            Slip::Repeat => true,
        };
        self.edits.iter().copied().filter(can).collect()
    }
}

/// Whether nothing or a new line comes before what follows `text`.
fn ends_line(text: &str, is_head: bool) -> bool {
    text.ends_with('\n') || (is_head && text.is_empty())
}

/// Whether a script puts spaces between words; Chinese, Japanese and Thai do not.
fn is_spaced(word: &str) -> bool {
    !word.chars().next().is_some_and(|c| {
        matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
            | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
    })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(&[]).unwrap());

    fn slip(edits: &[Slip], rate: f64, text: &str, key: u64) -> String {
        let op = Words { rate, edits: edits.to_vec() };
        op.apply(text, &GUARD, &mut Dice::new(&[key]))
    }

    fn sorted(text: &str) -> Vec<&str> {
        let mut words: Vec<&str> = text.split(' ').collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn each_slip_does_what_it_says() {
        for key in 0..50 {
            let text = "one two three four";
            assert_eq!(slip(&[Slip::Drop], 0.01, text, key).split(' ').count(), 3);
            assert_eq!(slip(&[Slip::Repeat], 0.01, text, key).split(' ').count(), 5);
            let swapped = slip(&[Slip::Swap], 0.01, text, key);
            assert_ne!(swapped, text);
            assert_eq!(sorted(&swapped), sorted(text));
        }
    }

    #[test]
    fn no_space_is_left_where_a_word_was() {
        for key in 0..50 {
            let text = slip(&[Slip::Drop], 0.5, "a b\nc d, e f", key);
            assert!(!text.contains("  ") && !text.contains("\n ") && !text.starts_with(' '), "{text:?}");
        }
    }

    #[test]
    fn one_word_is_left_at_rate_one() {
        assert_eq!(slip(&[Slip::Drop], 1.0, "a b c", 1), "c");
        assert_eq!(slip(&[Slip::Drop], 1.0, "alone", 1), "alone");
    }

    #[test]
    fn words_do_not_move_across_marks() {
        for key in 0..20 {
            assert_eq!(slip(&[Slip::Swap], 1.0, "yes, no. `x` well", key), "yes, no. `x` well");
        }
    }

    #[test]
    fn a_script_without_spaces_gets_none() {
        assert_eq!(slip(&[Slip::Repeat], 1.0, "你好", 1), "你你好好");
    }
}
