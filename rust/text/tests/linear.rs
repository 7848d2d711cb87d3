//! Time grows with a text's length, whatever is in it.

mod fixtures;
mod traps;

use fixtures::{byte_level, pieces};
use traps::{TRAPS, seconds, text};

/// Bytes of the shorter text.
const SHORT: usize = 12_000;
/// How many times as long the longer one is: by the square, it takes 64 times as long.
const TIMES: usize = 8;
/// What is allowed, of the fastest of a few times each.
const MOST: f64 = 26.0;
const ROUNDS: usize = 6;

#[test]
fn no_text_takes_time_by_the_square_of_its_length() {
    for (number, pair) in byte_level().iter().chain(&pieces()).enumerate() {
        for trap in TRAPS {
            let (short, long) = (text(trap, SHORT), text(trap, SHORT * TIMES));
            let (mut least, mut found) = ([f64::INFINITY; 2], f64::INFINITY);
            for _ in 0..ROUNDS {
                least = [least[0].min(seconds(&pair.ours, &short)), least[1].min(seconds(&pair.ours, &long))];
                found = least[1] / least[0];
                if found < MOST {
                    break;
                }
            }
            assert!(found < MOST, "tokenizer {number}, {trap:?}: {least:?} seconds, {found:.1} times");
        }
    }
}
