//! What is noticed while documents are encoded, by name: a thread's own, so that it can be told which
//! rows it belongs to.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static NOTED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Count something.
pub fn note(name: &'static str, count: u64) {
    if count > 0 {
        NOTED.with_borrow_mut(|noted| *noted.entry(name).or_default() += count);
    }
}

/// What this thread noticed since it last asked.
#[must_use]
pub fn take_noted() -> BTreeMap<String, u64> {
    NOTED.take().into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
