//! Mixing sources: whose sample comes next, and when an epoch ends.
//!
//! A schedule gives each source its share without random draws. With integer weights `w` of sum `W`,
//! after `n` samples of which `x_i` are of source `i`, its *credit* is `n w_i - x_i W`. Of the sources
//! with a credit of at least `W / (2k - 2)` the one is next whose credit would be the first to pass
//! `W`: then no prefix is ever a whole sample away from the shares (R. Tijdeman, "The chairman
//! assignment problem", Discrete Mathematics 32, 1980). Taking the largest credit alone, as is often
//! done, keeps that bound for two sources only. The state is one integer a source.
//!
//! When an epoch ends has the names of `datasets.interleave_datasets`.

use fastft_record::{Permutation, mix};
use serde::Deserialize;

use crate::order::to_usize;

/// How sources become one order, and when an epoch ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mixing {
    /// Every row of every source, as one.
    #[default]
    Concat,
    /// By weight, until the first source has no row left.
    FirstExhausted,
    /// By weight, until each source was seen whole; those that are begin again.
    AllExhausted,
    /// By weight, each row once; a source that has no row left drops out.
    AllExhaustedWithoutReplacement,
}

/// How sources are mixed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// When an epoch ends.
    pub mixing: Mixing,
    /// How often each source is used in an epoch; empty is once.
    pub repeats: Vec<u32>,
    /// Relative share of each source; empty is the same for all.
    pub weights: Vec<f64>,
    /// Shares are multiplied by size to the power of `1 / temperature`; absent is 1 for all.
    pub temperature: Option<f64>,
}

/// Weights of a schedule sum up to about this.
const SCALE: f64 = 4_294_967_296.0;

impl Mix {
    /// How often a source is used in an epoch.
    #[must_use]
    pub fn repeat(&self, source: usize) -> u32 {
        self.repeats.get(source).copied().unwrap_or(1)
    }

    /// Integer weights of sources of these sizes; 0 for a source that has nothing.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares are rounded to one part in 2^32"
    )]
    pub fn shares(&self, sizes: &[u64]) -> Vec<u64> {
        let share = |(source, &size): (usize, &u64)| {
            let weight = self.weights.get(source).copied().unwrap_or(1.0);
            let by_size = self.temperature.map_or(1.0, |t| (size as f64).powf(1.0 / t));
            if size == 0 { 0.0 } else { weight * by_size }
        };
        let shares: Vec<f64> = sizes.iter().enumerate().map(share).collect();
        let sum: f64 = shares.iter().sum();
        let whole = |&share: &f64| if share > 0.0 { ((share / sum * SCALE) as u64).max(1) } else { 0 };
        shares.iter().map(whole).collect()
    }
}

/// Says whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    weights: Vec<u64>,
    credits: Vec<i64>,
}

impl Schedule {
    /// A schedule of these weights; a source of weight 0 never comes.
    #[must_use]
    pub fn new(weights: Vec<u64>) -> Self {
        let credits = vec![0; weights.len()];
        Self { weights, credits }
    }

    /// A schedule that goes on from its credits.
    #[must_use]
    pub fn resumed(weights: Vec<u64>, credits: Vec<i64>) -> Self {
        Self { weights, credits }
    }

    /// The state.
    #[must_use]
    pub fn credits(&self) -> &[i64] {
        &self.credits
    }

    /// Whether a source takes part.
    #[must_use]
    pub fn has(&self, source: usize) -> bool {
        self.weights[source] > 0
    }

    /// The source takes part no more; the others begin a new schedule.
    pub fn remove(&mut self, source: usize) {
        self.weights[source] = 0;
        self.credits.fill(0);
    }

    /// The source of the next sample; None when none takes part.
    #[allow(clippy::cast_possible_wrap, reason = "weights sum up to about 2^32")]
    pub fn turn(&mut self) -> Option<usize> {
        let total = self.weights.iter().sum::<u64>() as i64;
        let sources = self.weights.iter().filter(|&&weight| weight > 0).count() as i64;
        let parts = i128::from((2 * sources - 2).max(1));
        for (credit, &weight) in self.credits.iter_mut().zip(&self.weights) {
            *credit = credit.saturating_add(weight as i64);
        }
        // (time to the deadline) x weight x parts; compared across sources without division
        let slack =
            |source: usize| (parts - 1) * i128::from(total) - parts * i128::from(self.credits[source]);
        let mut best: Option<usize> = None;
        for source in 0..self.weights.len() {
            let late =
                self.weights[source] > 0 && parts * i128::from(self.credits[source]) >= i128::from(total);
            let earlier = |other: usize| {
                slack(source) * i128::from(self.weights[other])
                    < slack(other) * i128::from(self.weights[source])
            };
            if late && best.is_none_or(earlier) {
                best = Some(source);
            }
        }
        let best = best?;
        self.credits[best] = self.credits[best].saturating_sub(total);
        Some(best)
    }
}

/// The permutation of one source's samples in one pass of an epoch.
#[must_use]
pub fn pass_order(len: u64, seed: u64, source: usize, epoch: u64, pass: u64) -> Permutation {
    Permutation::new(len, mix(seed ^ mix(source as u64 + 1)), mix(epoch ^ mix(pass)))
}

/// One source's samples, pass after pass, each pass in an order of its own.
struct Passes<'a> {
    items: &'a [u32],
    source: usize,
    pass: u64,
    at: u64,
    order: Option<Permutation>,
}

impl Passes<'_> {
    fn take(&mut self, shuffle: Option<(u64, u64)>) -> u32 {
        let len = self.items.len() as u64;
        if self.at == len {
            (self.at, self.pass) = (0, self.pass + 1);
        }
        if self.at == 0 {
            self.order = shuffle.map(|(seed, epoch)| pass_order(len, seed, self.source, epoch, self.pass));
        }
        let place = self.order.as_ref().map_or(self.at, |order| order.apply(self.at));
        self.at += 1;
        self.items[to_usize(place)]
    }

    /// Whether it was seen `passes` times.
    fn done(&self, passes: u32) -> bool {
        self.pass * self.items.len() as u64 + self.at >= u64::from(passes) * self.items.len() as u64
    }
}

/// Samples of an epoch, interleaved; `sources` are the items of each.
///
/// None when it would have more than `limit`.
#[must_use]
pub fn interleave(
    sources: &[Vec<u32>],
    rule: &Mix,
    shuffle: Option<(u64, u64)>,
    limit: u64,
) -> Option<Vec<u32>> {
    let sizes: Vec<u64> = sources.iter().map(|items| items.len() as u64).collect();
    let mut schedule = Schedule::new(rule.shares(&sizes));
    let mut passes: Vec<Passes<'_>> = (0..)
        .zip(sources)
        .map(|(source, items)| Passes { items, source, pass: 0, at: 0, order: None })
        .collect();
    let mut unseen = sizes.iter().filter(|&&size| size > 0).count();
    let mut epoch = Vec::new();
    while unseen > 0 {
        let Some(source) = schedule.turn() else { break };
        let before = passes[source].done(rule.repeat(source));
        epoch.push(passes[source].take(shuffle));
        if epoch.len() as u64 > limit {
            return None;
        }
        if !before && passes[source].done(rule.repeat(source)) {
            unseen -= 1;
            match rule.mixing {
                Mixing::FirstExhausted => break,
                Mixing::AllExhaustedWithoutReplacement | Mixing::Concat => schedule.remove(source),
                Mixing::AllExhausted => {}
            }
        }
    }
    Some(epoch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lists(sizes: &[u32]) -> Vec<Vec<u32>> {
        (0..).zip(sizes).map(|(source, &size)| (0..size).map(|n| source * 1000 + n).collect()).collect()
    }

    fn rule(mixing: Mixing, weights: &[f64]) -> Mix {
        Mix { mixing, weights: weights.to_vec(), ..Mix::default() }
    }

    proptest! {
        #[test]
        #[allow(clippy::cast_precision_loss)]
        fn every_prefix_is_within_one_sample_of_the_shares(
            weights in prop::collection::vec(1u64..2000, 1..9), steps in 1usize..1500,
        ) {
            let total: u64 = weights.iter().sum();
            let mut schedule = Schedule::new(weights.clone());
            let mut counts = vec![0u64; weights.len()];
            for step in 1..=steps {
                counts[schedule.turn().unwrap()] += 1;
                for (count, weight) in counts.iter().zip(&weights) {
                    let want = step as f64 * *weight as f64 / total as f64;
                    prop_assert!((*count as f64 - want).abs() < 1.0, "{counts:?} after {step} of {weights:?}");
                }
            }
        }

        #[test]
        fn a_resumed_schedule_goes_on(weights in prop::collection::vec(1u64..50, 1..6), cut in 0usize..200) {
            let mut whole = Schedule::new(weights.clone());
            for _ in 0..cut {
                whole.turn();
            }
            let mut resumed = Schedule::resumed(weights, whole.credits().to_vec());
            for _ in 0..100 {
                prop_assert_eq!(whole.turn(), resumed.turn());
            }
        }

        #[test]
        fn without_replacement_each_sample_comes_once(
            sizes in prop::collection::vec(0u32..60, 1..5), seed: u64,
        ) {
            let lists = lists(&sizes);
            let rule = rule(Mixing::AllExhaustedWithoutReplacement, &[3.0, 1.0, 0.5]);
            let mut epoch = interleave(&lists, &rule, Some((seed, 0)), 1 << 20).unwrap();
            epoch.sort_unstable();
            prop_assert_eq!(epoch, lists.concat());
        }
    }

    #[test]
    fn the_first_and_the_last_source_end_an_epoch() {
        let lists = lists(&[10, 30]);
        let first = interleave(&lists, &rule(Mixing::FirstExhausted, &[]), None, 1 << 20).unwrap();
        assert!(first.len() == 19 || first.len() == 20, "{}", first.len());
        let all = interleave(&lists, &rule(Mixing::AllExhausted, &[]), Some((1, 0)), 1 << 20).unwrap();
        assert!(all.len() == 59 || all.len() == 60);
        let small: Vec<u32> = all.iter().copied().filter(|item| *item < 1000).collect();
        let mut pass = small[..10].to_vec();
        pass.sort_unstable();
        assert!(pass.into_iter().eq(0..10), "a pass is whole before the next begins");
        assert_ne!(small[..10], small[10..20], "and each pass has an order of its own");
    }

    #[test]
    fn weights_temperature_and_repeats_have_an_effect() {
        let lists = lists(&[100, 400]);
        let count = |rule: &Mix| {
            let epoch = interleave(&lists, rule, None, 1 << 20).unwrap();
            let first = epoch.iter().take(100).filter(|item| **item < 1000).count();
            (first, epoch.len())
        };
        assert_eq!(count(&rule(Mixing::FirstExhausted, &[1.0, 3.0])).0, 25);
        let warm = Mix { temperature: Some(2.0), ..rule(Mixing::FirstExhausted, &[]) };
        assert!((33..=34).contains(&count(&warm).0), "sqrt(100) : sqrt(400)");
        let flat = Mix { temperature: Some(1.0), ..warm.clone() };
        assert_eq!(count(&flat).0, 20);
        let twice = Mix { repeats: vec![2, 1], ..rule(Mixing::FirstExhausted, &[]) };
        assert!(count(&twice).1 >= 399, "exhausted after two passes");
        assert_eq!(interleave(&lists, &twice, None, 50), None);
    }
}
