//! Chat templates and the encoder for Python: certification, tests and previews use them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fastft_pipeline::encode::{EncodeOptions, Encoded, Encoder, Fallback};
use fastft_pipeline::plan::Truncate;
use fastft_pipeline::truncate::{self, Cut};
use fastft_record::{Conversation, Document, Message};
use fastft_template::{Moment, SpecialTokens, Template};
use fastft_text::Library;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Deserialize;

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
        let library = Library::from_json(tokenizer_json).map_err(invalid)?;
        let inner = Encoder::new(library, template, &special, fallback.map(renderer), options);
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
        self.first(py, &document)
    }

    /// Text, ids and trained runs of a text document.
    fn encode_text(&self, py: Python<'_>, text: String) -> PyResult<Tokens> {
        self.first(py, &Document::Text(text))
    }

    /// All documents of a row given as JSON: a conversation, with `answers` a ranked one, with
    /// `desirable` a labelled one, or a `text`. Each is a dict.
    fn documents<'py>(&self, py: Python<'py>, row: &str) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let document = row_document(row)?;
        let documents = py.detach(|| self.inner.encode(&document)).map_err(invalid)?;
        documents.into_iter().map(|encoded| dict(py, encoded)).collect()
    }

    /// What `truncate` leaves of a row given as JSON: its documents, and how many tokens are gone;
    /// None for a row that is left out.
    fn cut<'py>(
        &self,
        py: Python<'py>,
        row: &str,
        truncate: &str,
        max_length: usize,
    ) -> PyResult<Option<(Vec<Bound<'py, PyDict>>, u64)>> {
        let document = row_document(row)?;
        let rule: Truncate = serde_json::from_value(truncate.into()).map_err(invalid)?;
        let cut = py.detach(|| {
            let encoded = self.inner.encode(&document)?;
            truncate::truncate(encoded, &document, &self.inner, rule, max_length)
        });
        let (documents, gone) = match cut.map_err(invalid)? {
            Cut::Dropped => return Ok(None),
            Cut::Whole(documents) => (documents, 0),
            Cut::Shortened(documents, gone) => (documents, gone),
        };
        let documents: PyResult<_> = documents.into_iter().map(|encoded| dict(py, encoded)).collect();
        Ok(Some((documents?, gone)))
    }

    /// What was counted so far.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.inner.counters();
        let dict = PyDict::new(py);
        dict.set_item("special_in_text", counters.special_in_text.load(Ordering::Relaxed))?;
        dict.set_item("documents_with_special", counters.documents_with_special.load(Ordering::Relaxed))?;
        dict.set_item("renderings", counters.renderings.load(Ordering::Relaxed))?;
        dict.set_item("documents_with_new_ids", counters.documents_with_new_ids.load(Ordering::Relaxed))?;
        Ok(dict)
    }
}

impl ChatEncoder {
    fn first(&self, py: Python<'_>, document: &Document) -> PyResult<Tokens> {
        let encoded = py.detach(|| self.inner.encode(document)).map_err(invalid)?;
        encoded.into_iter().next().map(tokens).ok_or_else(|| invalid("the row makes no document"))
    }
}

/// A row as `documents` describes it.
#[derive(Deserialize)]
struct RowJson {
    #[serde(flatten)]
    conversation: Option<Conversation>,
    answers: Option<Vec<Vec<Message>>>,
    desirable: Option<bool>,
    text: Option<String>,
}

fn row_document(row: &str) -> PyResult<Document> {
    let row: RowJson = serde_json::from_str(row).map_err(|error| invalid(format!("no row: {error}")))?;
    Ok(match (row.conversation, row.answers, row.desirable, row.text) {
        (Some(conversation), Some(answers), None, None) => Document::Ranked { conversation, answers },
        (Some(conversation), None, Some(desirable), None) => Document::Labelled { conversation, desirable },
        (Some(conversation), None, None, None) => Document::Conversation(conversation),
        (None, None, None, Some(text)) => Document::Text(text),
        _ => {
            return Err(invalid(
                "a row has `messages`, with `answers` or `desirable` or neither, or a `text`",
            ));
        }
    })
}

fn dict(py: Python<'_>, encoded: Encoded) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("text", encoded.text)?;
    dict.set_item("ids", encoded.ids)?;
    dict.set_item("trained", encoded.trained)?;
    dict.set_item("weights", encoded.weights)?;
    dict.set_item("rank", encoded.rank)?;
    Ok(dict)
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
