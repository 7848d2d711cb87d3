//! One row: repairs, then rules in a fixed order, then masks.

use std::borrow::Cow;

use fastft_record::Document;
use serde::{Deserialize, Serialize};

use crate::decontaminate::{DecontaminatePlan, Decontaminator};
use crate::language::{LanguagePlan, LanguageRule};
use crate::pii::{Pii, PiiAction, PiiPlan};
use crate::repair::{RepairPlan, Repairer};
use crate::rules::block::{BlockList, BlockPlan};
use crate::rules::c4::{C4, C4Plan};
use crate::rules::fineweb::FinewebPlan;
use crate::rules::gopher::{Gopher, GopherPlan};
use crate::rules::length::LengthPlan;
use crate::rules::repetition::RepetitionPlan;
use crate::rules::sft::{Sft, SftPlan};
use crate::words::Words;
use crate::{CleanError, Wrong};

/// What rows are held to; an absent part is off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanPlan {
    /// Repairs of Unicode.
    pub repair: Option<RepairPlan>,
    /// Characters and words.
    pub length: Option<LengthPlan>,
    /// Which languages stay.
    pub language: Option<LanguagePlan>,
    /// Words and patterns that no row may hold.
    pub block: Option<BlockPlan>,
    /// Quality rules of Gopher.
    pub gopher: Option<GopherPlan>,
    /// Repetition rules of Gopher.
    pub repetition: Option<RepetitionPlan>,
    /// Rules of C4.
    pub c4: Option<C4Plan>,
    /// Rules of `FineWeb`.
    pub fineweb: Option<FinewebPlan>,
    /// Rules for the answers of conversations.
    pub sft: Option<SftPlan>,
    /// Evaluation sets that no row may hold.
    pub decontaminate: Option<DecontaminatePlan>,
    /// Personal data and secrets.
    pub pii: Option<PiiPlan>,
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep {
        /// Names of the repairs and masks that changed it, each once, in the order of application.
        changed: Vec<&'static str>,
    },
    /// It is left out.
    Drop {
        /// The rule's name in the books.
        rule: Cow<'static, str>,
        /// What was found, for lists of dropped rows; may be empty.
        detail: String,
    },
}

impl Verdict {
    /// The name of the rule that drops the row.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Keep { .. } => None,
            Self::Drop { rule, .. } => Some(rule),
        }
    }
}

/// Why a rule drops a text.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: Cow<'static, str>,
    pub(crate) detail: String,
}

impl Broken {
    pub(crate) fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self { rule: rule.into(), detail: detail.into() }
    }
}

/// `Err` says which rule drops the text.
pub(crate) type Held = Result<(), Broken>;

/// A part of the cleaner, or what is wrong with its options.
fn made<P, R>(
    plan: Option<&P>,
    make: impl FnOnce(&P) -> Result<R, Vec<Wrong>>,
    wrong: &mut Vec<Wrong>,
) -> Option<R> {
    make(plan?).map_err(|found| wrong.extend(found)).ok()
}

/// Applies a plan to rows; shared by all threads.
pub struct Cleaner {
    plan: CleanPlan,
    repair: Option<Repairer>,
    language: Option<LanguageRule>,
    block: Option<BlockList>,
    gopher: Option<Gopher>,
    c4: Option<C4>,
    sft: Option<Sft>,
    decontaminate: Option<Decontaminator>,
    pii: Option<Pii>,
}

impl Cleaner {
    /// Read block lists and evaluation sets, compile patterns.
    ///
    /// # Errors
    /// `CleanError::Plan` with every file that can't be read and every option that can't be met.
    pub fn new(plan: &CleanPlan) -> Result<Self, CleanError> {
        let mut wrong = Vec::new();
        let cleaner = Self {
            repair: plan.repair.clone().map(Repairer::new),
            language: made(plan.language.as_ref(), LanguageRule::new, &mut wrong),
            block: made(plan.block.as_ref(), BlockList::new, &mut wrong),
            gopher: plan.gopher.as_ref().map(Gopher::new),
            c4: plan.c4.clone().map(C4::new),
            sft: plan.sft.as_ref().map(Sft::new),
            decontaminate: made(plan.decontaminate.as_ref(), Decontaminator::new, &mut wrong),
            pii: made(plan.pii.as_ref(), Pii::new, &mut wrong),
            plan: plan.clone(),
        };
        if wrong.is_empty() { Ok(cleaner) } else { Err(CleanError::Plan(wrong)) }
    }

    /// Repair, judge and mask a row.
    pub fn apply(&self, document: &mut Document) -> Verdict {
        let mut changed = Vec::new();
        match self.judge(document, &mut changed) {
            Ok(()) => Verdict::Keep { changed },
            Err(Broken { rule, detail }) => Verdict::Drop { rule, detail },
        }
    }

    fn judge(&self, document: &mut Document, changed: &mut Vec<&'static str>) -> Held {
        if let Some(repair) = &self.repair {
            document.visit_texts_mut(|_, text| repair.repair(text, changed));
        }
        if let (Some(c4), Document::Text(text)) = (&self.c4, &mut *document) {
            c4.remove_lines(text, changed)?;
        }
        self.rules(document)?;
        let Some(pii) = &self.pii else { return Ok(()) };
        if pii.action() == PiiAction::Drop {
            return pii.check(&document.text_for_rules());
        }
        document.visit_texts_mut(|_, text| pii.mask(text, changed));
        Ok(())
    }

    fn rules(&self, document: &Document) -> Held {
        let CleanPlan { length, repetition, fineweb, .. } = &self.plan;
        let text = document.text_for_rules();
        if let Some(repair) = &self.repair {
            repair.check(&text)?;
        }
        let needs_words =
            length.is_some() || self.gopher.is_some() || repetition.is_some() || fineweb.is_some();
        let words = if needs_words { Words::of(&text) } else { Words::default() };
        if let Some(length) = length {
            length.check(&text, &words)?;
        }
        if let Some(language) = &self.language {
            language.check(&text)?;
        }
        if let Some(block) = &self.block {
            block.check(&text)?;
        }
        if let Some(gopher) = &self.gopher {
            gopher.check(&text, &words)?;
        }
        if let Some(repetition) = repetition {
            repetition.check(&text, &words)?;
        }
        if let (Some(c4), false) = (&self.c4, matches!(document, Document::Text(_))) {
            c4.check(&text)?;
        }
        if let Some(fineweb) = fineweb {
            fineweb.check(&text, &words)?;
        }
        if let Some(sft) = &self.sft {
            sft.check(document)?;
        }
        if let Some(decontaminate) = &self.decontaminate {
            decontaminate.check(&text)?;
        }
        Ok(())
    }
}
