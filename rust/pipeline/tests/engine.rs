//! Whole runs of the engine on text, with a tokenizer of bytes made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use fastft_pipeline::encode::{EncodeOptions, Encoder, TrainOn};
use fastft_pipeline::job::Job;
use fastft_pipeline::plan::Plan;
use fastft_pipeline::run::{self, Progress, Shard};
use fastft_pipeline::store::Store;
use fastft_text::Library;
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
    let encoder =
        |_: &Plan| Encoder::new(Library::from_json(&tokenizer()).unwrap(), None, &special, None, options);
    let prepared = run::prepare(plan, encoder, &Progress::default()).unwrap();
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
    let files = vec![
        read("000000-00000.arrow"),
        lines_without_path(&read("left_out.jsonl"), &path),
        lines_without_path(&read("rejected.jsonl"), &path),
    ];
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

/// A plan over one file of text rows, in small units.
fn plan(path: &Path, cache: &Path, threads: usize) -> Value {
    json!({
        "sources": [{"name": "rows", "path": path, "format": {"kind": "text"}}],
        "rows": "text", "tokenizer": {"file": cache.join("tokenizer.json"), "key": "t", "vocab_size": 257},
        "encode": {"train_on": "all"}, "max_length": 64, "truncate": "drop", "fail_on_bad": false,
        "dedup": {"exact": true}, "threads": threads, "unit_bytes": 300, "cache": cache})
}

fn encoder(plan: &Plan) -> Result<Encoder, fastft_pipeline::encode::EncoderError> {
    let special = vec![("eos_token".to_owned(), "<eos>".to_owned())];
    let options = EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() };
    Encoder::new(Library::from_file(&plan.tokenizer.file, None).unwrap(), None, &special, None, options)
}

/// Every file of a store but for when its files were written, by name.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .filter(|(name, _)| name != "stamps.json" && name != "shards.json" && name != "tokenizer.json")
        .collect();
    files.sort();
    files
}

/// Rows of all kinds in a file of this ending: good, broken, long, twice.
fn rows(folder: &Path, ending: &str) -> PathBuf {
    let texts = (0..120).map(|number: u32| match number % 10 {
        3 => "{\"text\": broken".to_owned(),
        5 => json!({"text": "x".repeat(100)}).to_string(),
        7 => json!({"text": "the same"}).to_string(),
        _ => json!({"text": format!("row {number}\u{e9}")}).to_string(),
    });
    let path = folder.join(format!("rows.{ending}"));
    let text = texts.collect::<Vec<_>>().join("\n");
    if ending == "jsonl.gz" {
        let mut gzip =
            flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
        gzip.finish().unwrap();
    } else {
        fs::write(&path, text).unwrap();
    }
    path
}

#[test]
fn shards_and_interrupted_runs_make_the_store_that_one_run_makes() {
    for ending in ["jsonl", "jsonl.gz"] {
        let folder = folder();
        let path = rows(&folder, ending);
        let cache = folder.join("cache");
        fs::create_dir_all(&cache).unwrap();
        fs::write(cache.join("tokenizer.json"), tokenizer()).unwrap();
        let text = plan(&path, &cache, 1).to_string();
        let parsed = || Plan::from_json(&text).unwrap();
        let whole = run::prepare(parsed(), encoder, &Progress::default()).unwrap();
        let want = content(&whole.folder);
        assert!(want.len() > 5, "the file is cut into several units");
        let manifest: Value =
            serde_json::from_slice(&want.iter().find(|file| file.0 == "manifest.json").unwrap().1).unwrap();
        let books = &manifest["books"]["total"];
        assert_eq!(books["read"], 120);
        assert_eq!(books["duplicates"], json!({"exact": 22}));
        assert_eq!(books["dropped"], json!({"too_long": 1}));
        assert_eq!(books["quarantined"], json!({"E_JSON": 12}));
        assert_eq!(books["used"], 120 - 22 - 1 - 12);
        let places = |name: &str| -> Vec<u64> {
            let list = &want.iter().find(|file| file.0 == name).unwrap().1;
            let lines = std::str::from_utf8(list).unwrap().lines();
            lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["line"].as_u64().unwrap()).collect()
        };
        assert_eq!(places("rejected.jsonl"), (0..12).map(|n| n * 10 + 4).collect::<Vec<_>>());
        assert!(places("left_out.jsonl").contains(&6) && places("left_out.jsonl").contains(&118));
        for count in [1, 3, 8] {
            let shared = folder.join(format!("shards-{count}"));
            let job = Job::new(parsed()).unwrap();
            assert!(job.write(&text, &shared, &Progress::default()).unwrap() >= 1);
            for index in (0..count).rev() {
                if index == 0 && count > 1 {
                    assert!(run::commit(&shared).unwrap_err().to_string().contains("not done"));
                }
                let shard = Shard { index, count };
                run::run_shard(&shared, shard, encoder, &Progress::default()).unwrap();
                run::run_shard(&shared, shard, encoder, &Progress::default()).unwrap();
            }
            assert_eq!(run::commit(&shared).unwrap(), whole.key);
            assert_eq!(run::commit(&shared).unwrap(), whole.key, "a second commit changes nothing");
            assert!(content(&shared) == want, "{count} shards of {ending}");
            assert_eq!(Store::open(&shared).unwrap().lengths().len(), 85);
        }
        // a run that was cut off: its pieces are there, and a torn one that must not be believed
        let again = folder.join("again");
        let job = Job::new(parsed()).unwrap();
        job.write(&text, &again, &Progress::default()).unwrap();
        run::run_shard(&again, Shard { index: 0, count: 2 }, encoder, &Progress::default()).unwrap();
        let left = cache.join("tokens").join(format!(".{}", whole.key));
        fs::rename(&again, &left).unwrap();
        fs::remove_dir_all(&whole.folder).unwrap();
        let part = fs::read_dir(&left)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "arrow"))
            .unwrap();
        fs::File::options().write(true).open(part).unwrap().set_len(100).unwrap();
        let resumed = run::prepare(parsed(), encoder, &Progress::default()).unwrap();
        assert!(!resumed.cached);
        assert!(content(&resumed.folder) == want, "resumed, {ending}");
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn the_first_bad_row_ends_a_run_that_must_not_have_any() {
    let folder = folder();
    let path = rows(&folder, "jsonl");
    let cache = folder.join("cache");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("tokenizer.json"), tokenizer()).unwrap();
    for threads in [1, 8] {
        let mut plan = plan(&path, &cache, threads);
        plan["fail_on_bad"] = json!(true);
        plan["sources"][0]["path"] = json!(path);
        let error = run::prepare(Plan::from_json(&plan.to_string()).unwrap(), encoder, &Progress::default());
        let error = format!("{:?}", error.unwrap_err());
        assert!(error.contains("line: 4") && error.contains("E_JSON"), "{error}");
    }
    fs::remove_dir_all(folder).unwrap();
}
