//! Texts in a normal form, with the way back to where each byte comes from.
//!
//! Only what is not in that form is normalized, by the reference; the rest is copied.

use tokenizers::NormalizedString;
use tokenizers::normalizer::Range;

use crate::inert::Form;
use crate::offset;

/// A text that grows, and where its bytes come from.
pub struct Normal {
    form: Form,
    /// The text in normal form.
    pub text: String,
    stretches: Vec<Stretch>,
    /// For each byte of what was changed, the bytes that its character comes from.
    sources: Vec<(u32, u32)>,
}

/// Bytes from `begin` to the next stretch.
struct Stretch {
    begin: usize,
    kind: Kind,
}

enum Kind {
    /// Copied from the original text, from this byte on.
    Copied(usize),
    /// The first of its entries in `sources`.
    Changed(usize),
}

impl Normal {
    /// No text yet.
    pub const fn new(form: Form) -> Self {
        Self { form, text: String::new(), stretches: Vec::new(), sources: Vec::new() }
    }

    /// Append `text[from..to]` as it is.
    pub fn copy(&mut self, text: &str, from: usize, to: usize) {
        // white space that belongs to two added tokens: nothing is between them
        if from >= to {
            return;
        }
        self.stretches.push(Stretch { begin: self.text.len(), kind: Kind::Copied(from) });
        self.text.push_str(&text[from..to]);
    }

    /// Append the normal form of `text[from..to]`.
    pub fn normalize(&mut self, text: &str, from: usize, to: usize) {
        let mut done = from;
        // a form ends before each inert character: nothing before it is composed with it
        let mut border = from;
        let mut at = from;
        while at < to {
            let Some(c) = text[at..to].chars().next() else { break };
            if self.form.leaves(c) {
                border = at;
                at += c.len_utf8();
                continue;
            }
            let end = text[at..to]
                .char_indices()
                .find(|(_, c)| self.form.leaves(*c))
                .map_or(to, |(length, _)| at + length);
            let piece = &text[border..end];
            if !self.form.holds(piece) {
                self.copy(text, done, border);
                self.change(piece, border);
                done = end;
            }
            (at, border) = (end, end);
        }
        self.copy(text, done, to);
    }

    fn change(&mut self, piece: &str, from: usize) {
        let mut normal = NormalizedString::from(piece);
        match self.form {
            Form::Canonical => normal.nfc(),
            Form::Compatible => normal.nfkc(),
        };
        self.stretches.push(Stretch { begin: self.text.len(), kind: Kind::Changed(self.sources.len()) });
        self.text.push_str(normal.get());
        for (at, c) in normal.get().char_indices() {
            let range =
                normal.convert_offsets(Range::Normalized(at..at + c.len_utf8())).unwrap_or(0..piece.len());
            let source = (offset(from + range.start), offset(from + range.end));
            self.sources.extend(std::iter::repeat_n(source, c.len_utf8()));
        }
    }

    /// The bytes of the original text that `begin..end` of the normal one comes from.
    pub fn source(&self, begin: u32, end: u32) -> (u32, u32) {
        let last = end.max(begin + 1) - 1;
        (self.byte(begin as usize).0, self.byte(last as usize).1)
    }

    fn byte(&self, at: usize) -> (u32, u32) {
        let Some(stretch) =
            self.stretches[..self.stretches.partition_point(|stretch| stretch.begin <= at)].last()
        else {
            return (0, 0);
        };
        let inside = at - stretch.begin;
        match stretch.kind {
            Kind::Copied(from) => (offset(from + inside), offset(from + inside + 1)),
            Kind::Changed(first) => self.sources[first + inside],
        }
    }
}
