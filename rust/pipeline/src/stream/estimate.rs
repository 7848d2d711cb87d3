//! How long an epoch is, from some rows of units all over the data.

use std::sync::Arc;

use serde::Serialize;

use super::{Backend, Options, Unit};
use crate::error::EngineError;
use crate::mix::Mixing;

/// Units that are looked at, of each list.
const SAMPLE_UNITS: usize = 16;
/// Text of each list after which the estimate is good enough.
const SAMPLE_BYTES: u64 = 1 << 18;
/// Tokens that are asked for at once.
const SAMPLE_TOKENS: u64 = 1 << 9;
/// Part of a window that best fit fills, about.
const FILL: f64 = 0.995;

/// An epoch, estimated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Documents or groups.
    pub items: f64,
    /// Tokens.
    pub tokens: f64,
    /// Windows.
    pub windows: f64,
    /// Bytes of the text that it was made from.
    pub sampled_bytes: u64,
    /// Tokens a byte in there.
    pub tokens_per_byte: f64,
}

/// What was found in a part of some text.
#[derive(Clone, Copy, Default)]
struct Found {
    items: u64,
    tokens: u64,
    bytes: u64,
}

impl Found {
    /// Look at units that lie evenly in a list.
    fn of(backend: &Arc<dyn Backend>, units: &[Unit], list: &[u32]) -> Result<Self, EngineError> {
        let mut found = Self::default();
        let looked = list.len().min(SAMPLE_UNITS);
        for number in 0..looked {
            let unit = &units[list[number * list.len() / looked] as usize];
            let mut reader = Arc::clone(backend).open(unit, 0, false)?;
            let enough = found.bytes + SAMPLE_BYTES / looked as u64;
            while found.bytes < enough {
                let rows = reader.read(SAMPLE_TOKENS)?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    found.bytes += row.bytes;
                    found.items += row.items.len() as u64;
                    found.tokens +=
                        row.items.iter().flatten().map(|document| document.ids.len() as u64).sum::<u64>();
                }
            }
        }
        Ok(found)
    }
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn estimate(
    backend: &Arc<dyn Backend>,
    units: &Arc<[Unit]>,
    options: &Arc<Options>,
) -> Result<Estimate, EngineError> {
    let lists = options.streams(units);
    let found = lists.iter().map(|list| Found::of(backend, units, list)).collect::<Result<Vec<_>, _>>()?;
    let sampled = found.iter().map(|found| found.bytes).sum();
    // Items and tokens of each list in a pass.
    let sizes: Vec<u64> =
        lists.iter().map(|list| list.iter().map(|&unit| units[unit as usize].bytes).sum::<u64>()).collect();
    let scaled = |size: u64, part: u64, found: &Found| size as f64 * part as f64 / found.bytes.max(1) as f64;
    let passes: Vec<(f64, f64)> = sizes
        .iter()
        .zip(&found)
        .map(|(&size, found)| (scaled(size, found.items, found), scaled(size, found.tokens, found)))
        .collect();
    let repeat = |source: usize| f64::from(options.mix.repeat(source));
    let shares = options.mix.shares(&sizes);
    let total: f64 = shares.iter().map(|&share| share as f64).sum();
    let rounds = passes.iter().zip(&shares).enumerate().filter(|(_, (_, share))| **share > 0);
    let rounds = rounds.map(|(source, (pass, &share))| pass.0 * repeat(source) * total / share as f64);
    // How often each list is seen.
    let often: Vec<f64> = match options.mix.mixing {
        Mixing::Concat => vec![1.0; passes.len()],
        Mixing::AllExhaustedWithoutReplacement => (0..passes.len()).map(repeat).collect(),
        Mixing::FirstExhausted | Mixing::AllExhausted => {
            let items = if options.mix.mixing == Mixing::AllExhausted {
                rounds.fold(0.0, f64::max)
            } else {
                rounds.fold(f64::INFINITY, f64::min)
            };
            let of = |(pass, &share): (&(f64, f64), &u64)| items * share as f64 / total / pass.0.max(1.0);
            passes.iter().zip(&shares).map(of).collect()
        }
    };
    let sum =
        |of: fn(&(f64, f64)) -> f64| passes.iter().zip(&often).map(|(pass, often)| of(pass) * often).sum();
    let (items, tokens): (f64, f64) = (sum(|pass| pass.0), sum(|pass| pass.1));
    let windows = if options.pack { tokens / (f64::from(options.max_length) * FILL) } else { items };
    let per_byte = found.iter().map(|found| found.tokens).sum::<u64>() as f64 / sampled_or_one(sampled);
    let windows = windows.max(1.0);
    Ok(Estimate { items, tokens, windows, sampled_bytes: sampled, tokens_per_byte: per_byte })
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn sampled_or_one(bytes: u64) -> f64 {
    bytes.max(1) as f64
}
