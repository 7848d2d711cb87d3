//! The token store: Arrow IPC files and a manifest, made once and mapped from then on.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `ids` | list of uint16 (vocabularies up to 65,536) or uint32 | token ids |
//! | `spans` | list of uint32 | begin, end, begin, end ... of the runs of tokens that carry a loss |
//! | `source` | uint32 | index into the manifest's sources |
//! | `file` | uint32 | index into the manifest's files |
//! | `row` | uint64 | 0-based row of the source |
//! | `line` | uint64 | 1-based line of the file on which the row begins |
//! | `hash` | uint64 | hash of the row's bytes: decides the split |
//!
//! A store is written into a temporary folder, synced, and renamed: it is whole or not there. Opening
//! it checks each file against the manifest, so a bit that fell over later is no token.

mod part;
mod read;
mod write;

pub use part::{Part, Stamps};
pub use read::{Document, Store};
pub use write::{Place, Writer};

use std::collections::BTreeMap;

use fastft_record::Books;
use serde::{Deserialize, Serialize};

use crate::format::Format;

/// Name of the manifest in a store's folder.
pub const MANIFEST: &str = "manifest.json";
/// Name of the list of rows that could not be used.
pub const REJECTED: &str = "rejected.jsonl";

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
    /// Files of the store.
    pub parts: Vec<Part>,
    /// The list of rows that could not be used.
    pub rejected: Option<Part>,
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
