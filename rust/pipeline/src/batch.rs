//! Putting windows of documents into flat buffers: what the model sees.

use crate::store::{Document, Store};

/// The target of a position that carries no loss.
pub const IGNORE: i64 = -100;

/// Documents that can be laid into buffers: of a store, or in memory.
pub trait Tokens {
    /// Ids of a document.
    fn ids(&self, document: u32) -> Document<'_>;
    /// Runs of its trained tokens: begin, end, begin, end.
    fn spans(&self, document: u32) -> &[u32];
    /// The weight of each run; empty when all are 1.
    fn weights(&self, document: u32) -> &[f32];
    /// 0 for the best or only document of its row, 1 and more for worse ones.
    fn rank(&self, document: u32) -> u8;
}

impl Tokens for Store {
    fn ids(&self, document: u32) -> Document<'_> {
        Self::ids(self, document)
    }

    fn spans(&self, document: u32) -> &[u32] {
        Self::spans(self, document)
    }

    fn weights(&self, document: u32) -> &[f32] {
        Self::weights(self, document)
    }

    fn rank(&self, document: u32) -> u8 {
        Self::rank(self, document)
    }
}

/// How large the buffers of some windows have to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Tokens of all documents.
    pub tokens: usize,
    /// Documents.
    pub documents: usize,
    /// Whether a loss has another weight than 1.
    pub weighted: bool,
}

/// What was put into the buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Tokens of the longest document.
    pub max_length: usize,
    /// Targets that are not `IGNORE`.
    pub num_targets: usize,
}

/// Where values go: slices, or cells of a buffer that Python owns.
pub trait Sink {
    /// Set the values of position `at`.
    fn token(&mut self, at: usize, id: i64, position: i64);
    /// Set the target of position `at`, and the weight of its loss.
    fn target(&mut self, at: usize, target: i64, weight: f32);
    /// Set where document `index` begins (or the last one ends).
    fn boundary(&mut self, index: usize, at: i32);
    /// Set the rank of document `index`.
    fn rank(&mut self, index: usize, rank: u8);
}

/// How large the buffers of these documents have to be.
#[must_use]
pub fn measure(tokens: &impl Tokens, documents: &[u32]) -> Size {
    let mut size = Size { documents: documents.len(), ..Size::default() };
    for &document in documents {
        size.tokens += tokens.ids(document).len();
        size.weighted |= !tokens.weights(document).is_empty();
    }
    size
}

/// Lay documents end to end.
///
/// A position's target is the next token of the same document where that one carries a loss; the
/// last position of a document has none. Buffers have to be as large as `measure` says.
#[allow(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "a batch has less than 2^31 tokens"
)]
pub fn fill(tokens: &impl Tokens, documents: &[u32], sink: &mut impl Sink) -> Filled {
    let mut filled = Filled::default();
    let mut at = 0usize;
    sink.boundary(0, 0);
    for (index, &document) in documents.iter().enumerate() {
        let ids = tokens.ids(document);
        let weights = tokens.weights(document);
        let mut spans = tokens.spans(document).chunks_exact(2).enumerate();
        let mut span = spans.next();
        ids.for_each(|position, id| {
            sink.token(at + position, i64::from(id), position as i64);
            while span.is_some_and(|(_, span)| span[1] as usize <= position) {
                span = spans.next();
            }
            if position > 0 {
                match span.filter(|(_, span)| span[0] as usize <= position) {
                    Some((run, _)) => {
                        filled.num_targets += 1;
                        let weight = weights.get(run).copied().unwrap_or(1.0);
                        sink.target(at + position - 1, i64::from(id), weight);
                    }
                    None => sink.target(at + position - 1, IGNORE, 0.0),
                }
            }
        });
        at += ids.len();
        if at > 0 {
            sink.target(at - 1, IGNORE, 0.0);
        }
        sink.rank(index, tokens.rank(document));
        sink.boundary(index + 1, at as i32);
        filled.max_length = filled.max_length.max(ids.len());
    }
    filled
}
