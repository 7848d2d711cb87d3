//! What was probably meant: the key of a row that looks most like the one that is missing, the role
//! most like one that is not known.

use fastft_record::{Code, RowError};
use serde_json::Value;

const ROLES: [&str; 10] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
    "human",
    "gpt",
    "observation",
    "function_call",
];

/// The JSON path that an error is about.
#[must_use]
pub fn path(error: &RowError) -> Option<String> {
    if error.at.is_some() {
        return error.at.clone();
    }
    if !matches!(error.code, Code::Missing | Code::Type | Code::Empty) {
        return None;
    }
    let path = error.reason.strip_prefix('`')?.split('`').next()?;
    Some(path.to_owned())
}

/// The nearest key where a key is missing, the nearest role where a role is not known.
#[must_use]
pub fn nearest(row: &[u8], path: &str, code: Code) -> Option<String> {
    let row: Value = serde_json::from_slice(row).ok()?;
    match code {
        Code::Missing => {
            let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
            let keys = walk(&row, parent)?.as_object()?.keys();
            closest(key, keys.map(String::as_str).filter(|found| *found != key))
        }
        Code::Role => closest(walk(&row, path)?.as_str()?, ROLES),
        _ => None,
    }
}

/// The value at a path such as `messages[2].content`.
fn walk<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = row;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, indices) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        if !name.is_empty() {
            value = value.get(name)?;
        }
        for index in indices.split('[').filter(|index| !index.is_empty()) {
            value = value.get(index.strip_suffix(']')?.parse::<usize>().ok()?)?;
        }
    }
    Some(value)
}

/// The candidate that differs least, when it differs in no more than a third of its letters.
fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let wanted: Vec<char> = word.to_lowercase().chars().collect();
    let distances = candidates.into_iter().map(|candidate| {
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        (distance(&wanted, &letters), candidate)
    });
    let (least, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (least * 3 <= wanted.len().max(candidate.chars().count())).then(|| candidate.to_owned())
}

/// Letters to insert, delete, replace or swap with a neighbour (optimal string alignment).
fn distance(one: &[char], two: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in two.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == two[j - 1] && one[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_slip_is_found_and_a_far_one_is_not() {
        let row = br#"{"instruction": "a", "ouput": "b", "id": 3}"#;
        assert_eq!(nearest(row, "output", Code::Missing).as_deref(), Some("ouput"));
        assert_eq!(nearest(row, "messages", Code::Missing), None);
        let row = br#"{"messages": [{"role": "user", "contnet": "a"}]}"#;
        assert_eq!(nearest(row, "messages[0].content", Code::Missing).as_deref(), Some("contnet"));
        assert_eq!(nearest(row, "messages[1].content", Code::Missing), None);
    }

    #[test]
    fn a_role_with_a_slip_is_found() {
        let row = br#"{"messages": [{"role": "asistant"}, {"role": "robot"}]}"#;
        assert_eq!(nearest(row, "messages[0].role", Code::Role).as_deref(), Some("assistant"));
        assert_eq!(nearest(row, "messages[1].role", Code::Role), None);
    }

    #[test]
    fn distances_count_slips() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        for (one, two, want) in
            [("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ab", 1), ("", "ab", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(&letters(one), &letters(two)), want, "{one} {two}");
        }
    }
}
