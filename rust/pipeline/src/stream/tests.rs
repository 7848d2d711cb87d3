//! The order over a backend that makes documents out of nothing.

use std::sync::Arc;

use fastft_record::mix;
use proptest::prelude::*;

use super::*;

/// Unit `u` has `rows[u]` rows; row `r` has one document `[u, r, ...]` of some length, every seventh none,
/// every fifth two that stay together.
struct Fake {
    rows: Vec<u64>,
}

struct FakeReader {
    unit: u32,
    row: u64,
    rows: u64,
}

fn row(unit: u32, row: u64) -> RowItems {
    let draw = mix(u64::from(unit) << 32 | row);
    let document = |rank: u8| Tokenized {
        ids: [vec![unit, u32::try_from(row).unwrap()], vec![9; usize::try_from(draw % 30).unwrap()]].concat(),
        spans: vec![1, 2],
        weights: Vec::new(),
        rank,
    };
    let items = match draw % 35 {
        0 | 7 | 14 => Vec::new(),
        5 | 10 => vec![vec![document(0), document(1)]],
        8 => vec![vec![document(0)], vec![document(0)]],
        _ => vec![vec![document(0)]],
    };
    RowItems { row, bytes: 100, items }
}

impl Backend for Fake {
    fn open(self: Arc<Self>, unit: &Unit, from: u64, _: bool) -> Result<Box<dyn Reader>, EngineError> {
        Ok(Box::new(FakeReader { unit: unit.piece, row: from, rows: self.rows[unit.piece as usize] }))
    }
}

impl Reader for FakeReader {
    fn read(&mut self, tokens: u64) -> Result<Vec<RowItems>, EngineError> {
        let end = (self.row + tokens / 16 + 1).min(self.rows);
        let made = (self.row..end).map(|number| row(self.unit, number)).collect();
        self.row = end;
        Ok(made)
    }
}

fn stream(rows: &[u64], sources: &[u32], lanes: u32, mixing: Mixing, seed: u64) -> Stream {
    let unit = |(piece, (&rows, &source)): (u32, (&u64, &u32))| Unit {
        source,
        file: 0,
        piece,
        part: (0, 1),
        rows: u64::MAX,
        bytes: rows * 100,
    };
    let mut units: Vec<Unit> = (0..).zip(rows.iter().zip(sources)).map(unit).collect();
    units.sort_by_key(|unit| unit.source);
    let mix = Mix { mixing, weights: vec![1.0, 3.0, 2.0], ..Mix::default() };
    let options = Options { mix, lanes, unit_bytes: 100, max_length: 64, pack: true, shuffle: true, seed };
    Stream::new(Arc::new(Fake { rows: rows.to_vec() }), units, options)
}

/// Documents of a window, as their first two ids.
fn named(Next { group, number }: &Next) -> Vec<(u32, u32, u8)> {
    let documents = group.window(*number).iter().map(|&at| &group.shelf.documents[at as usize]);
    assert!(documents.clone().map(|document| document.ids.len()).sum::<usize>() <= 64);
    documents.map(|document| (document.ids[0], document.ids[1], document.rank)).collect()
}

/// Documents of the next window.
fn documents(stream: &mut Stream) -> Vec<(u32, u32, u8)> {
    window(stream).0
}

/// Documents of the next window, and whether the epoch ends with it.
fn window(stream: &mut Stream) -> (Vec<(u32, u32, u8)>, bool) {
    assert!(stream.prepare(1, &mut || false).unwrap());
    let mut found = Vec::new();
    let passed = stream.take(1, &mut |_, next| found = named(next)).unwrap();
    (found, passed.over)
}

/// Windows of an epoch that begins here.
fn epoch(stream: &mut Stream) -> Vec<Vec<(u32, u32, u8)>> {
    let mut windows = Vec::new();
    loop {
        let (documents, last) = window(stream);
        windows.push(documents);
        if last {
            return windows;
        }
    }
}

mod ranks;

const MIXINGS: [Mixing; 4] =
    [Mixing::Concat, Mixing::FirstExhausted, Mixing::AllExhausted, Mixing::AllExhaustedWithoutReplacement];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn cut_anywhere_and_resumed_it_goes_on_as_if_unbroken(
        rows in prop::collection::vec(1u64..60, 4..12), lanes in 1u32..5, mixing in 0usize..4, seed: u64,
        cut in 0u64..150,
    ) {
        let sources: Vec<u32> = (0..).take(rows.len()).map(|unit| unit % 3).collect();
        let new = || stream(&rows, &sources, lanes, MIXINGS[mixing], seed);
        let mut whole = new();
        let want: Vec<_> = (0..cut + 60).map(|_| documents(&mut whole)).collect();
        let mut broken = new();
        for _ in 0..cut {
            documents(&mut broken);
        }
        let state = serde_json::to_string(&broken.state()).unwrap();
        let mut resumed = new();
        resumed.load(serde_json::from_str(&state).unwrap());
        for place in cut..cut + 60 {
            prop_assert_eq!(&documents(&mut resumed), &want[usize::try_from(place).unwrap()]);
        }
    }

    #[test]
    fn every_item_of_an_epoch_comes_once_and_whole(
        rows in prop::collection::vec(1u64..60, 1..12), lanes in 1u32..5, seed: u64,
    ) {
        let sources = vec![0; rows.len()];
        let mut one = stream(&rows, &sources, lanes, Mixing::Concat, seed);
        let mut want: Vec<(u32, u32, u8)> = Vec::new();
        for (unit, &rows) in (0u32..).zip(&rows) {
            let all = (0..rows).flat_map(|number| row(unit, number).items).flatten();
            want.extend(all.map(|document| (document.ids[0], document.ids[1], document.rank)));
        }
        prop_assume!(!want.is_empty());
        want.sort_unstable();
        for _ in 0..3 {
            let windows = epoch(&mut one);
            for window in &windows {
                for (at, document) in window.iter().enumerate() {
                    if document.2 > 0 {
                        prop_assert_eq!((window[at - 1].0, window[at - 1].1), (document.0, document.1));
                    }
                }
            }
            let mut seen = windows.concat();
            seen.sort_unstable();
            prop_assert_eq!(&seen, &want);
        }
    }

    #[test]
    fn epochs_have_as_many_windows_as_are_counted(
        rows in prop::collection::vec(1u64..60, 3..12), lanes in 1u32..5, mixing in 0usize..4, seed: u64,
    ) {
        let sources: Vec<u32> = (0..).take(rows.len()).map(|unit| unit % 3).collect();
        let lengths: Arc<dyn Backend> = Arc::new(Fake { rows: rows.clone() });
        let mut one = stream(&rows, &sources, lanes, MIXINGS[mixing], seed).with_lengths(&lengths);
        prop_assume!(one.prepare(1, &mut || false).is_ok());
        one.load(State::default());
        let counts: Vec<u64> = (0..3).map(|number| one.count(number).unwrap().unwrap()).collect();
        prop_assume!(counts.iter().all(|count| *count > 0));
        for count in counts {
            prop_assert_eq!(epoch(&mut one).len() as u64, count);
        }
    }
}

#[test]
fn shares_hold_within_one_percent_over_many_documents() {
    let rows = vec![4000; 24];
    let sources: Vec<u32> = (0..24).map(|unit| unit % 3).collect();
    let mut one = stream(&rows, &sources, 8, Mixing::AllExhausted, 3);
    let mut counts = [0u32; 3];
    while counts.iter().sum::<u32>() < 100_000 {
        for (unit, _, _) in documents(&mut one) {
            counts[unit as usize % 3] += 1;
        }
    }
    let total = f64::from(counts.iter().sum::<u32>());
    for (count, want) in counts.iter().zip([1.0 / 6.0, 3.0 / 6.0, 2.0 / 6.0]) {
        assert!((f64::from(*count) / total - want).abs() < 0.01, "{counts:?}");
    }
}

#[test]
fn the_state_is_small_and_the_estimate_near() {
    let mut one = stream(&[500; 40], &[0; 40], 8, Mixing::Concat, 1);
    let estimate = one.estimate().unwrap();
    let windows = epoch(&mut one).len();
    #[allow(clippy::cast_precision_loss)]
    let off = estimate.windows / windows as f64;
    assert!((0.93..1.07).contains(&off), "{estimate:?} for {windows}");
    assert!(serde_json::to_string(&one.state()).unwrap().len() < 1500);
}

#[test]
fn another_seed_or_epoch_is_another_order_and_none_is_the_order_of_the_data() {
    let mut orders: Vec<Vec<_>> = Vec::new();
    for seed in [1, 2] {
        let mut one = stream(&[300; 8], &[0; 8], 4, Mixing::Concat, seed);
        orders.push((0..40).map(|_| documents(&mut one)).collect());
    }
    assert_ne!(orders[0], orders[1]);
    let units: Vec<Unit> = (0..3)
        .map(|piece| Unit { source: 0, file: 0, piece, part: (0, 1), rows: u64::MAX, bytes: 5000 })
        .collect();
    let options = Options {
        mix: Mix::default(),
        lanes: 8,
        unit_bytes: 100,
        max_length: 64,
        pack: false,
        shuffle: false,
        seed: 0,
    };
    let mut plain = Stream::new(Arc::new(Fake { rows: vec![50; 3] }), units, options);
    assert_eq!(plain.lanes(), 1);
    let seen: Vec<_> = epoch(&mut plain).concat();
    assert!(seen.is_sorted_by_key(|document| (document.0, document.1)));
}

#[test]
fn data_without_a_document_is_an_error_and_no_endless_search() {
    let empty = |mixing| {
        let mut one = stream(&[0; 6], &[0, 1, 2, 0, 1, 2], 2, mixing, 1);
        one.prepare(1, &mut || false).unwrap_err().to_string()
    };
    for mixing in MIXINGS {
        assert!(empty(mixing).contains("no row to train on"));
    }
    // one source without rows among others is left out
    let mut one = stream(&[40, 0, 40, 40, 0, 40], &[0, 1, 2, 0, 1, 2], 2, Mixing::AllExhausted, 1);
    assert!((0..50).flat_map(|_| documents(&mut one)).all(|document| document.0 % 3 != 1));
}

proptest! {
    #[test]
    fn any_state_goes_on_or_is_told(
        epochs in (0u64..3, 0u64..3, 0u64..3), given in (0u64..40, 0u64..40), group: u64, turn: u32, mixing in 0usize..4,
        cursor in (0u64..3, 0u32..4, 0u64..70, 0u32..3),
    ) {
        let mut one = stream(&[40, 50, 60], &[0, 1, 2], 3, MIXINGS[mixing], 1);
        let cursor = Cursor { pass: cursor.0, unit: cursor.1, row: cursor.2, item: cursor.3 };
        let place = |epoch| Place { epoch, group, credits: vec![1; 3], cursors: vec![cursor; 3] };
        let lanes = vec![
            LaneState { place: place(epochs.1), given: given.0 },
            LaneState { place: place(epochs.2), given: given.1 },
        ];
        one.load(State { epoch: epochs.0, turn, lanes });
        for step in 1..5 {
            if one.prepare(step, &mut || false).is_err() {
                break;
            }
            let mut seen = 0;
            let passed = one.take(step, &mut |_, _| seen += 1).unwrap();
            prop_assert!(passed.windows == seen && seen > 0);
        }
    }
}

#[test]
fn a_state_at_the_end_of_all_numbers_goes_on_or_is_told() {
    for mixing in MIXINGS {
        let mut stream = stream(&[5, 6], &[0, 1], 1, mixing, 1);
        let cursor = Cursor { pass: u64::MAX, unit: u32::MAX, row: u64::MAX, item: u32::MAX };
        let place =
            Place { epoch: u64::MAX, group: u64::MAX, credits: vec![i64::MAX; 2], cursors: vec![cursor; 2] };
        stream.load(State {
            epoch: u64::MAX,
            turn: u32::MAX,
            lanes: vec![LaneState { place, given: u64::MAX }],
        });
        let found = stream.prepare(1, &mut || false);
        assert!(!matches!(found, Err(EngineError::Worker(_))), "{mixing:?}: a thread panicked");
    }
}
