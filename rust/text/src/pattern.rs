//! The regular expressions of tokenizers, as far as an automaton can serve them exactly.
//!
//! Alternatives, groups, sets, greedy and lazy repetition, and a look at the next character. What is
//! not known here, or means something else to the reference's engine (Oniguruma with Ruby's syntax),
//! is refused, and the engine itself serves.

use crate::sets::Set;

/// A parsed expression.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// One character of a set.
    One(Set),
    /// One after the other.
    Sequence(Vec<Self>),
    /// The first that leads to a match.
    Choice(Vec<Self>),
    /// So many times, as often as possible or as rarely.
    Repeat { what: Box<Self>, least: u32, most: Option<u32>, greedy: bool },
    /// The next character is of the set; at the end of the text, what `at_end` says.
    Ahead { set: Set, at_end: bool },
}

impl Pattern {
    /// Whether it may match without taking a character.
    fn may_be_empty(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Sequence(parts) => parts.iter().all(Self::may_be_empty),
            Self::Choice(ways) => ways.iter().any(Self::may_be_empty),
            Self::Repeat { what, least, .. } => *least == 0 || what.may_be_empty(),
            Self::Ahead { .. } => true,
        }
    }
}

/// Repetitions are written out in the automaton.
const MOST_TIMES: u32 = 64;

/// The expression's tree; None where it has something that is not known here.
pub fn parse(text: &str) -> Option<Pattern> {
    let mut parser = Parser { rest: text };
    let pattern = parser.choice(false)?;
    parser.rest.is_empty().then_some(pattern)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn take(&mut self, literal: &str) -> bool {
        self.rest.strip_prefix(literal).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn choice(&mut self, fold: bool) -> Option<Pattern> {
        let mut ways = vec![self.sequence(fold)?];
        while self.take("|") {
            ways.push(self.sequence(fold)?);
        }
        Some(if ways.len() == 1 { ways.swap_remove(0) } else { Pattern::Choice(ways) })
    }

    fn sequence(&mut self, fold: bool) -> Option<Pattern> {
        let mut parts = Vec::new();
        let mut before = None;
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let literal = self.rest.chars().next().filter(char::is_ascii_alphabetic);
            if fold && let (Some(one), Some(two)) = (before, literal) {
                // one character, as `ß`, can be two letters in another case
                let pair = [one, two].map(|letter: char| letter.to_ascii_lowercase());
                if matches!(pair, ['s', 's' | 't'] | ['f', 'f' | 'i' | 'l']) {
                    return None;
                }
            }
            before = literal;
            let atom = self.atom(fold)?;
            parts.push(self.repeated(atom)?);
        }
        Some(if parts.len() == 1 { parts.swap_remove(0) } else { Pattern::Sequence(parts) })
    }

    fn atom(&mut self, fold: bool) -> Option<Pattern> {
        if self.take("(?!") {
            let set = self.set(fold)?;
            return self.take(")").then(|| Pattern::Ahead { set: set.inverse(), at_end: true });
        }
        if self.take("(?=") {
            let set = self.set(fold)?;
            return self.take(")").then_some(Pattern::Ahead { set, at_end: false });
        }
        if self.take("$") {
            return Some(Pattern::Ahead { set: Set::range('\n', '\n'), at_end: true });
        }
        let fold = if self.take("(?i:") {
            true
        } else if self.take("(?:") {
            fold
        } else if self.rest.starts_with("(?") {
            return None;
        } else if self.take("(") {
            fold
        } else {
            return self.set(fold).map(Pattern::One);
        };
        let inside = self.choice(fold)?;
        self.take(")").then_some(inside)
    }

    fn repeated(&mut self, what: Pattern) -> Option<Pattern> {
        let (least, most) = if self.take("?") {
            (0, Some(1))
        } else if self.take("*") {
            (0, None)
        } else if self.take("+") {
            (1, None)
        } else if self.take("{") {
            let (inside, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            let (least, most) = match inside.split_once(',') {
                None => (inside, Some(inside)),
                Some((least, "")) => (least, None),
                Some((least, most)) => (least, Some(most)),
            };
            let most = most.map(str::parse).transpose().ok()?;
            (least.parse().ok()?, most)
        } else {
            return Some(what);
        };
        let greedy = !self.take("?");
        // possessive, or a repetition of a repetition
        let plain = !self.rest.starts_with(['+', '*', '?', '{']);
        let small = least <= MOST_TIMES && most.is_none_or(|most| most <= MOST_TIMES && most >= least);
        (plain && small && !what.may_be_empty()).then(|| Pattern::Repeat {
            what: Box::new(what),
            least,
            most,
            greedy,
        })
    }

    /// A set, or one character as a set.
    fn set(&mut self, fold: bool) -> Option<Set> {
        match self.next()? {
            '[' => self.class(fold),
            '\\' => self.escape().and_then(|set| if fold { folded(set) } else { Some(set) }),
            '(' | ')' | '|' | '?' | '*' | '+' | '{' | '}' | '.' | '^' | '$' | ']' => None,
            c if fold => folded(Set::range(c, c)),
            c => Some(Set::range(c, c)),
        }
    }

    /// What stands behind `[`.
    fn class(&mut self, fold: bool) -> Option<Set> {
        let inverse = self.take("^");
        if inverse && fold {
            return None;
        }
        let mut all = Set::default();
        let mut is_first = true;
        loop {
            if self.take("]") {
                break;
            }
            if self.rest.starts_with('[') || self.rest.starts_with("&&") {
                return None;
            }
            let (first, set) = self.member()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            all = all.with(match first {
                Some(first) if is_range && first != '-' => {
                    self.take("-");
                    let (last, _) = self.member()?;
                    Set::range(first, last.filter(|last| *last >= first)?)
                }
                _ if is_range && !is_first => return None,
                _ => set,
            });
            is_first = false;
        }
        let all = if fold { folded(all)? } else { all };
        (!is_first).then(|| if inverse { all.inverse() } else { all })
    }

    /// One character of a class, or a set that an escape names.
    fn member(&mut self) -> Option<(Option<char>, Set)> {
        match self.next()? {
            '\\' => {
                let set = self.escape()?;
                let mut borders = set.borders();
                let single = match (borders.next(), borders.next(), borders.next()) {
                    (Some(from), Some(to), None) if to == from + 1 => char::from_u32(from),
                    _ => None,
                };
                drop(borders);
                Some((single, set))
            }
            c => Some((Some(c), Set::range(c, c))),
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<Set> {
        let one = |c| Some(Set::range(c, c));
        match self.next()? {
            'p' => self.property(),
            'P' => self.property().map(|set| set.inverse()),
            's' => Some(Set::space()),
            'S' => Some(Set::space().inverse()),
            'd' => Set::category("Nd"),
            'n' => one('\n'),
            'r' => one('\r'),
            't' => one('\t'),
            'f' => one('\x0c'),
            'v' => one('\x0b'),
            'u' => {
                let digits = self.rest.get(..4)?;
                self.rest = &self.rest[4..];
                one(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?)
            }
            'x' => {
                self.take("{").then_some(())?;
                let (digits, rest) = self.rest.split_once('}')?;
                self.rest = rest;
                one(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?)
            }
            c if c.is_alphanumeric() => None,
            c => one(c),
        }
    }

    /// `{L}` or `L`, behind `\p`.
    fn property(&mut self) -> Option<Set> {
        self.take("{").then_some(())?;
        let (name, rest) = self.rest.split_once('}')?;
        self.rest = rest;
        match name.strip_prefix('^') {
            Some(name) => Set::category(name).map(|set| set.inverse()),
            None => Set::category(name),
        }
    }
}

/// With the other case of letters, and what else folds onto them; None beyond ASCII.
fn folded(set: Set) -> Option<Set> {
    let mut more = Vec::new();
    for letter in ('a'..='z').chain('A'..='Z').filter(|letter| set.has(u32::from(*letter))) {
        more.push(letter.to_ascii_lowercase());
        more.push(letter.to_ascii_uppercase());
        match letter.to_ascii_lowercase() {
            's' => more.push('\u{17f}'),
            'k' => more.push('\u{212a}'),
            _ => {}
        }
    }
    let is_ascii = set.borders().all(|border| border <= 0x80);
    let more = more.into_iter().map(|c| (u32::from(c), u32::from(c) + 1)).collect();
    is_ascii.then(|| set.with(Set::from_ranges(more)))
}
