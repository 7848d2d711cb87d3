//! Rules of C4, Raffel et al. 2020, <https://arxiv.org/abs/1910.10683>, with those that only its
//! code has (long words, policies, citations).
//!
//! A plain text loses the lines that break a rule and is left out when too few sentences stay. The
//! lines of a conversation are not touched: it is only held to the rules on whole rows (`lorem
//! ipsum`, curly brackets).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::fineweb::ends_a_sentence;
use crate::cleaner::{Broken, Held};
use crate::words::lines;

/// Which rules are on; 0 turns a threshold off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option")]
pub struct C4Plan {
    /// Lines have to end with `.`, `?`, `!` or a quotation mark, and not with an ellipsis.
    pub terminal_punctuation: bool,
    /// Sentences in the lines that stay, at least.
    pub min_sentences: usize,
    /// Words of a line, at least.
    pub min_words_per_line: usize,
    /// Characters of a word, at most; lines with longer ones go.
    pub max_word_chars: usize,
    /// Remove marks of citations, as `[1]` and `[edit]`.
    pub remove_citations: bool,
    /// Leave out texts with `lorem ipsum`.
    pub lorem_ipsum: bool,
    /// Remove lines with `javascript`.
    pub javascript: bool,
    /// Leave out texts with `{`.
    pub curly_bracket: bool,
    /// Remove lines about cookies, privacy and terms of use.
    pub policy: bool,
}

impl Default for C4Plan {
    fn default() -> Self {
        Self {
            terminal_punctuation: true,
            min_sentences: 5,
            min_words_per_line: 3,
            max_word_chars: 1000,
            remove_citations: true,
            lorem_ipsum: true,
            javascript: true,
            curly_bracket: true,
            policy: true,
        }
    }
}

const POLICIES: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];

/// Endings that are no end of a sentence.
const ABBREVIATIONS: [&str; 21] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "jr", "sr", "inc", "ltd", "co", "fig",
    "vol", "al", "cf", "gen", "approx",
];

pub(crate) struct C4 {
    plan: C4Plan,
}

impl C4 {
    pub(crate) const fn new(plan: C4Plan) -> Self {
        Self { plan }
    }

    /// Rules on whole rows, for conversations.
    pub(crate) fn check(&self, text: &str) -> Held {
        self.lorem_ipsum(&text.to_lowercase())?;
        self.curly_bracket(text)
    }

    fn lorem_ipsum(&self, lower: &str) -> Held {
        if self.plan.lorem_ipsum && lower.contains("lorem ipsum") {
            return Err(Broken::new("c4.lorem_ipsum", ""));
        }
        Ok(())
    }

    fn curly_bracket(&self, line: &str) -> Held {
        if self.plan.curly_bracket && line.contains('{') {
            return Err(Broken::new("c4.curly_bracket", ""));
        }
        Ok(())
    }

    /// Take lines out of a text, and leave it out when too little stays.
    pub(crate) fn remove_lines(&self, text: &mut String, changed: &mut Vec<&'static str>) -> Held {
        let (mut kept, mut sentences) = (String::with_capacity(text.len()), 0);
        for line in lines(text) {
            let Some(line) = self.kept_line(line.trim())? else { continue };
            sentences += num_sentences(&line);
            if !kept.is_empty() {
                kept.push('\n');
            }
            kept.push_str(&line);
        }
        if sentences < self.plan.min_sentences {
            return Err(Broken::new("c4.few_sentences", format!("{sentences} sentences")));
        }
        let kept = kept.trim();
        if kept != text.as_str() {
            *text = kept.to_owned();
            changed.push("c4.lines");
        }
        Ok(())
    }

    /// A line as it stays, None when it goes. The rules on whole texts only see lines that got so far.
    fn kept_line<'a>(&self, line: &'a str) -> Result<Option<Cow<'a, str>>, Broken> {
        let plan = &self.plan;
        let too_long =
            |word: &str| word.len() > plan.max_word_chars && word.chars().count() > plan.max_word_chars;
        if plan.max_word_chars > 0 && line.split_whitespace().any(too_long) {
            return Ok(None);
        }
        let num_words = line.split_whitespace().count();
        let line = if plan.remove_citations { without_citations(line) } else { line.into() };
        if (plan.terminal_punctuation && !ends_well(&line)) || num_words < plan.min_words_per_line {
            return Ok(None);
        }
        let lower = line.to_lowercase();
        self.lorem_ipsum(&lower)?;
        if plan.javascript && lower.contains("javascript") {
            return Ok(None);
        }
        self.curly_bracket(&line)?;
        let policy = plan.policy && POLICIES.iter().any(|policy| lower.contains(policy));
        Ok((!policy).then_some(line))
    }
}

fn ends_well(line: &str) -> bool {
    line.ends_with(['.', '?', '!', '"', '\'', '。', '？', '！', '”']) && !line.ends_with("...")
}

/// `line` without `[12]`, `[]`, `[edit]` and `[citation needed]`.
fn without_citations(line: &str) -> Cow<'_, str> {
    if !line.contains('[') {
        return line.into();
    }
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(start) = rest.find('[') {
        let inner = &rest[start + 1..];
        let end = inner.find(']').filter(|&end| {
            let name = &inner[..end];
            name.chars().all(char::is_numeric) || name == "edit" || name == "citation needed"
        });
        let next = end.map_or(start + 1, |end| start + end + 2);
        out.push_str(&rest[..if end.is_some() { start } else { next }]);
        rest = &rest[next..];
    }
    out.push_str(rest);
    out.into()
}

/// Sentences of a line.
fn num_sentences(line: &str) -> usize {
    let closes =
        |letter: char| ends_a_sentence(letter) || matches!(letter, '"' | '\'' | '”' | '’' | ')' | '»' | '」');
    let mut count = 0;
    let mut letters = line.char_indices().peekable();
    let mut open = false;
    while let Some((at, letter)) = letters.next() {
        if !ends_a_sentence(letter) {
            open |= letter.is_alphanumeric();
            continue;
        }
        while letters.next_if(|&(_, next)| closes(next)).is_some() {}
        let spaced = letters.peek().is_none_or(|&(_, next)| next.is_whitespace());
        let wide = matches!(letter, '。' | '！' | '？' | '｡');
        if open && (wide || (spaced && !(letter == '.' && abbreviated(&line[..at])))) {
            count += 1;
            open = false;
        }
    }
    count + usize::from(open)
}

/// Whether a full stop after `before` belongs to an abbreviation or an initial.
fn abbreviated(before: &str) -> bool {
    let word =
        before.rsplit(|letter: char| letter.is_whitespace() || letter == '(').next().unwrap_or_default();
    let mut letters = word.chars();
    let initial = letters.next().is_some_and(char::is_uppercase) && letters.next().is_none() && word != "I";
    initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_would_say() {
        for (line, count) in [
            ("One. Two! Three? \"Four.\"", 4),
            ("Mr. Smith met J. Doe at 3.5 p.m. Then he left.", 2),
            ("no end", 1),
            ("你好。今天很好！真的吗？", 3),
            ("e.g. this", 1),
        ] {
            assert_eq!(num_sentences(line), count, "{line}");
        }
    }

    #[test]
    fn citations_go_and_other_brackets_stay() {
        assert_eq!(without_citations("a[1] b[edit] c[x] d[] [citation needed]e["), "a b c[x] d e[");
    }
}
