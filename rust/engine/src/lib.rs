//! The Python face of the data engine: it converts and decides nothing.
//!
//! Long calls leave the interpreter lock; progress is polled from atomics, never called back;
//! `errors.rs` is the one place where Rust errors become fastft's.

mod align;
mod buffer;
mod check;
mod clean;
mod errors;
mod prepare;
mod remote;
mod sift;
mod store;
mod stream;
mod template;
mod tokenizer;
mod windows;

use pyo3::prelude::*;

/// The module `fastft._engine`.
#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("STORE_VERSION", fastft_pipeline::key::FORMAT_VERSION)?;
    align::register(module)?;
    clean::register(module)?;
    prepare::register(module)?;
    remote::register(module)?;
    module.add_function(wrap_pyfunction!(check::check_rows, module)?)?;
    module.add_function(wrap_pyfunction!(sift::sift_rows, module)?)?;
    module.add_class::<store::Store>()?;
    module.add_class::<windows::Windows>()?;
    module.add_function(wrap_pyfunction!(windows::pack_lengths, module)?)?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<stream::Taken>()?;
    template::register(module)?;
    tokenizer::register(module)
}
