//! Any bytes as lines of JSON: the rows are the lines that are not blank.
#![no_main]

use fastft_fuzz::check;
use fastft_source::{BOM, Layout};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (rows, ended) = check(data, Layout::Jsonl);
    assert!(ended, "lines can always be read");
    let text = data.strip_prefix(BOM).unwrap_or(data);
    let lines = (1..).zip(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end));
    let want = lines.filter(|(_, line)| !line.is_empty()).map(|(at, line)| (at, line.to_vec(), None));
    assert!(rows.into_iter().eq(want));
});
