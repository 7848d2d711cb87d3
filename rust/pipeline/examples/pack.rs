//! Time the pack planner alone, over as many lengths as the first argument says (10 million).
//!
//! Prints one JSON object a capacity: `documents`, `capacity`, `seconds`, `windows` and `fill`, the
//! part of the windows' room that documents take.

use std::time::Instant;

use fastft_pipeline::pack::best_fit;
use fastft_record::mix;
use serde_json::json;

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "lengths and counts of a measurement"
)]
fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000_000);
    let documents: Vec<u32> = (0..count).collect();
    for capacity in [2048_u32, 131_072] {
        // a product of three uniform numbers: most are short, some fill a window
        let length = |document: u32| {
            let draw = mix(u64::from(document));
            let part = |shift: u32| ((draw >> shift) & 0xFFFF) as f64 / 65_536.0;
            1 + (part(0) * part(16) * part(32) * f64::from(capacity)) as u32
        };
        let lengths: Vec<u32> = documents.iter().map(|document| length(*document)).collect();
        let begin = Instant::now();
        let windows = best_fit(&documents, |document| lengths[document as usize], capacity);
        let seconds = begin.elapsed().as_secs_f64();
        let tokens: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        let fill = tokens as f64 / (windows.len() as f64 * f64::from(capacity));
        println!(
            "{}",
            json!({"documents": count, "capacity": capacity, "seconds": seconds, "windows": windows.len(), "fill": fill})
        );
    }
}
