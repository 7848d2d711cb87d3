//! Texts on which a step that looks back or ahead too far takes time by the square of their length.

use std::fs;
use std::thread;

use fastft_text::{Library, Tokenizer};

/// What is repeated, and what stands behind all of it.
pub const TRAPS: [(&str, &str); 22] = [
    ("a", ""),
    ("A", ""),
    ("ab", ""),
    ("x ", ""),
    ("1", ""),
    ("'", ""),
    ("-", ""),
    (" ", ""),
    (" ", "x"),
    // expressions may look for the end of a line behind white space, and not find it
    (" ", "1"),
    ("\n", ""),
    ("\r\n", "1"),
    ("\t", "\u{4f60}"),
    (" \n", "1"),
    ("\u{1f642}\u{200d}", ""),
    ("\u{4f60}", ""),
    ("\u{e9}", ""),
    ("\u{2581}", ""),
    // what normal forms join, part or put in order
    ("e\u{301}", ""),
    ("\u{212b}", ""),
    ("\u{301}\u{327}", ""),
    ("\u{1100}\u{1161}", "\u{fb01}"),
];

/// About so many bytes of a trap.
pub fn text((unit, end): (&str, &str), bytes: usize) -> String {
    unit.repeat(bytes / unit.len()) + end
}

/// CPU seconds to encode a text, by a thread that has seen none before.
pub fn seconds(library: &Library, text: &str) -> f64 {
    let timed = || {
        let begin = cpu_seconds();
        library.encode(text).expect("ids");
        cpu_seconds() - begin
    };
    thread::scope(|scope| scope.spawn(timed).join()).expect("a thread")
}

/// CPU time of this thread; where the system doesn't tell, time by the clock.
#[allow(clippy::cast_precision_loss, reason = "seconds")]
fn cpu_seconds() -> f64 {
    static BEGIN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    // a thread's account is kept up to date when it gives way
    thread::yield_now();
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    nanoseconds.map_or_else(|| BEGIN.elapsed().as_secs_f64(), |number| number as f64 / 1e9)
}
