//! Any text has the reference's ids, offsets and decoded text, by the tokenizer that the first byte chooses.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../text/tests/fixtures/mod.rs"]
mod fixtures;

use fixtures::{Pair, byte_level, pieces};

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| byte_level().into_iter().chain(pieces()).collect());

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let pair = &PAIRS[usize::from(*first) % PAIRS.len()];
    if let Some(difference) = pair.difference(&text) {
        panic!("{difference}");
    }
});
