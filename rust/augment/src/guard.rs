//! What of a text may be changed: prose, and nothing that a machine reads.
//!
//! Kept as they are: fenced, inline and indented code; links, addresses, paths and identifiers; every
//! word with a digit; formulas; tags, placeholders and control tokens such as `<image>`,
//! `<|im_end|>` or `[INST]`; anything in braces, and so JSON; texts that are JSON as a whole.
//! When in doubt a passage is kept.

use std::ops::Range;

use regex::Regex;
use unicode_segmentation::UnicodeSegmentation;

use crate::plan::AugmentError;

/// Each alternative is one kind of passage that stays; longer fences come first.
const KEPT: &[&str] = &[
    r"(?s:````.*?(?:````|\z))",
    r"(?s:```.*?(?:```|\z))",
    r"(?s:~~~.*?(?:~~~|\z))",
    r"``[^\n]+?``",
    r"`[^`\n]+`",
    r"(?m:^(?: {4}|\t)[^\n]*$)",
    r"(?s:<(?:tool_call|tool_response|tools|function)[ >].*?</(?:tool_call|tool_response|tools|function)>)",
    r"(?s:\$\$.*?\$\$)",
    r"(?s:\\\[.*?\\\])",
    r"(?s:\\\(.*?\\\))",
    r"(?s:\\begin\{.*?\\end\{[^}\n]*\})",
    r"\$[^$\n]+\$",
    r"\\[A-Za-z]+",
    r"<[^<>\n]{1,256}>",
    r"\[/?[A-Z][A-Z_]+\]",
    r"&#?\w{1,12};",
    r"(?:[A-Za-z][A-Za-z0-9+.\-]*://|www\.|mailto:)[!-;=?-~]+",
    r"[\w.+\-]+@[\w\-]+\.[\w.\-]+",
    r"[@#]\w+",
    r"(?:[A-Za-z]:)?(?:[\\/~.]*[\\/][\w.\-]+)+",
    r"[A-Za-z_]*[+\-]?\p{N}[A-Za-z_\p{N}]*(?:[.,:/'\-][A-Za-z_\p{N}]+)*%?",
    r"\w+_\w*|_\w+",
    r"\w+\([^()\n]*\)",
    r"--?[A-Za-z][\w\-]*",
    r"\b[a-z]+[A-Z]\w*",
    r"[A-Za-z0-9_\-]+\.[A-Za-z][A-Za-z0-9]{1,4}\b",
];

/// Finds the passages of a text that may be changed.
#[derive(Clone, Debug)]
pub struct Guard(Regex);

impl Guard {
    /// A guard that also keeps these texts wherever they stand: the control tokens of a tokenizer.
    ///
    /// # Errors
    /// When there are so many that no pattern can hold them.
    pub fn new(control: &[String]) -> Result<Self, AugmentError> {
        let mut control: Vec<&str> =
            control.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        control.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let escaped = control.into_iter().map(regex::escape);
        let pattern: Vec<String> = escaped.chain(KEPT.iter().map(|&kind| kind.to_owned())).collect();
        Regex::new(&pattern.join("|")).map(Self).map_err(|error| AugmentError::Control(error.to_string()))
    }

    /// The passages that may be changed, in order, none of them empty.
    #[must_use]
    pub fn free(&self, text: &str) -> Vec<Range<usize>> {
        if is_json(text) {
            return Vec::new();
        }
        let mut kept: Vec<Range<usize>> = self.0.find_iter(text).map(|found| found.range()).collect();
        kept.extend(braces(text));
        kept.sort_by_key(|range| range.start);
        let (mut free, mut at) = (Vec::new(), 0);
        for range in kept {
            if range.start > at {
                free.push(at..range.start);
            }
            at = at.max(range.end);
        }
        if at < text.len() {
            free.push(at..text.len());
        }
        free
    }

    /// The words of a text that may be changed: letters only, or letters with apostrophes.
    #[must_use]
    pub fn words(&self, text: &str) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        for range in self.free(text) {
            for (start, word) in text[range.clone()].unicode_word_indices() {
                if word.chars().all(|c| c.is_alphabetic() || is_mark(c) || matches!(c, '\'' | '’')) {
                    words.push(range.start + start..range.start + start + word.len());
                }
            }
        }
        words
    }
}

/// Combining marks: part of the letter before them, as in scripts of India.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && !c.is_alphanumeric() && !c.is_whitespace() && {
        let mut pair = String::from("a");
        pair.push(c);
        pair.graphemes(true).count() == 1
    }
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(text.trim()).is_ok()
}

/// The outermost passages from a brace to the one that closes it.
fn braces(text: &str) -> Vec<Range<usize>> {
    let mut open = Vec::new();
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'{' {
            open.push(at);
        } else if byte == b'}'
            && let Some(start) = open.pop()
        {
            while found.last().is_some_and(|inner| inner.start > start) {
                found.pop();
            }
            found.push(start..at + 1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let guard = Guard::new(&["<s>".into(), "EOS".into()]).unwrap();
        guard.words(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn code_is_kept() {
        assert_eq!(words("Run `ls -l` now:\n```sh\nls\n```\nthen stop"), ["Run", "now", "then", "stop"]);
        assert_eq!(words("a\n    indented code\nb"), ["a", "b"]);
        assert_eq!(words("see ``a ` b`` end ```never closed"), ["see", "end"]);
        assert_eq!(words("call my_func or doThing() or f(x, y) please"), ["call", "or", "or", "please"]);
    }

    #[test]
    fn links_numbers_and_paths_are_kept() {
        assert_eq!(words("at https://a.example/b?c=d today, mail x@y.org"), ["at", "today", "mail"]);
        assert_eq!(words("costs $12.50 or 3rd or 2024-01-02 in B2B"), ["costs", "or", "or", "in"]);
        assert_eq!(words("open /usr/share/words and notes.txt with --all"), ["open", "and", "with"]);
        assert_eq!(words("共3个苹果"), ["共", "个", "苹", "果"]);
    }

    #[test]
    fn placeholders_and_control_tokens_are_kept() {
        assert_eq!(
            words("<image> what <|im_end|> is [INST] it {name} <s> EOS end"),
            ["what", "is", "it", "end"]
        );
        assert_eq!(
            words("use <tool_call>\n{\"name\": \"get the weather\"}\n</tool_call> now"),
            ["use", "now"]
        );
        assert_eq!(words("before {\n \"a\": {\"b\": \"some words\"}\n} after"), ["before", "after"]);
        assert_eq!(words("[\"all\", \"of\", \"it\"]"), Vec::<&str>::new());
        assert_eq!(words(r"so \(a + b\) and $x y$ hold \alpha"), ["so", "and", "hold"]);
    }

    #[test]
    fn an_open_brace_hides_nothing() {
        assert_eq!(words("a { b } c { d"), ["a", "c", "d"]);
        assert_eq!(words("} a {{ b } c"), ["a", "c"]);
    }
}
