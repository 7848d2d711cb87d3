//! From answers in a text to runs of its tokens.

use fastft_text::Encoding;

use super::count;

/// A part of a rendering that is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Its first byte.
    pub from: usize,
    /// The byte behind it.
    pub to: usize,
    /// What its losses are multiplied by.
    pub weight: f32,
}

/// Half-open runs of token indices and what their losses are multiplied by, parallel.
pub type Runs = (Vec<(u32, u32)>, Vec<f32>);

/// The tokens that share a byte with an answer, as runs; touching runs of one weight are one.
///
/// A token that shares bytes with two answers is the first one's. With `is_added`, tokens of
/// whitespace behind the last added token of an answer are left out.
pub fn token_runs(
    text: &str,
    encoding: &Encoding,
    answers: &[Answer],
    is_added: Option<&dyn Fn(u32) -> bool>,
) -> Runs {
    let offsets = &encoding.offsets;
    let mut runs: Vec<(u32, u32)> = Vec::with_capacity(answers.len());
    let mut weights: Vec<f32> = Vec::with_capacity(answers.len());
    for &Answer { from, to, weight } in answers {
        if from >= to {
            continue;
        }
        let first =
            offsets.partition_point(|&(begin, end)| (end as usize) <= from && (begin as usize) < from.max(1));
        let mut last = first + offsets[first..].partition_point(|&(begin, _)| (begin as usize) < to);
        if let Some(is_added) = is_added {
            let blank = |index: usize| {
                let (begin, end) = offsets[index];
                let token = text.get(begin as usize..end as usize);
                !is_added(encoding.ids[index]) && token.is_some_and(|token| token.trim().is_empty())
            };
            let end = (first..last).rev().find(|&index| !blank(index));
            if let Some(end) = end.filter(|&end| is_added(encoding.ids[end])) {
                last = end + 1;
            }
        }
        let first = count(first).max(runs.last().map_or(0, |run| run.1));
        let last = count(last);
        if first >= last {
            continue;
        }
        match (runs.last_mut(), weights.last()) {
            (Some(before), Some(same)) if before.1 == first && same.to_bits() == weight.to_bits() => {
                before.1 = last;
            }
            _ => {
                runs.push((first, last));
                weights.push(weight);
            }
        }
    }
    (runs, weights)
}
