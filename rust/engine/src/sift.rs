//! Writing what cleaning and the search for duplicates keep, while Python watches.

use std::path::PathBuf;

use fastft_pipeline::sift;
use pyo3::prelude::*;

use crate::errors;
use crate::prepare::{Progress, parse, watched};

/// Write the rows that the plan's `clean` and `dedup` keep to `kept`, the others to `dropped`.
///
/// Returns the books of the sources as a JSON list.
#[pyfunction(name = "sift")]
pub fn sift_rows(
    py: Python<'_>,
    plan: &str,
    kept: PathBuf,
    dropped: PathBuf,
    spill: PathBuf,
    progress: &Progress,
) -> PyResult<String> {
    let plan = parse(py, plan)?;
    let books =
        watched(py, progress, move |counters| sift::sift(&plan, [&kept, &dropped, &spill], counters))?;
    serde_json::to_string(&books).map_err(|error| errors::to_python(py, error.into()))
}
