//! Whose words are kept: the tables of a thread for each tokenizer, which other threads go on with when it ends.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::huge::Table;
use crate::kept::{Kept, Small};

/// Tokenizers whose words a thread keeps at a time.
const MOST_TABLES: usize = 4;

thread_local! {
    static TABLES: RefCell<Tables> = const { RefCell::new(Tables(Vec::new())) };
}

/// Whose words tables keep: a tokenizer. It has those of threads that have ended, for those that begin.
#[derive(Default)]
pub struct Owner {
    spare: Spare,
    /// What tables begin with; None is nothing.
    seed: Option<Table<Small>>,
}

type Spare = Arc<Mutex<Vec<Kept>>>;

impl Owner {
    /// Run with what the calling thread keeps of this tokenizer's words.
    pub fn with_kept<R>(&self, run: impl FnOnce(&mut Kept) -> R) -> R {
        TABLES.with_borrow_mut(|tables| run(tables.of(self)))
    }

    /// Let the tables of threads begin with words of up to 15 bytes.
    pub fn begin_with(&mut self, seed: Table<Small>) {
        self.seed = Some(seed);
    }

    /// What they begin with.
    pub const fn seed(&self) -> Option<&Table<Small>> {
        self.seed.as_ref()
    }

    fn table(&self) -> Kept {
        let fresh = || self.seed.clone().map(Kept::from).unwrap_or_default();
        spare(&self.spare).pop().unwrap_or_else(fresh)
    }
}

fn spare(tables: &Spare) -> MutexGuard<'_, Vec<Kept>> {
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tables of a thread, each with whose they are.
struct Tables(Vec<(Weak<Mutex<Vec<Kept>>>, Kept)>);

impl Tables {
    fn of(&mut self, owner: &Owner) -> &mut Kept {
        let Self(tables) = self;
        let known = tables.iter().position(|(known, _)| Weak::as_ptr(known) == Arc::as_ptr(&owner.spare));
        let at = known.unwrap_or_else(|| {
            if tables.len() == MOST_TABLES {
                tables.remove(0);
            }
            tables.push((Arc::downgrade(&owner.spare), owner.table()));
            tables.len() - 1
        });
        &mut tables[at].1
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        for (owner, kept) in self.0.drain(..) {
            if let Some(owner) = owner.upgrade() {
                spare(&owner).push(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kept: &Kept, word: &[u8]) -> Option<Vec<u32>> {
        kept.ids(word, false).map(<[u32]>::to_vec)
    }

    #[test]
    fn a_thread_goes_on_with_what_one_that_ended_kept_and_not_with_anothers() {
        let (owner, other) = (Owner::default(), Owner::default());
        let in_thread = |owner: &Owner, run: &(dyn Fn(&mut Kept) -> Option<Vec<u32>> + Sync)| {
            std::thread::scope(|scope| scope.spawn(|| owner.with_kept(|kept| run(kept))).join().unwrap())
        };
        let put = |kept: &mut Kept| {
            kept.put(b"word", false, &[1], |_| 4);
            find(kept, b"word")
        };
        assert_eq!(in_thread(&owner, &put), Some(vec![1]));
        assert_eq!(in_thread(&other, &|kept| find(kept, b"word")), None);
        assert_eq!(in_thread(&owner, &|kept| find(kept, b"word")), Some(vec![1]));
        assert_eq!((spare(&owner.spare).len(), spare(&other.spare).len()), (1, 1));
        // tokenizers that are gone leave nothing behind
        let gone = Arc::downgrade(&owner.spare);
        drop(owner);
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn tables_begin_with_the_seed() {
        let mut kept = Kept::default();
        kept.put(b"word", false, &[1], |_| 4);
        let mut owner = Owner::default();
        owner.begin_with(kept.into_seed());
        for text in [&b"word"[..], b"more"] {
            let found = owner.with_kept(|kept| find(kept, text));
            assert_eq!(found.is_some(), text == b"word");
        }
    }
}
