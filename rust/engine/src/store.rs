//! A token store, or one side of its split.

use std::path::PathBuf;
use std::sync::Arc;

use fastft_pipeline::order::{self, Split};
use fastft_pipeline::store;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;

/// An open store, mapped into memory.
#[pyclass(frozen, module = "fastft._engine")]
pub struct Store {
    pub inner: Arc<store::Store>,
    /// The documents of this side, ascending.
    pub documents: Vec<u32>,
    /// Which documents stay together.
    pub groups: order::Groups,
    /// Whether some document is not the best or only one of its row.
    pub ranked: bool,
}

#[pymethods]
impl Store {
    /// Open the store in a folder; `split` is `all`, `train` or `eval`.
    #[new]
    #[pyo3(signature = (folder, split="all", fraction=0.0, seed=0))]
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn new(py: Python<'_>, folder: PathBuf, split: &str, fraction: f64, seed: u64) -> PyResult<Self> {
        let split = match split {
            "all" => Split::All,
            "train" => Split::Train { fraction, seed },
            "eval" => Split::Eval { fraction, seed },
            other => return Err(PyValueError::new_err(format!("no split is called `{other}`"))),
        };
        let opened = py.detach(|| {
            let inner = store::Store::open(&folder)?;
            let documents = order::choose(&inner.hashes(), |document| inner.variant(document) > 0, split);
            let groups = order::groups(&inner);
            Ok((Arc::new(inner), documents, groups))
        });
        let (inner, documents, groups) = opened.map_err(|error| errors::to_python(py, error))?;
        let ranked = documents.iter().any(|document| inner.rank(*document) > 0);
        Ok(Self { inner, documents, groups, ranked })
    }

    /// The manifest as JSON.
    fn manifest(&self) -> PyResult<String> {
        serde_json::to_string(self.inner.manifest()).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn __len__(&self) -> usize {
        self.documents.len()
    }

    /// Tokens of this side's documents.
    #[getter]
    fn tokens(&self) -> u64 {
        self.documents.iter().map(|document| u64::from(self.inner.lengths()[*document as usize])).sum()
    }

    /// Targets of this side's documents: trained tokens but first ones.
    #[getter]
    fn targets(&self) -> u64 {
        let targets = |document: &u32| -> u64 {
            let spans = self.inner.spans(*document);
            spans.chunks_exact(2).map(|span| u64::from(span[1].saturating_sub(span[0].max(1)))).sum()
        };
        self.documents.iter().map(targets).sum()
    }

    /// Rows of this side: a split text counts once.
    #[getter]
    fn rows(&self) -> usize {
        let places = self.documents.iter().map(|document| self.inner.place(*document));
        let mut rows: Vec<(u32, u64)> = places.map(|place| (place.source, place.row)).collect();
        rows.dedup();
        rows.len()
    }

    /// Ids and trained runs of a document: `(ids, [begin, end, begin, end, ...])`.
    fn document(&self, index: usize) -> PyResult<(Vec<u32>, Vec<u32>)> {
        let document = self.at(index)?;
        let mut ids = Vec::new();
        self.inner.ids(document).for_each(|_, id| ids.push(id));
        Ok((ids, self.inner.spans(document).to_vec()))
    }

    /// Weights of a document's trained runs; empty when all are 1.
    fn weights(&self, index: usize) -> PyResult<Vec<f32>> {
        Ok(self.inner.weights(self.at(index)?).to_vec())
    }

    /// `(rank, variant)` of a document: see the store's columns.
    fn kind(&self, index: usize) -> PyResult<(u8, u16)> {
        let document = self.at(index)?;
        Ok((self.inner.rank(document), self.inner.variant(document)))
    }

    /// Which documents of the store are on this side: little-endian uint32, ascending.
    fn chosen<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes: Vec<u8> = self.documents.iter().flat_map(|document| document.to_le_bytes()).collect();
        PyBytes::new(py, &bytes)
    }

    /// Where a document came from: `(source, file, row, line)`, numbers into the manifest.
    fn place(&self, index: usize) -> PyResult<(u32, u32, u64, u64)> {
        let place = self.inner.place(self.at(index)?);
        Ok((place.source, place.file, place.row, place.line))
    }
}

impl Store {
    fn at(&self, index: usize) -> PyResult<u32> {
        self.documents
            .get(index)
            .copied()
            .ok_or_else(|| PyIndexError::new_err(format!("no document {index}")))
    }
}
