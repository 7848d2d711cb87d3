//! Any bytes as each file or text that the engine reads back: refused, or read and written as it was.
#![no_main]

use std::fmt::Debug;
use std::fs;
use std::sync::Arc;

use fastft_clean::{Duplicates, RowRef};
use fastft_fuzz::{FOLDER, write};
use fastft_pipeline::error::EngineError;
use fastft_pipeline::format::Format;
use fastft_pipeline::job::{Job, SHARDS};
use fastft_pipeline::key::Digests;
use fastft_pipeline::lists::{self, LeftOut, Listed, Rejected};
use fastft_pipeline::piece::Record;
use fastft_pipeline::plan::Plan;
use fastft_pipeline::store::{LEFT_OUT, MANIFEST, Manifest, REJECTED, Stamps, Store};
use fastft_pipeline::stream::{Backend, Options, Reader, RowItems, State, Stream, Tokenized, Unit};
use fastft_pipeline::units::Piece;
use fastft_record::SourceBooks;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    duplicates(data);
    let _ = (Digests::open(write("digests.json", data)), write("stamps.json", data), Stamps::open(&FOLDER));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = (Plan::from_json(text), serde_json::from_str::<Options>(text));
        round_trip::<Format>(text);
        if let Some(record) = round_trip::<Record>(text) {
            piece(&record);
        }
        if let Some(state) = round_trip::<State>(text) {
            resume(&state);
        }
        if round_trip::<Manifest>(text).is_some() {
            store(data);
        }
    }
    write(SHARDS, data);
    let _ = Job::read(&FOLDER);
    list::<Rejected>(data);
    list::<LeftOut>(data);
});

/// What was read and is written is read again as the same.
fn round_trip<T: DeserializeOwned + Serialize + PartialEq + Debug>(text: &str) -> Option<T> {
    let value: T = serde_json::from_str(text).ok()?;
    let text = serde_json::to_string(&value).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<T>(&text).expect("what was written can be read"), value);
    Some(value)
}

/// The rows to leave out stand in order, and a unit's are those of the whole.
fn duplicates(data: &[u8]) {
    let path = write("duplicates", data);
    let Ok(found) = Duplicates::read(&path) else { return };
    let copy = FOLDER.join("duplicates.again");
    found.write(&copy).expect("room for a small file");
    assert_eq!(fs::read(copy).expect("just written"), data);
    for duplicate in &found {
        assert_eq!(found.get(duplicate.row), Some(*duplicate));
        let unit = duplicate.row.unit;
        let of_unit = Duplicates::read_unit(&path, unit).expect("part of what was read");
        assert!(of_unit.iter().eq(found.iter().filter(|other| other.row.unit == unit)));
    }
    assert!(!found.contains(RowRef { unit: u32::MAX, row: u32::MAX }) || !found.is_empty());
}

/// A piece that is done is read by its own name, and enters the books.
fn piece(record: &Record) {
    // its part would have to be there
    let bare = Record { part: None, ..record.clone() };
    bare.write(&FOLDER).expect("room for a small file");
    assert_eq!(Record::read(&FOLDER, bare.piece).as_ref(), Some(&bare));
    let other = Piece { unit: record.piece.unit ^ 1, ..record.piece };
    assert_eq!(Record::read(&FOLDER, other), None);
    let mut books = SourceBooks::default();
    books.merge(&record.books);
    let _ = (books.accounted(), record.last);
    fs::remove_file(FOLDER.join(format!("{}.json", record.piece.name()))).expect("just written");
}

/// A store is opened by its manifest; the lists that seeds name are empty.
fn store(manifest: &[u8]) {
    write(MANIFEST, manifest);
    write(REJECTED, b"");
    write(LEFT_OUT, b"");
    if let Ok(store) = Store::open(&FOLDER) {
        assert_eq!(store.lengths().len(), store.hashes().len());
    }
}

/// A list of rows is put together, or its file is named.
fn list<T: Listed>(data: &[u8]) {
    write("piece", data);
    let before = |unit: u32| (unit < 9).then(|| (format!("source {unit}"), 5));
    let _ = lists::join::<T>(&FOLDER, "joined", [("piece".to_owned(), 3)].into_iter(), &before);
}

/// Four units of two sources, made out of nothing.
struct Made;

struct Rest(u64);

impl Backend for Made {
    fn open(self: Arc<Self>, _: &Unit, from: u64, _: bool) -> Result<Box<dyn Reader>, EngineError> {
        Ok(Box::new(Rest(from)))
    }
}

impl Reader for Rest {
    fn read(&mut self, _: u64) -> Result<Vec<RowItems>, EngineError> {
        let document = |row: u64| Tokenized {
            ids: vec![1; 1 + row as usize % 9],
            spans: vec![0, 1],
            ..Tokenized::default()
        };
        let rows =
            (self.0..8).map(|row| RowItems { row, bytes: 9, items: vec![vec![document(row)]] }).collect();
        self.0 = self.0.max(8);
        Ok(rows)
    }
}

/// A stream goes on from any state, or says that it can't.
fn resume(state: &State) {
    for mixing in ["concat", "all_exhausted", "first_exhausted", "all_exhausted_without_replacement"] {
        let options = json!({"mix": {"mixing": mixing}, "lanes": 2, "unit_bytes": 72, "max_length": 16, "pack": true,
            "shuffle": true, "seed": 1});
        let options: Options = serde_json::from_value(options).expect("the options of a stream");
        let unit =
            |piece| Unit { source: piece / 2, file: 0, piece, part: (0, 1), rows: u64::MAX, bytes: 72 };
        let mut stream = Stream::new(Arc::new(Made), (0..4).map(unit).collect(), options);
        stream.load(state.clone());
        for _ in 0..3 {
            let Ok(true) = stream.prepare(1, &mut || false) else { break };
            let passed = stream.take(1, &mut |_, next| assert!(!next.group.window(next.number).is_empty()));
            passed.expect("what was prepared can be taken");
            let state = serde_json::to_string(&stream.state()).expect("a state");
            let _: State = serde_json::from_str(&state).expect("what was written can be read");
        }
    }
}
