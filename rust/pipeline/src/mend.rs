//! Writing a repaired row in its own form: the strings that repairs changed are changed where they stand.

use fastft_clean::{CleanError, CleanPlan, Cleaner, Verdict};
use fastft_record::Document;
use fastft_source::Layout;
use serde_json::Value;

use crate::format::Format;
use crate::worker;

/// Repairs single strings as the cleaner repairs a row.
pub struct Mender {
    single: Cleaner,
}

impl Mender {
    /// Take over the repairs and masks of a plan, without its rules.
    ///
    /// # Errors
    /// When an option can't be met.
    pub fn new(plan: &CleanPlan) -> Result<Self, CleanError> {
        let repairs =
            CleanPlan { repair: plan.repair.clone(), pii: plan.pii.clone(), ..CleanPlan::default() };
        Ok(Self { single: Cleaner::new(&repairs)? })
    }

    /// The row with its strings repaired, when it then reads as `after`; None when that can't be done.
    #[must_use]
    pub fn mend(
        &self,
        row: &[u8],
        mut before: Document,
        after: &Document,
        layout: Layout,
        format: &Format,
    ) -> Option<String> {
        let mut value: Value = serde_json::from_slice(row).ok()?;
        let mut old = Vec::new();
        before.visit_texts_mut(|_, text| old.push(text.clone()));
        let mut new = Vec::new();
        after.clone().visit_texts_mut(|_, text| new.push(text.clone()));
        self.strings(&mut value, &old, &new);
        let text = value.to_string();
        let reads = worker::document(text.as_bytes(), layout, format).ok()?;
        (reads == *after).then_some(text)
    }

    fn strings(&self, value: &mut Value, old: &[String], new: &[String]) {
        match value {
            Value::String(text) => {
                if let Some(at) = old.iter().position(|known| known == text) {
                    text.clone_from(&new[at]);
                } else if !text.is_empty() && old.iter().any(|known| known.contains(text.as_str())) {
                    let mut single = Document::Text(std::mem::take(text));
                    let _: Verdict = self.single.apply(&mut single);
                    if let Document::Text(mended) = single {
                        *text = mended;
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.strings(item, old, new)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.strings(field, old, new)),
            _ => {}
        }
    }
}
