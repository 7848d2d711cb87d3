//! The stream of windows: lanes in turn, each with its next group made ahead by a thread, epoch after epoch.
//!
//! A lane is made when `make` asks for it. What its maker finds out, `learn` tells to all; then `take` goes on
//! through windows of lanes that are made here and of lanes that are not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use serde::{Deserialize, Serialize};

use super::ahead::{Ahead, Known, look};
use super::count::Count;
use super::estimate::{Estimate, estimate};
use super::lane::{Lane, Place};
use super::open::{LaneState, Made, Next, Open};
use super::{Backend, Options, Unit};
use crate::error::EngineError;

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

/// What was gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Windows.
    pub windows: u64,
    /// Whether the epoch ended with them.
    pub over: bool,
}

/// Bytes below which one lane is enough, for each lane.
const LANE_BYTES: u64 = 1 << 14;

enum Request {
    Open(u32, Place, Sender<Made>),
    Next(u32),
}

/// Windows in the block order.
pub struct Stream {
    backend: Arc<dyn Backend>,
    pub(super) units: Arc<[Unit]>,
    pub(super) options: Arc<Options>,
    lanes: u32,
    opened: BTreeMap<u32, Open>,
    resumed: Vec<LaneState>,
    known: Vec<Known>,
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
        let known = vec![Known::default(); lanes as usize];
        Self {
            backend,
            units,
            options,
            lanes,
            opened,
            resumed,
            known,
            epoch: 0,
            turn: 0,
            requests,
            count: None,
        }
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
        let then = |lane: usize| self.resumed.get(lane).map_or(0, |lane| lane.place.epoch);
        self.known = (0..self.known.len()).map(|lane| Known { windows: 0, then: then(lane) }).collect();
    }

    /// Where the next window is; of lanes that are not made here, where they were at first.
    #[must_use]
    pub fn state(&self) -> State {
        let resumed = |lane: u32| self.resumed.get(lane as usize).cloned().unwrap_or_default();
        let state = |lane: u32| self.opened.get(&lane).map_or_else(|| resumed(lane), Open::state);
        State { epoch: self.epoch, turn: self.turn, lanes: (0..self.lanes).map(state).collect() }
    }

    /// The lanes that the next `count` windows come from, or those that the epoch still has.
    ///
    /// # Errors
    /// The lanes of which too little is known, and how many windows have to be.
    pub fn ahead(&mut self, count: u64) -> Result<Ahead, Vec<(u32, u64)>> {
        loop {
            let ahead = look(&self.known, self.epoch, self.turn, count)?;
            if !(ahead.over && ahead.lanes.is_empty()) {
                return Ok(ahead);
            }
            // No lane has anything in this epoch, as when each has but rows that can't be used.
            let first = self.known.iter().map(|known| known.then).min().unwrap_or_default();
            self.epoch = first.max(self.epoch.saturating_add(1));
        }
    }

    /// Make lanes until each has so many windows of this epoch, or ended; None when `pause` says to stop.
    ///
    /// # Errors
    /// When documents can't be read. Who asks again gets the same.
    pub fn make(
        &mut self,
        lanes: &[(u32, u64)],
        pause: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<(u32, Known)>>, EngineError> {
        for &(lane, windows) in lanes {
            let epoch = self.epoch;
            let open = self.open(lane);
            let known = open.known(epoch);
            if known.windows < windows && known.then <= epoch {
                self.ask(lane)?;
            }
        }
        let mut found = Vec::with_capacity(lanes.len());
        for &(lane, windows) in lanes {
            match self.have(lane, windows, pause) {
                Ok(Some(known)) => found.push((lane, known)),
                Ok(None) => return Ok(None),
                Err(error) => {
                    let state = self.state();
                    self.load(state);
                    return Err(error);
                }
            }
        }
        Ok(Some(found))
    }

    /// Hear what the maker of a lane knows of it.
    pub fn learn(&mut self, lane: u32, known: Known) {
        if let Some(before) = self.known.get_mut(lane as usize) {
            *before = known;
        }
    }

    /// Go `count` windows on, or to the end of the epoch; `visit` gets those of lanes that are made here.
    ///
    /// # Errors
    /// When too little is known of a lane, see `ahead`.
    pub fn take(&mut self, count: u64, visit: &mut dyn FnMut(u64, &Next)) -> Result<Passed, EngineError> {
        let Ahead { lanes, over } = self.ahead(count).map_err(|lacking| gone(lacking[0].0))?;
        for (offset, &lane) in (0u64..).zip(&lanes) {
            self.known[lane as usize].windows -= 1;
            if let Some(open) = self.opened.get_mut(&lane) {
                visit(offset, &open.give().ok_or_else(|| gone(lane))?);
            }
            self.turn = (lane + 1) % self.lanes;
        }
        if over {
            (self.epoch, self.turn) = (self.epoch.saturating_add(1), 0);
            self.known.iter_mut().for_each(|known| known.windows = 0);
        }
        Ok(Passed { windows: lanes.len() as u64, over })
    }

    /// Have what is needed for `ahead` to tell of `count` windows, all lanes being made here; false when `pause`
    /// says to stop.
    ///
    /// # Errors
    /// When documents can't be read.
    pub fn prepare(&mut self, count: u64, pause: &mut dyn FnMut() -> bool) -> Result<bool, EngineError> {
        while let Err(lacking) = self.ahead(count) {
            let Some(found) = self.make(&lacking, pause)? else { return Ok(false) };
            for (lane, known) in found {
                self.learn(lane, known);
            }
        }
        Ok(true)
    }

    fn open(&mut self, lane: u32) -> &mut Open {
        self.opened.entry(lane).or_insert_with(|| {
            let LaneState { place, given } = self.resumed.get(lane as usize).cloned().unwrap_or_default();
            let (sender, groups) = unbounded();
            let _ = self.requests.send(Request::Open(lane, place.clone(), sender));
            Open::new(groups, LaneState { place, given })
        })
    }

    /// Have the next group of a lane made by the thread.
    fn ask(&mut self, lane: u32) -> Result<(), EngineError> {
        if let Some(open) = self.opened.get_mut(&lane).filter(|open| !open.asked) {
            self.requests.send(Request::Next(lane)).map_err(|_| gone(lane))?;
            open.asked = true;
        }
        Ok(())
    }

    /// Make a lane until it has so many windows of this epoch, or ended.
    fn have(
        &mut self,
        lane: u32,
        windows: u64,
        pause: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Known>, EngineError> {
        loop {
            let epoch = self.epoch;
            let open = self.open(lane);
            let known = open.known(epoch);
            if known.windows >= windows || known.then > epoch {
                return Ok(Some(known));
            }
            self.ask(lane)?;
            let open = self.open(lane);
            match open.groups.recv_timeout(Duration::from_millis(50)) {
                Ok(made) => {
                    let made = made?;
                    // The next epoch is not begun before it is wanted: perhaps there is none.
                    let goes_on = made.next.epoch == made.start.epoch;
                    open.hold(made);
                    if goes_on {
                        self.ask(lane)?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(gone(lane)),
                Err(RecvTimeoutError::Timeout) => {
                    if pause() {
                        return Ok(None);
                    }
                }
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
                continue;
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
