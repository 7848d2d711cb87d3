//! Renderings put together from the texts of messages and what a template prints around them.
//!
//! Where a template only prints texts (`printed`), conversations of one *shape* (the same roles, the
//! same question for a prompt, the same marks) differ in their texts alone. The first of a shape is
//! rendered with placeholders for its texts; what stands between them serves all others.

use std::sync::{Arc, PoisonError, RwLock};

use fastft_record::Message;
use rustc_hash::FxHashMap;

use crate::SpecialTokens;
use crate::marks::Marks;
use crate::printed::{Printed, ROLES, printed};
use crate::python::is_space;

/// Shapes that are kept; conversations of others are rendered one by one.
const SHAPES: usize = 4096;
/// Bytes of shapes that are kept.
const BYTES: usize = 1 << 24;
/// Before and behind a placeholder, and the digits in it: characters that no text has.
const OPEN: char = '\u{1fffe}';
const CLOSE: char = '\u{1ffff}';
const DIGITS: [char; 2] = ['\u{2fffe}', '\u{2ffff}'];
/// Whitespace before and behind a placeholder, which shows whether it is stripped.
const HEAD: char = '\u{2003}';
const TAIL: char = '\u{2002}';
/// What no template and no special token may have.
pub const OURS: [char; 6] = [OPEN, CLOSE, DIGITS[0], DIGITS[1], HEAD, TAIL];

/// What is printed of a conversation, in order.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// A message's text; with the whitespace before it, and behind it.
    Text {
        index: usize,
        head: bool,
        tail: bool,
    },
}

/// The skeleton of a shape; none where its rendering is refused or can't be taken apart.
type Skeleton = Option<Arc<[Piece]>>;

/// Skeletons of a template that only prints texts.
#[derive(Debug)]
pub struct Skeletons {
    rules: Printed,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    shapes: FxHashMap<Vec<u8>, Skeleton>,
    bytes: usize,
}

impl Skeletons {
    /// Skeletons of a template, as it is compiled; None where it does more with texts than to print them.
    pub fn new(source: &str, special: &SpecialTokens) -> Option<Self> {
        if source.contains(OURS) || special.iter().any(|(_, token)| token.contains(OURS)) {
            return None;
        }
        printed(source).map(|rules| Self { rules, kept: RwLock::default() })
    }

    /// The rendering of messages without tools; None where it has to be made. `render` renders others.
    pub fn fill(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        marks: Option<Marks>,
        render: impl FnOnce(&[Message]) -> Option<String>,
    ) -> Option<String> {
        let texts: Vec<&str> = messages.iter().map(|message| self.text(message)).collect::<Option<_>>()?;
        let mut shape = Vec::with_capacity(messages.len() + 12);
        shape.push(u8::from(add_generation_prompt));
        for mark in marks.iter().flat_map(|marks| [marks.open, marks.close]) {
            shape.extend(u32::from(mark).to_le_bytes());
        }
        // the roles differ in their first letter
        shape.extend(messages.iter().map(|message| message.role.as_bytes()[0]));
        let known = self.kept.read().unwrap_or_else(PoisonError::into_inner).shapes.get(&shape).cloned();
        let skeleton = match known {
            Some(skeleton) => skeleton?,
            None => self.learn(shape, messages, render)?,
        };
        Some(join(&skeleton, &texts))
    }

    /// The text of a message that has nothing else, if it is one that is only printed.
    fn text<'a>(&self, message: &'a Message) -> Option<&'a str> {
        let Message {
            role,
            content,
            content_is_null: _,
            parts,
            reasoning,
            tool_calls,
            name,
            tool_call_id,
            weight: _,
        } = message;
        let text = content.as_deref()?;
        let more = reasoning.is_some() || tool_calls.is_some() || name.is_some() || tool_call_id.is_some();
        let inside = text.trim_matches(is_space);
        let stripped = self.rules.strips_some && inside.len() < text.len();
        if more || stripped || inside.is_empty() || !parts.is_empty() || !ROLES.contains(&role.as_str()) {
            return None;
        }
        let absent = &self.rules.absent;
        (!absent.iter().any(|literal| text.contains(literal))).then_some(text)
    }

    /// Render a conversation of a new shape with placeholders.
    fn learn(
        &self,
        shape: Vec<u8>,
        messages: &[Message],
        render: impl FnOnce(&[Message]) -> Option<String>,
    ) -> Skeleton {
        let blank = |c| if self.rules.strips_some { None } else { Some(c) };
        let placed = |(index, message): (usize, &Message)| {
            let mut text: String = blank(HEAD).into_iter().chain([OPEN]).collect();
            text.extend(
                (0..usize::BITS)
                    .map(|bit| DIGITS[index >> bit & 1])
                    .take(messages.len().ilog2() as usize + 1),
            );
            text.extend([CLOSE].into_iter().chain(blank(TAIL)));
            Message { content: Some(text), ..message.clone() }
        };
        let placed: Vec<Message> = messages.iter().enumerate().map(placed).collect();
        let skeleton: Skeleton = render(&placed).and_then(|text| cut(&text)).map(Arc::from);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let bytes =
            shape.len() + skeleton.iter().flat_map(|pieces| pieces.iter()).map(Piece::bytes).sum::<usize>();
        if kept.shapes.len() < SHAPES && kept.bytes + bytes <= BYTES {
            kept.bytes += bytes;
            kept.shapes.insert(shape, skeleton.clone());
        }
        skeleton
    }
}

impl Piece {
    fn of<'a>(&'a self, texts: &[&'a str]) -> &'a str {
        match *self {
            Self::Literal(ref text) => text,
            Self::Text { index, head: true, tail: true } => texts[index],
            Self::Text { index, head: true, tail: false } => texts[index].trim_end_matches(is_space),
            Self::Text { index, head: false, tail: true } => texts[index].trim_start_matches(is_space),
            Self::Text { index, head: false, tail: false } => texts[index].trim_matches(is_space),
        }
    }

    fn bytes(&self) -> usize {
        let text = if let Self::Literal(text) = self { text.len() } else { 0 };
        size_of::<Self>() + text
    }
}

/// Take a rendering with placeholders apart.
fn cut(mut text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    while let Some((before, behind)) = text.split_once(OPEN) {
        let (number, behind) = behind.split_once(CLOSE)?;
        let mut index = 0;
        for (bit, digit) in number.chars().enumerate() {
            index |= DIGITS.iter().position(|c| *c == digit)? << bit;
        }
        let (before, head) = before.strip_suffix(HEAD).map_or((before, false), |before| (before, true));
        let (behind, tail) = behind.strip_prefix(TAIL).map_or((behind, false), |behind| (behind, true));
        if !before.is_empty() {
            pieces.push(Piece::Literal(before.to_owned()));
        }
        pieces.push(Piece::Text { index, head, tail });
        text = behind;
    }
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.to_owned()));
    }
    let rest = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.contains(OURS));
    (!pieces.iter().any(rest)).then_some(pieces)
}

fn join(pieces: &[Piece], texts: &[&str]) -> String {
    let parts = || pieces.iter().map(|piece| piece.of(texts));
    let mut text = String::with_capacity(parts().map(str::len).sum());
    text.extend(parts());
    text
}
