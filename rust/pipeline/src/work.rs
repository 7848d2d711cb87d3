//! Folders in which stores are made, and removing those that nobody went on with.
//!
//! A folder is named by the store's key, so a run that ended early is gone on with by the next one. Its
//! maker holds a lock on a file in it; another run of the same plan waits for the lock and finds the store
//! made. The system lets go of the lock when the process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::error::EngineError;
use crate::worker::Progress;

const LOCK: &str = ".lock";
/// Folders that nobody wrote into for so long are removed: nobody will go on with them.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const POLL: Duration = Duration::from_millis(50);

/// A folder in which a store is made, which nobody else writes into.
pub struct Workplace {
    folder: PathBuf,
    _lock: File,
}

impl Workplace {
    /// The folder for the store of this key, as the last run left it; waits for a run that is at it.
    ///
    /// # Errors
    /// When it can't be made, or the run is cancelled while waiting.
    pub fn open(stores: &Path, key: &str, progress: &Progress) -> Result<Self, EngineError> {
        fs::create_dir_all(stores).map_err(EngineError::io(stores))?;
        sweep(stores);
        let folder = stores.join(format!(".{key}"));
        loop {
            fs::create_dir_all(&folder).map_err(EngineError::io(&folder))?;
            let path = folder.join(LOCK);
            let lock = match File::create(&path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // published just now
                Err(error) => return Err(EngineError::io(&path)(error)),
            };
            match lock.try_lock() {
                // the folder may have been published, and made anew, while we opened its lock
                Ok(()) if is_same(&lock, &path) => return Ok(Self { folder, _lock: lock }),
                // a file system without locks: two runs would write the same bytes
                Err(TryLockError::Error(_)) => return Ok(Self { folder, _lock: lock }),
                Ok(()) | Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
            }
            if progress.cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
        }
    }

    /// Where to write.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Give the finished store its name.
    ///
    /// # Errors
    /// When that can't be done.
    pub fn publish(self, name: &Path) -> Result<(), EngineError> {
        let lock = self.folder.join(LOCK);
        fs::remove_file(&lock).map_err(EngineError::io(&lock))?;
        fs::rename(&self.folder, name).map_err(EngineError::io(name))
    }

    /// Remove the folder.
    ///
    /// # Errors
    /// When that can't be done.
    pub fn discard(self) -> Result<(), EngineError> {
        fs::remove_dir_all(&self.folder).map_err(EngineError::io(&self.folder))
    }
}

fn is_same(lock: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (lock.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

/// Remove folders that were left long ago; what can't be removed is no reason to stop.
fn sweep(stores: &Path) {
    for entry in fs::read_dir(stores).into_iter().flatten().flatten() {
        let age = entry.metadata().ok().and_then(|meta| age(meta.modified().ok()?));
        if entry.file_name().to_string_lossy().starts_with('.')
            && age.is_some_and(|age| age > KEPT)
            && abandoned(&entry.path())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn age(time: SystemTime) -> Option<Duration> {
    time.elapsed().ok()
}

fn abandoned(folder: &Path) -> bool {
    match File::options().write(true).open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_nobody_goes_on_with_are_swept() {
        let stores = std::env::temp_dir().join(format!("fastft-sweep-{}", std::process::id()));
        let progress = Progress::default();
        let living = Workplace::open(&stores, "living", &progress).unwrap();
        for name in [".left", ".young", "store"] {
            fs::create_dir_all(stores.join(name)).unwrap();
            File::create(stores.join(name).join(LOCK)).unwrap();
        }
        let long_ago = SystemTime::now() - 2 * KEPT;
        for folder in [living.folder(), &stores.join(".left"), &stores.join("store")] {
            File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(&stores);
        assert!(!stores.join(".left").exists());
        assert!(living.folder().exists() && stores.join(".young").exists() && stores.join("store").exists());
        fs::remove_dir_all(stores).unwrap();
    }

    #[test]
    fn a_second_run_waits_and_finds_the_store_made() {
        let stores = std::env::temp_dir().join(format!("fastft-wait-{}", std::process::id()));
        let progress = Progress::default();
        let first = Workplace::open(&stores, "key", &progress).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Workplace::open(&stores, "key", &progress).map(Workplace::discard));
            std::thread::sleep(3 * POLL);
            assert!(!second.is_finished());
            first.publish(&stores.join("key")).unwrap();
            second.join().unwrap().unwrap().unwrap();
        });
        assert!(stores.join("key").exists() && !stores.join("key").join(LOCK).exists());
        assert!(!stores.join(".key").exists());
        fs::remove_dir_all(stores).unwrap();
    }
}
