//! From a plan and a row to the row's copies.

use std::borrow::Cow;

use fastft_record::Document;

use crate::derived::Derived;
use crate::dice::Dice;
use crate::guard::Guard;
use crate::plan::{AugmentError, AugmentPlan, Kind, OpPlan};

/// An altered row.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Its number among all copies that the plan could make of the row, from 1: the store's `variant`.
    pub variant: u16,
    /// What altered it, as the books count it.
    pub kind: Cow<'static, str>,
    /// What it is now.
    pub document: Document,
}

/// Makes the copies that a plan wants.
#[derive(Debug)]
pub struct Augmenter {
    seed: u64,
    guard: Guard,
    /// Each with its number among those of its kind, so that another kind before it changes nothing.
    ops: Vec<(u64, OpPlan)>,
    derived: Vec<Derived>,
}

impl Augmenter {
    /// Read what the plan needs.
    ///
    /// # Errors
    /// A value is out of its bounds, or a dictionary can't be read.
    pub fn new(plan: &AugmentPlan) -> Result<Self, AugmentError> {
        let mut ops: Vec<(u64, OpPlan)> = Vec::new();
        for (place, op) in plan.ops.iter().enumerate() {
            check(op.table.unwrap_or(place), op)?;
            let nth = ops.iter().filter(|known| known.1.kind.name() == op.kind.name()).count() as u64;
            let mut op = op.clone();
            if let Kind::Synonyms(options) = &mut op.kind {
                options.open()?;
            }
            ops.push((nth, op));
        }
        let derived = plan.derived.iter().map(|path| Derived::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { seed: plan.seed, guard: Guard::new(&plan.control)?, ops, derived })
    }

    /// The copies of a row, in the order of their numbers.
    ///
    /// `row_hash` is the hash of the row's bytes as the store has it. A copy that would be equal to
    /// the row or to one before it is not made.
    ///
    /// # Errors
    /// A copy that was made beforehand can't be read.
    pub fn copies(&self, document: &Document, row_hash: u64) -> Result<Vec<Copy>, AugmentError> {
        let mut copies: Vec<Copy> = Vec::new();
        let mut add = |copy: Copy| {
            if copy.document != *document && copies.iter().all(|known| known.document != copy.document) {
                copies.push(copy);
            }
        };
        for (nth, op) in &self.ops {
            for number in 0..op.copies {
                let kind = op.kind.name();
                let key = [self.seed, row_hash, name_key(kind), *nth, u64::from(number)];
                if !Dice::new(&key).chance(op.probability) {
                    continue;
                }
                if let Some(document) = self.alter(op, document, &key) {
                    add(Copy { variant: op.first + number, kind: kind.into(), document });
                }
            }
        }
        for derived in &self.derived {
            derived.copies(row_hash)?.into_iter().for_each(&mut add);
        }
        copies.sort_by_key(|copy| copy.variant);
        Ok(copies)
    }

    /// The document with every text of the op's roles altered; None when none is other than before.
    fn alter(&self, op: &OpPlan, document: &Document, key: &[u64; 5]) -> Option<Document> {
        let mut altered = document.clone();
        let mut changed = false;
        let mut index = 0;
        altered.visit_texts_mut(|role, text| {
            index += 1;
            if !op.roles.contains(&role.into()) {
                return;
            }
            let mut dice = Dice::new(&[key[0], key[1], key[2], key[3], key[4], index]);
            let new = match &op.kind {
                Kind::Characters(options) => options.apply(text, &self.guard, &mut dice),
                Kind::Words(options) => options.apply(text, &self.guard, &mut dice),
                Kind::Spacing(options) => options.apply(text, &self.guard, &mut dice),
                Kind::Synonyms(options) => options.apply(text, &self.guard, &mut dice),
                Kind::Sentences(options) => options.apply(text, &self.guard, &mut dice),
            };
            if new != *text && !new.trim().is_empty() {
                *text = new;
                changed = true;
            }
        });
        changed.then_some(altered)
    }
}

fn name_key(name: &str) -> u64 {
    name.bytes().fold(0, |key, byte| fastft_record::mix(key ^ u64::from(byte)))
}

fn check(table: usize, op: &OpPlan) -> Result<(), AugmentError> {
    let part = |key, value: f64| {
        let expected = "a part, from 0 to 1";
        if (0.0..=1.0).contains(&value) {
            Ok(())
        } else {
            Err(AugmentError::Bounds { table, key, value, expected })
        }
    };
    let some = |key, len: usize| if len > 0 { Ok(()) } else { Err(AugmentError::Nothing { table, key }) };
    part("probability", op.probability)?;
    some("roles", op.roles.len())?;
    if op.first == 0 || op.first.checked_add(op.copies).is_none() {
        let (value, expected) = (f64::from(op.first), "1 or more, and all copies of a row below 65536");
        return Err(AugmentError::Bounds { table, key: "first", value, expected });
    }
    match &op.kind {
        Kind::Characters(options) => {
            part("rate", options.rate)?;
            some("edits", options.edits.len())
        }
        Kind::Words(options) => {
            part("rate", options.rate)?;
            some("edits", options.edits.len())
        }
        Kind::Spacing(options) => {
            part("rate", options.rate)?;
            some("edits", options.edits.len())
        }
        Kind::Synonyms(options) => part("rate", options.rate),
        Kind::Sentences(options) => {
            part("shuffle", options.shuffle)?;
            part("merge", options.merge)
        }
    }
}
