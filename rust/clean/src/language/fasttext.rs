//! fastText's classifiers (Joulin et al. 2016), as `lid.176.ftz`: read and applied, not trained.
//!
//! The same labels and probabilities as the `fastText` program gives for the text on one line.

use std::io;
use std::path::Path;

use rustc_hash::FxHashMap;

use super::file::{ModelFile, damaged};
use super::matrix::Matrix;

const MAGIC: i32 = 793_712_314;
const LABEL: &str = "__label__";
/// The word that stands for the end of a line.
const END: &[u8] = b"</s>";

/// A model that tells one label for a text.
pub(super) struct FastText {
    words: FxHashMap<Vec<u8>, u32>,
    /// Rows of the input matrix before those of n-grams.
    num_words: usize,
    labels: Vec<String>,
    ngrams: Ngrams,
    input: Matrix,
    output: Matrix,
    scoring: Scoring,
}

struct Ngrams {
    /// How many words in a row.
    words: usize,
    /// How many characters of a word, from and to; to 0 means none.
    chars: (usize, usize),
    buckets: u32,
    /// Where the n-grams that a smaller model kept have gone.
    kept: Option<FxHashMap<u32, u32>>,
}

impl Ngrams {
    /// Where an n-gram's row is, counted from the first of n-grams.
    fn row(&self, hash: u64) -> Option<usize> {
        let bucket = hash.checked_rem(self.buckets.into())?;
        match &self.kept {
            None => usize::try_from(bucket).ok(),
            Some(kept) => kept.get(&u32::try_from(bucket).ok()?).map(|row| *row as usize),
        }
    }
}

/// How the output becomes probabilities.
enum Scoring {
    /// Hierarchical softmax: a tree whose nodes past the leaves stand for rows of the output.
    Tree(Vec<(usize, usize)>),
    Softmax,
    /// Each label by itself.
    Sigmoid,
}

impl FastText {
    /// # Errors
    /// When the file can't be read, or holds no classifier.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let file = &mut ModelFile::open(path)?;
        if file.i32().ok() != Some(MAGIC) {
            return Err(damaged("it does not begin as one"));
        }
        let version = file.i32()?;
        if !(11..=12).contains(&version) {
            return Err(damaged(&format!("version {version}; 11 and 12 are known")));
        }
        let dim = file.count()?;
        let [_window, _epoch, _min_count, _negative] = [file.i32()?, file.i32()?, file.i32()?, file.i32()?];
        let words = file.count()?;
        let (loss, kind) = (file.i32()?, file.i32()?);
        let (buckets, from, to) = (file.count()?, file.count()?, file.count()?);
        let (_update_rate, _sampling) = (file.i32()?, file.i64()?);
        if kind != 3 {
            return Err(damaged("it tells no labels; supervised models do"));
        }
        // models of version 11 name lengths of n-grams that they do not use
        let to = if version == 11 { 0 } else { to };

        let entries = file.count()?;
        let (num_words, num_labels) = (file.count()?, file.count()?);
        let (_tokens, pruned) = (file.i64()?, file.i64()?);
        if num_labels == 0 || num_words.checked_add(num_labels) != Some(entries) {
            return Err(damaged("its dictionary has no labels, or another size than it says"));
        }
        let mut ids = FxHashMap::default();
        let (mut labels, mut counts) = (Vec::new(), Vec::new());
        for id in 0..entries {
            let (name, count, kind) = (file.name()?, file.i64()?, file.take(1, 1)?[0]);
            if (kind == 1) != (id >= num_words) {
                return Err(damaged("words stand among its labels"));
            }
            if kind == 1 {
                let name = String::from_utf8(name).map_err(|_| damaged("a label is not UTF-8"))?;
                labels.push(name.strip_prefix(LABEL).unwrap_or(&name).to_owned());
                counts.push(count);
            } else {
                ids.insert(name, u32::try_from(id).unwrap_or(u32::MAX));
            }
        }
        let mut kept = (pruned >= 0).then(FxHashMap::default);
        for _ in 0..pruned.max(0) {
            let (from, to) = (file.count()?, file.count()?);
            kept.get_or_insert_default().insert(narrow(from), narrow(to));
        }

        let quantized = file.flag()?;
        let input = Matrix::read(file, quantized, dim)?;
        let output_quantized = file.flag()?;
        let output = Matrix::read(file, quantized && output_quantized, dim)?;
        let scoring = match loss {
            1 => Scoring::Tree(tree(&counts)),
            2 | 4 => Scoring::Sigmoid,
            3 => Scoring::Softmax,
            other => return Err(damaged(&format!("loss {other} is unknown"))),
        };
        let past_words = match &kept {
            None => buckets,
            Some(kept) => kept.values().map(|to| *to as usize + 1).max().unwrap_or(0),
        };
        let outputs = if matches!(scoring, Scoring::Tree(_)) { labels.len() - 1 } else { labels.len() };
        if dim == 0 || input.rows() < num_words.saturating_add(past_words) || output.rows() < outputs {
            return Err(damaged("its matrices are smaller than its dictionary"));
        }
        if !file.is_at_end() {
            return Err(damaged("something stands behind its end"));
        }
        let ngrams = Ngrams { words, chars: (from, to), buckets: narrow(buckets), kept };
        Ok(Self { words: ids, num_words, labels, ngrams, input, output, scoring })
    }

    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The label of a text and its probability; None when the model knows nothing of the text.
    pub(super) fn predict(&self, text: &str) -> Option<(usize, f32)> {
        let rows = self.rows_of(text);
        if rows.is_empty() {
            return None;
        }
        let mut hidden = vec![0.0; self.dim()];
        for row in &rows {
            self.input.add_row(*row, &mut hidden);
        }
        #[allow(clippy::cast_precision_loss, reason = "texts have no 2^52 words")]
        let share = single(1.0 / rows.len() as f64);
        for value in &mut hidden {
            *value *= share;
        }
        let (label, score) = match &self.scoring {
            Scoring::Tree(tree) => self.best_leaf(tree, &hidden),
            Scoring::Softmax => {
                let outputs = self.outputs(&hidden);
                let most = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = outputs.iter().map(|output| (output - most).exp()).sum();
                best(outputs.iter().map(|output| log((output - most).exp() / sum)))
            }
            Scoring::Sigmoid => {
                best(self.outputs(&hidden).into_iter().map(|output| log(coarse_sigmoid(output))))
            }
        };
        Some((label, score.exp()))
    }

    fn dim(&self) -> usize {
        match &self.input {
            Matrix::Plain { columns, .. } | Matrix::Quantized { columns, .. } => *columns,
        }
    }

    fn outputs(&self, hidden: &[f32]) -> Vec<f32> {
        (0..self.labels.len()).map(|label| self.output.dot_row(label, hidden)).collect()
    }

    /// The rows of the input matrix that a text is the mean of.
    fn rows_of(&self, text: &str) -> Vec<usize> {
        let (mut rows, mut hashes, mut marked) = (Vec::new(), Vec::new(), Vec::new());
        let words = text.as_bytes().split(|byte| b" \n\r\t\x0b\x0c\0".contains(byte));
        for word in words.filter(|word| !word.is_empty()).chain([END]) {
            let id = self.words.get(word);
            if id.is_none() && word.starts_with(LABEL.as_bytes()) {
                continue;
            }
            rows.extend(id.map(|id| *id as usize));
            if word != END && self.ngrams.chars.1 > 0 {
                marked.clear();
                marked.push(b'<');
                marked.extend_from_slice(word);
                marked.push(b'>');
                self.char_ngrams(&marked, &mut rows);
            }
            hashes.push(hash(word));
            if word == END {
                break;
            }
        }
        for (start, first) in hashes.iter().enumerate() {
            // words are hashed as signed numbers
            let wide = |hash: u32| i64::from(hash.cast_signed()).cast_unsigned();
            let mut joined = wide(*first);
            for next in hashes[start + 1..].iter().take(self.ngrams.words.saturating_sub(1)) {
                joined = joined.wrapping_mul(116_049_371).wrapping_add(wide(*next));
                rows.extend(self.ngrams.row(joined).map(|row| self.num_words + row));
            }
        }
        rows
    }

    /// The n-grams of a word between `<` and `>`.
    fn char_ngrams(&self, word: &[u8], rows: &mut Vec<usize>) {
        let (from, to) = self.ngrams.chars;
        let begins = |at: usize| word.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
        for start in (0..word.len()).filter(|at| begins(*at)) {
            let mut end = start;
            for length in 1..=to {
                if end == word.len() {
                    break;
                }
                end += 1;
                while !begins(end) {
                    end += 1;
                }
                let is_mark = length == 1 && (start == 0 || end == word.len());
                if length >= from && !is_mark {
                    let row = self.ngrams.row(hash(&word[start..end]).into());
                    rows.extend(row.map(|row| self.num_words + row));
                }
            }
        }
    }

    /// The most probable leaf, and its logarithm; branches that can't beat it are not walked.
    fn best_leaf(&self, tree: &[(usize, usize)], hidden: &[f32]) -> (usize, f32) {
        let leaves = self.labels.len();
        let mut found = (0, f32::NEG_INFINITY);
        let mut open = vec![(leaves + tree.len() - 1, 0.0)];
        while let Some((node, score)) = open.pop() {
            if score <= found.1 {
                continue;
            }
            let Some((left, right)) = node.checked_sub(leaves).map(|inner| tree[inner]) else {
                found = (node, score);
                continue;
            };
            let turn = sigmoid(self.output.dot_row(node - leaves, hidden));
            open.push((right, score + log(turn)));
            open.push((left, score + log(1.0 - turn)));
        }
        found
    }
}

/// FNV-1a, with bytes taken as signed.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash: u32, byte| {
        (hash ^ i32::from(byte.cast_signed()).cast_unsigned()).wrapping_mul(16_777_619)
    })
}

/// The children of the inner nodes of a Huffman tree over labels whose counts fall.
fn tree(counts: &[i64]) -> Vec<(usize, usize)> {
    let leaves = counts.len();
    let mut sums = counts.to_vec();
    let mut children = Vec::new();
    let (mut leaf, mut inner) = (leaves, leaves);
    while sums.len() + 1 < 2 * leaves {
        let mut rarest = || {
            // inner nodes that are not there yet count for endlessly many
            let takes_leaf = leaf > 0 && sums.get(inner).is_none_or(|sum| sums[leaf - 1] < *sum);
            if takes_leaf {
                leaf -= 1;
                leaf
            } else {
                inner += 1;
                inner - 1
            }
        };
        let (left, right) = (rarest(), rarest());
        sums.push(sums[left].saturating_add(sums[right]));
        children.push((left, right));
    }
    children
}

fn best(scores: impl Iterator<Item = f32>) -> (usize, f32) {
    scores.enumerate().fold((0, f32::NEG_INFINITY), |best, each| if each.1 > best.1 { each } else { best })
}

fn sigmoid(value: f32) -> f32 {
    single(1.0 / (1.0 + f64::from((-value).exp())))
}

/// The same from a table of 512 steps between -8 and 8, which the reference reads here and not in trees.
fn coarse_sigmoid(value: f32) -> f32 {
    match value {
        value if value < -8.0 => 0.0,
        value if value > 8.0 => 1.0,
        value => sigmoid((value * 32.0 + 256.0).trunc() / 32.0 - 8.0),
    }
}

/// The logarithm as the reference takes it: a little is added, so that none is infinite.
fn log(value: f32) -> f32 {
    single((f64::from(value) + 1e-5).ln())
}

/// The reference computes with single precision.
#[allow(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
const fn single(value: f64) -> f32 {
    value as f32
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    type Expected = BTreeMap<String, BTreeMap<String, Option<(String, f32)>>>;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fasttext").join(name)
    }

    fn expected() -> Expected {
        serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
    }

    #[test]
    fn labels_and_probabilities_are_those_of_the_reference() {
        for (name, texts) in expected() {
            let model = FastText::read(&fixture(&name)).unwrap();
            for (text, wanted) in texts {
                let found = model.predict(&text).map(|(label, share)| (model.labels()[label].clone(), share));
                match (&found, &wanted) {
                    (Some(found), Some(wanted)) => {
                        assert_eq!(found.0, wanted.0, "{name}: {text:?}");
                        assert!((found.1 - wanted.1).abs() < 1e-5, "{name}: {text:?} {found:?} {wanted:?}");
                    }
                    _ => assert_eq!(found, wanted, "{name}: {text:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_classifier_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        let whole = std::fs::read(fixture("tree.bin")).unwrap();
        let with = |at: usize, value: i32| {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            bytes
        };
        for (bytes, reason) in [
            (b"<html>".to_vec(), "it does not begin as one"),
            (with(4, 13), "version 13"),
            (with(36, 2), "it tells no labels"),
            (with(32, 9), "loss 9 is unknown"),
            (with(64, 7), "another size than it says"),
            (with(8, 5), "its matrices differ in size"),
            (with(40, 1 << 20), "its matrices are smaller than its dictionary"),
            (whole[..whole.len() - 1].to_vec(), "it ends too early"),
            ([whole.as_slice(), b" "].concat(), "something stands behind its end"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = FastText::read(&path).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains(reason)), "{error:?}, not {reason}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_damaged_file_ends_no_process(
            name in prop::sample::select(vec!["tree.bin", "softmax.bin", "sigmoid.bin", "quantized.ftz", "pruned.ftz"]),
            changes in prop::collection::vec((0.0..1.0f64, any::<u8>()), 1..4),
            head in any::<bool>(),
        ) {
            let mut bytes = std::fs::read(fixture(name)).unwrap();
            let reach = if head { 120 } else { bytes.len() };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
            for (place, value) in changes {
                bytes[(place * reach as f64) as usize] = value;
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.bin");
            std::fs::write(&path, bytes).unwrap();
            if let Ok(model) = FastText::read(&path) {
                model.predict("we walk along the Fluss 房子 w17 w3");
            }
        }
    }
}
