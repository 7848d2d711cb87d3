//! What was made of a tokenizer.json, in a file, so that it is made once and not at every start.
//!
//! The file's name has a digest of the tokenizer.json and one of the code that made it, and it ends in a digest of what
//! it holds: one that is damaged, or is another's, is made anew.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::ops::DerefMut;
use std::path::{Path, PathBuf};

use bytemuck::Pod;

use crate::huge::Table;

/// The code that decides what is in the file.
const MADE_BY: [&str; 17] = [
    include_str!("artifact.rs"),
    include_str!("automaton.rs"),
    include_str!("bpe.rs"),
    include_str!("categories.txt"),
    include_str!("described.rs"),
    include_str!("frame.rs"),
    include_str!("huge.rs"),
    include_str!("kept.rs"),
    include_str!("library.rs"),
    include_str!("merges.rs"),
    include_str!("pattern.rs"),
    include_str!("pieces.rs"),
    include_str!("sets.rs"),
    include_str!("stages.rs"),
    include_str!("symbols.rs"),
    include_str!("whole.rs"),
    include_str!("words.rs"),
];
const DIGEST: usize = blake3::OUT_LEN;
/// Digits of a digest in the file's name.
const NAMED: usize = 24;

/// Where the file of a tokenizer.json is, in a folder.
pub fn path(folder: &Path, json: &[u8]) -> PathBuf {
    let mut code = blake3::Hasher::new();
    for source in MADE_BY {
        code.update(source.as_bytes());
    }
    code.update(&1_u32.to_ne_bytes()); // numbers are written as this machine has them
    let name = |digest: blake3::Hash| digest.to_hex()[..NAMED].to_owned();
    folder.join(format!("{}-{}.tables", name(blake3::hash(json)), name(code.finalize())))
}

/// Collects what is kept, one piece behind the other.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Append values.
    pub fn put<T: Pod>(&mut self, values: &[T]) {
        let bytes = bytemuck::cast_slice(values);
        self.0.extend((bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// Write the file; those that other code made of the same tokenizer.json go.
    pub fn write(mut self, to: &Path) -> io::Result<()> {
        let digest = blake3::hash(&self.0);
        self.0.extend(digest.as_bytes());
        let (Some(folder), Some(name)) = (to.parent(), to.file_name().and_then(|name| name.to_str())) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        fs::create_dir_all(folder)?;
        let made = folder.join(format!(".{name}.{}", std::process::id()));
        let written = File::create(&made).and_then(|mut file| file.write_all(&self.0));
        if let Err(error) = written.and_then(|()| fs::rename(&made, to)) {
            let _ = fs::remove_file(&made);
            return Err(error);
        }
        for other in fs::read_dir(folder)?.flatten() {
            let is_older = other.file_name().to_str().is_some_and(|other| {
                other != name && other.ends_with(".tables") && other.get(..NAMED) == name.get(..NAMED)
            });
            if is_older {
                let _ = fs::remove_file(other.path());
            }
        }
        Ok(())
    }
}

/// Reads what was kept, in the order in which it was put; None at anything that is not as it was written.
pub struct Reader {
    file: File,
    left: u64,
    digest: blake3::Hasher,
}

impl Reader {
    /// Open a file, if it is there.
    pub fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let left = file.metadata().ok()?.len().checked_sub(DIGEST as u64)?;
        Some(Self { file, left, digest: blake3::Hasher::new() })
    }

    /// The next values.
    pub fn values<T: Pod>(&mut self) -> Option<Vec<T>> {
        self.next(|count| vec![T::zeroed(); count])
    }

    /// The next values, into huge pages.
    pub fn table<T: Pod>(&mut self) -> Option<Table<T>> {
        self.next(Table::zeroed)
    }

    /// The next values, of which there are N.
    pub fn array<T: Pod, const N: usize>(&mut self) -> Option<[T; N]> {
        self.values()?.try_into().ok()
    }

    fn next<T: Pod, C: DerefMut<Target = [T]>>(&mut self, zeroed: impl FnOnce(usize) -> C) -> Option<C> {
        let mut length = [0; 8];
        self.fill(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > self.left {
            return None;
        }
        let mut values = zeroed(usize::try_from(length).ok()? / size_of::<T>());
        self.fill(bytemuck::cast_slice_mut(&mut values))?;
        Some(values)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        self.left = self.left.checked_sub(bytes.len() as u64)?;
        self.file.read_exact(bytes).ok()?;
        self.digest.update(bytes);
        Some(())
    }

    /// Whether all of it was read, and was as it had been written.
    pub fn holds(mut self) -> bool {
        let mut digest = [0; DIGEST];
        self.left == 0 && self.file.read_exact(&mut digest).is_ok() && self.digest.finalize() == digest
    }
}
