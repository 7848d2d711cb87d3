//! The pack plan of an epoch, and filling buffers that Python owns.

use std::cell::Cell;
use std::sync::Arc;

use fastft_pipeline::batch::{self, Sink, Size};
use fastft_pipeline::{order, pack, store};
use fastft_record::Permutation;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::buffer::cells;
use crate::errors;
use crate::store::Store;

/// Told apart from the order of documents.
const WINDOW_ORDER: u64 = 0x7769_6e64_6f77_7321;

/// Windows of an epoch in the order in which they are trained on.
#[pyclass(frozen, module = "fastft._engine")]
pub struct Windows {
    store: Arc<store::Store>,
    packed: pack::Windows,
    order: Option<Permutation>,
}

#[pymethods]
impl Windows {
    /// Plan an epoch.
    ///
    /// `repeats` says how often each source's documents are used; `shuffle` is `(seed, epoch)`.
    #[new]
    #[pyo3(signature = (store, max_length, packing, repeats=None, shuffle=None))]
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn new(
        py: Python<'_>,
        store: &Store,
        max_length: u32,
        packing: &str,
        repeats: Option<Vec<u32>>,
        shuffle: Option<(u64, u64)>,
    ) -> PyResult<Self> {
        let pack = match packing {
            "best-fit" => true,
            "none" => false,
            other => return Err(PyValueError::new_err(format!("no packing is called `{other}`"))),
        };
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
        let repeated: u64 = match &repeats {
            Some(repeats) => {
                let of = |document: &u32| {
                    repeats.get(inner.place(*document).source as usize).copied().unwrap_or(1)
                };
                store.documents.iter().map(|document| u64::from(of(document))).sum()
            }
            None => store.documents.len() as u64,
        };
        if repeated > u64::from(u32::MAX) {
            let message = format!("an epoch has {repeated} documents, at most 2^32 fit");
            return Err(errors::data_error(py, "repeat", message, Some("lower `repeat`".into())));
        }
        let windows = py.detach(|| {
            let repeat = |document: u32| match &repeats {
                Some(repeats) => repeats.get(inner.place(document).source as usize).copied().unwrap_or(1),
                None => 1,
            };
            let documents = order::epoch(&store.documents, repeat, shuffle);
            if pack {
                pack::best_fit(&documents, |document| lengths[document as usize], max_length)
            } else {
                pack::one_each(documents)
            }
        });
        let order =
            shuffle.map(|(seed, epoch)| Permutation::new(windows.len() as u64, seed ^ WINDOW_ORDER, epoch));
        Ok(Self { store: Arc::clone(&store.inner), packed: windows, order })
    }

    fn __len__(&self) -> usize {
        self.packed.len()
    }

    /// Documents of the window at a place of the epoch.
    fn documents(&self, place: usize) -> PyResult<Vec<u32>> {
        let window = self.window(place)?;
        Ok(self.packed.get(window).unwrap_or_default().to_vec())
    }

    /// `(tokens, documents)` of the windows at these places.
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn measure(&self, places: Vec<usize>) -> PyResult<(usize, usize)> {
        let size = self.size(&self.chosen(&places)?)?;
        Ok((size.tokens, size.documents))
    }

    /// Fill buffers of exactly the measured size: int64, int64, int64, and int32 of documents + 1.
    ///
    /// Returns `(max_seqlen, num_targets)`.
    #[allow(clippy::needless_pass_by_value, reason = "extracted from Python by value")]
    fn fill(
        &self,
        py: Python<'_>,
        places: Vec<usize>,
        input_ids: PyBuffer<i64>,
        targets: PyBuffer<i64>,
        position_ids: PyBuffer<i64>,
        cu_seqlens: PyBuffer<i32>,
    ) -> PyResult<(usize, usize)> {
        let chosen = self.chosen(&places)?;
        let size = self.size(&chosen)?;
        let mut sink = Cells {
            input_ids: cells(py, &input_ids, size.tokens)?,
            targets: cells(py, &targets, size.tokens)?,
            position_ids: cells(py, &position_ids, size.tokens)?,
            cu_seqlens: cells(py, &cu_seqlens, size.documents + 1)?,
        };
        let filled = batch::fill(&self.store, &self.packed, &chosen, &mut sink);
        Ok((filled.max_length, filled.num_targets))
    }
}

impl Windows {
    fn window(&self, place: usize) -> PyResult<usize> {
        if place >= self.packed.len() {
            return Err(PyIndexError::new_err(format!("no window {place} of {}", self.packed.len())));
        }
        #[allow(clippy::cast_possible_truncation, reason = "a permutation of an index")]
        let permuted = |order: &Permutation| order.apply(place as u64) as usize;
        Ok(self.order.as_ref().map_or(place, permuted))
    }

    fn chosen(&self, places: &[usize]) -> PyResult<Vec<usize>> {
        places.iter().map(|place| self.window(*place)).collect()
    }

    fn size(&self, chosen: &[usize]) -> PyResult<Size> {
        batch::measure(&self.store, &self.packed, chosen)
            .ok_or_else(|| PyIndexError::new_err("no such window"))
    }
}

struct Cells<'a> {
    input_ids: &'a [Cell<i64>],
    targets: &'a [Cell<i64>],
    position_ids: &'a [Cell<i64>],
    cu_seqlens: &'a [Cell<i32>],
}

impl Sink for Cells<'_> {
    fn token(&mut self, at: usize, id: i64, position: i64) {
        self.input_ids[at].set(id);
        self.position_ids[at].set(position);
    }

    fn target(&mut self, at: usize, target: i64) {
        self.targets[at].set(target);
    }

    fn boundary(&mut self, index: usize, at: i32) {
        self.cu_seqlens[index].set(at);
    }
}
