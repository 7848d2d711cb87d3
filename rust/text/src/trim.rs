//! Offsets without the spaces at either end of a token, for post-processors that say `trim_offsets`.

use std::collections::HashMap;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use tokenizers::PostProcessorWrapper;

use crate::{Encoding, TextError};

/// What a byte-level vocabulary has for a space.
const SPACE: char = '\u{120}';

/// A tokenizer's `Trim`, made when offsets are first asked for: it takes the whole vocabulary.
#[derive(Default)]
pub struct Trims(OnceLock<Result<Option<Trim>, String>>);

impl Trims {
    /// Trim the offsets of a whole text.
    pub fn apply(
        &self,
        made: &mut Encoding,
        new: impl FnOnce() -> Result<Option<Trim>, TextError>,
    ) -> Result<(), TextError> {
        let trim = self.0.get_or_init(|| new().map_err(|error| error.to_string()));
        if let Some(trim) = trim.as_ref().map_err(|error| TextError::Load(error.clone()))? {
            trim.apply(&made.ids, &mut made.offsets);
        }
        Ok(())
    }
}

/// What is left out of which tokens.
pub struct Trim {
    /// For each post-processor that trims, whether a space before the text is one that was added.
    prefixed: Vec<bool>,
    /// By id, for tokens that begin or end with spaces.
    spaces: FxHashMap<u32, Spaces>,
}

/// Bytes of the spaces at either end of a token.
struct Spaces {
    leading: u32,
    /// Whether those in front are one.
    is_one: bool,
    trailing: u32,
}

impl Trim {
    /// What a post-processor trims of tokens, which are only asked for if it does; None where it trims nothing.
    pub fn new(
        processor: Option<&PostProcessorWrapper>,
        tokens: impl FnOnce() -> Result<HashMap<String, u32>, TextError>,
    ) -> Result<Option<Self>, TextError> {
        let mut prefixed = Vec::new();
        if let Some(processor) = processor {
            collect(processor, &mut prefixed);
        }
        if prefixed.is_empty() {
            return Ok(None);
        }
        let spaces = tokens()?.iter().filter_map(|(token, id)| Some((*id, Spaces::of(token)?))).collect();
        Ok(Some(Self { prefixed, spaces }))
    }

    fn apply(&self, ids: &[u32], offsets: &mut [(u32, u32)]) {
        for (at, (id, (from, to))) in ids.iter().zip(offsets).enumerate() {
            let Some(spaces) = self.spaces.get(id) else { continue };
            for prefixed in &self.prefixed {
                let is_added = *prefixed && spaces.is_one && (at == 0 || *from == 0);
                if !is_added {
                    *from = (*from + spaces.leading).min(*to);
                }
                *to = to.saturating_sub(spaces.trailing).max(*from);
            }
        }
    }
}

impl Spaces {
    fn of(token: &str) -> Option<Self> {
        let is_space = |c: &char| *c == SPACE || c.is_whitespace();
        let bytes = |c: char| if c == SPACE { 1 } else { u32::try_from(c.len_utf8()).unwrap_or(4) };
        let leading = token.chars().take_while(is_space);
        let is_one = leading.clone().count() == 1;
        let found = Self {
            leading: leading.map(bytes).sum(),
            is_one,
            trailing: token.chars().rev().take_while(is_space).map(bytes).sum(),
        };
        (found.leading + found.trailing > 0).then_some(found)
    }
}

/// The post-processors that trim, in their order.
fn collect(processor: &PostProcessorWrapper, prefixed: &mut Vec<bool>) {
    match processor {
        PostProcessorWrapper::ByteLevel(of) if of.trim_offsets => prefixed.push(of.add_prefix_space),
        PostProcessorWrapper::Roberta(of) if of.trim_offsets => prefixed.push(of.add_prefix_space),
        PostProcessorWrapper::Sequence(parts) => {
            for part in (0..).map_while(|at| parts.get(at)) {
                collect(part, prefixed);
            }
        }
        _ => (),
    }
}
