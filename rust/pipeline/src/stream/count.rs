//! How many windows an epoch has: the lanes are walked over documents of which only the lengths are known.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::lane::{Lane, Place};
use super::{Backend, Options, Unit};
use crate::error::EngineError;

struct Walk {
    lane: Lane,
    /// Windows of each epoch so far.
    windows: BTreeMap<u64, u64>,
    /// Epochs that were walked to their end.
    whole: u64,
}

/// Counts the windows of epochs; each is walked once.
pub struct Count {
    walks: Vec<Walk>,
}

impl Count {
    /// A count of these lanes; nothing is walked yet.
    pub fn new(lengths: &Arc<dyn Backend>, units: &Arc<[Unit]>, options: &Arc<Options>, lanes: u32) -> Self {
        let walk = |number: u32| {
            let (backend, units, options) = (Arc::clone(lengths), Arc::clone(units), Arc::clone(options));
            let lane = Lane::new(backend, units, options, (number, lanes), false, &Place::default());
            Walk { lane, windows: BTreeMap::new(), whole: 0 }
        };
        Self { walks: (0..lanes).map(walk).collect() }
    }

    /// Windows of an epoch, over all lanes.
    pub fn windows(&mut self, epoch: u64) -> Result<u64, EngineError> {
        let walked: Vec<Result<u64, EngineError>> = std::thread::scope(|scope| {
            let lanes: Vec<_> =
                self.walks.iter_mut().map(|walk| scope.spawn(move || walk.windows(epoch))).collect();
            let gone = |_| Err(EngineError::Worker("the count of windows".into()));
            lanes.into_iter().map(|lane| lane.join().unwrap_or_else(gone)).collect()
        });
        walked.into_iter().sum()
    }
}

impl Walk {
    fn windows(&mut self, epoch: u64) -> Result<u64, EngineError> {
        while self.whole <= epoch {
            let group = catch_unwind(AssertUnwindSafe(|| self.lane.group()))
                .unwrap_or_else(|_| Err(EngineError::Worker("the count of windows".into())))?;
            *self.windows.entry(group.start.epoch).or_default() += group.windows.len() as u64;
            self.whole = group.next.epoch;
        }
        Ok(self.windows.get(&epoch).copied().unwrap_or(0))
    }
}
