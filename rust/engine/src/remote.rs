//! Files that lie elsewhere, for Python: which there are, and bringing one.

use std::path::PathBuf;
use std::time::Duration;

use fastft_pipeline::run;
use fastft_remote::{Counters, Found, Options, fetch, look};
use pyo3::prelude::*;

use crate::errors;
use crate::prepare::{Progress, watched_as};

/// Add the functions of this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(remote_look, module)?)?;
    module.add_function(wrap_pyfunction!(remote_fetch, module)?)?;
    module.add_function(wrap_pyfunction!(remote_shown, module)?)
}

/// The files that an address names, as a JSON list of `fastft_remote::Found`.
#[pyfunction]
fn remote_look(
    py: Python<'_>,
    url: String,
    progress: &Progress,
    attempts: u32,
    pause_s: f64,
) -> PyResult<String> {
    let options = options(attempts, pause_s, u64::MAX);
    let work = move |progress: &run::Progress| look(&url, &options, &counters(progress));
    let found = watched_as(py, progress, work, |py, error| errors::remote_error(py, &error))?;
    serde_json::to_string(&found).map_err(|error| errors::to_python(py, error.into()))
}

/// Bring one of these files to `target`: its bytes.
#[pyfunction]
fn remote_fetch(
    py: Python<'_>,
    found: &str,
    target: PathBuf,
    progress: &Progress,
    attempts: u32,
    pause_s: f64,
    piece_bytes: u64,
) -> PyResult<u64> {
    let found: Found = serde_json::from_str(found).map_err(|error| errors::to_python(py, error.into()))?;
    let options = options(attempts, pause_s, piece_bytes);
    let work = move |progress: &run::Progress| fetch(&found, &target, &options, &counters(progress));
    watched_as(py, progress, work, |py, error| errors::remote_error(py, &error))
}

/// An address without password and signature.
#[pyfunction]
fn remote_shown(url: &str) -> String {
    fastft_remote::redacted(url)
}

fn options(attempts: u32, pause_s: f64, piece_bytes: u64) -> Options {
    Options { attempts: attempts.max(1), pause: Duration::from_secs_f64(pause_s.max(0.0)), piece_bytes }
}

fn counters(progress: &run::Progress) -> Counters<'_> {
    Counters { bytes: &progress.bytes_read, cancelled: &progress.cancelled }
}
