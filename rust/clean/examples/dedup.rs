//! Find the duplicates in a JSONL file's `text`: for profiles and `benches/data/dedup.py`.
//!
//! `dedup FILE.jsonl [exact|near] [threshold]` prints one JSON object: CPU seconds after the file was
//! read, and the rows that are duplicates with the rows that stay.

use std::time::Instant;

use fastft_clean::{Besides, CleanError, Dedup, DedupPlan, NearPlan, RowRef};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("name a JSONL file")?;
    let near = arguments.next().is_none_or(|what| what == "near");
    let threshold = arguments.next().map_or(Ok(0.0), |text| text.parse())?;
    let texts = std::fs::read_to_string(&file)?
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line)?;
            Ok(row["text"].as_str().ok_or("a row without `text`")?.to_owned())
        })
        .collect::<Result<Vec<String>, Box<dyn std::error::Error>>>()?;
    let plan = DedupPlan {
        near: near.then(|| NearPlan { threshold, ..NearPlan::default() }),
        ..DedupPlan::default()
    };
    let folder = std::env::temp_dir().join(format!("fastft-dedup-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let dedup = Dedup::new(&plan, &folder, 1)?;
    let mut adder = dedup.adder();
    for (row, text) in (0..).zip(&texts) {
        adder.add(RowRef { unit: 0, row }, text, Besides::default())?;
    }
    let found = dedup.finish(vec![adder]).map_err(|error: CleanError| error.to_string())?;
    let cpu = cpu_seconds().zip(cpu).map_or(wall.elapsed().as_secs_f64(), |(end, start)| end - start);
    std::fs::remove_dir_all(&folder)?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let pairs: Vec<Value> =
        found.iter().map(|each| json!([each.row.row, each.of.row, each.reason.as_str()])).collect();
    println!("{}", json!({"rows": texts.len(), "bytes": bytes, "cpu_seconds": cpu, "duplicates": pairs}));
    Ok(())
}

/// Time of this thread on a processor, where Linux tells.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanoseconds: u32 = (text.split(' ').next()?.parse::<u64>().ok()? / 1000).try_into().ok()?;
    Some(f64::from(nanoseconds) / 1e6)
}
