//! Changes to a template's source before it is compiled.
//!
//! `{% generation %}` blocks become calls of a native function that brackets their text, and what a
//! `{% for %}` runs over passes through `__each`, which refuses None and takes strings apart as
//! Python does, and what `{% set %}` makes through `__kept`, which says how large it may be. `slice` has its own part.

use std::borrow::Cow;

use crate::slice;

/// A template's source as `MiniJinja` gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The source.
    pub source: String,
    /// Whether it has `{% generation %}` blocks.
    pub generation: bool,
    /// Why it is not for us: it nests too deeply for the stack of the compiler, or wants another template.
    pub refused: Option<&'static str>,
}

/// Operators that a tag may have: each may be a level of the tree that the compiler walks.
const OPERATORS: usize = 2000;
/// `{% elif %}` that a template may have: each is a level, too.
const ELIFS: usize = 500;
/// Tags that read another template, of which there is none. The compiler panics on some of them.
const OTHERS: [&str; 4] = ["import", "from", "include", "extends"];

/// A block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    If,
    Loop,
    /// What `MiniJinja` panics on when a loop around it is left from there.
    Within,
}

/// Rewrite a source; text, comments, raw blocks and strings stay as they are.
pub fn rewrite(source: &str) -> Rewritten {
    let mut out = String::with_capacity(source.len() + 64);
    let mut generation = false;
    let mut raw = false;
    let mut elifs = 0;
    let mut refused = None;
    let mut open: Vec<Open> = Vec::new();
    let mut rest = source;
    while let Some(at) = tag_begin(rest) {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag_end(tag, raw);
        let (tag, after) = tag.split_at(end);
        let tag = if raw || tag.starts_with("{#") { Cow::Borrowed(tag) } else { slice::rewrite(tag) };
        let inner = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}"));
        let (left, words, right) = inner.map_or(("", "", ""), trimmed);
        match words {
            "raw" => raw = true,
            "endraw" => raw = false,
            _ => {}
        }
        let first = if raw { "" } else { words.split(|c| !is_word(c)).next().unwrap_or_default() };
        match first {
            "if" => open.push(Open::If),
            "for" => open.push(Open::Loop),
            "with" => open.push(Open::Within),
            "else" if open.last() == Some(&Open::Loop) => _ = open.pop().map(|_| open.push(Open::Within)),
            "endif" | "endfor" | "endwith" => _ = open.pop(),
            "break" | "continue" if open.iter().rfind(|block| **block != Open::If) != Some(&Open::Loop) => {
                refused = Some("a loop is left from within a `with` block or the `else` of another loop");
            }
            _ => {}
        }
        if OTHERS.contains(&first) {
            refused = Some("the template reads another one, and a model has only one");
        }
        elifs += usize::from(words.starts_with("elif"));
        if elifs > ELIFS {
            refused = Some("the template has more than 500 `elif`");
        }
        if tag.len() > OPERATORS && !tag.starts_with("{#") && operators(&tag) > OPERATORS {
            refused = Some("a tag of the template has more than 2000 operators");
        }
        match words {
            "generation" if !raw => {
                generation = true;
                out.extend(["{%", left, " call __generation() ", right, "%}"]);
            }
            "endgeneration" if !raw => out.extend(["{%", left, " endcall ", right, "%}"]),
            _ => match (
                (!raw).then(|| loop_parts(words)).flatten(),
                (!raw).then(|| set_parts(words)).flatten(),
            ) {
                (Some((head, over, tail)), _) => {
                    out.extend(["{%", left, " ", head, " __each(", over.trim(), ") ", tail, right, "%}"]);
                }
                (_, Some((head, value))) => {
                    out.extend(["{%", left, " ", head, " __kept(", value.trim(), ") ", right, "%}"]);
                }
                _ => out.push_str(&tag),
            },
        }
        rest = after;
    }
    out.push_str(rest);
    Rewritten { source: out, generation, refused }
}

/// `for x in`, what is looped over, and what stands behind it (`if ...`, `recursive`).
fn loop_parts(words: &str) -> Option<(&str, &str, &str)> {
    if !words.strip_prefix("for")?.starts_with(char::is_whitespace) {
        return None;
    }
    let over = keyword(words, 3, &["in"])? + 2;
    let tail = keyword(words, over, &["if", "recursive"]).unwrap_or(words.len());
    (!words[over..tail].trim().is_empty()).then(|| (&words[..over], &words[over..tail], &words[tail..]))
}

/// `set x =`, and what is kept; None where nothing new is made, as in `set x = message.content`.
fn set_parts(words: &str) -> Option<(&str, &str)> {
    if !words.strip_prefix("set")?.starts_with(char::is_whitespace) {
        return None;
    }
    let (head, value) = words.split_at(words.find('=')? + 1);
    // `set x | replace('=', '')` begins a block
    if head.contains(['|', '(', '"', '\'']) {
        return None;
    }
    let made = value.contains(['(', '[', '{', '~', '+', '*', '|', ',']);
    (made && !value.trim_end().ends_with(',')).then_some((head, value))
}

/// Where the first of some words stands behind `from`, outside strings and brackets.
fn keyword(text: &str, from: usize, words: &[&str]) -> Option<usize> {
    let mut quotes = Quotes::default();
    let mut depth = 0usize;
    let mut before = ' ';
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < from) {
        let inside = quotes.step(c);
        match c {
            _ if inside => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 && !is_word(before) => {
                let found = |word: &&&str| {
                    text[at..].strip_prefix(**word).is_some_and(|rest| !rest.starts_with(is_word))
                };
                if words.iter().any(|word| found(&word)) {
                    return Some(at);
                }
            }
            _ => {}
        }
        before = c;
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// Whether a character is inside a string literal.
#[derive(Default)]
pub struct Quotes {
    open: Option<char>,
    escaped: bool,
}

impl Quotes {
    /// Take the next character; true for those of a literal, its quotes included.
    pub fn step(&mut self, c: char) -> bool {
        match self.open {
            Some(_) if self.escaped => self.escaped = false,
            Some(_) if c == '\\' => self.escaped = true,
            Some(open) if c == open => self.open = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => self.open = Some(c),
            None => return false,
        }
        true
    }
}

/// The whitespace controls around a tag's words, and the words.
fn trimmed(inner: &str) -> (&str, &str, &str) {
    let left = if inner.starts_with(['-', '+']) { &inner[..1] } else { "" };
    let inner = &inner[left.len()..];
    let right = if inner.ends_with(['-', '+']) { &inner[inner.len() - 1..] } else { "" };
    (left, inner[..inner.len() - right.len()].trim(), right)
}

/// Where the next tag or comment begins.
fn tag_begin(text: &str) -> Option<usize> {
    let second = |at: usize| matches!(text.as_bytes().get(at + 1), Some(b'%' | b'#' | b'{'));
    text.match_indices('{').map(|(at, _)| at).find(|&at| second(at))
}

/// Operators of a tag, about: words and signs that can stand in an endless chain.
fn operators(tag: &str) -> usize {
    let mut quotes = Quotes::default();
    let mut before = ' ';
    let mut count = 0;
    for (at, c) in tag.char_indices() {
        if quotes.step(c) {
            continue;
        }
        let word = |word: &&str| tag[at..].starts_with(*word) && !is_word(before);
        count += usize::from(
            ".|~+-*/%<>=!([".contains(c) || ["not", "and", "or", "if", "is", "in"].iter().any(word),
        );
        before = c;
    }
    count
}

/// Bytes of the tag that `text` begins with; quotes hide what looks like an end.
fn tag_end(text: &str, raw: bool) -> usize {
    let close = match &text[..2] {
        "{%" => "%}",
        "{{" => "}}",
        _ => return text.find("#}").map_or(text.len(), |at| at + 2),
    };
    if raw && !text[2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw") {
        return 2;
    }
    let mut quotes = Quotes::default();
    for (at, c) in text.char_indices().skip(2) {
        if !quotes.step(c) && text[at..].starts_with(close) {
            return at + 2;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_tags_are_rewritten() {
        let source = "{# {% generation %} #}{{ '{% for a in b %}' }}{% raw %}{% generation %}{% endraw %}";
        assert_eq!(rewrite(source), Rewritten { source: source.into(), generation: false, refused: None });
        let source = "{%- generation -%}a{{ \"%}\" }}{%endgeneration%}b";
        let expected = "{%- call __generation() -%}a{{ \"%}\" }}{% endcall %}b";
        assert_eq!(rewrite(source), Rewritten { source: expected.into(), generation: true, refused: None });
    }

    #[test]
    fn a_template_that_reads_another_is_refused() {
        for source in [
            "{% import 'x' as c | d %}",
            "{%- include 'x' -%}",
            "{% extends'x' %}",
            "{% from 'x' import y %}",
        ] {
            assert!(rewrite(source).refused.is_some(), "{source}");
        }
        for source in [
            "{% set include = 1 %}",
            "{% raw %}{% include 'x' %}{% endraw %}",
            "{{ from }}",
            "{% extends.a %}",
        ] {
            assert_eq!(rewrite(source).refused, None, "{source}");
        }
    }

    #[test]
    fn a_loop_is_not_left_from_within_another_block() {
        for tag in ["break", "- continue -"] {
            let other = format!(
                "{{% for m in a %}}{{% for k in m %}}{{% else %}}{{% if k %}}{{%{tag}%}}{{% endif %}}{{% endfor %}}{{% endfor %}}"
            );
            assert!(rewrite(&other).refused.is_some(), "{other}");
            let within =
                format!("{{% for m in a %}}{{% with x = 1 %}}{{%{tag}%}}{{% endwith %}}{{% endfor %}}");
            assert!(rewrite(&within).refused.is_some(), "{within}");
            let inner = format!(
                "{{% with x = 1 %}}{{% for m in a %}}{{% with %}}{{% endwith %}}{{%{tag}%}}{{% endfor %}}{{% endwith %}}"
            );
            assert_eq!(rewrite(&inner).refused, None, "{inner}");
        }
    }

    #[test]
    fn what_is_looped_over_is_checked() {
        for (source, expected) in [
            ("{%- for m in messages -%}", "{%- for m in __each(messages) -%}"),
            ("{% for k, v in a.items() if k in b %}", "{% for k, v in __each(a.items()) if k in b%}"),
            (
                "{%for x in [' if ', y if z else 1] recursive%}",
                "{% for x in __each([' if ', y if z else 1]) recursive%}",
            ),
            ("{% for in_x in x.if_y %}", "{% for in_x in __each(x.if_y) %}"),
            ("{% set for = 1 %}", "{% set for = 1 %}"),
            ("{%- set x.y = x.y ~ '%}' -%}", "{%- set x.y = __kept(x.y ~ '%}') -%}"),
            ("{% set x | replace('=', '+') %}", "{% set x | replace('=', '+') %}"),
        ] {
            assert_eq!(rewrite(source).source, expected);
        }
    }
}
