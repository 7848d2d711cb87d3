//! What is there of a file that is being fetched: a line of what it is, then one for each piece.
//!
//! A piece stands in the journal when its bytes are durable in the `.part` file, so what stands there holds after a
//! loss of power too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Found;

/// Which content the pieces are of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    size: u64,
    piece_bytes: u64,
    etag: Option<String>,
    modified: Option<String>,
}

/// A `.part` file and its journal.
#[derive(Debug)]
pub struct Journal {
    /// The file that is filled.
    pub part: File,
    /// Where it is.
    pub path: PathBuf,
    lines: File,
    lines_path: PathBuf,
    /// Whether each piece is there.
    pub done: Vec<bool>,
}

impl Journal {
    /// Go on with what is there of this content, or begin.
    pub fn open(target: &Path, found: &Found, size: u64, piece_bytes: u64) -> io::Result<Self> {
        let (path, lines_path) = (beside(target, "part"), beside(target, "journal"));
        let head = Head { size, piece_bytes, etag: found.etag.clone(), modified: found.modified.clone() };
        let count = usize::try_from(size.div_ceil(piece_bytes)).unwrap_or(usize::MAX);
        let known = std::fs::metadata(&path).is_ok_and(|part| part.len() == size);
        let done = if known && found.is_versioned() { read(&lines_path, &head, count) } else { None };
        let part = OpenOptions::new().write(true).create(true).truncate(done.is_none()).open(&path)?;
        part.set_len(size)?;
        let mut lines = OpenOptions::new().append(true).create(true).open(&lines_path)?;
        if let Some((_, whole)) = &done {
            lines.set_len(*whole)?; // else what is written next would end a line that was cut off
        } else {
            lines.set_len(0)?;
            writeln!(lines, "{}", serde_json::to_string(&head)?)?;
        }
        let done = done.map_or_else(|| vec![false; count], |(done, _)| done);
        Ok(Self { part, path, lines, lines_path, done })
    }

    /// A piece is there.
    pub fn note(&mut self, piece: usize) -> io::Result<()> {
        self.part.sync_data()?;
        self.done[piece] = true;
        writeln!(self.lines, "{piece}")
    }

    /// All pieces are there: the file gets its name.
    pub fn finish(self, target: &Path) -> io::Result<()> {
        finish(&self.part, &self.path, target)?;
        std::fs::remove_file(&self.lines_path)
    }
}

/// Give a whole `.part` file its name, durably.
pub fn finish(part: &File, path: &Path, target: &Path) -> io::Result<()> {
    part.sync_all()?;
    std::fs::rename(path, target)?;
    if let Some(folder) = target.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The target's name with an ending.
pub fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Which pieces a journal of this content names, and its bytes up to the end of the last whole line.
fn read(path: &Path, head: &Head, count: usize) -> Option<(Vec<bool>, u64)> {
    let text = std::fs::read_to_string(path).ok()?;
    let (first, rest) = text.split_once('\n')?;
    if serde_json::from_str::<Head>(first).ok()? != *head {
        return None;
    }
    let mut done = vec![false; count];
    // the last line may have been cut off, and is no piece then
    let whole = &rest[..rest.rfind('\n').map_or(0, |end| end + 1)];
    for line in whole.lines() {
        *done.get_mut(line.parse::<usize>().ok()?)? = true;
    }
    Some((done, (first.len() + 1 + whole.len()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(etag: Option<&str>) -> Found {
        Found {
            url: "http://h/f".into(),
            shown: "http://h/f".into(),
            name: "f".into(),
            size: Some(10),
            etag: etag.map(str::to_owned),
            modified: None,
        }
    }

    #[test]
    fn what_is_there_is_known_again_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        let mut journal = Journal::open(&target, &found(Some("a")), 10, 4).unwrap();
        journal.note(2).unwrap();
        drop(journal);
        // half a line, as a crash leaves it
        let lines = beside(&target, "journal");
        let text = std::fs::read_to_string(&lines).unwrap();
        std::fs::write(&lines, text + "1").unwrap();
        let mut journal = Journal::open(&target, &found(Some("a")), 10, 4).unwrap();
        assert_eq!(journal.done, [false, false, true]);
        journal.note(0).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&target, &found(Some("a")), 10, 4).unwrap().done, [true, false, true]);
        assert_eq!(Journal::open(&target, &found(Some("b")), 10, 4).unwrap().done, [false; 3]);
        Journal::open(&target, &found(Some("b")), 10, 4).unwrap().note(0).unwrap();
        assert_eq!(Journal::open(&target, &found(Some("b")), 10, 5).unwrap().done, [false; 2]);
    }

    #[test]
    fn without_a_version_nothing_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        Journal::open(&target, &found(None), 10, 5).unwrap().note(0).unwrap();
        assert_eq!(Journal::open(&target, &found(None), 10, 5).unwrap().done, [false; 2]);
    }
}
