//! Dealing units to lanes.

use fastft_record::{Permutation, mix};

use super::Unit;

/// Told apart from the orders of documents and windows.
const UNIT_ORDER: u64 = 0x756e_6974_6f72_6465;

/// The units of one lane in one pass over a list of them, in order.
///
/// Units are permuted (or stay as they are) and each goes to the lane that has the least bytes so far;
/// which lane is first among equals changes with the pass.
#[must_use]
pub fn deal(
    units: &[Unit],
    list: &[u32],
    lane: u32,
    lanes: u32,
    pass: (u64, u64, u64),
    shuffle: bool,
) -> Vec<u32> {
    let (seed, stream, number) = pass;
    let key = mix(seed ^ mix(UNIT_ORDER ^ stream));
    let order = Permutation::new(list.len() as u64, key, number);
    let turn = if shuffle { mix(key ^ mix(number)) % u64::from(lanes) } else { 0 };
    let mut bytes = vec![0u64; lanes as usize];
    let mut mine = Vec::new();
    for place in 0..list.len() as u64 {
        let at = if shuffle { order.apply(place) } else { place };
        let unit = list[crate::order::to_usize(at)];
        let first = |index: &u32| (bytes[*index as usize], (u64::from(*index) + turn) % u64::from(lanes));
        let taker = (0..lanes).min_by_key(first).unwrap_or(0);
        bytes[taker as usize] += units[unit as usize].bytes.max(1);
        if taker == lane {
            mine.push(unit);
        }
    }
    mine
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lanes_share_every_unit_and_about_the_same_bytes(
            sizes in prop::collection::vec(1u64..1000, 1..80), lanes in 1u32..9, seed: u64, pass in 0u64..4,
        ) {
            let unit = |(piece, &bytes): (u32, &u64)| {
                Unit { source: 0, file: 0, piece, part: (0, 1), rows: u64::MAX, bytes }
            };
            let units: Vec<Unit> = (0..).zip(&sizes).map(unit).collect();
            let list: Vec<u32> = (0..crate::order::count(&units)).collect();
            let dealt: Vec<Vec<u32>> =
                (0..lanes).map(|lane| deal(&units, &list, lane, lanes, (seed, 0, pass), true)).collect();
            let weights: Vec<u64> =
                dealt.iter().map(|mine| mine.iter().map(|&unit| sizes[unit as usize]).sum()).collect();
            prop_assert!(weights.iter().max().unwrap() - weights.iter().min().unwrap() <= *sizes.iter().max().unwrap());
            let mut all = dealt.concat();
            all.sort_unstable();
            prop_assert_eq!(all, list);
        }
    }
}
