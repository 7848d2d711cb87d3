//! From rows to packed batches: align, encode, truncate, store, plan, assemble.
//!
//! The order of documents and the bytes of the store are a function of the plan alone: any number
//! of threads makes the same.

pub mod align;
pub mod batch;
pub mod check;
mod dedup;
pub mod encode;
pub mod error;
mod extend;
pub mod format;
mod inputs;
pub mod job;
pub mod json;
pub mod key;
pub mod lists;
mod mend;
pub mod mix;
pub mod options;
pub mod order;
pub mod pack;
pub mod piece;
pub mod plan;
pub mod preview;
pub mod run;
pub mod sift;
pub mod store;
pub mod stream;
pub mod truncate;
pub mod units;
mod work;
pub mod worker;

pub use error::EngineError;
