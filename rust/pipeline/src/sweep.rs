//! Folders in which stores are made, and removing those whose makers are gone.
//!
//! A maker holds a lock on a file in its folder. The system lets go of it when the process ends,
//! however it ends, so a lock that can be had is a folder that nobody will finish: process numbers,
//! which come again and mean nothing on another machine with the same cache, are not asked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::EngineError;

const LOCK: &str = ".lock";
/// Younger folders are left alone: one may have been made a moment ago and not be locked yet.
const SETTLED: Duration = Duration::from_secs(60);

/// A folder in which a store is made; removed when it is dropped.
pub struct Workplace {
    folder: PathBuf,
    _lock: File,
}

impl Workplace {
    /// Make a folder of our own beside the stores, after removing what dead processes left there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(stores: &Path, key: &str) -> Result<Self, EngineError> {
        fs::create_dir_all(stores).map_err(EngineError::io(stores))?;
        sweep(stores);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let folder = stores.join(format!(".{key}-{}-{now:x}", std::process::id()));
        fs::create_dir(&folder).map_err(EngineError::io(&folder))?;
        let lock = File::create(folder.join(LOCK)).map_err(EngineError::io(&folder))?;
        let _ = lock.try_lock(); // nobody else knows it; a file system without locks only keeps its litter
        Ok(Self { folder, _lock: lock })
    }

    /// Where to write.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Give the finished store its name.
    ///
    /// # Errors
    /// When that can't be done, for example because there is one.
    pub fn publish(self, name: &Path) -> io::Result<()> {
        fs::remove_file(self.folder.join(LOCK))?;
        fs::rename(&self.folder, name)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // gone already when it was published
    }
}

/// Remove folders of dead makers; what can't be removed is no reason to stop.
fn sweep(stores: &Path) {
    for entry in fs::read_dir(stores).into_iter().flatten().flatten() {
        let age = entry.metadata().ok().and_then(|meta| meta.modified().ok()?.elapsed().ok());
        if entry.file_name().to_string_lossy().starts_with('.')
            && age.is_some_and(|age| age > SETTLED)
            && abandoned(&entry.path())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
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
    fn folders_of_dead_makers_are_swept_and_those_of_the_living_and_stores_stay() {
        let stores = std::env::temp_dir().join(format!("fastft-sweep-{}", std::process::id()));
        let living = Workplace::create(&stores, "living").unwrap();
        for name in [".dead-1", ".young-1", "store"] {
            fs::create_dir_all(stores.join(name)).unwrap();
            File::create(stores.join(name).join(LOCK)).unwrap();
        }
        let long_ago = SystemTime::now() - 2 * SETTLED;
        for folder in [living.folder(), &stores.join(".dead-1"), &stores.join("store")] {
            File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(&stores);
        assert!(!stores.join(".dead-1").exists());
        assert!(
            living.folder().exists() && stores.join(".young-1").exists() && stores.join("store").exists()
        );
        let name = stores.join("done");
        living.publish(&name).unwrap();
        assert!(name.exists() && !name.join(LOCK).exists());
        fs::remove_dir_all(stores).unwrap();
    }
}
