//! Any bytes as a table, by commas and by tabs: every clean row is one JSON object with the header's keys.
#![no_main]

use fastft_fuzz::check;
use fastft_source::Layout;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    for delimiter in [b',', b'\t'] {
        let (rows, ended) = check(data, Layout::Csv { delimiter });
        assert!(ended || rows.is_empty(), "a table is refused for its header alone");
        let mut header: Option<Vec<String>> = None;
        for (_, bytes, _) in rows.iter().filter(|row| row.2.is_none()) {
            let row: Map<String, Value> = serde_json::from_slice(bytes).expect("a clean row is an object");
            assert!(row.values().all(Value::is_string));
            let keys: Vec<String> = row.keys().cloned().collect();
            assert_eq!(header.get_or_insert_with(|| keys.clone()), &keys);
        }
    }
});
