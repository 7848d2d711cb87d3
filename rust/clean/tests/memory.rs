//! Ten million rows in bounded memory. A process of its own: its peak is what is measured.

use std::io::Write as _;

use fastft_clean::{Besides, Dedup, DedupPlan, RowRef};

#[test]
fn ten_million_rows_take_less_than_200_mb() {
    let folder = tempfile::tempdir().unwrap();
    let plan = DedupPlan { memory_bytes: 64 << 20, ..DedupPlan::default() };
    let dedup = Dedup::new(&plan, folder.path(), 2).unwrap();
    let mut adders = [dedup.adder(), dedup.adder()];
    let mut text = Vec::new();
    for number in 0..10_000_000_u32 {
        text.clear();
        // every hundredth text was there before
        write!(text, "row {}", if number % 100 == 99 { number - 50 } else { number }).unwrap();
        let row = RowRef { unit: number / 1_000_000, row: number % 1_000_000 };
        adders[(number % 2) as usize]
            .add(row, std::str::from_utf8(&text).unwrap(), Besides::default())
            .unwrap();
    }
    let found = dedup.finish(adders.into()).unwrap();
    assert_eq!(found.len(), 100_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    if let Some(kilobytes) = peak.and_then(|line| line.trim().strip_suffix(" kB")) {
        let megabytes = kilobytes.trim().parse::<u64>().unwrap() / 1000;
        assert!(megabytes < 200, "{megabytes} MB");
    }
}
