//! The Python face of the data engine: it converts and decides nothing.

use pyo3::prelude::*;

/// The module `fastft._engine`.
#[pymodule(gil_used = false)]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
