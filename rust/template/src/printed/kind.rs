//! What the value of an expression owes to the texts of messages.

use std::collections::HashMap;

/// Why a template is not for this analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that messages say: it is the same for all conversations of one shape.
    Plain,
    /// The role of a message: `system`, `user` or `assistant`.
    Role,
    /// Undefined.
    Absent,
    /// None.
    None,
    /// The text of a message, of which whitespace may be stripped.
    Text,
    /// A list of one text.
    Parts,
    /// Texts of messages with other text around them, or none on some way through the template.
    Made,
    /// A message.
    Message,
    /// A message, or undefined.
    MaybeMessage,
    /// The conversation, which has a message.
    Conversation,
    /// Some messages in some order.
    List,
    /// A `namespace`.
    Space,
    /// `loop` of a loop over messages, which has the neighbours of its message.
    Loop,
    /// One of several of these: only its truth may be asked.
    Any,
    /// What raises an exception instead.
    Never,
}

impl Kind {
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Plain | Self::Role | Self::Absent | Self::None)
    }

    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Made)
    }

    pub const fn is_list(self) -> bool {
        matches!(self, Self::Conversation | Self::List)
    }

    /// One of two values.
    pub fn or(self, other: Self) -> Self {
        let simple = |kind: Self| kind.is_plain() || kind.is_text();
        match (self, other) {
            (one, two) if one == two => one,
            (one, two) if one.is_plain() && two.is_plain() => Self::Plain,
            (one, two) if simple(one) && simple(two) => Self::Made,
            (one, two) if one.is_list() && two.is_list() => Self::List,
            _ => Self::Any,
        }
    }
}

/// A value: its kind, and whether it is true where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub kind: Kind,
    pub truth: Option<bool>,
}

impl Known {
    pub const ABSENT: Self = Self { kind: Kind::Absent, truth: Some(false) };
    pub const NONE: Self = Self { kind: Kind::None, truth: Some(false) };
    pub const PLAIN: Self = Self { kind: Kind::Plain, truth: None };
    /// Texts are never blank where this holds.
    pub const TEXT: Self = Self { kind: Kind::Text, truth: Some(true) };

    pub const fn of(kind: Kind) -> Self {
        Self { kind, truth: None }
    }

    /// The outcome of a test.
    pub const fn test(truth: Option<bool>) -> Self {
        Self { kind: Kind::Plain, truth }
    }

    /// One of two values.
    pub fn or(self, other: Self) -> Self {
        let truth = if self.truth == other.truth { self.truth } else { None };
        Self { kind: self.kind.or(other.kind), truth }
    }
}

/// What holds at a place of the template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    variables: HashMap<String, Known>,
    /// What was printed: absent while there is nothing.
    pub printed: Option<Kind>,
    /// Whether no way leads here.
    pub dead: bool,
    /// Whether names that are not set here may be set elsewhere, as in a macro.
    open: bool,
}

impl State {
    pub fn get(&self, name: &str) -> Option<Known> {
        self.variables.get(name).copied()
    }

    /// What a name stands for; special tokens and options are plain, set or not.
    pub fn variable(&self, name: &str) -> Known {
        self.get(name).unwrap_or(if self.open { Known::of(Kind::Any) } else { Known::PLAIN })
    }

    pub fn set(&mut self, name: &str, value: Known) {
        self.variables.insert(name.to_owned(), value);
    }

    pub fn forget(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// Print something.
    pub fn print(&mut self, kind: Kind) {
        self.printed = Some(match self.printed {
            None => kind,
            Some(before) if before.is_plain() && kind.is_plain() => Kind::Plain,
            Some(_) => Kind::Made,
        });
    }

    /// What holds where two ways meet; what only one of them sets is absent on the other.
    pub fn or(&self, other: &Self) -> Self {
        if self.dead || other.dead {
            return if self.dead { other.clone() } else { self.clone() };
        }
        let names = self.variables.keys().chain(other.variables.keys());
        let value = |state: &Self, name: &str| state.get(name).unwrap_or(Known::ABSENT);
        let variables = names.map(|name| (name.clone(), value(self, name).or(value(other, name)))).collect();
        let printed = match (self.printed, other.printed) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or(Kind::Absent).or(two.unwrap_or(Kind::Absent))),
        };
        Self { variables, printed, dead: false, open: self.open }
    }

    /// What a macro knows but for its arguments: names mean what they meant where it was made.
    pub fn of_macro() -> Self {
        Self { open: true, ..Self::default() }
    }
}
