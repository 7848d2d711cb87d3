//! Making a token store while Python watches.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use fastft_pipeline::EngineError;
use fastft_pipeline::encode::{Encoder, EncoderError};
use fastft_pipeline::job::Job;
use fastft_pipeline::options::Tools;
use fastft_pipeline::plan::Plan;
use fastft_pipeline::run::Shard;
use fastft_pipeline::{preview, run};
use fastft_text::Library;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::{errors, template};

/// Add the functions and classes of this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Progress>()?;
    module.add_function(wrap_pyfunction!(prepare, module)?)?;
    module.add_function(wrap_pyfunction!(plan_key, module)?)?;
    module.add_function(wrap_pyfunction!(chosen_names, module)?)?;
    module.add_function(wrap_pyfunction!(plan_shards, module)?)?;
    module.add_function(wrap_pyfunction!(run_shard, module)?)?;
    module.add_function(wrap_pyfunction!(commit_shards, module)?)?;
    module.add_function(wrap_pyfunction!(looks, module)?)?;
    module.add_function(wrap_pyfunction!(preview_rows, module)?)
}

/// Counters that Python polls from another thread.
#[pyclass(frozen, module = "fastft._engine")]
pub struct Progress {
    pub inner: Arc<run::Progress>,
}

#[pymethods]
impl Progress {
    #[new]
    fn new() -> Self {
        Self { inner: Arc::default() }
    }

    /// Rows done.
    #[getter]
    fn rows(&self) -> u64 {
        self.inner.rows.load(Ordering::Relaxed)
    }

    /// Tokens made.
    #[getter]
    fn tokens(&self) -> u64 {
        self.inner.tokens.load(Ordering::Relaxed)
    }

    /// Bytes of rows done.
    #[getter]
    fn bytes_read(&self) -> u64 {
        self.inner.bytes_read.load(Ordering::Relaxed)
    }

    /// Bytes of all files.
    #[getter]
    fn total_bytes(&self) -> u64 {
        self.inner.total_bytes.load(Ordering::Relaxed)
    }

    /// Say how much is to come, where it is not the engine that knows.
    fn expect(&self, bytes: u64) {
        self.inner.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ask the run to stop at the next row.
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::Relaxed);
    }
}

/// The plan that Python wrote.
pub fn parse(py: Python<'_>, plan: &str) -> PyResult<Plan> {
    Plan::from_json(plan).map_err(|error| errors::to_python(py, error.into()))
}

/// What makes tokens of documents.
pub fn encoder(plan: &Plan, fallback: Option<Py<PyAny>>) -> Result<Encoder, EncoderError> {
    let tokenizer = &plan.tokenizer;
    let library = Library::from_file(&tokenizer.file, tokenizer.kept.as_deref())?;
    let special = tokenizer.special_tokens.clone().into_iter().collect();
    let fallback = fallback.map(template::renderer);
    let encoder =
        Encoder::new(library, tokenizer.template.as_deref(), &special, fallback, plan.encode.clone())?;
    Ok(if tokenizer.own { encoder } else { encoder.by_reference() })
}

/// The key of the plan's store, and what it is made of as a JSON list of names and values.
#[pyfunction]
fn plan_key(py: Python<'_>, plan: &str) -> PyResult<(String, String)> {
    let plan = parse(py, plan)?;
    let made = py.detach(|| {
        Tools::of(&plan)?; // a key of what can't be made says nothing
        Job::new(plan)
    });
    let job = made.map_err(|error| errors::to_python(py, error))?;
    let fields =
        serde_json::to_string(&job.key_fields).map_err(|error| errors::to_python(py, error.into()))?;
    Ok((job.key, fields))
}

/// What each source looks like from its first rows, as a JSON list of `{"format", "unused"}`.
#[pyfunction]
fn looks(py: Python<'_>, plan: &str) -> PyResult<String> {
    let plan = parse(py, plan)?;
    let found = py.detach(|| run::looks(&plan)).map_err(|error| errors::to_python(py, error))?;
    serde_json::to_string(&found).map_err(|error| errors::to_python(py, error.into()))
}

/// Do `work` on a thread of its own; signals are looked at every 50 ms, and one that raises stops it.
pub fn watched<T: Send + 'static>(
    py: Python<'_>,
    progress: &Progress,
    work: impl FnOnce(&run::Progress) -> Result<T, EngineError> + Send + 'static,
) -> PyResult<T> {
    watched_as(py, progress, work, errors::to_python)
}

/// The same for work with errors of another kind.
pub fn watched_as<T: Send + 'static, E: Send + 'static>(
    py: Python<'_>,
    progress: &Progress,
    work: impl FnOnce(&run::Progress) -> Result<T, E> + Send + 'static,
    told: impl FnOnce(Python<'_>, E) -> PyErr,
) -> PyResult<T> {
    let counters = Arc::clone(&progress.inner);
    let (sender, receiver) = bounded(1);
    let worker = std::thread::Builder::new().name("fastft-data".into()).spawn(move || {
        let _ = sender.send(work(&counters));
    })?;
    let mut stopped = None;
    let made = loop {
        match py.detach(|| receiver.recv_timeout(Duration::from_millis(50))) {
            Ok(made) => break Some(made),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {
                if let Err(signal) = py.check_signals() {
                    progress.cancel();
                    stopped = Some(signal);
                }
            }
        }
    };
    let joined = py.detach(|| worker.join());
    if let Some(signal) = stopped {
        return Err(signal);
    }
    match (made, joined) {
        (Some(made), Ok(())) => made.map_err(|error| told(py, error)),
        _ => Err(errors::panicked("preparing data")),
    }
}

/// Those of some names of files that a folder or pattern means.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
fn chosen_names(path: &str, names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| fastft_source::names::chosen(path, name)).collect()
}

/// Make the plan's store, or find it: `{"folder", "key", "cached", "files"}`.
#[pyfunction]
#[pyo3(signature = (plan, progress, fallback=None))]
fn prepare<'py>(
    py: Python<'py>,
    plan: &str,
    progress: &Progress,
    fallback: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let plan = parse(py, plan)?;
    let made =
        watched(py, progress, move |counters| run::prepare(plan, |plan| encoder(plan, fallback), counters))?;
    let found = PyDict::new(py);
    found.set_item("folder", made.folder)?;
    found.set_item("key", made.key)?;
    found.set_item("cached", made.cached)?;
    found.set_item("files", made.files)?;
    Ok(found)
}

/// Tell shards what to do, in a folder that they share, and find duplicates if that is asked for: the
/// number of units.
#[pyfunction]
fn plan_shards(py: Python<'_>, plan: &str, folder: PathBuf, progress: &Progress) -> PyResult<usize> {
    let (parsed, plan) = (parse(py, plan)?, plan.to_owned());
    watched(py, progress, move |counters| Job::new(parsed)?.write(&plan, &folder, counters))
}

/// Do shard `index` of `count` of what `plan_shards` told: rows, tokens and bytes that were done before.
#[pyfunction]
#[pyo3(signature = (folder, index, count, progress, fallback=None))]
fn run_shard(
    py: Python<'_>,
    folder: PathBuf,
    index: u32,
    count: u32,
    progress: &Progress,
    fallback: Option<Py<PyAny>>,
) -> PyResult<(u64, u64, u64)> {
    if index >= count {
        return Err(PyValueError::new_err(format!("no shard {index} of {count}")));
    }
    let there = watched(py, progress, move |counters| {
        run::run_shard(&folder, Shard { index, count }, |plan| encoder(plan, fallback), counters)
    })?;
    Ok((there.rows, there.tokens, there.bytes))
}

/// Make a store of what the shards have done: its key.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
fn commit_shards(py: Python<'_>, folder: PathBuf) -> PyResult<String> {
    py.detach(|| run::commit(&folder)).map_err(|error| errors::to_python(py, error))
}

/// The first rows of each source, as a JSON list.
#[pyfunction(name = "preview")]
#[pyo3(signature = (plan, rows, fallback=None))]
fn preview_rows(py: Python<'_>, plan: &str, rows: usize, fallback: Option<Py<PyAny>>) -> PyResult<String> {
    let plan = parse(py, plan)?;
    let shown = py.detach(|| {
        let encoder = encoder(&plan, fallback)?;
        Ok::<_, EngineError>(serde_json::Value::from(preview::preview(&plan, &encoder, rows)?).to_string())
    });
    shown.map_err(|error| errors::to_python(py, error))
}
