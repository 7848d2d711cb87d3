//! The stream of windows: lanes in turn, each with its next group made ahead by a thread.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use serde::{Deserialize, Serialize};

use super::estimate::{Estimate, estimate};
use super::lane::{Group, Lane, Place};
use super::{Backend, Options, Unit};
use crate::error::EngineError;

/// Where a lane is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// Where its group begins.
    pub place: Place,
    /// Number, in the lane, of the group's first window.
    pub first: u64,
}

/// Bytes below which one lane is enough, for each lane.
const LANE_BYTES: u64 = 1 << 14;

type Made = Result<Group, EngineError>;

struct Open {
    groups: Receiver<Made>,
    current: Option<Arc<Group>>,
    /// Number, in the lane, of the current group's first window.
    first: u64,
}

enum Request {
    Open(u32, Place, Sender<Made>),
    Next(u32),
}

/// Windows in the block order.
pub struct Stream {
    backend: Arc<dyn Backend>,
    units: Arc<[Unit]>,
    options: Arc<Options>,
    lanes: u32,
    opened: BTreeMap<u32, Open>,
    resumed: Vec<LaneState>,
    requests: Sender<Request>,
}

impl Stream {
    /// A stream from its beginning; nothing is read yet.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, units: Vec<Unit>, options: Options) -> Self {
        let lanes = lanes(&units, &options);
        let (units, options): (Arc<[Unit]>, _) = (units.into(), Arc::new(options));
        let (requests, inbox) = unbounded();
        let (shared, pieces, chosen) = (Arc::clone(&backend), Arc::clone(&units), Arc::clone(&options));
        std::thread::spawn(move || make(&shared, &pieces, &chosen, lanes, &inbox));
        Self { backend, units, options, lanes, opened: BTreeMap::new(), resumed: Vec::new(), requests }
    }

    /// Lanes that there are: no more than the data is worth.
    #[must_use]
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }

    /// How long an epoch is, about: a function of units and options alone.
    ///
    /// # Errors
    /// When the first documents can't be read.
    pub fn estimate(&self) -> Result<Estimate, EngineError> {
        estimate(&self.backend, &self.units, &self.options, self.lanes)
    }

    /// Go to a place; lanes that have no state there begin at the beginning and skip what was seen.
    pub fn load(&mut self, states: Vec<LaneState>) {
        self.opened.clear();
        self.resumed = states;
    }

    /// The group that has window `place` of the whole, and its number there; None when `pause` says to stop.
    ///
    /// Windows of a lane can only be had in order.
    ///
    /// # Errors
    /// When documents can't be read.
    pub fn window(
        &mut self,
        place: u64,
        pause: &mut dyn FnMut() -> bool,
    ) -> Result<Option<(Arc<Group>, usize)>, EngineError> {
        #[allow(clippy::cast_possible_truncation, reason = "less than the number of lanes")]
        let lane = (place % u64::from(self.lanes)) as u32;
        let wanted = place / u64::from(self.lanes);
        let gone = || EngineError::Worker(format!("lane {lane}"));
        let open = match self.opened.entry(lane) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let LaneState { place, first } = self.resumed.get(lane as usize).cloned().unwrap_or_default();
                let (sender, groups) = unbounded();
                self.requests.send(Request::Open(lane, place, sender)).map_err(|_| gone())?;
                entry.insert(Open { groups, current: None, first })
            }
        };
        loop {
            if let Some(group) = &open.current {
                let number = wanted.checked_sub(open.first).ok_or_else(gone)?;
                if number < group.windows.len() as u64 {
                    return Ok(Some((Arc::clone(group), crate::order::to_usize(number))));
                }
            }
            let made = match open.groups.recv_timeout(Duration::from_millis(50)) {
                Ok(made) => made?,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {
                    if pause() {
                        return Ok(None);
                    }
                    continue;
                }
            };
            let behind = open.current.as_ref().map_or(0, |group| group.windows.len() as u64);
            open.first = open.first.saturating_add(behind);
            open.current = Some(Arc::new(made));
            self.requests.send(Request::Next(lane)).map_err(|_| gone())?;
        }
    }

    /// Have the first group of these lanes made ahead.
    pub fn want(&mut self, lanes: impl IntoIterator<Item = u32>) {
        for lane in lanes {
            if !self.opened.contains_key(&lane) {
                let LaneState { place, first } = self.resumed.get(lane as usize).cloned().unwrap_or_default();
                let (sender, groups) = unbounded();
                let _ = self.requests.send(Request::Open(lane, place, sender));
                self.opened.insert(lane, Open { groups, current: None, first });
            }
        }
    }

    /// Where each lane is when `place` is the next window of the whole; lanes that were not opened here
    /// are where they were when the stream was loaded.
    #[must_use]
    pub fn state(&self, place: u64) -> Vec<LaneState> {
        let state = |lane: u32| {
            let before = self.resumed.get(lane as usize).cloned().unwrap_or_default();
            let Some(Open { current: Some(group), first, .. }) = self.opened.get(&lane) else {
                return before;
            };
            let lanes = u64::from(self.lanes);
            let seen = place.saturating_add(lanes - 1 - u64::from(lane)) / lanes;
            let end = first.saturating_add(group.windows.len() as u64);
            if seen < end {
                LaneState { place: group.start.clone(), first: *first }
            } else {
                LaneState { place: group.next.clone(), first: end }
            }
        };
        (0..self.lanes).map(state).collect()
    }
}

/// As many lanes as asked for, if each has some text; one where rows keep their order.
fn lanes(units: &[Unit], options: &Options) -> u32 {
    if !options.shuffle {
        return 1;
    }
    let bytes: u64 = units.iter().map(|unit| unit.bytes).sum();
    let worth = bytes / LANE_BYTES.min(options.unit_bytes).max(1);
    let most = worth.min(units.len() as u64).min(u64::from(options.lanes)).max(1);
    u32::try_from(most).unwrap_or(options.lanes)
}

/// Make groups as they are asked for, until nobody can ask.
fn make(
    backend: &Arc<dyn Backend>,
    units: &Arc<[Unit]>,
    options: &Arc<Options>,
    lanes: u32,
    inbox: &Receiver<Request>,
) {
    let mut open: BTreeMap<u32, (Lane, Sender<Made>)> = BTreeMap::new();
    for request in inbox {
        let number = match request {
            Request::Open(number, place, sender) => {
                let (backend, units, options) = (Arc::clone(backend), Arc::clone(units), Arc::clone(options));
                let lane = Lane::new(backend, units, options, (number, lanes), true, &place);
                open.insert(number, (lane, sender));
                number
            }
            Request::Next(number) => number,
        };
        let Some((lane, sender)) = open.get_mut(&number) else { continue };
        let made = catch_unwind(AssertUnwindSafe(|| lane.group()))
            .unwrap_or_else(|_| Err(EngineError::Worker(format!("lane {number}"))));
        let failed = made.is_err();
        if sender.send(made).is_err() || failed {
            open.remove(&number); // the stream was loaded anew, or has ended
        }
    }
}
