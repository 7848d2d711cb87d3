//! The token store: Arrow IPC files and a manifest, made once and mapped from then on.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `ids` | list of uint16 (vocabularies up to 65,536) or uint32 | token ids |
//! | `spans` | list of uint32 | begin, end, begin, end ... of the runs of tokens that carry a loss |
//! | `weights` | list of float32 | of each run; empty when all are 1 |
//! | `rank` | uint8 | 0 is the row's only, best or desirable document, 1 and more are worse ones |
//! | `variant` | uint16 | 0 is the row itself, k its k-th augmented copy |
//! | `row` | uint32 | row, counted from the part's `first_row` |
//! | `line` | uint32 | line on which the row begins, counted from the part's `first_line` |
//! | `hash` | uint64 | hash of the row's bytes: decides the split |
//!
//! A part holds the documents of one unit of the data, so source and file stand in the manifest, once.
//! Documents of one row stand together. A store is made in a folder of its own and renamed when it is
//! whole. Opening it checks each file against the manifest, so a bit that fell over later is no token.

mod part;
mod read;
mod write;

pub use part::{Part, Stamps, digest};
pub use read::{Document, Store};
pub use write::{PartWriter, Place};

use std::collections::BTreeMap;

use fastft_record::Books;
use serde::{Deserialize, Serialize};

use crate::format::Format;

/// Name of the manifest in a store's folder.
pub const MANIFEST: &str = "manifest.json";
/// Name of the list of rows that could not be used.
pub const REJECTED: &str = "rejected.jsonl";
/// Name of the list of good rows that a rule, an option or a duplicate left out.
pub const LEFT_OUT: &str = "left_out.jsonl";

/// Bits of a token id in the files.
#[must_use]
pub const fn id_bits(vocab_size: u32) -> u8 {
    if vocab_size <= 1 << 16 { 16 } else { 32 }
}

/// The part of one unit, and where in the data it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The file.
    #[serde(flatten)]
    pub part: Part,
    /// Index of the source.
    pub source: u32,
    /// Index of the file.
    pub file: u32,
    /// Rows of the source before it.
    pub first_row: u64,
    /// Lines of the file before it.
    pub first_line: u64,
}

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// As the plan names it.
    pub path: String,
    /// BLAKE3 of its content.
    pub digest: String,
    /// Bytes.
    pub bytes: u64,
    /// Index of its source.
    pub source: u32,
}

/// One source as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What reports call it.
    pub name: String,
    /// The format that was used.
    pub format: Format,
    /// Whether it was found from rows and not named.
    pub guessed: bool,
}

/// What is in a store, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `FORMAT_VERSION` when it was written.
    pub version: u32,
    /// The content key.
    pub key: String,
    /// Bits of a token id in the files.
    pub id_bits: u8,
    /// Tokens of the longest document.
    pub max_length: u32,
    /// Documents.
    pub documents: u64,
    /// Files of the store, in the order of the data.
    pub parts: Vec<Section>,
    /// The lists of rows that are not in the store.
    pub lists: Vec<Part>,
    /// What the key was made of, as `explain-key` compares it.
    pub key_fields: Vec<(String, String)>,
    /// Files that were read.
    pub files: Vec<InputFile>,
    /// Sources in the plan's order.
    pub sources: Vec<Source>,
    /// What became of each row.
    pub books: Books,
    /// What was noticed on the way, as `name: count`.
    pub notes: BTreeMap<String, u64>,
    /// Sentences for the user.
    pub warnings: Vec<String>,
}
