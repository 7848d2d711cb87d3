//! One rule set a file; 0 turns a threshold off.

pub mod block;
pub mod c4;
pub mod fineweb;
pub mod gopher;
pub mod length;
pub mod repetition;
pub mod sft;
