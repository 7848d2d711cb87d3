//! Sentences of a paragraph in another order, or two made one.
//!
//! A paragraph is a line. Lists, headings, tables and quotes stay, and so do sentences with a
//! placeholder (which picture is which depends on the order) and those without an end mark.

use serde::Deserialize;

use crate::dice::Dice;
use crate::guard::Guard;

/// Options of `kind = "sentences"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sentences {
    /// Part of a paragraph's sentences that change places with one another.
    pub shuffle: f64,
    /// Part of the borders between statements at which a semicolon takes the full stop's place.
    pub merge: f64,
}

/// Behind these a full stop ends no sentence.
const SHORT: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "vs", "etc", "no", "nr", "fig", "eq", "inc", "ltd",
    "co", "approx", "dept", "est", "cf", "al", "ca", "vol", "pp", "ed", "gen", "col", "sgt", "capt", "rev",
    "hon", "bzw", "usw", "env", "z.b", "d.h", "e.g", "i.e", "a.m", "p.m", "u.s",
];

/// These are no names, so that inside a sentence they have a small letter.
const SMALL: &[&str] = &[
    "The", "A", "An", "This", "That", "These", "Those", "It", "He", "She", "We", "They", "You", "There",
    "Then", "But", "And", "So", "If", "When", "While", "Please", "In", "On", "At", "For", "As", "My", "Your",
    "His", "Her", "Its", "Our", "Their", "What", "How", "Why", "Where", "Who", "Which", "Can", "Could",
    "Would", "Do", "Does",
];

impl Sentences {
    /// A text with its sentences in another order.
    #[must_use]
    pub fn apply(&self, text: &str, guard: &Guard, dice: &mut Dice) -> String {
        let free = guard.free(text);
        let is_free = |at: usize| {
            let next = free.partition_point(|range| range.end <= at);
            free.get(next).is_some_and(|range| range.start <= at)
        };
        let mut result = String::with_capacity(text.len());
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let body = line.trim_end_matches(['\n', '\r']);
            if is_prose(body) {
                // an end of line inside code does no harm: nothing of it is free, so there is no border
                let borders = borders(body, |at| is_free(start + at));
                result.push_str(&self.recombine(body, &borders, dice, |at| is_free(start + at)));
            } else {
                result.push_str(body);
            }
            result.push_str(&line[body.len()..]);
            start += line.len();
        }
        result
    }

    fn recombine(
        &self,
        line: &str,
        borders: &[(usize, usize)],
        dice: &mut Dice,
        is_free: impl Fn(usize) -> bool,
    ) -> String {
        let mut sentences: Vec<&str> = Vec::new();
        let mut gaps: Vec<&str> = Vec::new();
        let mut at = 0;
        for &(end, next) in borders {
            sentences.push(&line[at..end]);
            gaps.push(&line[end..next]);
            at = next;
        }
        let rest = &line[at..];
        let mut starts = vec![0];
        starts.extend(borders.iter().map(|border| border.1));
        let movable: Vec<usize> = (0..sentences.len())
            .filter(|&number| is_movable(sentences[number], |at| is_free(starts[number] + at)))
            .collect();
        self.shuffle(&mut sentences, &movable, dice);
        let mut result = String::with_capacity(line.len());
        let merges = dice.choose(sentences.len().saturating_sub(usize::from(rest.is_empty())), self.merge);
        let mut small = false;
        for (number, sentence) in sentences.iter().enumerate() {
            let merged = merges.binary_search(&number).is_ok().then(|| join(sentence)).flatten();
            push(&mut result, merged.as_deref().unwrap_or(sentence), small);
            result.push_str(gaps[number]);
            small = merged.is_some();
        }
        push(&mut result, rest, small);
        result
    }

    fn shuffle(&self, sentences: &mut [&str], movable: &[usize], dice: &mut Dice) {
        let mut chosen: Vec<usize> =
            dice.choose(movable.len(), self.shuffle).into_iter().map(|index| movable[index]).collect();
        if let [only] = chosen[..] {
            let others: Vec<usize> = movable.iter().copied().filter(|&number| number != only).collect();
            if others.is_empty() {
                return;
            }
            chosen.push(*dice.pick(&others));
            chosen.sort_unstable();
        }
        let mut order = chosen.clone();
        dice.shuffle(&mut order);
        if order == chosen && !order.is_empty() {
            order.rotate_left(1);
        }
        let moved: Vec<&str> = order.iter().map(|&number| sentences[number]).collect();
        for (place, sentence) in chosen.into_iter().zip(moved) {
            sentences[place] = sentence;
        }
    }
}

/// Add a sentence; behind a semicolon its first word is small where that is certain.
fn push(result: &mut String, sentence: &str, small: bool) {
    let word = sentence.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    if small && SMALL.contains(&word) {
        result.push_str(&word.to_lowercase());
        result.push_str(&sentence[word.len()..]);
    } else {
        result.push_str(sentence);
    }
}

/// A statement with a semicolon for its full stop; None for what ends otherwise.
fn join(sentence: &str) -> Option<String> {
    let latin = sentence.strip_suffix('.').filter(|rest| rest.ends_with(char::is_alphanumeric));
    let wide = sentence.strip_suffix('。');
    latin.map(|rest| format!("{rest};")).or_else(|| wide.map(|rest| format!("{rest}；")))
}

/// No list, heading, table or quote.
fn is_prose(line: &str) -> bool {
    let head = line.trim_start();
    let item = head.trim_start_matches(|c: char| c.is_ascii_digit());
    let marked = head.starts_with(['#', '|', '>', '*', '-', '+', '•', '·', '・']);
    let numbered = item.len() < head.len() && item.starts_with(['.', ')', '、']);
    !marked && !numbered
}

/// Whether a sentence has an end mark and no placeholder.
fn is_movable(sentence: &str, is_free: impl Fn(usize) -> bool) -> bool {
    let ended = sentence.trim_end_matches(closes).ends_with(['.', '!', '?', '…', '。', '！', '？', '｡']);
    let holder = sentence.char_indices().any(|(at, c)| matches!(c, '<' | '[' | '{') && !is_free(at));
    ended && !holder
}

fn closes(c: char) -> bool {
    matches!(c, '"' | '\'' | '”' | '’' | ')' | ']' | '」' | '』' | '）' | '»')
}

/// Where sentences end and the next begin, but for the end of the line's last one with nothing behind.
fn borders(line: &str, is_free: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let (mut at, mut start) = (0, 0);
    while let Some((from, mark)) =
        line[at..].char_indices().find(|(_, c)| is_end(*c)).map(|(from, c)| (at + from, c))
    {
        let rest = &line[from..];
        let marks = rest.trim_start_matches(is_end);
        let closed = marks.trim_start_matches(closes);
        let end = line.len() - closed.len();
        let next = line.len() - closed.trim_start().len();
        at = end;
        let wide = matches!(mark, '。' | '！' | '？' | '｡');
        let begins = line[next..].chars().next().is_none_or(|c| !c.is_lowercase());
        let stops = start < from && (mark != '.' || !is_short(&line[start..from]));
        if is_free(from) && (wide || next > end || next == line.len()) && begins && stops {
            found.push((end, next));
            start = next;
        }
    }
    found
}

fn is_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '｡')
}

/// Whether a text ends in an abbreviation or an initial.
fn is_short(text: &str) -> bool {
    let word = text.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"')).next().unwrap_or_default();
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase) && word != "I";
    initial || SHORT.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(&[]).unwrap());

    fn recombined(shuffle: f64, merge: f64, text: &str, key: u64) -> String {
        Sentences { shuffle, merge }.apply(text, &GUARD, &mut Dice::new(&[key]))
    }

    #[test]
    fn sentences_change_places_and_none_is_lost() {
        let text = "One is here. Is two? Three costs 3.5 dollars! Dr. Who has `a. b`.";
        for key in 0..30 {
            let new = recombined(1.0, 0.0, text, key);
            assert_ne!(new, text);
            assert_eq!(new.len(), text.len());
            for part in ["One is here.", "Is two?", "Three costs 3.5 dollars!", "Dr. Who has `a. b`."] {
                assert!(new.contains(part), "{new}");
            }
        }
    }

    #[test]
    fn a_small_rate_moves_two() {
        let text = "A is. B is. C is. D is. E is.";
        for key in 0..30 {
            let new = recombined(0.01, 0.0, text, key);
            let moved = new
                .split(". ")
                .zip(text.split(". "))
                .filter(|(a, b)| a.trim_end_matches('.') != b.trim_end_matches('.'));
            assert_eq!(moved.count(), 2, "{new}");
        }
    }

    #[test]
    fn chinese_sentences_need_no_spaces() {
        assert_eq!(recombined(1.0, 0.0, "你好。再见！", 1), "再见！你好。");
        assert_eq!(recombined(0.0, 1.0, "你好。再见。", 1), "你好；再见。");
    }

    #[test]
    fn merged_statements_have_a_semicolon_and_a_small_letter_where_certain() {
        assert_eq!(
            recombined(0.0, 1.0, "I came. The door opened. Paris it was. no", 1),
            "I came; the door opened; Paris it was. no"
        );
        assert_eq!(recombined(0.0, 1.0, "Who is it? It is me.", 1), "Who is it? It is me.");
    }

    #[test]
    fn lists_placeholders_code_and_open_ends_stay() {
        for text in [
            "- One. Two.\n1. One. Two.\n# One. Two.",
            "```\nOne. Two.\nThree. Four.\n```",
            "Look at <image>. Then at <image>.",
            "Only one. and an open end",
            "Paragraph one.\nParagraph two.",
        ] {
            for key in 0..10 {
                assert_eq!(recombined(1.0, 0.0, text, key), text);
            }
        }
    }
}
