//! A matrix of a fastText model: plain, or product-quantized (Jégou et al. 2011).

use std::io;

use super::file::{ModelFile, damaged};

/// Centroids of each part of a row.
const CENTROIDS: usize = 256;

pub(super) enum Matrix {
    Plain { columns: usize, values: Vec<f32> },
    Quantized { columns: usize, codes: Vec<u8>, centroids: Quantizer, norms: Option<(Vec<u8>, Quantizer)> },
}

impl Matrix {
    pub(super) fn read(file: &mut ModelFile, quantized: bool, columns_wanted: usize) -> io::Result<Self> {
        let has_norms = quantized && file.flag()?;
        let (rows, columns) = (file.long_count()?, file.long_count()?);
        if columns != columns_wanted {
            return Err(damaged("its matrices differ in size"));
        }
        if !quantized {
            let count = rows.checked_mul(columns).ok_or_else(|| damaged("a matrix is too large"))?;
            return Ok(Self::Plain { columns, values: file.floats(count)? });
        }
        let codes = file.count()?;
        let codes = file.take(codes, 1)?;
        let centroids = Quantizer::read(file)?;
        if centroids.columns != columns || Some(codes.len()) != rows.checked_mul(centroids.parts) {
            return Err(damaged("a quantized matrix has another size than it says"));
        }
        let norms = if has_norms { Some((file.take(rows, 1)?, Quantizer::read(file)?)) } else { None };
        if norms.as_ref().is_some_and(|(_, norms)| norms.columns != 1) {
            return Err(damaged("the norms of a quantized matrix are no numbers"));
        }
        Ok(Self::Quantized { columns, codes, centroids, norms })
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Plain { columns, values } => values.len() / columns,
            Self::Quantized { codes, centroids, .. } => codes.len() / centroids.parts,
        }
    }

    /// Add a row to `sum`.
    pub(super) fn add_row(&self, row: usize, sum: &mut [f32]) {
        self.parts_of(row, |at, norm, values| {
            for (sum, value) in sum[at..].iter_mut().zip(values) {
                *sum += norm * value;
            }
        });
    }

    /// The product of a row and a vector.
    pub(super) fn dot_row(&self, row: usize, vector: &[f32]) -> f32 {
        let (mut product, mut scale) = (0.0, 1.0);
        self.parts_of(row, |at, norm, values| {
            scale = norm;
            for (one, other) in vector[at..].iter().zip(values) {
                product += one * other;
            }
        });
        product * scale
    }

    /// Each part of a row: its first column, the row's norm, its values.
    fn parts_of(&self, row: usize, mut each: impl FnMut(usize, f32, &[f32])) {
        match self {
            Self::Plain { columns, values } => each(0, 1.0, &values[row * columns..(row + 1) * columns]),
            Self::Quantized { codes, centroids, norms, .. } => {
                let norm = norms.as_ref().map_or(1.0, |(codes, norms)| norms.centroid(0, codes[row])[0]);
                for (part, code) in codes[row * centroids.parts..].iter().take(centroids.parts).enumerate() {
                    each(part * centroids.width, norm, centroids.centroid(part, *code));
                }
            }
        }
    }
}

/// What the codes of a quantized matrix stand for.
pub(super) struct Quantizer {
    columns: usize,
    parts: usize,
    width: usize,
    last_width: usize,
    centroids: Vec<f32>,
}

impl Quantizer {
    fn read(file: &mut ModelFile) -> io::Result<Self> {
        let (columns, parts, width, last_width) =
            (file.count()?, file.count()?, file.count()?, file.count()?);
        let whole = parts.checked_sub(1).and_then(|parts| parts.checked_mul(width)?.checked_add(last_width));
        if width == 0 || last_width == 0 || last_width > width || whole != Some(columns) {
            return Err(damaged("a quantizer has another size than it says"));
        }
        let count = columns.checked_mul(CENTROIDS).ok_or_else(|| damaged("a quantizer is too large"))?;
        Ok(Self { columns, parts, width, last_width, centroids: file.floats(count)? })
    }

    fn centroid(&self, part: usize, code: u8) -> &[f32] {
        let width = if part + 1 == self.parts { self.last_width } else { self.width };
        let start = part * CENTROIDS * self.width + usize::from(code) * width;
        &self.centroids[start..start + width]
    }
}
