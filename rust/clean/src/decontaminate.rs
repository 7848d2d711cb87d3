//! Evaluation sets that no row may hold.
//!
//! A row goes when it shares a run of 13 tokens with an item of a set (Brown et al. 2020), or when
//! it holds most of an item's runs of 8 tokens (Chowdhery et al. 2022). Items that are shorter than
//! a run are looked for whole. The rule's name is `decontaminate.<set>`, and the item is told.

use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Wrong;
use crate::cleaner::{Broken, Held};
use crate::tokens::{each_run, hash_tokens};

/// One evaluation set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationSet {
    /// What reports call it.
    pub name: String,
    /// Files: `.json` (an array of rows), `.jsonl`, anything else one item a line.
    pub files: Vec<PathBuf>,
    /// Items given as they are.
    pub texts: Vec<String>,
    /// Which fields of a row make an item, each by itself; none is all texts of the row together.
    pub fields: Vec<String>,
}

/// Evaluation sets, and what counts as holding one of their items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecontaminatePlan {
    /// The sets.
    pub sets: Vec<EvaluationSet>,
    /// Tokens of a run of which one is enough; 0 is off.
    pub ngram: usize,
    /// Tokens of a run of which `overlap` is counted; 0 is off.
    pub overlap_ngram: usize,
    /// Part of an item's runs that a row holds, from which on it goes.
    pub overlap: f64,
    /// Runs that more items of a set than this share are common phrases and do not count; 0 is off.
    pub common: usize,
    /// Items of fewer tokens are not looked for: any row may hold them.
    pub min_tokens: usize,
}

impl Default for DecontaminatePlan {
    fn default() -> Self {
        Self { sets: Vec::new(), ngram: 13, overlap_ngram: 8, overlap: 0.7, common: 10, min_tokens: 8 }
    }
}

/// Runs of one length, and the items that have them.
#[derive(Default)]
struct Runs(FxHashMap<u64, Vec<u32>>);

impl Runs {
    fn add(&mut self, tokens: &[u64], n: usize, item: u32) {
        each_run(tokens, n, |run| {
            let items = self.0.entry(run).or_default();
            if items.last() != Some(&item) {
                items.push(item);
            }
        });
    }

    fn forget_common(&mut self, most: usize) {
        if most > 0 {
            self.0.retain(|_, items| items.len() <= most);
        }
    }
}

struct Set {
    rule: String,
    /// Where each item is, for reports.
    places: Vec<String>,
    whole: Runs,
    /// Lengths of the shorter items that are in `short`.
    short_lengths: Vec<usize>,
    short: Runs,
    overlap: Runs,
    /// How many different runs an item has.
    num_runs: Vec<u32>,
}

pub(crate) struct Decontaminator {
    plan: DecontaminatePlan,
    sets: Vec<Set>,
}

impl Decontaminator {
    pub(crate) fn new(plan: &DecontaminatePlan) -> Result<Self, Vec<Wrong>> {
        let (mut sets, mut wrong) = (Vec::new(), Vec::new());
        if plan.sets.is_empty() {
            wrong.push(Wrong::new("decontaminate.sets", "name at least one evaluation set"));
        }
        if plan.ngram == 0 && plan.overlap_ngram == 0 {
            wrong.push(Wrong::new("decontaminate", "`ngram` and `overlap_ngram` are both off"));
        }
        if !(plan.overlap > 0.0 && plan.overlap <= 1.0) {
            wrong.push(Wrong::new("decontaminate.overlap", "it has to be above 0 and at most 1"));
        }
        for (index, set) in plan.sets.iter().enumerate() {
            match Set::new(set, plan, &format!("decontaminate.sets[{index}]")) {
                Ok(set) => sets.push(set),
                Err(found) => wrong.push(found),
            }
        }
        if wrong.is_empty() { Ok(Self { plan: plan.clone(), sets }) } else { Err(wrong) }
    }

    pub(crate) fn check(&self, text: &str) -> Held {
        let mut tokens = Vec::new();
        hash_tokens(text, &mut tokens);
        for set in &self.sets {
            let hit = set.run_of(&tokens, self.plan.ngram).map(|item| (item, 1.0));
            let hit = hit.or_else(|| set.overlap(&tokens, &self.plan));
            if let Some((item, part)) = hit {
                let part = if part < 1.0 { format!(", {part:.2} of it") } else { String::new() };
                let detail = format!("{}{part}", set.places[item as usize]);
                return Err(Broken { rule: set.rule.clone().into(), detail });
            }
        }
        Ok(())
    }
}

impl Set {
    /// `key` is what the config calls it.
    fn new(set: &EvaluationSet, plan: &DecontaminatePlan, key: &str) -> Result<Self, Wrong> {
        let mut items: Vec<(String, String)> =
            set.texts.iter().enumerate().map(|(at, text)| (format!("item {at}"), text.clone())).collect();
        for file in &set.files {
            read(file, &set.fields, &mut items).map_err(|wrong| wrong.below(key))?;
        }
        let mut made = Self {
            rule: format!("decontaminate.{}", set.name),
            places: Vec::new(),
            whole: Runs::default(),
            short_lengths: Vec::new(),
            short: Runs::default(),
            overlap: Runs::default(),
            num_runs: Vec::new(),
        };
        let mut tokens = Vec::new();
        for (place, text) in items {
            tokens.clear();
            hash_tokens(&text, &mut tokens);
            if tokens.len() >= plan.min_tokens.max(1) {
                made.add(&tokens, plan);
                made.places.push(place);
            }
        }
        if made.places.is_empty() {
            let reason = format!("the set `{}` has no item of {} words or more", set.name, plan.min_tokens);
            return Err(Wrong::new(key, reason));
        }
        made.whole.forget_common(plan.common);
        made.overlap.forget_common(plan.common);
        made.num_runs = vec![0; made.places.len()];
        for items in made.overlap.0.values() {
            for &item in items {
                made.num_runs[item as usize] += 1;
            }
        }
        made.short_lengths.sort_unstable();
        made.short_lengths.dedup();
        Ok(made)
    }

    fn add(&mut self, tokens: &[u64], plan: &DecontaminatePlan) {
        let item = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        if plan.ngram > 0 && tokens.len() >= plan.ngram {
            self.whole.add(tokens, plan.ngram, item);
        } else if plan.ngram > 0 {
            self.short_lengths.push(tokens.len());
            self.short.add(tokens, tokens.len(), item);
        }
        if plan.overlap_ngram > 0 {
            self.overlap.add(tokens, plan.overlap_ngram, item);
        }
    }

    /// The first item with a run that the row has as well.
    fn run_of(&self, tokens: &[u64], ngram: usize) -> Option<u32> {
        let mut found = None;
        for (length, runs) in
            std::iter::once((ngram, &self.whole)).chain(self.short_lengths.iter().map(|&n| (n, &self.short)))
        {
            each_run(tokens, length, |run| {
                if found.is_none() {
                    found = runs.0.get(&run).map(|items| items[0]);
                }
            });
        }
        found
    }

    /// The item of which the row holds the largest part, if that is enough.
    fn overlap(&self, tokens: &[u64], plan: &DecontaminatePlan) -> Option<(u32, f64)> {
        let mut seen = FxHashSet::default();
        let mut held: FxHashMap<u32, u32> = FxHashMap::default();
        each_run(tokens, plan.overlap_ngram, |run| {
            if let Some(items) = self.overlap.0.get(&run)
                && seen.insert(run)
            {
                for &item in items {
                    *held.entry(item).or_default() += 1;
                }
            }
        });
        let part =
            |(item, held): (u32, u32)| (item, f64::from(held) / f64::from(self.num_runs[item as usize]));
        let best = held.into_iter().map(part).filter(|&(_, part)| part >= plan.overlap);
        best.max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)))
    }
}

/// Why a file of a set gives no items.
enum Unread {
    /// It can't be read, or is not what its name says.
    File(String),
    /// A row lacks a field that is asked for.
    Fields(String),
}

impl Unread {
    fn below(self, key: &str) -> Wrong {
        match self {
            Self::File(reason) => Wrong::new(format!("{key}.path"), reason),
            Self::Fields(reason) => Wrong::new(format!("{key}.fields"), reason),
        }
    }
}

/// Append the items of a file, each with where it is.
fn read(path: &Path, fields: &[String], items: &mut Vec<(String, String)>) -> Result<(), Unread> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Unread::File(format!("`{}`: {error}", path.display())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = |line: usize, reason: &str| format!("{}:{line}: {reason}", path.display());
    let broken = |line, error: serde_json::Error| Unread::File(place(line, &error.to_string()));
    let lacking = |line, reason: String| Unread::Fields(place(line, &reason));
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => {
            let rows: Vec<Value> = serde_json::from_str(text).map_err(|error| broken(error.line(), error))?;
            for (at, row) in rows.iter().enumerate() {
                take(row, fields, &format!("{name}[{at}]"), items).map_err(|reason| lacking(1, reason))?;
            }
        }
        ending => {
            for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
                let at = format!("{name}:{line}");
                if ending == Some("jsonl") {
                    let row: Value = serde_json::from_str(text).map_err(|error| broken(line, error))?;
                    take(&row, fields, &at, items).map_err(|reason| lacking(line, reason))?;
                } else {
                    items.push((at, text.to_owned()));
                }
            }
        }
    }
    Ok(())
}

/// The items of one row.
fn take(
    row: &Value,
    fields: &[String],
    place: &str,
    items: &mut Vec<(String, String)>,
) -> Result<(), String> {
    fn texts(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(values) => values.iter().for_each(|value| texts(value, out)),
            Value::Object(values) => values.values().for_each(|value| texts(value, out)),
            _ => {}
        }
    }
    let mut put = |value: &Value| {
        let mut text = String::new();
        texts(value, &mut text);
        items.push((place.to_owned(), text));
    };
    if fields.is_empty() {
        put(row);
    }
    for field in fields {
        put(row.get(field).ok_or_else(|| format!("the row has no field `{field}`"))?);
    }
    Ok(())
}
