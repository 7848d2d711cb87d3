//! What the options of a plan are made into, once for all rows; what can't be met is told all at once.

use std::sync::Arc;

use fastft_augment::{AugmentError, AugmentPlan, Augmenter};
use fastft_clean::{CleanError, CleanPlan, Cleaner, Wrong};
use serde_json::Value;

use crate::error::EngineError;
use crate::plan::Plan;

/// What rows are held to, and what makes copies of them.
#[derive(Clone, Default)]
pub struct Tools {
    /// None: rows stay as they are.
    pub cleaner: Option<Arc<Cleaner>>,
    /// None: no copies are made.
    pub augmenter: Option<Arc<Augmenter>>,
}

impl Tools {
    /// Make what the plan asks for.
    ///
    /// # Errors
    /// `EngineError::Options` with every option that can't be met.
    pub fn of(plan: &Plan) -> Result<Self, EngineError> {
        Self::new(plan.clean.as_ref(), plan.augment.as_ref())
    }

    /// The same from the options themselves.
    ///
    /// # Errors
    /// See `of`.
    pub fn new(clean: Option<&CleanPlan>, augment: Option<&Value>) -> Result<Self, EngineError> {
        let (cleaner, augmenter) = (cleaner(clean), augmenter(augment));
        match (cleaner, augmenter) {
            (Ok(cleaner), Ok(augmenter)) => Ok(Self { cleaner, augmenter }),
            (Err(EngineError::Options(mut wrong)), Err(EngineError::Options(more))) => {
                wrong.extend(more);
                Err(EngineError::Options(wrong))
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

/// The cleaner of a plan, None without.
///
/// # Errors
/// `EngineError::Options` with every option that can't be met.
pub fn cleaner(plan: Option<&CleanPlan>) -> Result<Option<Arc<Cleaner>>, EngineError> {
    let Some(clean) = plan else { return Ok(None) };
    match Cleaner::new(clean) {
        Ok(cleaner) => Ok(Some(Arc::new(cleaner))),
        Err(CleanError::Plan(wrong)) => Err(EngineError::Options(wrong)),
        Err(error) => Err(error.into()),
    }
}

/// The augmenter of a plan, None without. Where it can't be made, each table is tried by itself, so that
/// the trouble of all is told.
fn augmenter(plan: Option<&Value>) -> Result<Option<Arc<Augmenter>>, EngineError> {
    let Some(augment) = plan else { return Ok(None) };
    let augment: AugmentPlan = serde_json::from_value(augment.clone())?;
    let first = match Augmenter::new(&augment) {
        Ok(augmenter) => return Ok(Some(Arc::new(augmenter))),
        Err(error) => error,
    };
    let alone = |index: usize| {
        let op = &augment.ops[index];
        let alone = AugmentPlan { ops: vec![op.clone()], derived: Vec::new(), ..augment.clone() };
        Some((op.table.unwrap_or(index), Augmenter::new(&alone).err()?))
    };
    let wrong: Vec<Wrong> = (0..augment.ops.len()).filter_map(alone).map(told).collect();
    // what no table is to blame for: a file of copies, control tokens
    if wrong.is_empty() { Err(first.into()) } else { Err(EngineError::Options(wrong)) }
}

fn told((index, error): (usize, AugmentError)) -> Wrong {
    let key = |name: &str| format!("augment[{index}].{name}");
    match error {
        AugmentError::Bounds { key: name, value, expected, .. } => {
            Wrong::new(key(name), format!("it is {value}; expected {expected}"))
        }
        AugmentError::Nothing { key: name, .. } => Wrong::new(key(name), "it is empty, so nothing is done"),
        error @ (AugmentError::Unreadable { .. } | AugmentError::Line { .. }) => {
            Wrong::new(key("dictionary"), error.to_string())
        }
        error @ AugmentError::Control(_) => Wrong::new(format!("augment[{index}]"), error.to_string()),
    }
}
