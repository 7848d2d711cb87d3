//! Putting windows of documents into flat buffers: what the model sees.

use crate::pack::Windows;
use crate::store::Store;

/// The target of a position that carries no loss.
pub const IGNORE: i64 = -100;

/// How large the buffers of some windows have to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Tokens of all documents.
    pub tokens: usize,
    /// Documents.
    pub documents: usize,
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
    /// Set the target of position `at`.
    fn target(&mut self, at: usize, target: i64);
    /// Set where document `index` begins (or the last one ends).
    fn boundary(&mut self, index: usize, at: i32);
}

/// How large the windows are; None when one of them does not exist.
#[must_use]
pub fn measure(store: &Store, windows: &Windows, chosen: &[usize]) -> Option<Size> {
    let mut size = Size::default();
    for &window in chosen {
        for &document in windows.get(window)? {
            size.tokens += store.lengths()[document as usize] as usize;
            size.documents += 1;
        }
    }
    Some(size)
}

/// Lay the documents of the windows end to end.
///
/// A position's target is the next token of the same document where that one carries a loss; the
/// last position of a document has none. Buffers have to be as large as `measure` says.
#[allow(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "a batch has less than 2^31 tokens"
)]
pub fn fill(store: &Store, windows: &Windows, chosen: &[usize], sink: &mut impl Sink) -> Filled {
    let mut filled = Filled::default();
    let (mut at, mut index) = (0usize, 0usize);
    sink.boundary(0, 0);
    let documents = chosen.iter().flat_map(|window| windows.get(*window).unwrap_or_default());
    for &document in documents {
        let ids = store.ids(document);
        let mut spans = store.spans(document).chunks_exact(2);
        let mut span = spans.next();
        ids.for_each(|position, id| {
            sink.token(at + position, i64::from(id), position as i64);
            while span.is_some_and(|span| span[1] as usize <= position) {
                span = spans.next();
            }
            if position > 0 {
                let trained = span.is_some_and(|span| span[0] as usize <= position);
                filled.num_targets += usize::from(trained);
                sink.target(at + position - 1, if trained { i64::from(id) } else { IGNORE });
            }
        });
        at += ids.len();
        index += 1;
        sink.target(at - 1, IGNORE);
        sink.boundary(index, at as i32);
        filled.max_length = filled.max_length.max(ids.len());
    }
    filled
}
