//! The stream of windows: lanes in turn, each with its next group made ahead by a thread, epoch after epoch.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use serde::{Deserialize, Serialize};

use super::count::Count;
use super::estimate::{Estimate, estimate};
use super::lane::{Group, Lane, Place};
use super::{Backend, Options, Unit};
use crate::error::EngineError;

/// Where a lane is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// Where its group begins.
    pub place: Place,
    /// Windows of the group that were given.
    pub given: u64,
}

/// Where a stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Epoch of the whole.
    pub epoch: u64,
    /// The lane whose turn it is.
    pub turn: u32,
    /// Of each lane; one that is missing is at the beginning.
    pub lanes: Vec<LaneState>,
}

/// A window.
pub struct Next {
    /// The group that has it.
    pub group: Arc<Group>,
    /// Its number there.
    pub number: usize,
    /// Whether the epoch ends with it.
    pub last: bool,
}

/// Bytes below which one lane is enough, for each lane.
const LANE_BYTES: u64 = 1 << 14;

type Made = Result<Group, EngineError>;

struct Open {
    groups: Receiver<Made>,
    current: Option<Arc<Group>>,
    /// Windows of the current group that were given.
    given: u64,
    /// Whether another group is being made.
    asked: bool,
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
    epoch: u64,
    turn: u32,
    requests: Sender<Request>,
    count: Option<Count>,
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
        let (opened, resumed) = (BTreeMap::new(), Vec::new());
        Self { backend, units, options, lanes, opened, resumed, epoch: 0, turn: 0, requests, count: None }
    }

    /// The same, whose epochs can be counted: `lengths` has documents of the same lengths, and reads none.
    #[must_use]
    pub fn with_lengths(mut self, lengths: &Arc<dyn Backend>) -> Self {
        self.count = Some(Count::new(lengths, &self.units, &self.options, self.lanes));
        self
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
        estimate(&self.backend, &self.units, &self.options)
    }

    /// How many windows an epoch has; None when only reading all of it can tell.
    ///
    /// # Errors
    /// When there is no document at all.
    pub fn count(&mut self, epoch: u64) -> Result<Option<u64>, EngineError> {
        self.count.as_mut().map(|count| count.windows(epoch)).transpose()
    }

    /// Go to a place; lanes that have no state there begin at the beginning.
    pub fn load(&mut self, state: State) {
        self.opened.clear();
        (self.epoch, self.turn, self.resumed) = (state.epoch, state.turn % self.lanes, state.lanes);
    }

    /// Where the next window is.
    #[must_use]
    pub fn state(&self) -> State {
        let state = |lane: u32| match self.opened.get(&lane) {
            Some(Open { current: Some(group), given, .. }) if *given < group.windows.len() as u64 => {
                LaneState { place: group.start.clone(), given: *given }
            }
            Some(Open { current: Some(group), .. }) => LaneState { place: group.next.clone(), given: 0 },
            _ => self.resumed.get(lane as usize).cloned().unwrap_or_default(),
        };
        State { epoch: self.epoch, turn: self.turn, lanes: (0..self.lanes).map(state).collect() }
    }

    /// The next window; None when `pause` says to stop.
    ///
    /// Lanes take turns, and one that is through with the epoch is left out until all are.
    ///
    /// # Errors
    /// When documents can't be read.
    pub fn window(&mut self, pause: &mut dyn FnMut() -> bool) -> Result<Option<Next>, EngineError> {
        let lane = loop {
            match self.following(pause)? {
                None => return Ok(None),
                Some(Some(lane)) => break lane,
                // No lane has anything in this epoch, as when each has but rows that can't be used.
                Some(None) => self.epoch = self.upcoming(),
            }
        };
        let Some(Open { current: Some(group), given, .. }) = self.opened.get_mut(&lane) else {
            return Err(gone(lane));
        };
        let (group, number) = (Arc::clone(group), crate::order::to_usize(*given));
        *given += 1;
        self.turn = (lane + 1) % self.lanes;
        let Some(following) = self.following(pause)? else { return Ok(None) };
        let last = following.is_none();
        if last {
            (self.epoch, self.turn) = (self.epoch.saturating_add(1), 0);
        }
        Ok(Some(Next { group, number, last }))
    }

    /// The lane that has the next window of this epoch, if one has; None when `pause` says to stop.
    #[allow(clippy::option_option, reason = "the outer one is a pause, the inner one a lane")]
    fn following(&mut self, pause: &mut dyn FnMut() -> bool) -> Result<Option<Option<u32>>, EngineError> {
        for step in 0..self.lanes {
            let lane = (self.turn + step) % self.lanes;
            match self.goes_on(lane, pause)? {
                None => return Ok(None),
                Some(true) => return Ok(Some(Some(lane))),
                Some(false) => {}
            }
        }
        Ok(Some(None))
    }

    /// Whether a lane has a window left in this epoch; None when `pause` says to stop.
    fn goes_on(&mut self, lane: u32, pause: &mut dyn FnMut() -> bool) -> Result<Option<bool>, EngineError> {
        self.want([lane]);
        let open = self.opened.get_mut(&lane).ok_or_else(|| gone(lane))?;
        loop {
            if let Some(group) = &open.current {
                if open.given < group.windows.len() as u64 {
                    return Ok(Some(group.start.epoch <= self.epoch));
                }
                if group.next.epoch > self.epoch {
                    return Ok(Some(false));
                }
            }
            if !open.asked {
                self.requests.send(Request::Next(lane)).map_err(|_| gone(lane))?;
                open.asked = true;
            }
            let made = match open.groups.recv_timeout(Duration::from_millis(50)) {
                Ok(made) => made?,
                Err(RecvTimeoutError::Disconnected) => return Err(gone(lane)),
                Err(RecvTimeoutError::Timeout) => {
                    if pause() {
                        return Ok(None);
                    }
                    continue;
                }
            };
            if open.current.is_some() {
                open.given = 0;
            }
            // The next epoch is not begun before it is wanted: perhaps there is none.
            open.asked = made.next.epoch == made.start.epoch;
            if open.asked {
                self.requests.send(Request::Next(lane)).map_err(|_| gone(lane))?;
            }
            open.current = Some(Arc::new(made));
        }
    }

    /// The first epoch after this one that a lane has something in.
    fn upcoming(&self) -> u64 {
        let groups = self.opened.values().filter_map(|open| Some((open.current.as_ref()?, open.given)));
        let epochs = groups.map(|(group, given)| {
            let through = given >= group.windows.len() as u64;
            if through { group.next.epoch } else { group.start.epoch }
        });
        epochs.min().unwrap_or(self.epoch).max(self.epoch.saturating_add(1))
    }

    /// Have the first group of these lanes made ahead.
    pub fn want(&mut self, lanes: impl IntoIterator<Item = u32>) {
        for lane in lanes {
            if !self.opened.contains_key(&lane) {
                let LaneState { place, given } = self.resumed.get(lane as usize).cloned().unwrap_or_default();
                let (sender, groups) = unbounded();
                let _ = self.requests.send(Request::Open(lane, place, sender));
                self.opened.insert(lane, Open { groups, current: None, given, asked: true });
            }
        }
    }
}

fn gone(lane: u32) -> EngineError {
    EngineError::Worker(format!("lane {lane}"))
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
