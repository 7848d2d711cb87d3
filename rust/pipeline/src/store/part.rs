//! Files of a store: what they have to be, told when they are written and checked when it is opened.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::EngineError;

/// Files up to this size are always read through; larger ones when their stamp is another one.
const ALWAYS_READ: u64 = 1 << 28;

/// Files that this process found whole, so that opening a store's sides reads it once.
static WHOLE: LazyLock<Mutex<HashSet<(PathBuf, Part, Stamp)>>> = LazyLock::new(Mutex::default);

/// Name of the list of stamps: a file of its own, as equal data makes equal manifests.
const STAMPS: &str = "stamps.json";

/// When a file was last written, in nanoseconds since 1970, and its number in the file system.
type Stamp = (i64, u64);

/// One file of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Name in the folder.
    pub name: String,
    /// Documents.
    pub documents: u64,
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub digest: String,
}

impl Part {
    /// Describe a file as it is now.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn describe(folder: &Path, name: &str, documents: u64) -> Result<Self, EngineError> {
        let path = folder.join(name);
        let meta = fs::metadata(&path).map_err(EngineError::io(&path))?;
        Ok(Self { name: name.to_owned(), documents, bytes: meta.len(), digest: digest(&path)? })
    }

    /// Check that the file is still what was described: its size always; its content unless it is
    /// large and was not touched since.
    ///
    /// # Errors
    /// `EngineError::Store` when it is not, `EngineError::Io` when it can't be read.
    pub fn check(&self, folder: &Path, stamps: &Stamps) -> Result<(), EngineError> {
        let path = folder.join(&self.name);
        let meta = fs::metadata(&path).map_err(EngineError::io(&path))?;
        if meta.len() != self.bytes {
            let reason = format!("it has {} bytes, the manifest says {}", meta.len(), self.bytes);
            return Err(EngineError::store(&path, reason));
        }
        let stamp = stamp(&meta);
        if stamps.0.get(&self.name) == Some(&stamp) && self.bytes > ALWAYS_READ {
            return Ok(());
        }
        let found = (path, self.clone(), stamp);
        if WHOLE.lock().unwrap_or_else(PoisonError::into_inner).contains(&found) {
            return Ok(());
        }
        if digest(&found.0)? != self.digest {
            return Err(EngineError::store(&found.0, "its content is not what was written"));
        }
        WHOLE.lock().unwrap_or_else(PoisonError::into_inner).insert(found);
        Ok(())
    }
}

/// The stamps of a store's files as they were when it was made.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamps(BTreeMap<String, Stamp>);

impl Stamps {
    /// Those kept in a store; none when the list is missing or damaged, and all files are read.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let text = fs::read(folder.join(STAMPS)).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Keep the stamps of these files.
    ///
    /// # Errors
    /// When the list can't be written.
    pub fn write<'a>(folder: &Path, parts: impl Iterator<Item = &'a Part>) -> std::io::Result<()> {
        let of = |part: &Part| Ok((part.name.clone(), stamp(&fs::metadata(folder.join(&part.name))?)));
        let stamps = Self(parts.map(of).collect::<std::io::Result<_>>()?);
        fs::write(folder.join(STAMPS), serde_json::to_vec(&stamps)?)
    }
}

fn stamp(meta: &fs::Metadata) -> Stamp {
    (meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()), meta.ino())
}

/// BLAKE3 of a file, read in blocks: a map of a large file would count as our memory.
///
/// # Errors
/// When it can't be read.
pub fn digest(path: &Path) -> Result<String, EngineError> {
    let mut file = fs::File::open(path).map_err(EngineError::io(path))?;
    let (mut hasher, mut block) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut block).map_err(EngineError::io(path))? {
            0 => return Ok(hasher.finalize().to_hex()[..32].to_owned()),
            read => hasher.update(&block[..read]),
        };
    }
}
