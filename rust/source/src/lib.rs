//! Readers: from names of files to rows with their places.
//!
//! A file is read forward in blocks and cut into chunks of whole rows; a row is a range of bytes of its chunk with the
//! 1-based line on which it begins. JSON is not parsed here, so that cutting stays far faster than what the pipeline
//! does with the rows in parallel; rows of tables and columns are written as JSON objects, so that what follows sees
//! JSON or text. Memory holds a block, or one row that is larger; no file is ever held whole.

mod array;
mod columns;
mod csv;
mod delimiter;
mod detect;
mod encode;
mod error;
mod files;
mod input;
mod layout;
mod lines;
mod map;
pub mod names;
mod rows;
mod span;
mod window;

pub use detect::{BOM, Detected, detect, detect_as};
pub use error::SourceError;
pub use files::{expand, expand_told};
pub use input::unpacked_bytes;
pub use layout::{Compression, DataFile, Layout, TextUnit};
pub use map::FileMap;
pub use rows::{Chunk, Chunks, MAX_ROW_BYTES, Row};
pub use span::{Span, count_lines, read, spans};
