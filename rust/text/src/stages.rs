//! What a pre-tokenizer cuts a text by, one stage after the other.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::utils::SysRegex;

use crate::TextError;
use crate::automaton::Automaton;
use crate::pattern::{Pattern, parse};
use crate::sets::Set;

/// What `ByteLevel` splits by when it is told to use its own expression.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Bytes that are looked through in vain before it is asked from where else that would be so.
const FAR: usize = 64;

/// Cuts a text into what it finds and what lies between, of which both are pieces.
pub enum Stage {
    /// By an automaton.
    Automaton(Automaton),
    /// By the reference's own engine, for expressions that can't be one.
    Engine(SysRegex),
}

impl Stage {
    /// Which characters are one to its automaton, if it is one: those of the same number.
    pub fn class(&self, c: char) -> Option<u8> {
        match self {
            Self::Automaton(automaton) => Some(automaton.class(c)),
            Self::Engine(_) => None,
        }
    }

    /// Give the pieces of `text[from..to]`, none of them empty, from left to right.
    pub fn pieces(
        &self,
        text: &str,
        from: usize,
        to: usize,
        mut give: impl FnMut(usize, usize) -> Result<(), TextError>,
    ) -> Result<(), TextError> {
        let piece = &text[from..to];
        let mut done = from;
        let mut found = |begin: usize, end: usize| {
            if done < from + begin {
                give(done, from + begin)?;
            }
            done = from + end;
            if begin < end { give(from + begin, from + end) } else { Ok(()) }
        };
        match self {
            Self::Automaton(automaton) => {
                let mut at = 0;
                while at < piece.len() {
                    match automaton.end(piece, at) {
                        Ok(end) => {
                            found(at, end)?;
                            at = end;
                        }
                        Err(to) if to - at < FAR => {
                            at += piece[at..].chars().next().map_or(1, char::len_utf8);
                        }
                        Err(to) => at = automaton.next_start(piece, at, to),
                    }
                }
            }
            Self::Engine(pattern) => {
                for (begin, end) in pattern.find_iter(piece) {
                    found(begin, end)?;
                }
            }
        }
        found(piece.len(), piece.len())
    }
}

/// Give what stages, each inside the pieces of the one before, make of `text[from..to]`.
pub fn cut_by(
    stages: &[Stage],
    text: &str,
    from: usize,
    to: usize,
    give: &mut dyn FnMut(usize, usize) -> Result<(), TextError>,
) -> Result<(), TextError> {
    match stages {
        [first, rest @ ..] => first.pieces(text, from, to, |begin, end| cut_by(rest, text, begin, end, give)),
        [] => give(from, to),
    }
}

/// A step of a pre-tokenizer that cuts a text and keeps every character.
enum Cut {
    /// Each character of a set is a piece.
    Alone(Set),
    /// Each match of an expression is a piece, and what lies between.
    Expression(String),
}

/// The stages of a pre-tokenizer, each inside the pieces of the one before; None for one that is not known, or
/// does not end in the byte-level mapping.
pub fn stages(part: &PreTokenizerWrapper) -> Option<Vec<Stage>> {
    let mut cuts = Vec::new();
    if !read_cuts(part, &mut cuts)? {
        return None;
    }
    let automaton = |expression: &str| match Automaton::of(expression) {
        Some(automaton) => Some(Stage::Automaton(automaton)),
        None => SysRegex::new(expression).ok().map(Stage::Engine),
    };
    let mut stages = Vec::new();
    let mut rest = &cuts[..];
    loop {
        rest = match rest {
            [] => return Some(stages),
            [Cut::Alone(set), Cut::Expression(expression), rest @ ..] => {
                match Automaton::between(set, expression) {
                    Some(both) => stages.push(Stage::Automaton(both)),
                    None => stages
                        .extend([Stage::Automaton(Automaton::one_of(set.clone())?), automaton(expression)?]),
                }
                rest
            }
            [Cut::Alone(set), rest @ ..] => {
                stages.push(Stage::Automaton(Automaton::one_of(set.clone())?));
                rest
            }
            [Cut::Expression(expression), rest @ ..] => {
                stages.push(automaton(expression)?);
                rest
            }
        };
    }
}

/// Append the cuts of a pre-tokenizer; true when it ends in the byte-level mapping.
fn read_cuts(part: &PreTokenizerWrapper, cuts: &mut Vec<Cut>) -> Option<bool> {
    match part {
        PreTokenizerWrapper::Digits(digits) if digits.individual_digits => {
            cuts.push(Cut::Alone(Set::numeric()));
            Some(false)
        }
        PreTokenizerWrapper::Split(split)
            if !split.invert && matches!(split.behavior, SplitDelimiterBehavior::Isolated) =>
        {
            cuts.push(match &split.pattern {
                SplitPattern::Regex(expression) => match parse(expression) {
                    Some(Pattern::One(set)) => Cut::Alone(set),
                    _ => Cut::Expression(expression.clone()),
                },
                SplitPattern::String(text) => Cut::Expression(escaped(text)),
            });
            Some(false)
        }
        PreTokenizerWrapper::ByteLevel(level) if !level.add_prefix_space => {
            if level.use_regex {
                cuts.push(Cut::Expression(GPT2.into()));
            }
            Some(true)
        }
        PreTokenizerWrapper::Sequence(parts) => {
            let (last, rest) = parts.as_ref().split_last()?;
            for part in rest {
                if read_cuts(part, cuts)? {
                    return None;
                }
            }
            read_cuts(last, cuts)
        }
        _ => None,
    }
}

/// The expression that matches a text.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| c.is_ascii_punctuation().then_some('\\').into_iter().chain([c])).collect()
}
