//! Altered copies of training rows: noise, synonyms and sentences in another order.
//!
//! What holds for all of it:
//!
//! - A copy is a pure function of the row, the row's hash and the plan, so threads, shards and
//!   restarts give the same bytes.
//! - Only texts of the roles that the plan names are changed, and in them only prose: code, links,
//!   numbers, placeholders and control tokens stay as they are (see [`guard`]).
//! - A copy differs from its row and from the copies before it; what would not is not made.

pub mod augmenter;
pub mod characters;
pub mod derived;
pub mod dice;
pub mod dictionary;
pub mod guard;
pub mod keyboard;
pub mod plan;
pub mod sentences;
pub mod spacing;
pub mod synonyms;
pub mod wordnet;
pub mod words;

pub use augmenter::{Augmenter, Copy};
pub use derived::Derived;
pub use dictionary::Dictionary;
pub use plan::{AugmentError, AugmentPlan, Kind, OpPlan, Role};
