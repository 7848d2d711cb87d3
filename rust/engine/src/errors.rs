//! Rust errors to the classes of `fastft.core.errors`.

use fastft_clean::{CleanError, Wrong};
use fastft_pipeline::EngineError;
use fastft_pipeline::encode::EncoderError;
use fastft_remote::{Kind, RemoteError};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What the arguments of the Python class are.
struct Parts {
    class: &'static str,
    message: String,
    hint: Option<String>,
    code: String,
    place: Option<(String, Option<u64>)>,
}

/// The Python exception of an error.
pub fn to_python(py: Python<'_>, error: EngineError) -> PyErr {
    let text = error.to_string();
    let data = |code: &str, hint: Option<String>, place| Parts {
        class: "DataError",
        message: text.clone(),
        hint,
        code: format!("data.{code}"),
        place,
    };
    let parts = match error {
        EngineError::Options(wrong) | EngineError::Clean(CleanError::Plan(wrong)) => {
            return config_error(py, &wrong).unwrap_or_else(|failed| failed);
        }
        EngineError::Row { code, reason, path, line } => Parts {
            message: reason,
            hint: Some("with `data.on_bad = \"quarantine\"` such rows are set aside and listed".into()),
            ..data(&code, None, Some((path.display().to_string(), Some(line))))
        },
        EngineError::Format { message, hint, path } => {
            Parts { message, ..data("format", Some(hint), Some((path.display().to_string(), None))) }
        }
        EngineError::Source(error) => data("source", None, Some((error.path().display().to_string(), None))),
        EngineError::Clean(_) => data("clean", None, None),
        EngineError::Augment(_) => data("augment", None, None),
        EngineError::Encoder(EncoderError::Differs(_)) => {
            let hint =
                "prepare these rows once (`fastft data prepare`): from then on the library makes all its ids";
            let code = "model.tokenizer-differs".into();
            Parts { class: "ModelError", code, ..data("", Some(hint.into()), None) }
        }
        EngineError::Encoder(_) => {
            Parts { class: "ModelError", code: "model.tokenizer".into(), ..data("", None, None) }
        }
        EngineError::Io { path, .. } => Parts {
            class: "ResourceError",
            code: "resource.disk".into(),
            ..data(
                "",
                Some(format!("is there room, and may we write in the folder of `{}`?", path.display())),
                None,
            )
        },
        EngineError::Store { .. } => data("store", Some("delete the folder; it is made anew".into()), None),
        EngineError::Cancelled => return PyKeyboardInterrupt::new_err("stopped"),
        EngineError::Unbalanced(_) | EngineError::Plan(_) | EngineError::Worker(_) => {
            Parts { class: "FastftError", code: "internal.data".into(), ..data("", None, None) }
        }
    };
    build(py, &parts).unwrap_or_else(|failed| failed)
}

/// The Python exception of a file that can't be brought from elsewhere.
pub fn remote_error(py: Python<'_>, error: &RemoteError) -> PyErr {
    let code = match error.kind {
        Kind::Cancelled => return PyKeyboardInterrupt::new_err("stopped"),
        Kind::Address => "data.address",
        Kind::NotFound => "data.remote-missing",
        Kind::Credentials => "data.remote-credentials",
        Kind::Refused => "data.remote-refused",
        Kind::Network => "data.remote-network",
        Kind::Changed => "data.remote-changed",
        Kind::NoListing => "data.remote-listing",
        Kind::Disk => "resource.disk",
    };
    let class = if error.kind == Kind::Disk { "ResourceError" } else { "DataError" };
    let parts =
        Parts { class, message: error.to_string(), hint: error.hint(), code: code.into(), place: None };
    build(py, &parts).unwrap_or_else(|failed| failed)
}

/// Trouble with what Python passed that is no data of a user's.
pub fn data_error(py: Python<'_>, code: &str, message: String, hint: Option<String>) -> PyErr {
    let parts = Parts { class: "DataError", message, hint, code: format!("data.{code}"), place: None };
    build(py, &parts).unwrap_or_else(|failed| failed)
}

/// One problem for each option that can't be met; keys as the config has them, `a.0` for `a[0]`.
fn config_error(py: Python<'_>, wrong: &[Wrong]) -> PyResult<PyErr> {
    let errors = py.import("fastft.core.errors")?;
    let class = errors.getattr("Problem")?;
    let problem = |wrong: &Wrong| {
        let key = format!("data.{}", wrong.key.replace('[', ".").replace(']', ""));
        class.call1(("config.options", key, wrong.to_string()))
    };
    let problems = wrong.iter().map(problem).collect::<PyResult<Vec<_>>>()?;
    Ok(PyErr::from_value(errors.getattr("ConfigError")?.call1((problems,))?))
}

fn build(py: Python<'_>, parts: &Parts) -> PyResult<PyErr> {
    let class = py.import("fastft.core.errors")?.getattr(parts.class)?;
    let named = PyDict::new(py);
    named.set_item("hint", parts.hint.as_deref())?;
    named.set_item("code", parts.code.as_str())?;
    if let Some((path, line)) = &parts.place {
        named.set_item("path", path)?;
        named.set_item("line", line)?;
    }
    Ok(PyErr::from_value(class.call((parts.message.as_str(),), Some(&named))?))
}

/// A panic that was caught.
pub fn panicked(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("the data engine failed while it was {what}; please report this"))
}
