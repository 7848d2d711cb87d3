//! Chat templates and the encoder for Python: certification, tests and previews use them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fastft_pipeline::encode::{EncodeOptions, Encoded, Encoder, Fallback};
use fastft_record::{Conversation, Document};
use fastft_template::{Moment, SpecialTokens, Template};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Add the classes of this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ChatTemplate>()?;
    module.add_class::<ChatEncoder>()
}

/// A compiled chat template.
#[pyclass(frozen, module = "fastft._engine")]
struct ChatTemplate {
    inner: Template,
}

#[pymethods]
impl ChatTemplate {
    #[new]
    #[pyo3(signature = (source, special_tokens, today=None))]
    fn new(source: &str, special_tokens: BTreeMap<String, String>, today: Option<&str>) -> PyResult<Self> {
        let now = match today {
            Some(today) => Moment::parse(today).ok_or_else(|| invalid(format!("`{today}` is no date")))?,
            None => Moment::default(),
        };
        let special: SpecialTokens = special_tokens.into_iter().collect();
        let inner = Template::compile(source, &special, now).map_err(invalid)?;
        Ok(Self { inner })
    }

    /// Whether the template says itself what the assistant wrote.
    #[getter]
    fn has_generation(&self) -> bool {
        self.inner.has_generation()
    }

    /// The text of a conversation given as JSON.
    #[pyo3(signature = (conversation, add_generation_prompt=false))]
    fn render(&self, py: Python<'_>, conversation: &str, add_generation_prompt: bool) -> PyResult<String> {
        let conversation = parse(conversation)?;
        py.detach(|| self.inner.render(&conversation, add_generation_prompt)).map_err(invalid)
    }
}

/// The engine's encoder of documents.
#[pyclass(frozen, module = "fastft._engine")]
struct ChatEncoder {
    inner: Encoder,
}

#[pymethods]
impl ChatEncoder {
    #[new]
    #[pyo3(signature = (tokenizer_json, template, special_tokens, options="{}", fallback=None))]
    fn new(
        tokenizer_json: &str,
        template: Option<&str>,
        special_tokens: BTreeMap<String, String>,
        options: &str,
        fallback: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let options: EncodeOptions = serde_json::from_str(options).map_err(invalid)?;
        let special: SpecialTokens = special_tokens.into_iter().collect();
        let inner = Encoder::new(tokenizer_json, template, &special, fallback.map(renderer), options);
        Ok(Self { inner: inner.map_err(invalid)? })
    }

    /// The text of a conversation given as JSON.
    #[pyo3(signature = (conversation, add_generation_prompt=false))]
    fn render(&self, py: Python<'_>, conversation: &str, add_generation_prompt: bool) -> PyResult<String> {
        let conversation = parse(conversation)?;
        py.detach(|| self.inner.render(&conversation, add_generation_prompt)).map_err(invalid)
    }

    /// Text, ids and trained runs of a conversation given as JSON.
    fn encode(&self, py: Python<'_>, conversation: &str) -> PyResult<Tokens> {
        let document = Document::Conversation(parse(conversation)?);
        py.detach(|| self.inner.encode(&document)).map(tokens).map_err(invalid)
    }

    /// Text, ids and trained runs of a text document.
    fn encode_text(&self, py: Python<'_>, text: String) -> PyResult<Tokens> {
        let document = Document::Text(text);
        py.detach(|| self.inner.encode(&document)).map(tokens).map_err(invalid)
    }

    /// Token index at which each message of a conversation begins; needs the option `turns`.
    fn turns(&self, py: Python<'_>, conversation: &str) -> PyResult<Vec<u32>> {
        let document = Document::Conversation(parse(conversation)?);
        py.detach(|| self.inner.encode(&document)).map(|encoded| encoded.turns).map_err(invalid)
    }

    /// What was counted so far.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.inner.counters();
        let dict = PyDict::new(py);
        dict.set_item("special_in_text", counters.special_in_text.load(Ordering::Relaxed))?;
        dict.set_item("documents_with_special", counters.documents_with_special.load(Ordering::Relaxed))?;
        dict.set_item("renderings", counters.renderings.load(Ordering::Relaxed))?;
        Ok(dict)
    }
}

/// Text, ids and half-open trained runs.
type Tokens = (String, Vec<u32>, Vec<(u32, u32)>);

fn tokens(encoded: Encoded) -> Tokens {
    (encoded.text, encoded.ids, encoded.trained)
}

/// A renderer in Python, as the encoder calls it: JSON in, text out.
pub fn renderer(callable: Py<PyAny>) -> Fallback {
    Box::new(move |json| {
        Python::attach(|py| {
            let text = callable.call1(py, (json,)).and_then(|text| text.extract::<String>(py));
            text.map_err(|error| error.value(py).to_string())
        })
    })
}

fn parse(conversation: &str) -> PyResult<Conversation> {
    serde_json::from_str(conversation).map_err(|error| invalid(format!("no conversation: {error}")))
}

#[allow(clippy::needless_pass_by_value, reason = "map_err hands errors over by value")]
fn invalid(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}
