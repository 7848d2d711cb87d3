//! Where a pre-tokenizer cuts a text: as the word path does it, and as the reference does.

use std::collections::HashMap;

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::TextError;
use crate::stages::{Stage, cut_by, stages};

/// A pre-tokenizer that the word path knows.
pub struct Cuts {
    stages: Vec<Stage>,
    reference: PreTokenizerWrapper,
}

impl Cuts {
    /// The pre-tokenizer of a tokenizer.json; None where the word path leaves it to the reference.
    #[must_use]
    pub fn from_json(pre_tokenizer: &str) -> Option<Self> {
        let reference = serde_json::from_str(pre_tokenizer).ok()?;
        Some(Self { stages: stages(&reference)?, reference })
    }

    /// Whether all of its expressions are automata.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        self.stages.iter().all(|stage| matches!(stage, Stage::Automaton(_)))
    }

    /// Append the half-open byte ranges of the pieces of a text.
    ///
    /// # Errors
    /// Those of the reference's engine, where one of its expressions runs on it.
    pub fn own(&self, text: &str, pieces: &mut Vec<(usize, usize)>) -> Result<(), TextError> {
        cut_by(&self.stages, text, 0, text.len(), &mut |begin, end| {
            if begin < end {
                pieces.push((begin, end));
            }
            Ok(())
        })
    }

    /// Append the pieces that the reference makes.
    ///
    /// # Errors
    /// Those of the reference.
    pub fn reference(&self, text: &str, pieces: &mut Vec<(usize, usize)>) -> Result<(), TextError> {
        let mut cut = PreTokenizedString::from(text);
        self.reference.pre_tokenize(&mut cut).map_err(|error| TextError::Encode(error.to_string()))?;
        let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.extend(splits.iter().map(|(_, range, _)| *range));
        Ok(())
    }

    /// The characters of each class that its automata can't tell apart, those of ASCII and those beyond as two: they
    /// are looked up in two tables.
    #[must_use]
    pub fn classes(&self) -> Vec<Vec<char>> {
        let mut classes: HashMap<(bool, Vec<u8>), Vec<char>> = HashMap::new();
        for c in '\0'..=char::MAX {
            let class = self.stages.iter().filter_map(|stage| stage.class(c)).collect();
            classes.entry((c.is_ascii(), class)).or_default().push(c);
        }
        let mut classes: Vec<_> = classes.into_values().collect();
        classes.sort_unstable();
        classes
    }
}
