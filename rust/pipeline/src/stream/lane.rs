//! One lane: from units to groups of windows, epoch after epoch.

use std::sync::Arc;

use fastft_record::{Permutation, mix};
use serde::{Deserialize, Serialize};

use super::feed::{BARREN, Feed, Surroundings};
use super::{Backend, Item, Options, Shelf, Unit};
use crate::error::EngineError;
use crate::mix::{Mixing, Schedule};
use crate::order::{to_u32, to_usize};
use crate::pack::{self, Windows};

pub use super::feed::Cursor;

/// Told apart from the order of units.
const ITEM_ORDER: u64 = 0x6974_656d_6f72_6465;
const WINDOW_ORDER: u64 = 0x6c61_6e65_7769_6e64;
/// Epochs without a single document after which there is none.
const EMPTY_EPOCHS: u64 = 256;

/// Where a group begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Epoch of the lane.
    pub epoch: u64,
    /// Number of the group, over all epochs.
    pub group: u64,
    /// The schedule's state; empty at the beginning of an epoch.
    pub credits: Vec<i64>,
    /// Next item of each list of units; empty at the beginning of an epoch.
    pub cursors: Vec<Cursor>,
}

/// Documents that were shuffled and packed together.
#[derive(Debug, Default)]
pub struct Group {
    /// Where it begins.
    pub start: Place,
    /// Where the next one begins.
    pub next: Place,
    /// Its documents.
    pub shelf: Shelf,
    /// Documents of each window.
    pub windows: Windows,
    /// Order of the windows.
    pub order: Option<Permutation>,
    /// Items of each list of units, and the bytes of rows read for them.
    pub drawn: Vec<(u64, u64)>,
}

impl Group {
    /// Documents of the n-th window.
    #[must_use]
    pub fn window(&self, number: usize) -> &[u32] {
        let at = self.order.as_ref().map_or(number, |order| to_usize(order.apply(number as u64)));
        self.windows.get(at).unwrap_or_default()
    }
}

/// Makes the groups of one lane.
pub struct Lane {
    around: Surroundings,
    lists: Vec<Vec<u32>>,
    sizes: Vec<u64>,
    feeds: Vec<Feed>,
    schedule: Schedule,
    epoch: u64,
    group: u64,
}

impl Lane {
    /// A lane from a place on.
    pub fn new(
        backend: Arc<dyn Backend>,
        units: Arc<[Unit]>,
        options: Arc<Options>,
        (lane, lanes): (u32, u32),
        counted: bool,
        place: &Place,
    ) -> Self {
        let lists = options.streams(&units);
        let bytes = |list: &Vec<u32>| list.iter().map(|&unit| units[unit as usize].bytes).sum();
        let sizes = lists.iter().map(bytes).collect();
        let around = Surroundings { backend, units, options, lane, lanes, counted };
        let mut lane = Self {
            around,
            lists,
            sizes,
            feeds: Vec::new(),
            schedule: Schedule::new(Vec::new()),
            epoch: place.epoch,
            group: place.group,
        };
        lane.begin(&place.cursors, &place.credits);
        lane
    }

    /// Go to a place in an epoch; without cursors to its beginning.
    fn begin(&mut self, cursors: &[Cursor], credits: &[i64]) {
        let cursor = |stream: usize| cursors.get(stream).copied().unwrap_or_default();
        self.feeds = (0u64..)
            .zip(&self.lists)
            .enumerate()
            .map(|(stream, (number, list))| {
                Feed::new(&self.around, number, list.clone(), self.epoch, cursor(stream))
            })
            .collect();
        let options = &self.around.options;
        let once = options.mix.mixing == Mixing::Concat;
        let mut weights = if once { vec![1; self.feeds.len()] } else { options.mix.shares(&self.sizes) };
        for (stream, feed) in self.feeds.iter().enumerate() {
            // a source with less units than there are lanes has none in some; one that is through is out
            let pass = feed.cursor().pass;
            let out = match options.mix.mixing {
                Mixing::AllExhausted => pass == BARREN,
                _ => self.through(stream, pass),
            };
            if (!feed.has_units() && pass == 0) || out {
                weights[stream] = 0;
            }
        }
        let fresh = credits.len() != weights.len();
        let credits = if fresh { vec![0; weights.len()] } else { credits.to_vec() };
        self.schedule = Schedule::resumed(weights, credits);
    }

    /// Whether a source was seen as often as an epoch asks for.
    fn through(&self, stream: usize, passes: u64) -> bool {
        let mix = &self.around.options.mix;
        let wanted = if mix.mixing == Mixing::Concat { 1 } else { mix.repeat(stream) };
        passes >= u64::from(wanted)
    }

    /// Where the next group begins.
    fn place(&self) -> Place {
        Place {
            epoch: self.epoch,
            group: self.group,
            credits: self.schedule.credits().to_vec(),
            cursors: self.feeds.iter().map(Feed::cursor).collect(),
        }
    }

    /// The next group; it ends with its epoch.
    pub fn group(&mut self) -> Result<Group, EngineError> {
        let mut empty = 0;
        loop {
            let start = self.place();
            let before: Vec<u64> = self.feeds.iter().map(Feed::bytes).collect();
            let mut drawn = vec![(0u64, 0u64); self.feeds.len()];
            let (items, ended) = self.draw(&mut drawn)?;
            for ((drawn, feed), before) in drawn.iter_mut().zip(&self.feeds).zip(before) {
                drawn.1 = feed.bytes() - before;
            }
            if ended {
                self.epoch = self.epoch.saturating_add(1);
                self.begin(&[], &[]);
            }
            if items.is_empty() {
                empty += 1;
                if empty > EMPTY_EPOCHS {
                    return Err(EngineError::Format {
                        message: "there is no row to train on".into(),
                        hint: "look at the rows that could not be used, or use less `data.lanes`".into(),
                        path: std::path::PathBuf::new(),
                    });
                }
                continue;
            }
            let number = self.group;
            self.group = self.group.saturating_add(1);
            return Ok(self.pack(items, number, start, drawn));
        }
    }

    /// Draw items until the group is full or the epoch ends; says whether it did.
    fn draw(&mut self, drawn: &mut [(u64, u64)]) -> Result<(Vec<Item>, bool), EngineError> {
        let budget = self.around.options.group_tokens(self.group);
        let mixing = self.around.options.mix.mixing;
        let mut items = Vec::new();
        let mut tokens = 0u64;
        while tokens < budget {
            let Some(stream) = self.schedule.turn() else { return Ok((items, true)) };
            let share = (budget - tokens) / self.feeds.len() as u64 + 1;
            // a pass may have no item at all: then the source is as good as seen
            let mut found = self.feeds[stream].ready(&self.around, self.epoch, share)?;
            if found {
                let item = self.feeds[stream].take().unwrap_or_default();
                tokens += item.iter().map(|document| document.ids.len() as u64).sum::<u64>();
                drawn[stream].0 += 1;
                items.push(item);
                found = self.feeds[stream].ready(&self.around, self.epoch, share)?;
            }
            if !found {
                let before = self.through(stream, self.feeds[stream].cursor().pass);
                self.feeds[stream].again(&self.around, self.epoch);
                let passes = self.feeds[stream].cursor().pass;
                if !before && self.through(stream, passes) {
                    match mixing {
                        Mixing::FirstExhausted => return Ok((items, true)),
                        Mixing::AllExhausted => {}
                        Mixing::Concat | Mixing::AllExhaustedWithoutReplacement => {
                            self.schedule.remove(stream);
                        }
                    }
                }
                let pending = |stream: usize| {
                    self.schedule.has(stream) && !self.through(stream, self.feeds[stream].cursor().pass)
                };
                if !(0..self.feeds.len()).any(pending) {
                    return Ok((items, true));
                }
                if passes == BARREN && self.schedule.has(stream) {
                    self.schedule.remove(stream); // a source without a row that can be used
                }
            }
        }
        Ok((items, false))
    }

    /// Shuffle the items and pack them.
    fn pack(&self, mut items: Vec<Item>, number: u64, start: Place, drawn: Vec<(u64, u64)>) -> Group {
        let options = &self.around.options;
        let key = |what: u64| mix(options.seed ^ mix(what ^ u64::from(self.around.lane)));
        let count = items.len() as u64;
        let order = Permutation::new(count, key(ITEM_ORDER), number);
        let mut shelf = Shelf::default();
        let mut heads = Vec::with_capacity(items.len());
        let mut sizes = Vec::new();
        for place in 0..count {
            let at = if options.shuffle { order.apply(place) } else { place };
            let item = std::mem::take(&mut items[to_usize(at)]);
            heads.push(to_u32(shelf.documents.len()));
            sizes.resize(shelf.documents.len(), 0);
            sizes.push(to_u32(item.len()));
            shelf.documents.extend(item);
        }
        let size = |head: u32| sizes[head as usize];
        let length = |head: u32| -> u32 {
            let documents = &shelf.documents[head as usize..(head + size(head)) as usize];
            to_u32(documents.iter().map(|document| document.ids.len()).sum())
        };
        let windows = if options.pack {
            pack::best_fit(&heads, length, options.max_length)
        } else {
            pack::one_each(heads)
        };
        let windows = windows.expanded(size);
        let order = (options.shuffle && options.pack)
            .then(|| Permutation::new(windows.len() as u64, key(WINDOW_ORDER), number));
        Group { start, next: self.place(), shelf, windows, order, drawn }
    }
}
