//! Tokenizers for Python: many texts at once, by all threads, into arrays.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use fastft_text::{Encoding, Library, TextError, Tokenizer as _};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::buffer::cells;

/// Bytes of texts that a thread takes at a time, about.
const SHARE: usize = 1 << 17;

/// Add the classes of this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Tokenizer>()?;
    module.add_class::<Encodings>()
}

/// A tokenizer.json.
#[pyclass(frozen, module = "fastft._engine")]
struct Tokenizer {
    inner: Library,
    around: (Vec<u32>, Vec<u32>),
}

impl Tokenizer {
    fn with_around(inner: Library) -> Result<Self, TextError> {
        let around = inner.around()?;
        Ok(Self { inner, around })
    }
}

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "pyo3 passes by value")]
impl Tokenizer {
    #[new]
    #[pyo3(signature = (json, kept=None))]
    fn new(py: Python<'_>, json: String, kept: Option<PathBuf>) -> PyResult<Self> {
        py.detach(|| Self::with_around(Library::from_bytes(json.into_bytes(), kept.as_deref())?))
            .map_err(invalid)
    }

    /// The tokenizer.json at a path; what is made of either is kept in a folder for the next time, if one is given.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, kept: Option<PathBuf>) -> PyResult<Self> {
        py.detach(|| Self::with_around(Library::from_file(&path, kept.as_deref())?)).map_err(invalid)
    }

    /// Whether texts are tokenized by the engine's own code, not by the `tokenizers` library.
    #[getter]
    fn own(&self) -> bool {
        self.inner.has_words()
    }

    /// The first text of which the engine's own code was seen to make other ids than the library, which has made them
    /// all since.
    #[getter]
    fn different(&self) -> Option<&str> {
        self.inner.different()
    }

    /// The text of its tokenizer.json.
    #[getter]
    fn description(&self) -> PyResult<&str> {
        std::str::from_utf8(self.inner.json()).map_err(invalid)
    }

    /// The ids that it puts before and behind a text.
    #[getter]
    fn around(&self) -> (Vec<u32>, Vec<u32>) {
        self.around.clone()
    }

    /// One more than the largest id.
    #[getter]
    fn vocab_size(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| self.inner.vocabulary_size()).map_err(invalid)
    }

    /// Ids of texts; with `special`, with the tokens that the tokenizer puts around a text. 0 threads are one a core.
    fn encode(
        &self,
        py: Python<'_>,
        texts: Vec<PyBackedStr>,
        special: bool,
        offsets: bool,
        threads: usize,
    ) -> PyResult<Encodings> {
        let none = (Vec::new(), Vec::new());
        let around = if special { &self.around } else { &none };
        py.detach(|| encode(&self.inner, &texts, around, offsets, threads)).map_err(invalid)
    }

    /// The text of ids.
    fn decode(&self, py: Python<'_>, ids: Vec<u32>, skip_special_tokens: bool) -> PyResult<String> {
        py.detach(|| self.inner.decode(&ids, skip_special_tokens)).map_err(invalid)
    }

    /// The id of a token, if there is one of this text.
    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}

/// Tokens of several texts, one after the other.
#[pyclass(frozen, module = "fastft._engine")]
struct Encodings {
    shares: Vec<Share>,
}

/// Tokens of texts that one thread took, and how many each of these has.
#[derive(Default)]
struct Share {
    made: Encoding,
    counts: Vec<usize>,
}

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "pyo3 passes by value")]
impl Encodings {
    /// Tokens of each text.
    #[getter]
    fn counts(&self) -> Vec<usize> {
        self.shares.iter().flat_map(|share| share.counts.iter().copied()).collect()
    }

    fn __len__(&self) -> usize {
        self.shares.iter().map(|share| share.made.ids.len()).sum()
    }

    /// Write the ids into an array of that size.
    fn write_ids(&self, py: Python<'_>, ids: PyBuffer<u32>) -> PyResult<()> {
        let all = self.shares.iter().flat_map(|share| &share.made.ids);
        for (cell, id) in cells(py, &ids, self.__len__())?.iter().zip(all) {
            cell.set(*id);
        }
        Ok(())
    }

    /// Write for each token its first byte in its text and the one behind, into an array of twice that size; there is
    /// nothing to write where offsets were not asked for.
    fn write_offsets(&self, py: Python<'_>, offsets: PyBuffer<u32>) -> PyResult<()> {
        let all = self.shares.iter().flat_map(|share| &share.made.offsets);
        let cells = cells(py, &offsets, self.__len__() * 2)?;
        for (pair, (from, to)) in cells.chunks_exact(2).zip(all) {
            pair[0].set(*from);
            pair[1].set(*to);
        }
        Ok(())
    }
}

fn encode(
    tokenizer: &Library,
    texts: &[PyBackedStr],
    around: &(Vec<u32>, Vec<u32>),
    wants_offsets: bool,
    threads: usize,
) -> Result<Encodings, TextError> {
    let threads = if threads == 0 { thread::available_parallelism().map_or(1, Into::into) } else { threads };
    let shares = shares(texts);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Share>>> = Mutex::new(shares.iter().map(|_| None).collect());
    let work = || -> Result<(), TextError> {
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(share) = shares.get(index)
        {
            let made = make(tokenizer, share, around, wants_offsets)?;
            done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(made);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(shares.len())).map(|_| scope.spawn(work)).collect();
        let mut outcome = work();
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome = outcome.and(theirs);
        }
        outcome
    })?;
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Encodings { shares: done.into_iter().flatten().collect() })
}

/// The texts, in runs of a size that a thread takes at a time.
fn shares(texts: &[PyBackedStr]) -> Vec<&[PyBackedStr]> {
    let mut size = 0;
    let share = |before: &PyBackedStr, _: &PyBackedStr| {
        size += before.len() + 1;
        let goes_on = size < SHARE;
        size *= usize::from(goes_on);
        goes_on
    };
    texts.chunk_by(share).collect()
}

fn make(
    tokenizer: &Library,
    texts: &[PyBackedStr],
    (before, behind): &(Vec<u32>, Vec<u32>),
    wants_offsets: bool,
) -> Result<Share, TextError> {
    let mut share = Share { counts: Vec::with_capacity(texts.len()), ..Share::default() };
    let Encoding { ids, offsets } = &mut share.made;
    ids.reserve(texts.iter().map(|text| text.len() / 3).sum());
    // offsets that nobody wants stay in memory that is near
    let mut made = Encoding::default();
    for text in texts {
        made.ids.clear();
        made.offsets.clear();
        tokenizer.append(text, true, &mut made)?;
        ids.extend_from_slice(before);
        ids.extend_from_slice(&made.ids);
        ids.extend_from_slice(behind);
        if wants_offsets {
            let size = text.len().try_into().map_err(|_| TextError::TooLong(text.len()))?;
            tokenizer.trim(&mut made)?;
            offsets.extend(before.iter().map(|_| (0, 0)));
            offsets.extend_from_slice(&made.offsets);
            offsets.extend(behind.iter().map(|_| (size, size)));
        }
        share.counts.push(before.len() + made.ids.len() + behind.len());
    }
    Ok(share)
}

#[allow(clippy::needless_pass_by_value, reason = "passed to map_err")]
fn invalid(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}
