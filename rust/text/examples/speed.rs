//! Bytes per CPU second of a tokenizer on the texts of JSONL files, and whether its ids are the reference's.
//!
//!     cargo run --release -p fastft-text --example speed -- tokenizer.json text.jsonl ... [--check]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fastft_text::{Library, Tokenizer};

/// Times that the texts are encoded; the fastest counts.
const ROUNDS: usize = 5;

fn main() {
    let (flags, names): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|name| name.starts_with("--"));
    let json = fs::read_to_string(&names[0]).expect("a tokenizer.json");
    let begin = Instant::now();
    let ours = Library::from_json(&json).expect("a tokenizer");
    let load = begin.elapsed();
    let again = kept(Path::new(&names[0]));
    let texts: Vec<String> = names[1..]
        .iter()
        .flat_map(|name| {
            fs::read_to_string(name).expect("a file").lines().map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .map(|line| match serde_json::from_str::<serde_json::Value>(&line) {
            Ok(row) => row["text"].as_str().map_or(line, ToOwned::to_owned),
            Err(_) => line,
        })
        .collect();
    let bytes: usize = texts.iter().map(String::len).sum();
    // what words became is kept with the tokenizer
    let round = |_| {
        let cold = Library::from_json(&json).expect("a tokenizer");
        let begin = cpu_seconds();
        let tokens: usize = texts.iter().map(|text| cold.encode(text).expect("ids").ids.len()).sum();
        (cpu_seconds() - begin, tokens)
    };
    let rounds: Vec<(f64, usize)> = (0..ROUNDS).map(round).collect();
    let first = rounds[0].0;
    let (seconds, tokens) =
        rounds.into_iter().min_by(|one, other| one.0.total_cmp(&other.0)).expect("a round");
    #[allow(clippy::cast_precision_loss, reason = "megabytes")]
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{:.2} MB/CPU-s (first {:.2}), {tokens} tokens of {megabytes:.1} MB, loaded in {load:?}, then in {again:?}",
        megabytes / seconds,
        megabytes / first
    );
    if flags.iter().any(|flag| flag == "--check") {
        let reference = Library::from_json(&json).expect("a tokenizer").without_words();
        let begin = cpu_seconds();
        let different = texts
            .iter()
            .filter(|text| ours.encode(text).expect("ids").ids != reference.encode(text).expect("ids").ids)
            .inspect(|text| eprintln!("{text:?}"))
            .count();
        println!("{different} texts of {} differ ({:.2} CPU seconds)", texts.len(), cpu_seconds() - begin);
    }
}

/// How long a tokenizer.json takes to load from what was kept of it; the fastest counts.
fn kept(file: &Path) -> Duration {
    let folder = std::env::temp_dir().join(format!("fastft-speed-{}", std::process::id()));
    let times = (0..=ROUNDS).map(|_| {
        let begin = Instant::now();
        Library::from_file(file, Some(&folder)).expect("a tokenizer");
        begin.elapsed()
    });
    let best = times.skip(1).min().expect("a round");
    let _ = fs::remove_dir_all(folder);
    best
}

/// CPU time of this thread.
#[allow(clippy::cast_precision_loss, reason = "seconds")]
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).expect("nanoseconds") as f64 / 1e9
}
