//! Values that JSON lacks: bytes, and numbers that are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayAccessor};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow_schema::{ArrowError, DataType, FieldRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Whether a number that JSON can't carry was met since this was last asked.
#[derive(Clone, Debug, Default)]
pub struct Odd(Arc<AtomicU8>);

impl Odd {
    /// The number's name, once.
    pub fn take(&self) -> Option<&'static str> {
        // one thread writes and asks: the atomic is there because the library wants a shared factory
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(if self.0.swap(0, Ordering::Relaxed) == 1 { "NaN" } else { "an infinity" })
    }
}

/// Writes floats and bytes in our way, all else in the library's.
#[derive(Debug)]
pub struct Plain(pub Odd);

impl EncoderFactory for Plain {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let odd = self.0.clone();
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float16 => {
                let values = array.as_primitive::<Float16Type>().values();
                Box::new(Floats(
                    odd,
                    |at: usize| f64::from(values[at].to_f32()),
                    |at: usize| values[at].to_f32(),
                ))
            }
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>().values();
                Box::new(Floats(odd, |at: usize| f64::from(values[at]), |at: usize| values[at]))
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                Box::new(Floats(odd, |at: usize| values[at], |at: usize| values[at]))
            }
            DataType::Binary => Box::new(Bytes(array.as_binary::<i32>())),
            DataType::LargeBinary => Box::new(Bytes(array.as_binary::<i64>())),
            DataType::BinaryView => Box::new(Bytes(array.as_binary_view())),
            DataType::FixedSizeBinary(_) => Box::new(Bytes(array.as_fixed_size_binary())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Floats as the shortest text that reads back as they are, in their own width.
struct Floats<V, W>(Odd, V, W);

impl<F: serde::Serialize, V: Fn(usize) -> f64, W: Fn(usize) -> F> Encoder for Floats<V, W> {
    fn encode(&mut self, at: usize, out: &mut Vec<u8>) {
        let value = (self.1)(at);
        if value.is_finite() {
            serde_json::to_writer(out, &(self.2)(at)).expect("a finite number is JSON, and memory takes it");
        } else {
            self.0.0.store(if value.is_nan() { 1 } else { 2 }, Ordering::Relaxed);
            out.extend_from_slice(b"null");
        }
    }
}

struct Bytes<A>(A);

impl<'a, A: ArrayAccessor<Item = &'a [u8]>> Encoder for Bytes<A> {
    fn encode(&mut self, at: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        let text = STANDARD.encode(self.0.value(at));
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}
