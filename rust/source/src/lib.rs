//! Readers: from names of files to rows with their places.
//!
//! A file is mapped into memory and cut into chunks of whole rows by one forward pass; a row is a
//! byte range with the 1-based line on which it begins. Nothing is parsed here, so that cutting
//! stays far faster than what the pipeline does with the rows in parallel.

pub mod array;
pub mod detect;
pub mod error;
pub mod files;
pub mod map;
pub mod rows;

pub use detect::{Detected, Layout, TextUnit, detect};
pub use error::SourceError;
pub use files::expand;
pub use map::FileMap;
pub use rows::{Chunk, Chunks, Row};
