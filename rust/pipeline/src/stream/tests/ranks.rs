//! Readers that make a part of the lanes each see together what one sees that makes all.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

type Window = Vec<(u32, u32, u8)>;

/// Counts the rows that are made.
struct Counted {
    inner: Arc<Fake>,
    made: Arc<AtomicU64>,
}

struct CountedReader(Box<dyn Reader>, Arc<AtomicU64>);

impl Backend for Counted {
    fn open(self: Arc<Self>, unit: &Unit, from: u64, counted: bool) -> Result<Box<dyn Reader>, EngineError> {
        let reader = Arc::clone(&self.inner).open(unit, from, counted)?;
        Ok(Box::new(CountedReader(reader, Arc::clone(&self.made))))
    }
}

impl Reader for CountedReader {
    fn read(&mut self, tokens: u64) -> Result<Vec<RowItems>, EngineError> {
        let rows = self.0.read(tokens)?;
        self.1.fetch_add(rows.len() as u64, Ordering::Relaxed);
        Ok(rows)
    }
}

/// Several readers, of which the n-th makes each n-th lane.
struct Ranks {
    streams: Vec<Stream>,
}

impl Ranks {
    fn new(world: u32, stream: impl Fn() -> Stream) -> Self {
        Self { streams: (0..world).map(|_| stream()).collect() }
    }

    /// The windows of a step, and whether the epoch ends with it.
    fn step(&mut self, count: u64) -> (Vec<Window>, bool) {
        let world = u32::try_from(self.streams.len()).unwrap();
        while let Err(lacking) = self.streams[0].ahead(count) {
            let mut told = Vec::new();
            for (rank, stream) in (0..).zip(&mut self.streams) {
                assert_eq!(stream.ahead(count).unwrap_err(), lacking);
                let mine: Vec<_> = lacking.iter().copied().filter(|(lane, _)| lane % world == rank).collect();
                told.extend(stream.make(&mine, &mut || false).unwrap().unwrap());
            }
            for stream in &mut self.streams {
                for (lane, known) in &told {
                    stream.learn(*lane, *known);
                }
            }
        }
        let mut windows = Vec::new();
        let mut passed = Vec::new();
        for stream in &mut self.streams {
            passed.push(stream.take(count, &mut |offset, next| windows.push((offset, named(next)))).unwrap());
        }
        assert!(passed.iter().all(|each| *each == passed[0]));
        windows.sort_unstable_by_key(|(offset, _)| *offset);
        assert_eq!(windows.len() as u64, passed[0].windows, "each window has one maker");
        (windows.into_iter().map(|(_, window)| window).collect(), passed[0].over)
    }

    /// Where all of them are: of each lane what its maker knows.
    fn state(&self) -> State {
        let states: Vec<State> = self.streams.iter().map(Stream::state).collect();
        let lanes = 0..states[0].lanes.len();
        let lanes = lanes.map(|lane| states[lane % states.len()].lanes[lane].clone()).collect();
        State { lanes, ..states[0].clone() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn together_they_see_what_one_sees_also_when_others_go_on(
        rows in prop::collection::vec(1u64..60, 4..12), lanes in 1u32..6, mixing in 0usize..4, seed: u64,
        worlds in (1u32..5, 1u32..5), step in 1u64..9, cut in 0u32..12,
    ) {
        let sources: Vec<u32> = (0..).take(rows.len()).map(|unit| unit % 3).collect();
        let new = || stream(&rows, &sources, lanes, MIXINGS[mixing], seed);
        let (mut one, mut some) = (Ranks::new(1, new), Ranks::new(worlds.0, new));
        for _ in 0..cut {
            prop_assert_eq!(some.step(step), one.step(step));
        }
        let state = serde_json::to_string(&some.state()).unwrap();
        prop_assert_eq!(&some.state(), &one.state());
        let mut others = Ranks::new(worlds.1, new);
        for stream in &mut others.streams {
            stream.load(serde_json::from_str(&state).unwrap());
        }
        for _ in 0..12 {
            prop_assert_eq!(others.step(step), one.step(step));
        }
    }

    #[test]
    fn each_row_is_made_by_one_of_them(
        rows in prop::collection::vec(1u64..60, 8..20), world in 1u32..5, step in 1u64..9, seed: u64,
    ) {
        let made = Arc::new(AtomicU64::new(0));
        let new = || {
            let mut one = stream(&rows, &vec![0; rows.len()], 4, Mixing::Concat, seed);
            let backend = Counted { inner: Arc::new(Fake { rows: rows.clone() }), made: Arc::clone(&made) };
            one = Stream::new(Arc::new(backend), one.units.to_vec(), (*one.options).clone());
            one
        };
        let mut ranks = Ranks::new(world, new);
        while !ranks.step(step).1 {}
        prop_assert_eq!(made.load(Ordering::Relaxed), rows.iter().sum::<u64>());
    }
}
