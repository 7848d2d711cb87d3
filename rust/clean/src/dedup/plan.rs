//! What counts as a duplicate.

use serde::{Deserialize, Serialize};

/// What counts as a duplicate, and how much memory finding them may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupPlan {
    /// Rows with the same text.
    pub exact: bool,
    /// Upper and lower case are the same to `exact`.
    pub ignore_case: bool,
    /// Any white space is one space to `exact`, none at the ends.
    pub ignore_whitespace: bool,
    /// Rows with nearly the same text; absent is off.
    pub near: Option<NearPlan>,
    /// Bytes of buffers, over all threads; beyond that, files are used. Besides come 4 bytes a row
    /// for near duplicates or any clusters, and 24 bytes a duplicate found.
    pub memory_bytes: u64,
}

impl Default for DedupPlan {
    fn default() -> Self {
        Self {
            exact: true,
            ignore_case: false,
            ignore_whitespace: false,
            near: None,
            memory_bytes: 256 << 20,
        }
    }
}

/// How near duplicates are found: `MinHash` and locality-sensitive hashing. The defaults are
/// `FineWeb`'s: half of the pairs with a Jaccard similarity of 0.72 are found, 98 % at 0.85.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearPlan {
    /// Words of a shingle; characters in scripts without spaces.
    pub shingle: usize,
    /// Bands; rows that agree in one are candidates.
    pub bands: usize,
    /// Values of a band.
    pub rows: usize,
    /// Candidates below this estimated Jaccard similarity are no duplicates; 0 takes all.
    pub threshold: f64,
    /// Chooses the hash functions.
    pub seed: u64,
}

impl Default for NearPlan {
    fn default() -> Self {
        Self { shingle: 5, bands: 14, rows: 8, threshold: 0.0, seed: 1 }
    }
}

impl DedupPlan {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        if !self.exact && self.near.is_none() {
            return Some("neither `exact` nor `near` duplicates are asked for".into());
        }
        let near = self.near.as_ref()?;
        for (name, value, most) in
            [("shingle", near.shingle, 64), ("bands", near.bands, 1024), ("rows", near.rows, 64)]
        {
            if value == 0 || value > most {
                return Some(format!("`near.{name}` is {value}, and has to be 1 to {most}"));
            }
        }
        (!(0.0..=1.0).contains(&near.threshold))
            .then(|| format!("`near.threshold` is {}, and has to be 0 to 1", near.threshold))
    }
}
