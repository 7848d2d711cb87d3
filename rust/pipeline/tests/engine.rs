//! Whole runs of the engine on text, with a tokenizer of bytes made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use fastft_pipeline::encode::{EncodeOptions, Encoder, TrainOn};
use fastft_pipeline::plan::Plan;
use fastft_pipeline::run::{self, Progress};
use fastft_pipeline::store::Store;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every character of the byte-level alphabet is a token, and `<eos>`.
fn tokenizer() -> String {
    let mut letters: Vec<char> =
        (33u32..=126).chain(161..=172).chain(174..=255).filter_map(char::from_u32).collect();
    letters.extend((256u32..324).filter_map(char::from_u32));
    let vocab: serde_json::Map<String, Value> =
        letters.iter().enumerate().map(|(id, letter)| (letter.to_string(), json!(id))).collect();
    json!({"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": vocab.len(), "content": "<eos>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []}})
    .to_string()
}

fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("fastft-engine-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Prepare one file in a folder of its own; the store's files and the manifest.
fn prepare(content: &[u8], name: &str, threads: usize) -> (Vec<Vec<u8>>, Value, Vec<Vec<u32>>) {
    let folder = folder();
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    let plan = json!({
        "sources": [{"name": "rows", "path": path, "format": {"kind": "text"}}],
        "rows": "text", "tokenizer": {"file": "", "key": "t", "vocab_size": 257},
        "encode": {"train_on": "all"}, "max_length": 64, "truncate": "drop", "fail_on_bad": false,
        "threads": threads, "cache": folder.join("cache")});
    let plan = Plan::from_json(&plan.to_string()).unwrap();
    let special = vec![("eos_token".to_owned(), "<eos>".to_owned())];
    let options = EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() };
    let encoder = || Encoder::new(&tokenizer(), None, &special, None, options);
    let prepared = run::prepare(&plan, encoder, &Progress::default()).unwrap();
    let store = Store::open(&prepared.folder).unwrap();
    let read = |name: &str| fs::read(prepared.folder.join(name)).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    let documents = (0..u32::try_from(store.lengths().len()).unwrap())
        .map(|document| {
            let mut ids = Vec::new();
            store.ids(document).for_each(|_, id| ids.push(id));
            ids
        })
        .collect();
    let files = vec![read("000000-00000.arrow"), lines_without_path(&read("rejected.jsonl"), &path)];
    fs::remove_dir_all(folder).unwrap();
    (files, manifest, documents)
}

fn lines_without_path(lines: &[u8], path: &Path) -> Vec<u8> {
    String::from_utf8_lossy(lines).replace(&*path.to_string_lossy(), "").into_bytes()
}

fn total(manifest: &Value, name: &str) -> u64 {
    let value = &manifest["books"]["total"][name];
    value.as_u64().unwrap_or_else(|| value.as_object().unwrap().values().filter_map(Value::as_u64).sum())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn books_balance_and_threads_agree_under_corruption(
        rows in prop::collection::vec("[ a-z\u{e9}\"\\\\]{0,80}", 1..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        array: bool,
    ) {
        let lines: Vec<String> = rows.iter().map(|row| json!({"text": row}).to_string()).collect();
        let text = if array { format!("[\n{}\n]", lines.join(",\n")) } else { lines.join("\n") };
        let mut bytes = text.into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len()).max(8); // the first bytes decide the layout
            if at < bytes.len() {
                bytes[at] = byte;
            }
        }
        let name = if array { "rows.json" } else { "rows.jsonl" };
        let (one, manifest, documents) = prepare(&bytes, name, 1);
        let (eight, _, _) = prepare(&bytes, name, 8);
        prop_assert_eq!(one, eight);
        let accounted = total(&manifest, "used") + total(&manifest, "quarantined") + total(&manifest, "dropped");
        prop_assert_eq!(total(&manifest, "read"), accounted);
        prop_assert_eq!(total(&manifest, "used"), documents.len() as u64);
    }
}

#[test]
fn a_row_becomes_its_bytes_and_the_end_token() {
    let (_, manifest, documents) = prepare(b"{\"text\": \"ab\"}\n{\"text\": \"\"}\n", "rows.jsonl", 2);
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].len(), 3);
    assert_eq!(documents[0][2], 256);
    assert_eq!(manifest["books"]["total"]["quarantined"], json!({"E_EMPTY": 1}));
}
