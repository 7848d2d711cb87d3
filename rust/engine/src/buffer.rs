//! Memory that Python owns, as cells: the only place of this crate with unsafe code.

use std::cell::Cell;

use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A writable, contiguous buffer of exactly `length` elements; pyo3 checked their type.
///
/// # Errors
/// `ValueError` when it is read-only, has gaps or another length.
pub fn cells<'a, T: Element>(
    _py: Python<'a>,
    buffer: &'a PyBuffer<T>,
    length: usize,
) -> PyResult<&'a [Cell<T>]> {
    let memory = buffer.as_slice_ptr().filter(|_| !buffer.readonly());
    let memory = memory.ok_or_else(|| PyValueError::new_err("the buffer is read-only or not contiguous"))?;
    if memory.len() != length {
        let message = format!("the buffer has {} elements, {length} are needed", memory.len());
        return Err(PyValueError::new_err(message));
    }
    // SAFETY: `as_slice_ptr` gives aligned, contiguous memory of `len` elements that stays in place
    // while `buffer` holds the export, which outlives 'a. It is writable (checked above). `Cell` has
    // the layout of its content and allows aliases; we keep the interpreter's lock (`'a` is bounded
    // by the token), and this module is not built for free-threaded Python, so no other thread that
    // runs Python touches the memory meanwhile.
    #[allow(unsafe_code)]
    let cells = unsafe { &*(memory.as_ptr() as *const [Cell<T>]) };
    Ok(cells)
}
