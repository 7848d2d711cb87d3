//! What comes next: the lanes that windows come from, told from how many windows each lane is known to have.
//!
//! No window has to be at hand for that. So who reads a part of the lanes only makes these, and is told of
//! the others by those who make them.

/// What is known of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Windows of this epoch that it has, at least.
    pub windows: u64,
    /// Epoch of what comes behind them; when that is a later one, they are all that it has in this.
    pub then: u64,
}

/// Where windows come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The lane of each.
    pub lanes: Vec<u32>,
    /// Whether the epoch is over behind them.
    pub over: bool,
}

/// The lanes of the next `count` windows, or of those that the epoch still has.
///
/// Lanes take turns, and one that is through with the epoch is left out until all are.
///
/// # Errors
/// The lanes of which too little is known: so many windows have to be, or that there are less.
pub fn look(known: &[Known], epoch: u64, turn: u32, count: u64) -> Result<Ahead, Vec<(u32, u64)>> {
    let all = crate::order::count(known);
    let mut given = vec![0u64; known.len()];
    let next = |given: &[u64], turn: u32| {
        let goes_on = |lane: &u32| {
            let (known, given) = (known[*lane as usize], given[*lane as usize]);
            given < known.windows || known.then <= epoch
        };
        (0..all).map(|step| (turn + step) % all).find(goes_on)
    };
    let (mut ahead, mut turn) = (Ahead::default(), turn);
    while (ahead.lanes.len() as u64) < count {
        let Some(lane) = next(&given, turn) else { break };
        given[lane as usize] += 1;
        ahead.lanes.push(lane);
        turn = (lane + 1) % all;
    }
    if !known.iter().zip(&given).any(|(known, given)| *given < known.windows) {
        match next(&given, turn) {
            Some(lane) => given[lane as usize] += 1,
            None => ahead.over = true,
        }
    }
    let wanted = (0..all).zip(known.iter().zip(given));
    let lacking: Vec<(u32, u64)> = wanted
        .filter(|(_, (known, given))| *given > known.windows)
        .map(|(lane, (_, given))| (lane, given))
        .collect();
    if lacking.is_empty() { Ok(ahead) } else { Err(lacking) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn lane(windows: u64, then: u64) -> Known {
        Known { windows, then }
    }

    #[test]
    fn lanes_take_turns_and_one_that_ended_is_left_out() {
        let known = [lane(3, 0), lane(1, 1), lane(2, 0)];
        let ahead = look(&known, 0, 1, 5).unwrap();
        assert_eq!((ahead.lanes, ahead.over), (vec![1, 2, 0, 2, 0], false));
    }

    #[test]
    fn the_epoch_is_over_when_all_lanes_are() {
        let known = [lane(1, 1), lane(0, 4), lane(2, 1)];
        assert_eq!(look(&known, 0, 0, 9), Ok(Ahead { lanes: vec![0, 2, 2], over: true }));
        assert_eq!(look(&known, 0, 0, 2), Ok(Ahead { lanes: vec![0, 2], over: false }));
    }

    #[test]
    fn what_is_not_known_is_asked_for_and_no_more() {
        let known = [lane(1, 0), lane(0, 0), lane(9, 0)];
        assert_eq!(look(&known, 0, 0, 4), Err(vec![(0, 2), (1, 1)]));
        assert_eq!(look(&known, 0, 2, 2), Ok(Ahead { lanes: vec![2, 0], over: false }));
        // whether anything follows is told by the lane whose turn it would be
        assert_eq!(look(&[lane(1, 0), lane(0, 1)], 0, 0, 1), Err(vec![(0, 2)]));
    }
}
