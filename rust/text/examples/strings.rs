//! Whether every string over the classes of characters that the automata of a pre-tokenizer tell apart is cut as by the
//! reference.
//!
//!     cargo run --release -p fastft-text --example strings -- LENGTH [THREADS [NAME ...]]
//!
//! Goes through the families of `tests/pre_tokenizers.json`, or those that are named, and prints a line of JSON for
//! each; where anything differs, its status is 1. Strings of up to `LENGTH` - 1 are also cut with each letter nine
//! times, for automata take runs of letters by eight.

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use fastft_text::Cuts;
use serde_json::{Map, Value, json};

#[path = "../tests/strings/mod.rs"]
mod strings;

use strings::{Compared, compare};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let longest: u32 = args.first().and_then(|text| text.parse().ok()).expect("a length");
    let threads: usize = args.get(1).map_or(1, |text| text.parse().expect("a number of threads"));
    let named = args.get(2..).unwrap_or_default();
    let families: Map<String, Value> =
        serde_json::from_str(include_str!("../tests/pre_tokenizers.json")).expect("families");
    let mut all_same = true;
    for (name, part) in families.into_iter().filter(|(name, _)| named.is_empty() || named.contains(name)) {
        let cuts = Cuts::from_json(&part.to_string()).expect("a pre-tokenizer");
        let classes = cuts.classes();
        let begin = Instant::now();
        let mut all = Compared::default();
        for length in 0..=longest {
            for stretched in [false, true].into_iter().take(if length < longest { 2 } else { 1 }) {
                let share = &|part| compare(&cuts, &classes, length, stretched, (part, threads));
                let shares: Vec<Compared> = thread::scope(|scope| {
                    let running: Vec<_> = (0..threads).map(|part| scope.spawn(move || share(part))).collect();
                    running.into_iter().map(|share| share.join().expect("a share")).collect()
                });
                for share in shares {
                    all.strings += share.strings;
                    all.different += share.different;
                    all.first = all.first.or(share.first);
                }
            }
        }
        all_same &= all.different == 0;
        println!(
            "{}",
            json!({"family": name, "classes": classes.len(), "longest": longest, "strings": all.strings,
                   "different": all.different, "first": all.first, "seconds": begin.elapsed().as_secs()})
        );
    }
    if all_same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
