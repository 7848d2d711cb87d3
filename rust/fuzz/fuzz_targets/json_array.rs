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
        let line = |element: &RawValue| {
            let before = &text[..element.get().as_ptr() as usize - text.as_ptr() as usize];
            before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1
        };
        let want = elements.iter().map(|element| (line(element), element.get().as_bytes().to_vec(), None));
        assert!(rows.into_iter().eq(want));
    }
});
