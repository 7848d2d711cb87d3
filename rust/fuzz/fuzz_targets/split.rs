//! Any text is cut by the automata of each family of pre-tokenizers as by the reference.
#![no_main]

use std::sync::LazyLock;

use fastft_text::Cuts;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

static FAMILIES: LazyLock<Vec<(String, Cuts)>> = LazyLock::new(|| {
    let families: Map<String, Value> =
        serde_json::from_str(include_str!("../../text/tests/pre_tokenizers.json")).expect("families");
    let cuts = |part: Value| Cuts::from_json(&part.to_string()).expect("a pre-tokenizer");
    families.into_iter().map(|(name, part)| (name, cuts(part))).collect()
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (name, cuts) in FAMILIES.iter() {
        ours.clear();
        theirs.clear();
        cuts.own(&text, &mut ours).expect("pieces");
        cuts.reference(&text, &mut theirs).expect("pieces");
        assert_eq!(ours, theirs, "{name}: {text:?}");
    }
});
