//! Cleaning and the search for duplicates for Python: commands, previews and tests use them. A run
//! has its own road through the pipeline.

use std::path::Path;

use fastft_clean::{Besides, CleanError, CleanPlan, Cleaner, Dedup, DedupPlan, NearPlan, RowRef, Verdict};
use fastft_pipeline::options::Tools;
use fastft_record::{Conversation, Document};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::errors::to_python;

/// Add what is in this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCleaner>()?;
    module.add_function(wrap_pyfunction!(clean_defaults, module)?)?;
    module.add_function(wrap_pyfunction!(try_options, module)?)?;
    module.add_function(wrap_pyfunction!(find_duplicates, module)?)
}

/// Applies a plan to rows.
#[pyclass(frozen, module = "fastft._engine", name = "Cleaner")]
struct PyCleaner {
    inner: Cleaner,
}

#[pymethods]
impl PyCleaner {
    #[new]
    fn new(py: Python<'_>, plan: &str) -> PyResult<Self> {
        let plan: CleanPlan = serde_json::from_str(plan).map_err(invalid)?;
        py.detach(|| Cleaner::new(&plan)).map(|inner| Self { inner }).map_err(|error| problem(py, error))
    }

    /// The rule that drops a text and what it found, or None; the text afterwards; what changed it.
    #[allow(clippy::type_complexity, reason = "three things at once")]
    fn text(&self, py: Python<'_>, text: String) -> (Option<(String, String)>, String, Vec<&'static str>) {
        let mut document = Document::Text(text);
        let verdict = py.detach(|| self.inner.apply(&mut document));
        let Document::Text(text) = document else { unreachable!("a text stays one") };
        let (drop, changed) = split(verdict);
        (drop, text, changed)
    }

    /// The same for a conversation as JSON.
    #[allow(clippy::type_complexity, reason = "three things at once")]
    fn conversation(
        &self,
        py: Python<'_>,
        conversation: &str,
    ) -> PyResult<(Option<(String, String)>, String, Vec<&'static str>)> {
        let conversation: Conversation = serde_json::from_str(conversation).map_err(invalid)?;
        let mut document = Document::Conversation(conversation);
        let verdict = py.detach(|| self.inner.apply(&mut document));
        let Document::Conversation(conversation) = &document else {
            unreachable!("a conversation stays one")
        };
        let (drop, changed) = split(verdict);
        Ok((drop, serde_json::to_string(conversation).map_err(invalid)?, changed))
    }
}

fn split(verdict: Verdict) -> (Option<(String, String)>, Vec<&'static str>) {
    match verdict {
        Verdict::Keep { changed } => (None, changed),
        Verdict::Drop { rule, detail } => (Some((rule.into_owned(), detail)), Vec::new()),
    }
}

/// Make what a plan's `clean` and `augment` ask for, and throw it away: an error tells all that can't be met.
#[pyfunction]
#[pyo3(signature = (clean=None, augment=None))]
fn try_options(py: Python<'_>, clean: Option<&str>, augment: Option<&str>) -> PyResult<()> {
    let clean: Option<CleanPlan> = clean.map(serde_json::from_str).transpose().map_err(invalid)?;
    let augment: Option<Value> = augment.map(serde_json::from_str).transpose().map_err(invalid)?;
    let made = py.detach(|| Tools::new(clean.as_ref(), augment.as_ref()));
    made.map(drop).map_err(|error| to_python(py, error))
}

/// The defaults of every table, as JSON.
#[pyfunction]
fn clean_defaults() -> PyResult<String> {
    let all: Value = json!({
        "repair": fastft_clean::RepairPlan::default(),
        "length": fastft_clean::LengthPlan::default(),
        "language": fastft_clean::LanguagePlan::default(),
        "block": fastft_clean::BlockPlan::default(),
        "gopher": fastft_clean::GopherPlan::default(),
        "repetition": fastft_clean::RepetitionPlan::default(),
        "c4": fastft_clean::C4Plan::default(),
        "fineweb": fastft_clean::FinewebPlan::default(),
        "sft": fastft_clean::SftPlan::default(),
        "pii": fastft_clean::PiiPlan::default(),
        "decontaminate": fastft_clean::DecontaminatePlan::default(),
        "dedup": DedupPlan::default(),
        "near": NearPlan::default(),
    });
    serde_json::to_string(&all).map_err(invalid)
}

/// The duplicates among texts: (index, index of the one that stays, `exact` or `near`), in order.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "the interpreter lock is left")]
fn find_duplicates(
    py: Python<'_>,
    plan: &str,
    texts: Vec<String>,
    folder: &str,
) -> PyResult<Vec<(u32, u32, &'static str)>> {
    let plan: DedupPlan = serde_json::from_str(plan).map_err(invalid)?;
    let found = py.detach(|| {
        let dedup = Dedup::new(&plan, Path::new(folder), 1)?;
        let mut adder = dedup.adder();
        for (row, text) in (0..).zip(&texts) {
            adder
                .add(RowRef { unit: 0, row }, text, Besides::default())
                .map_err(|error| CleanError::Io { path: folder.into(), error })?;
        }
        dedup.finish(vec![adder])
    });
    let found = found.map_err(|error| problem(py, error))?;
    Ok(found.iter().map(|each| (each.row.row, each.of.row, each.reason.as_str())).collect())
}

fn problem(py: Python<'_>, error: CleanError) -> PyErr {
    to_python(py, error.into())
}

#[allow(clippy::needless_pass_by_value, reason = "map_err hands errors over by value")]
fn invalid(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}
