//! Whether time grows with a text's length: texts of one thing repeated, and as many twice as long.
//!
//!     cargo run --release -p fastft-text --example traps -- [--megabytes N] tokenizer.json ...
//!
//! Prints a line of JSON for each tokenizer with a path of its own: CPU seconds for N (5) megabytes, or so many more that
//! they take a quarter of a second, and for twice as many; and their ratio. Where one is 2.5 or more, its status is 1.

use std::fs;
use std::process::ExitCode;

use fastft_text::Library;
use serde_json::json;

#[path = "../tests/traps/mod.rs"]
mod traps;

use traps::{TRAPS, seconds, text};

/// Less says little: memory that is asked for anew takes as long.
const LEAST: f64 = 0.25;
/// What is too much for twice the text.
const MOST: f64 = 2.5;
/// Each is timed again so often while it is too much; the fastest counts.
const ROUNDS: usize = 4;

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let mut megabytes = 5;
    if let Some(at) = names.iter().position(|name| name == "--megabytes") {
        megabytes = names.remove(at + 1).parse().expect("a number");
        names.remove(at);
    }
    let mut all_linear = true;
    for name in names {
        let library = Library::from_json(&fs::read_to_string(&name).expect("a file")).expect("a tokenizer");
        if !library.has_words() {
            println!("{}", json!({"tokenizer": name, "own": false}));
            continue;
        }
        let mut rows = Vec::new();
        for trap in TRAPS {
            let mut size = megabytes * 1_000_000;
            while seconds(&library, &text(trap, size)) < LEAST && size < 16 * megabytes * 1_000_000 {
                size *= 2;
            }
            let texts = [text(trap, size), text(trap, 2 * size)];
            let mut least = [f64::INFINITY; 2];
            for _ in 0..ROUNDS {
                least = [0, 1].map(|at| least[at].min(seconds(&library, &texts[at])));
                if least[1] < MOST * least[0] {
                    break;
                }
            }
            let ratio = least[1] / least[0];
            all_linear &= ratio < MOST;
            rows.push(
                json!({"unit": trap.0, "end": trap.1, "bytes": size, "seconds": least, "ratio": ratio}),
            );
        }
        println!("{}", json!({"tokenizer": name, "own": true, "traps": rows}));
    }
    if all_linear { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
