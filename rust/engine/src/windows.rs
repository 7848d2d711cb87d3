//! The pack plan of an epoch, and filling buffers that Python owns.

use std::cell::Cell;
use std::sync::Arc;

use fastft_pipeline::batch::{self, Sink, Tokens};
use fastft_pipeline::mix::{Mix, Mixing};
use fastft_pipeline::{EngineError, order, pack, store};
use fastft_record::Permutation;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::buffer::cells;
use crate::errors;
use crate::store::Store;

/// Told apart from the order of documents.
const WINDOW_ORDER: u64 = 0x7769_6e64_6f77_7321;
/// Items that are packed together where the list's order has to be kept.
const BLOCK: usize = 1 << 13;

/// Six times the width of a small model: its matrices cost 24 width^2 a token, attention 4 width a pair.
const LINEAR: u64 = 8192;

/// `(source, file, row, line, tokens)` of a document.
type RowPlace = (u32, u32, u64, u64, u32);

/// Windows of an epoch in the order in which they are trained on.
#[pyclass(frozen, module = "fastft._engine")]
pub struct Windows {
    store: Arc<store::Store>,
    packed: pack::Windows,
    order: Option<Permutation>,
    ranked: bool,
}

#[pymethods]
impl Windows {
    /// Plan an epoch.
    ///
    /// `mix` is JSON, see `pipeline::mix::Mix`; `shuffle` is `(seed, epoch)`.
    #[new]
    #[pyo3(signature = (store, max_length, packing, mix=None, shuffle=None))]
    fn new(
        py: Python<'_>,
        store: &Store,
        max_length: u32,
        packing: &str,
        mix: Option<&str>,
        shuffle: Option<(u64, u64)>,
    ) -> PyResult<Self> {
        let pack = packs(packing)?;
        let mix: Mix = mix
            .map_or_else(|| Ok(Mix::default()), serde_json::from_str)
            .map_err(|error| errors::to_python(py, EngineError::Plan(error)))?;
        let inner = Arc::clone(&store.inner);
        let lengths = inner.lengths();
        if let Some(document) =
            store.documents.iter().find(|document| lengths[**document as usize] > max_length)
        {
            let tokens = lengths[*document as usize];
            let message = format!("a document has {tokens} tokens, windows have {max_length}");
            return Err(errors::data_error(
                py,
                "too-long",
                message,
                Some("prepare the data with this `max_length`".into()),
            ));
        }
        let planned = py.detach(|| {
            let groups = &store.groups;
            let heads: Vec<u32>;
            let items = if groups.any() {
                heads = store.documents.iter().copied().filter(|&item| groups.size(item) > 0).collect();
                &heads
            } else {
                &store.documents
            };
            let source = |item: u32| inner.place(item).source as usize;
            let items = order::epoch(items, source, &mix, shuffle)?;
            let length =
                |item: u32| (item..item + groups.size(item)).map(|document| lengths[document as usize]).sum();
            // An order that sources take turns in is kept but for the windows of a block.
            let ordered = mix.mixing != Mixing::Concat;
            let windows = match (pack, ordered) {
                (false, _) => pack::one_each(items),
                (true, false) => pack::best_fit(&items, length, max_length),
                (true, true) => pack::best_fit_blocks(&items, length, max_length, BLOCK, |block, len| {
                    let (seed, epoch) = shuffle?;
                    Some(Permutation::new(len, seed ^ WINDOW_ORDER ^ (block << 20), epoch))
                }),
            };
            let windows = if groups.any() { windows.expanded(|item| groups.size(item)) } else { windows };
            let order = shuffle
                .filter(|_| !ordered)
                .map(|(seed, epoch)| Permutation::new(windows.len() as u64, seed ^ WINDOW_ORDER, epoch));
            Some((windows, order))
        });
        let Some((packed, order)) = planned else {
            let hint = "lower `repeat`, or make the `weight`s less different".into();
            let message = "an epoch has more than 2^32 documents".to_owned();
            return Err(errors::data_error(py, "repeat", message, Some(hint)));
        };
        Ok(Self { store: Arc::clone(&store.inner), packed, order, ranked: store.ranked })
    }

    fn __len__(&self) -> usize {
        self.packed.len()
    }

    /// Whether batches say the rank of each document.
    #[getter]
    fn ranked(&self) -> bool {
        self.ranked
    }

    /// Documents of the window at a place of the epoch.
    fn documents(&self, place: usize) -> PyResult<Vec<u32>> {
        self.chosen(&[place])
    }

    /// `(source, file, row, line, tokens)` of the documents of the window at a place of the epoch.
    fn rows(&self, place: usize) -> PyResult<Vec<RowPlace>> {
        let lengths = self.store.lengths();
        let row = |document: u32| {
            let at = self.store.place(document);
            (at.source, at.file, at.row, at.line, lengths[document as usize])
        };
        Ok(self.chosen(&[place])?.into_iter().map(row).collect())
    }

    /// Documents and tokens of each source in the epoch.
    fn by_source(&self) -> Vec<(u64, u64)> {
        let lengths = self.store.lengths();
        let mut found = vec![(0, 0); self.store.manifest().sources.len()];
        for document in (0..self.packed.len()).filter_map(|window| self.packed.get(window)).flatten() {
            let (documents, tokens) = &mut found[self.store.place(*document).source as usize];
            *documents += 1;
            *tokens += u64::from(lengths[*document as usize]);
        }
        found
    }

    /// `(tokens, documents, weighted)` of the windows at these places.
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn measure(&self, places: Vec<usize>) -> PyResult<(usize, usize, bool)> {
        let size = batch::measure(&*self.store, &self.chosen(&places)?);
        Ok((size.tokens, size.documents, size.weighted))
    }

    /// What a model's passes over each of the windows cost, in a unit of their own: a token costs as much as looking at
    /// `LINEAR` others, and looks at its document.
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn costs(&self, places: Vec<usize>) -> PyResult<Vec<u64>> {
        let lengths = self.store.lengths();
        let cost = |document: u32| {
            let length = u64::from(lengths[document as usize]);
            length * (length + LINEAR)
        };
        places.iter().map(|&place| Ok(self.chosen(&[place])?.into_iter().map(cost).sum())).collect()
    }

    /// Fill buffers of exactly the measured size: int64, int64, int64, int32 of documents + 1, and where
    /// they are wanted float32 of tokens and int32 of documents.
    ///
    /// Returns `(max_seqlen, num_targets)`.
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
        buffers.fill(py, &*self.store, &documents)
    }
}

impl Windows {
    /// Documents of the windows at these places.
    fn chosen(&self, places: &[usize]) -> PyResult<Vec<u32>> {
        let mut documents = Vec::new();
        for &place in places {
            if place >= self.packed.len() {
                return Err(PyIndexError::new_err(format!("no window {place} of {}", self.packed.len())));
            }
            #[allow(clippy::cast_possible_truncation, reason = "a permutation of an index")]
            let permuted = |order: &Permutation| order.apply(place as u64) as usize;
            let window = self.order.as_ref().map_or(place, permuted);
            documents.extend_from_slice(self.packed.get(window).unwrap_or_default());
        }
        Ok(documents)
    }
}

/// Plan windows of `capacity` for items of these lengths, in this order.
///
/// `order` (as long as `lengths`) takes the items, window after window; returns how many windows there are.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
pub fn pack_lengths(
    py: Python<'_>,
    lengths: PyBuffer<u32>,
    capacity: u32,
    order: PyBuffer<u32>,
) -> PyResult<usize> {
    let lengths = lengths.to_vec(py)?;
    let order = cells(py, &order, lengths.len())?;
    if capacity == 0 || lengths.iter().any(|&length| length > capacity) {
        return Err(PyValueError::new_err(format!("lengths have to be at most {capacity}")));
    }
    let items: Vec<u32> = (0..order::count(&lengths)).collect();
    let windows = py.detach(|| pack::best_fit(&items, |item| lengths[item as usize], capacity));
    let packed = (0..windows.len()).flat_map(|window| windows.get(window).unwrap_or_default());
    for (cell, &item) in order.iter().zip(packed) {
        cell.set(item);
    }
    Ok(windows.len())
}

/// Whether rows share windows.
pub fn packs(packing: &str) -> PyResult<bool> {
    match packing {
        "best-fit" => Ok(true),
        "none" => Ok(false),
        other => Err(PyValueError::new_err(format!("no packing is called `{other}`"))),
    }
}

/// Memory that Python owns, one flat buffer a field of a batch.
pub struct Buffers {
    pub input_ids: PyBuffer<i64>,
    pub targets: PyBuffer<i64>,
    pub position_ids: PyBuffer<i64>,
    pub cu_seqlens: PyBuffer<i32>,
    pub weights: Option<PyBuffer<f32>>,
    pub ranks: Option<PyBuffer<i32>>,
}

impl Buffers {
    /// Lay documents into the buffers, whose sizes have to be exact.
    pub fn fill(&self, py: Python<'_>, tokens: &impl Tokens, documents: &[u32]) -> PyResult<(usize, usize)> {
        let size = batch::measure(tokens, documents);
        let mut sink = Cells {
            input_ids: cells(py, &self.input_ids, size.tokens)?,
            targets: cells(py, &self.targets, size.tokens)?,
            position_ids: cells(py, &self.position_ids, size.tokens)?,
            cu_seqlens: cells(py, &self.cu_seqlens, size.documents + 1)?,
            weights: self.weights.as_ref().map(|buffer| cells(py, buffer, size.tokens)).transpose()?,
            ranks: self.ranks.as_ref().map(|buffer| cells(py, buffer, size.documents)).transpose()?,
        };
        let filled = batch::fill(tokens, documents, &mut sink);
        Ok((filled.max_length, filled.num_targets))
    }
}

struct Cells<'a> {
    input_ids: &'a [Cell<i64>],
    targets: &'a [Cell<i64>],
    position_ids: &'a [Cell<i64>],
    cu_seqlens: &'a [Cell<i32>],
    weights: Option<&'a [Cell<f32>]>,
    ranks: Option<&'a [Cell<i32>]>,
}

impl Sink for Cells<'_> {
    fn token(&mut self, at: usize, id: i64, position: i64) {
        self.input_ids[at].set(id);
        self.position_ids[at].set(position);
    }

    fn target(&mut self, at: usize, target: i64, weight: f32) {
        self.targets[at].set(target);
        if let Some(weights) = self.weights {
            weights[at].set(weight);
        }
    }

    fn boundary(&mut self, index: usize, at: i32) {
        self.cu_seqlens[index].set(at);
    }

    fn rank(&mut self, index: usize, rank: u8) {
        if let Some(ranks) = self.ranks {
            ranks[index].set(i32::from(rank));
        }
    }
}
