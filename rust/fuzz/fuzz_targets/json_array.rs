//! Any bytes as a JSON array: of a good one the rows are its elements, and a bad one is told.
#![no_main]

use fastft_fuzz::check;
use fastft_source::{BOM, Layout};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    let (rows, ended) = check(data, Layout::JsonArray);
    let text = data.strip_prefix(BOM).unwrap_or(data);
    if let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(text) {
        assert!(ended, "a good array is read to its end");
        let faults: Vec<_> = rows.iter().filter_map(|row| row.2.as_ref()).collect();
        assert!(faults.is_empty(), "{faults:?}");
        let want = elements.iter().map(|element| element.get().as_bytes());
        assert!(rows.iter().map(|row| row.1.as_slice()).eq(want));
    }
});
