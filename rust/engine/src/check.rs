//! Looking at data without keeping anything: what is wrong with rows, what a key is made of.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use fastft_pipeline::check::{self, Checked, Finding};
use fastft_pipeline::worker::Rules;
use fastft_pipeline::{EngineError, run};
use pyo3::prelude::*;

use crate::errors;
use crate::prepare::{Progress, encoder, parse};

/// Findings that wait for Python; more, and the workers wait.
const BACKLOG: usize = 64;

enum Told {
    Findings(Vec<Finding>),
    Done(Result<Vec<Checked>, EngineError>),
}

/// Look at every row; `found` is called with a JSON list of findings as they are made.
///
/// Without `tokens` no tokenizer is opened. Returns the sources as a JSON list. Signals are looked
/// at every 50 ms; one that raises, in here or in `found`, stops the check.
#[pyfunction(name = "check")]
#[pyo3(signature = (plan, progress, found, tokens=false, fallback=None))]
#[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
pub fn check_rows(
    py: Python<'_>,
    plan: &str,
    progress: &Progress,
    found: Bound<'_, PyAny>,
    tokens: bool,
    fallback: Option<Py<PyAny>>,
) -> PyResult<String> {
    let plan = parse(py, plan)?;
    let counters: Arc<run::Progress> = Arc::clone(&progress.inner);
    let (sender, receiver) = bounded(BACKLOG);
    let worker = std::thread::Builder::new().name("fastft-check".into()).spawn(move || {
        let tell = |findings: &[Finding]| sender.send(Told::Findings(findings.to_vec())).is_ok();
        let encoder = tokens.then(|| encoder(&plan, fallback)).transpose();
        let checked = encoder.map_err(EngineError::from).and_then(|encoder| {
            let rules = encoder.as_ref().map(|encoder| Rules::new(&plan, encoder));
            check::check(&plan, rules.as_ref(), &counters, tell)
        });
        let _ = sender.send(Told::Done(checked));
    })?;
    let mut stopped = None;
    let done = loop {
        let told = py.detach(|| receiver.recv_timeout(Duration::from_millis(50)));
        let heard = match told {
            Ok(Told::Done(checked)) => break Some(checked),
            Err(RecvTimeoutError::Disconnected) => break None,
            Ok(Told::Findings(findings)) if stopped.is_none() => serde_json::to_string(&findings)
                .map_err(|error| errors::to_python(py, error.into()))
                .and_then(|text| found.call1((text,)).map(drop)),
            Ok(Told::Findings(_)) | Err(RecvTimeoutError::Timeout) => Ok(()),
        };
        if let (Err(signal), None) = (heard.and_then(|()| py.check_signals()), &stopped) {
            progress.cancel();
            stopped = Some(signal);
        }
    };
    let joined = py.detach(|| worker.join());
    if let Some(signal) = stopped {
        return Err(signal);
    }
    match (done, joined) {
        (Some(checked), Ok(())) => {
            let checked = checked.map_err(|error| errors::to_python(py, error))?;
            serde_json::to_string(&checked).map_err(|error| errors::to_python(py, error.into()))
        }
        _ => Err(errors::panicked("checking data")),
    }
}
