//! From rows to packed batches: align, encode, truncate, store, plan, assemble.
//!
//! The order of documents and the bytes of the store are a function of the plan alone: any number
//! of threads makes the same.

pub mod align;
pub mod batch;
pub mod check;
pub mod encode;
pub mod error;
pub mod format;
mod inputs;
pub mod key;
pub mod mix;
mod near;
pub mod order;
pub mod pack;
pub mod plan;
pub mod preview;
pub mod quarantine;
pub mod run;
pub mod store;
pub mod stream;
mod sweep;
pub mod truncate;
pub mod worker;

pub use error::EngineError;
