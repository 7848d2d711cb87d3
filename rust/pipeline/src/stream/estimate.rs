//! How long an epoch is, from the first groups of the first lane.

use std::sync::Arc;

use serde::Serialize;

use super::lane::{Lane, Place};
use super::{Backend, Options, Unit};
use crate::error::EngineError;
use crate::mix::Mixing;

/// Text after which the estimate is good enough.
const SAMPLE_BYTES: u64 = 1 << 17;
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

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn estimate(
    backend: &Arc<dyn Backend>,
    units: &Arc<[Unit]>,
    options: &Arc<Options>,
    lanes: u32,
) -> Result<Estimate, EngineError> {
    let mut lane = Lane::new(
        Arc::clone(backend),
        Arc::clone(units),
        Arc::clone(options),
        (0, lanes),
        false,
        &Place::default(),
    );
    let lists = options.streams(units);
    let mut drawn = vec![(0u64, 0u64); lists.len()];
    let mut tokens = 0u64;
    loop {
        let group = lane.group()?;
        tokens += group.shelf.documents.iter().map(|document| document.ids.len() as u64).sum::<u64>();
        for (sum, more) in drawn.iter_mut().zip(&group.drawn) {
            sum.0 += more.0;
            sum.1 += more.1;
        }
        let bytes: u64 = drawn.iter().map(|drawn| drawn.1).sum();
        if bytes >= SAMPLE_BYTES || group.next.epoch > 0 {
            break;
        }
    }
    let (all, bytes) = drawn.iter().fold((0, 0), |sum, drawn| (sum.0 + drawn.0, sum.1 + drawn.1));
    let mean = (bytes.max(1) as f64) / (all.max(1) as f64);
    // Items of each list in a pass; a list that was not met has rows like the others'.
    let sizes: Vec<u64> =
        lists.iter().map(|list| list.iter().map(|&unit| units[unit as usize].bytes).sum::<u64>()).collect();
    let counts: Vec<f64> = sizes
        .iter()
        .zip(&drawn)
        .map(|(&size, &(items, bytes))| {
            let row = if items > 0 && bytes > 0 { bytes as f64 / items as f64 } else { mean };
            size as f64 / row
        })
        .collect();
    let shares = options.mix.shares(&sizes);
    let total: u64 = shares.iter().sum();
    let rounds = counts.iter().zip(&shares).enumerate().filter(|(_, (_, share))| **share > 0).map(
        |(source, (&count, &share))| {
            count * f64::from(options.mix.repeat(source)) * total as f64 / share as f64
        },
    );
    let items = match options.mix.mixing {
        Mixing::Concat => counts.iter().sum(),
        Mixing::FirstExhausted => rounds.fold(f64::INFINITY, f64::min),
        Mixing::AllExhausted => rounds.fold(0.0, f64::max),
        Mixing::AllExhaustedWithoutReplacement => {
            (0..).zip(&counts).map(|(source, count)| count * f64::from(options.mix.repeat(source))).sum()
        }
    };
    let tokens_of_all = items * tokens as f64 / (all.max(1) as f64);
    let windows = if options.pack { tokens_of_all / (f64::from(options.max_length) * FILL) } else { items };
    Ok(Estimate {
        items,
        tokens: tokens_of_all,
        windows: windows.max(1.0),
        sampled_bytes: bytes,
        tokens_per_byte: tokens as f64 / bytes.max(1) as f64,
    })
}
