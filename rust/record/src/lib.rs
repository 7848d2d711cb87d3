//! What the crates of the data engine share: the canonical record, the codes of what can be wrong
//! with a row, the books that say what became of each, hashing and counter-based random numbers.
//!
//! No input or output happens here.

pub mod books;
pub mod code;
pub mod conversation;
pub mod hash;
pub mod lengths;
pub mod random;

pub use books::{Books, SourceBooks, Unbalanced};
pub use code::{Code, RowError};
pub use conversation::{Conversation, Document, Message, Part, TextRole};
pub use hash::KeyHasher;
pub use lengths::Lengths;
pub use random::{Permutation, keyed_fraction, mix};
