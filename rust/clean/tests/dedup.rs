//! Duplicates: the same for any number of threads, order and memory, and equal to brute force.

use std::collections::{BTreeMap, BTreeSet};

use fastft_clean::{Adder, Besides, Dedup, DedupPlan, Duplicates, NearPlan, Reason, RowRef};
use proptest::prelude::*;

const fn at(unit: u32, row: u32) -> RowRef {
    RowRef { unit, row }
}

fn near(threshold: f64) -> DedupPlan {
    DedupPlan { near: Some(NearPlan { threshold, ..NearPlan::default() }), ..DedupPlan::default() }
}

/// Search with rows dealt out to `threads` adders.
fn search(plan: &DedupPlan, rows: &[(RowRef, String)], threads: usize) -> Duplicates {
    let folder = tempfile::tempdir().unwrap();
    let dedup = Dedup::new(plan, folder.path(), threads).unwrap();
    let mut adders: Vec<Adder> = (0..threads).map(|_| dedup.adder()).collect();
    for (index, (row, text)) in rows.iter().enumerate() {
        adders[index * 7 % threads].add(*row, text, Besides::default()).unwrap();
    }
    dedup.finish(adders).unwrap()
}

fn essay(seed: u64, words: u64) -> String {
    let word = |at: u64| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).to_string();
    (0..words).map(|place| word(seed * 10_000 + place)).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_row_of_a_cluster_stays() {
    let base = essay(1, 200);
    let rows = vec![
        (at(1, 0), base.clone()),
        (at(0, 5), base.to_uppercase() + " a"),
        (at(0, 2), essay(2, 200)),
        (at(3, 9), base.clone()),
        (at(0, 9), String::new()),
        (at(2, 0), String::new()),
    ];
    let found = search(&near(0.0), &rows, 2);
    let seen: Vec<_> = found.iter().map(|each| (each.row, each.of, each.reason)).collect();
    let expected = [
        (at(1, 0), at(0, 5), Reason::Near),
        (at(2, 0), at(0, 9), Reason::Exact),
        (at(3, 9), at(0, 5), Reason::Exact),
    ];
    assert_eq!(seen, expected);
    assert!(found.contains(at(3, 9)) && !found.contains(at(0, 5)));
}

#[test]
fn exact_may_ignore_case_and_white_space() {
    let texts = ["Hello  World", "hello world", "Hello World\n", "Hello  World"];
    let rows: Vec<_> = (0..).zip(texts).map(|(row, text)| (at(0, row), text.to_owned())).collect();
    let count = |ignore_case, ignore_whitespace| {
        let plan = DedupPlan { ignore_case, ignore_whitespace, ..DedupPlan::default() };
        search(&plan, &rows, 1).len()
    };
    assert_eq!(
        [count(false, false), count(true, false), count(false, true), count(true, true)],
        [1, 1, 2, 3]
    );
}

#[test]
fn a_threshold_parts_candidates_that_are_not_alike() {
    // half of the words are the same: with one hash a band nearly every such pair is a candidate
    let shared = essay(5, 100);
    let rows: Vec<_> =
        (0..20).map(|row| (at(0, row), format!("{shared} {}", essay(100 + u64::from(row), 100)))).collect();
    let count = |threshold| {
        let near = NearPlan { rows: 1, bands: 112, threshold, ..NearPlan::default() };
        search(&DedupPlan { near: Some(near), ..DedupPlan::default() }, &rows, 1).len()
    };
    assert_eq!(count(0.0), 19);
    assert_eq!(count(0.8), 0);
    assert_eq!(count(0.1), 19);
}

#[test]
fn a_plan_that_asks_for_nothing_or_the_impossible_is_refused() {
    let folder = std::env::temp_dir();
    let nothing = DedupPlan { exact: false, ..DedupPlan::default() };
    let bands =
        DedupPlan { near: Some(NearPlan { bands: 0, ..NearPlan::default() }), ..DedupPlan::default() };
    for (plan, part) in [(nothing, "neither"), (bands, "near.bands")] {
        let error = Dedup::new(&plan, &folder, 1).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn files_of_duplicates_are_read_whole_and_by_unit() {
    let rows: Vec<_> = (0..40).map(|row| (at(row % 4, row), format!("text {}", row % 7))).collect();
    let found = search(&DedupPlan::default(), &rows, 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dups");
    found.write(&path).unwrap();
    assert_eq!(Duplicates::read(&path).unwrap(), found);
    let mut parts = Vec::new();
    for unit in 0..5 {
        let part = Duplicates::read_unit(&path, unit).unwrap();
        assert!(part.iter().all(|each| each.row.unit == unit));
        parts.extend(part.iter().copied());
    }
    assert_eq!(parts, found.iter().copied().collect::<Vec<_>>());
    std::fs::write(&path, b"something else that is long enough").unwrap();
    assert!(Duplicates::read(&path).is_err());
}

#[test]
fn a_file_of_duplicates_out_of_order_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dups");
    let file = |rows: &[(u64, u64)]| {
        let records =
            rows.iter().flat_map(|&(unit, row)| [unit << 32 | row, 0, 0]).flat_map(u64::to_le_bytes);
        std::fs::write(&path, b"fastft dups 0001".iter().copied().chain(records).collect::<Vec<u8>>())
            .unwrap();
    };
    for rows in [[(0, 2), (0, 1)], [(0, 1), (0, 1)], [(1, 1), (0, 1)]] {
        file(&rows);
        assert!(Duplicates::read(&path).is_err(), "{rows:?}");
    }
    file(&[(0, 2), (0, 1)]);
    assert!(Duplicates::read_unit(&path, 0).is_err());
    let last = u64::from(u32::MAX);
    file(&[(0, 1), (last, last)]);
    assert_eq!(Duplicates::read_unit(&path, u32::MAX).unwrap().len(), 1);
}

#[test]
fn recall_is_what_the_bands_promise() {
    // pairs of a known similarity: of 245 words, `k` from the end are others
    let mut rows = Vec::new();
    let mut truth: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pair in 0..300_u32 {
        let changed = [2, 20, 120][pair as usize % 3];
        let one = essay(u64::from(pair), 249);
        let kept: Vec<&str> = one.split(' ').take(249 - changed as usize).collect();
        let other = format!("{} {}", kept.join(" "), essay(5000 + u64::from(pair), u64::from(changed)));
        rows.push((at(0, 2 * pair), one));
        rows.push((at(0, 2 * pair + 1), other));
        truth.entry(changed).or_default().push(2 * pair + 1);
    }
    let found = search(&near(0.0), &rows, 1);
    let part = |changed: u32| {
        let all = &truth[&changed];
        f64::from(u32::try_from(all.iter().filter(|&&row| found.contains(at(0, row))).count()).unwrap())
            / f64::from(u32::try_from(all.len()).unwrap())
    };
    // similarities of 0.98, 0.85 and 0.34: expected 1.00, 0.98 and 0.003
    assert!(part(2) > 0.99 && part(20) > 0.9 && part(120) < 0.05, "{} {} {}", part(2), part(20), part(120));
    assert!(found.iter().all(|each| each.of.row + 1 == each.row.row && each.of.row % 2 == 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_outcome_depends_on_the_rows_only(
        picks in prop::collection::vec((0_u32..4, 0_u64..6, 0_u64..3), 1..60), threads in 1_usize..5, shuffle in any::<u64>()
    ) {
        let mut numbers = BTreeMap::new();
        let rows: Vec<_> = picks.iter().map(|&(unit, topic, tail)| {
            let row = numbers.entry(unit).or_insert(0);
            *row += 1;
            (at(unit, *row), format!("{} {}", essay(topic, 120), essay(900 + tail, tail)))
        }).collect();
        let plan = near(0.5);
        let reference = search(&plan, &rows, 1);
        let mut others = rows.clone();
        others.sort_by_key(|(row, _)| (u64::from(row.row) ^ shuffle).wrapping_mul(shuffle | 1));
        let small = DedupPlan { memory_bytes: 1, ..plan };
        prop_assert_eq!(&search(&small, &others, threads), &reference);

        // exact duplicates against a map, and what stays stays
        let mut seen: BTreeMap<&str, RowRef> = BTreeMap::new();
        let mut ordered: Vec<_> = rows.iter().collect();
        ordered.sort_by_key(|(row, _)| *row);
        let mut exact = BTreeSet::new();
        for (row, text) in ordered {
            if seen.contains_key(text.as_str()) { exact.insert(*row); } else { seen.insert(text, *row); }
        }
        let told = reference.iter().filter(|each| each.reason == Reason::Exact);
        let told: BTreeSet<RowRef> = told.map(|each| each.row).collect();
        prop_assert_eq!(told, exact);
        for each in &reference {
            prop_assert!(!reference.contains(each.of) && each.of < each.row);
        }
    }
}
