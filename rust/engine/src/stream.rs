//! The block order for Python: windows from files that are read now, or from a store.

use std::sync::{Arc, Mutex, PoisonError};

use fastft_pipeline::plan::Plan;
use fastft_pipeline::stream::files::Files;
use fastft_pipeline::stream::live::Live;
use fastft_pipeline::stream::stored::{Lengths, Stored};
use fastft_pipeline::stream::{self, Backend, Known, Options, Shelf, State};
use fastft_pipeline::{EngineError, batch};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::errors;
use crate::prepare::encoder;
use crate::store::Store;
use crate::windows::Buffers;

/// Windows in the block order.
#[pyclass(frozen, module = "fastft._engine")]
pub struct Stream {
    inner: Mutex<stream::Stream>,
    live: Option<Arc<Live>>,
    key: String,
    ranked: bool,
    plan: Plan,
}

#[pymethods]
impl Stream {
    /// Open the files of a plan, and with `store` the tokens that were made of them.
    ///
    /// `options` is JSON, see `pipeline::stream::Options`.
    #[new]
    #[pyo3(signature = (plan, options, fallback=None, store=None, ranked=false))]
    fn new(
        py: Python<'_>,
        plan: &str,
        options: &str,
        fallback: Option<Py<PyAny>>,
        store: Option<&Store>,
        ranked: bool,
    ) -> PyResult<Self> {
        let opened = py.detach(|| {
            let plan = Plan::from_json(plan)?;
            let options: Options = serde_json::from_str(options)?;
            let mut lengths = None;
            let (backend, live, units, key): (Arc<dyn Backend>, _, _, _) = if let Some(store) = store {
                let files = Files::open(&plan, &options)?;
                let (units, key) = (files.units(), files.key.clone());
                let stored =
                    Arc::new(Stored::new(Arc::clone(&store.inner), store.documents.clone(), &files)?);
                lengths = Some(Arc::new(Lengths(Arc::clone(&stored))) as Arc<dyn Backend>);
                (stored, None, units, key)
            } else {
                let live = Arc::new(Live::open(plan.clone(), &options, |plan| encoder(plan, fallback))?);
                let (units, key) = (live.units(), live.key().to_owned());
                (Arc::clone(&live) as Arc<dyn Backend>, Some(live), units, key)
            };
            let made = stream::Stream::new(backend, units, options);
            let made = lengths.iter().fold(made, stream::Stream::with_lengths);
            Ok::<_, EngineError>((made, live, key, plan))
        });
        let (inner, live, key, plan) = opened.map_err(|error| errors::to_python(py, error))?;
        let ranked = ranked || store.is_some_and(|store| store.ranked);
        Ok(Self { inner: Mutex::new(inner), live, key, ranked, plan })
    }

    /// What stands for plan and content.
    #[getter]
    fn key(&self) -> &str {
        &self.key
    }

    /// Lanes that there are.
    #[getter]
    fn lanes(&self, py: Python<'_>) -> u32 {
        py.detach(|| self.lock().lanes())
    }

    /// How long an epoch is, about, as JSON.
    fn estimate(&self, py: Python<'_>) -> PyResult<String> {
        let found = py.detach(|| serde_json::to_string(&self.lock().estimate()?).map_err(EngineError::Plan));
        found.map_err(|error| errors::to_python(py, error))
    }

    /// How many windows an epoch has; None when only reading all of it can tell.
    fn count(&self, py: Python<'_>, epoch: u64) -> PyResult<Option<u64>> {
        py.detach(|| self.lock().count(epoch)).map_err(|error| errors::to_python(py, error))
    }

    /// Lanes of which too little is known to tell the next `count` windows, each with how many windows have to be.
    fn lacking(&self, py: Python<'_>, count: u64) -> Vec<(u32, u64)> {
        py.detach(|| self.lock().ahead(count).err().unwrap_or_default())
    }

    /// Make lanes until each has so many windows, or ended, and wait for that. Returns what is known of each:
    /// lane, windows, and the epoch of what is behind them.
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn make(&self, py: Python<'_>, lanes: Vec<(u32, u64)>) -> PyResult<Vec<(u32, u64, u64)>> {
        let mut signal = None;
        let mut pause = || {
            #[allow(clippy::redundant_closure, reason = "for any lifetime")]
            let asked = Python::attach(|py| Python::check_signals(py));
            signal = asked.err();
            signal.is_some()
        };
        let made = py.detach(|| self.lock().make(&lanes, &mut pause)?.ok_or(EngineError::Cancelled));
        let made = made.map_err(|error| signal.unwrap_or_else(|| errors::to_python(py, error)))?;
        Ok(made.into_iter().map(|(lane, known)| (lane, known.windows, known.then)).collect())
    }

    /// Hear what the maker of a lane knows of it, as `make` returned it there.
    fn learn(&self, py: Python<'_>, lane: u32, windows: u64, then: u64) {
        py.detach(|| self.lock().learn(lane, Known { windows, then }));
    }

    /// The lanes of the next `count` windows, or of those that the epoch still has, and whether it is over behind
    /// them. No lane may be `lacking`.
    fn ahead(&self, py: Python<'_>, count: u64) -> PyResult<(Vec<u32>, bool)> {
        let ahead = py.detach(|| self.lock().ahead(count));
        let ahead = ahead.map_err(|_| PyValueError::new_err("too little is known of some lanes"))?;
        Ok((ahead.lanes, ahead.over))
    }

    /// Go `count` windows on, or to the end of the epoch, and take those at `offsets`, which rise and are of lanes that
    /// are made here. No lane may be `lacking`. Returns what was taken, how many windows were passed, and whether the
    /// epoch is over.
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn take(&self, py: Python<'_>, count: u64, offsets: Vec<u64>) -> PyResult<(Taken, u64, bool)> {
        let taken = py.detach(|| {
            let mut taken = Taken { shelf: Shelf::default(), windows: Vec::new(), ranked: self.ranked };
            let mut wanted = offsets.iter().peekable();
            let passed = self.lock().take(count, &mut |offset, next| {
                if wanted.next_if_eq(&&offset).is_some() {
                    let begin = taken.shelf.documents.len();
                    let shelf = &next.group.shelf.documents;
                    let documents = next.group.window(next.number).iter();
                    taken.shelf.documents.extend(documents.map(|&at| shelf[at as usize].clone()));
                    taken.windows.push((begin, taken.shelf.documents.len()));
                }
            })?;
            Ok((taken, passed.windows, passed.over))
        });
        taken.map_err(|error| errors::to_python(py, error))
    }

    /// Where the next window is, as JSON.
    fn state(&self, py: Python<'_>) -> PyResult<String> {
        let state = py.detach(|| self.lock().state());
        serde_json::to_string(&state).map_err(|error| errors::to_python(py, error.into()))
    }

    /// Go to where lanes were.
    fn load(&self, py: Python<'_>, state: &str) -> PyResult<()> {
        let state: State =
            serde_json::from_str(state).map_err(|error| errors::to_python(py, error.into()))?;
        py.detach(|| self.lock().load(state)); // who holds the lock may wait for the interpreter
        Ok(())
    }

    /// What became of the rows read so far, as JSON; None when they come from a store.
    fn books(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let Some(live) = &self.live else { return Ok(None) };
        let books = live.books().and_then(|books| Ok(serde_json::to_string(&books)?));
        books.map(Some).map_err(|error| errors::to_python(py, error))
    }

    /// Rows that could not be used, each as JSON, since this was asked last.
    fn rejected(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let Some(live) = &self.live else { return Ok(Vec::new()) };
        let rows = live.rejected();
        let text = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        text.map_err(|error| errors::to_python(py, error.into()))
    }

    /// Good rows that a rule left out, each as JSON, since this was asked last.
    fn left_out(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let Some(live) = &self.live else { return Ok(Vec::new()) };
        let rows = live.left_out();
        let text = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        text.map_err(|error| errors::to_python(py, error.into()))
    }

    /// Each source as it is read: name, format, whether it was found, its files with their bytes, as JSON.
    fn sources(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let Some(live) = &self.live else { return Ok(None) };
        let found = live.files().sources(&self.plan);
        serde_json::to_string(&found).map(Some).map_err(|error| errors::to_python(py, error.into()))
    }
}

impl Stream {
    fn lock(&self) -> std::sync::MutexGuard<'_, stream::Stream> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Windows that were taken from a stream.
#[pyclass(frozen, module = "fastft._engine")]
pub struct Taken {
    shelf: Shelf,
    /// Documents of each window: from, to.
    windows: Vec<(usize, usize)>,
    #[pyo3(get)]
    ranked: bool,
}

#[pymethods]
impl Taken {
    fn __len__(&self) -> usize {
        self.windows.len()
    }

    /// `(tokens, documents, weighted)` of some of the windows, by their places in what was taken.
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn measure(&self, places: Vec<usize>) -> PyResult<(usize, usize, bool)> {
        let size = batch::measure(&self.shelf, &self.chosen(&places)?);
        Ok((size.tokens, size.documents, size.weighted))
    }

    /// Fill buffers; see `Windows.fill`.
    #[pyo3(signature = (places, input_ids, targets, position_ids, cu_seqlens, weights=None, ranks=None))]
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        reason = "extracted from Python by value"
    )]
    fn fill(
        &self,
        py: Python<'_>,
        places: Vec<usize>,
        input_ids: PyBuffer<i64>,
        targets: PyBuffer<i64>,
        position_ids: PyBuffer<i64>,
        cu_seqlens: PyBuffer<i32>,
        weights: Option<PyBuffer<f32>>,
        ranks: Option<PyBuffer<i32>>,
    ) -> PyResult<(usize, usize)> {
        let documents = self.chosen(&places)?;
        let buffers = Buffers { input_ids, targets, position_ids, cu_seqlens, weights, ranks };
        buffers.fill(py, &self.shelf, &documents)
    }
}

impl Taken {
    #[allow(clippy::cast_possible_truncation, reason = "documents of a step")]
    fn chosen(&self, places: &[usize]) -> PyResult<Vec<u32>> {
        let mut documents = Vec::new();
        for &place in places {
            let window = self.windows.get(place);
            let &(begin, end) = window.ok_or_else(|| PyIndexError::new_err(format!("no window {place}")))?;
            documents.extend(begin as u32..end as u32);
        }
        Ok(documents)
    }
}
