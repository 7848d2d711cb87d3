//! What a run of the engine is to do: made by Python from the config, passed as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fastft_clean::{CleanPlan, DedupPlan};
use fastft_source::SourceError;
use serde::Deserialize;
use serde_json::Value;

use crate::encode::EncodeOptions;
use crate::format::Format;

/// A file of a source that was brought here from elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePlan {
    /// Where it is now.
    pub path: PathBuf,
    /// What reports call it: where it came from.
    pub shown: String,
}

/// One source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePlan {
    /// What reports call it.
    pub name: String,
    /// A file, folder or pattern; of files from elsewhere, the address.
    pub path: PathBuf,
    /// The files, where they are not to be looked for under `path`.
    #[serde(default)]
    pub files: Option<Vec<FilePlan>>,
    /// What text is encoded in, by its WHATWG label; absent is UTF-8.
    #[serde(default)]
    pub encoding: Option<String>,
    /// Its format; absent means found from the first rows.
    #[serde(default)]
    pub format: Option<Format>,
    /// Only the first so many rows.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Columns that are known not to be used; a label among them is no part of the format that is found.
    #[serde(default)]
    pub ignore: Vec<String>,
}

/// What becomes of a row that is longer than `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncate {
    /// It is left out and counted.
    Drop,
    /// It ends the run.
    Error,
    /// Its end is cut off; the end token stays.
    Right,
    /// Its beginning is cut off.
    Left,
    /// The oldest turns are left out, the system message stays.
    Turns,
    /// It becomes several documents (text only).
    Split,
    /// Its middle is cut out.
    Middle,
    /// Questions and answers are cut by their share of the room, as LLaMA-Factory cuts them.
    LlamaFactory,
}

/// What rows are: decides which formats a stage accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// Conversations only.
    Conversation,
    /// Text, or conversations rendered to text.
    Text,
    /// Prompts with answers from best to worst.
    Preference,
    /// Conversations with a label: wanted or not.
    Labelled,
}

const fn yes() -> bool {
    true
}

/// Tokenizer and template.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerPlan {
    /// Path of tokenizer.json.
    pub file: PathBuf,
    /// Where what is made of it is kept for the next time.
    #[serde(default)]
    pub kept: Option<PathBuf>,
    /// Hash of everything that decides ids.
    pub key: String,
    /// Whether ids may be made by a path of our own, not only by the library that is its reference.
    #[serde(default = "yes")]
    pub own: bool,
    /// Ids are below this.
    pub vocab_size: u32,
    /// `bos_token` and so on.
    #[serde(default)]
    pub special_tokens: BTreeMap<String, String>,
    /// Source of the chat template.
    #[serde(default)]
    pub template: Option<String>,
    /// Hash of the template and how it is rendered and masked.
    #[serde(default)]
    pub template_key: String,
}

/// A whole run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In the config's order.
    pub sources: Vec<SourcePlan>,
    /// What rows are.
    pub rows: Rows,
    /// Tokenizer and template.
    pub tokenizer: TokenizerPlan,
    /// How documents are encoded.
    pub encode: EncodeOptions,
    /// Tokens of the longest document.
    pub max_length: u32,
    /// What becomes of longer ones.
    pub truncate: Truncate,
    /// End the run at the first bad row.
    pub fail_on_bad: bool,
    /// Worker threads; 0 is one a core.
    #[serde(default)]
    pub threads: usize,
    /// Which copies are made of training rows: an `AugmentPlan`.
    #[serde(default)]
    pub augment: Option<Value>,
    /// Bytes of the data that are one unit of work; 0 is chosen by the size of the data.
    #[serde(default)]
    pub unit_bytes: u64,
    /// What rows are held to; absent is off.
    #[serde(default)]
    pub clean: Option<CleanPlan>,
    /// Which rows say the same; absent is off.
    #[serde(default)]
    pub dedup: Option<DedupPlan>,
    /// Folder of all token stores.
    pub cache: PathBuf,
}

impl SourcePlan {
    /// The files, sorted by name where they are looked for.
    ///
    /// # Errors
    /// When there are none.
    pub fn expand(&self) -> Result<Vec<PathBuf>, SourceError> {
        match &self.files {
            Some(files) => Ok(files.iter().map(|file| file.path.clone()).collect()),
            None => fastft_source::expand(&self.path),
        }
    }

    /// Whether a column is named as one that is not used.
    #[must_use]
    pub fn ignores(&self, column: &str) -> bool {
        self.ignore.iter().any(|ignored| ignored == column)
    }

    /// What reports call a file.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        let named = self.files.iter().flatten().find(|file| file.path.as_os_str() == path.as_os_str());
        named.map_or_else(|| path.to_string_lossy().into_owned(), |file| file.shown.clone())
    }
}

impl Plan {
    /// Read a plan.
    ///
    /// # Errors
    /// When it is not what this version of the engine expects.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// How many workers to start.
    #[must_use]
    pub fn num_threads(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }
}
