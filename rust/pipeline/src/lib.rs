//! From rows to packed batches: align, encode, truncate, store, plan, assemble.

pub mod align;
pub mod format;
