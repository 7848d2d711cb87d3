//! A lane that is made here: the groups at hand, and how far they were given.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};

use super::ahead::Known;
use super::lane::{Group, Place};
use crate::error::EngineError;

/// Where a lane is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// Where its group begins.
    pub place: Place,
    /// Windows of the group that were given.
    pub given: u64,
}

/// A window of a lane that is made here.
pub struct Next {
    /// The group that has it.
    pub group: Arc<Group>,
    /// Its number there.
    pub number: usize,
}

/// A group, or why there is none.
pub type Made = Result<Group, EngineError>;

/// A lane that is made here.
pub struct Open {
    /// What the thread made.
    pub groups: Receiver<Made>,
    /// Groups that have a window left.
    held: VecDeque<Arc<Group>>,
    /// Windows of the first group that were given.
    given: u64,
    /// Where the group behind these begins.
    next: Place,
    /// Whether that is being made.
    pub asked: bool,
}

impl Open {
    /// A lane from a place on, of which nothing is at hand.
    pub fn new(groups: Receiver<Made>, at: LaneState) -> Self {
        Self { groups, held: VecDeque::new(), given: at.given, next: at.place, asked: false }
    }

    /// Windows that are at hand, and what is behind them.
    pub fn known(&self, epoch: u64) -> Known {
        let mut windows = 0;
        for (number, group) in self.held.iter().enumerate() {
            if group.start.epoch > epoch {
                return Known { windows, then: group.start.epoch };
            }
            windows += group.windows.len() as u64 - if number == 0 { self.given } else { 0 };
        }
        Known { windows, then: self.next.epoch }
    }

    /// Take a group that was made.
    pub fn hold(&mut self, group: Group) {
        self.asked = false;
        self.next = group.next.clone();
        self.held.push_back(Arc::new(group));
        self.drop_given();
    }

    /// The next window.
    pub fn give(&mut self) -> Option<Next> {
        let next = Next { group: Arc::clone(self.held.front()?), number: crate::order::to_usize(self.given) };
        self.given += 1;
        self.drop_given();
        Some(next)
    }

    fn drop_given(&mut self) {
        if self.held.front().is_some_and(|group| group.windows.len() as u64 <= self.given) {
            self.held.pop_front();
            self.given = 0;
        }
    }

    /// Where the next window is.
    pub fn state(&self) -> LaneState {
        let place = self.held.front().map_or(&self.next, |group| &group.start).clone();
        LaneState { place, given: self.given }
    }
}
