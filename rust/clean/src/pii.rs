//! Personal data and secrets: found by their shape and, where they have one, their check digits.

mod checks;

use std::ops::Range;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::Wrong;
use crate::cleaner::{Broken, Held};

/// What becomes of personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PiiAction {
    /// A placeholder as `[EMAIL]` takes its place.
    #[default]
    Mask,
    /// The row goes.
    Drop,
}

/// Which personal data is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PiiPlan {
    /// Kinds: `email`, `phone`, `ip`, `credit_card`, `iban`, `us_ssn`, `cn_id`, `secret`.
    pub kinds: Vec<String>,
    /// What becomes of it.
    pub action: PiiAction,
}

impl Default for PiiPlan {
    fn default() -> Self {
        Self { kinds: KINDS.iter().map(|kind| kind.name.to_owned()).collect(), action: PiiAction::Mask }
    }
}

/// One kind: a pattern finds candidates, a check decides with the text around them.
struct Kind {
    name: &'static str,
    rule: &'static str,
    placeholder: &'static str,
    pattern: &'static str,
    check: fn(&str, Range<usize>) -> bool,
}

/// In this order: the more certain first, so that a card number is not taken for a phone number.
const KINDS: [Kind; 8] = [
    Kind {
        name: "secret",
        rule: "pii.secret",
        placeholder: "[SECRET]",
        pattern: concat!(
            r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END (?:[A-Z]+ )*PRIVATE KEY-----",
            r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
            r"|\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{40,}\b|\bglpat-[A-Za-z0-9_-]{20,}",
            r"|\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{20,}|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}\b",
            r"|\bhf_[A-Za-z0-9]{30,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{35}",
            r"|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[A-Za-z0-9_-]{50,}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
            r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        ),
        check: checks::secret,
    },
    Kind {
        name: "email",
        rule: "pii.email",
        placeholder: "[EMAIL]",
        pattern: r"[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}",
        check: checks::email,
    },
    Kind {
        name: "iban",
        rule: "pii.iban",
        placeholder: "[IBAN]",
        pattern: r"[A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?",
        check: checks::iban,
    },
    Kind {
        name: "cn_id",
        rule: "pii.cn_id",
        placeholder: "[CN_ID]",
        pattern: r"[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]",
        check: checks::cn_id,
    },
    Kind {
        name: "credit_card",
        rule: "pii.credit_card",
        placeholder: "[CREDIT_CARD]",
        pattern: r"[2-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}",
        check: checks::credit_card,
    },
    Kind {
        name: "us_ssn",
        rule: "pii.us_ssn",
        placeholder: "[US_SSN]",
        pattern: r"[0-9]{3}-[0-9]{2}-[0-9]{4}",
        check: checks::us_ssn,
    },
    Kind {
        name: "ip",
        rule: "pii.ip",
        placeholder: "[IP]",
        pattern: r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){0,7}(?:::)?|::(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{1,4}",
        check: checks::ip,
    },
    Kind {
        name: "phone",
        rule: "pii.phone",
        placeholder: "[PHONE]",
        pattern: concat!(
            r"\+[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]{1,5}\)?){2,6}",
            r"|\([2-9][0-9]{2}\)[ .-]?[2-9][0-9]{2}[ .-][0-9]{4}|[2-9][0-9]{2}[-.][2-9][0-9]{2}[-.][0-9]{4}",
            r"|1[3-9][0-9]{9}|1[3-9][0-9][- ][0-9]{4}[- ][0-9]{4}",
        ),
        check: checks::phone,
    },
];

pub(crate) struct Pii {
    action: PiiAction,
    kinds: Vec<(&'static Kind, Regex)>,
}

impl Pii {
    pub(crate) fn new(plan: &PiiPlan) -> Result<Self, Vec<Wrong>> {
        let names = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        let is_unknown = |kind: &str| KINDS.iter().all(|known| known.name != kind);
        let unknown = plan.kinds.iter().enumerate().filter(|(_, kind)| is_unknown(kind));
        let mut wrong: Vec<Wrong> = unknown
            .map(|(index, kind)| {
                Wrong::new(format!("clean.pii.kinds[{index}]"), format!("`{kind}` is none of {}", names()))
            })
            .collect();
        let mut kinds = Vec::new();
        for kind in KINDS.iter().filter(|kind| plan.kinds.iter().any(|name| name == kind.name)) {
            match Regex::new(kind.pattern) {
                Ok(pattern) => kinds.push((kind, pattern)),
                Err(error) => wrong.push(Wrong::new("clean.pii.kinds", format!("{}: {error}", kind.name))),
            }
        }
        if wrong.is_empty() { Ok(Self { action: plan.action, kinds }) } else { Err(wrong) }
    }

    pub(crate) const fn action(&self) -> PiiAction {
        self.action
    }

    /// Leave out texts with personal data.
    pub(crate) fn check(&self, text: &str) -> Held {
        for (kind, pattern) in &self.kinds {
            if next(kind, pattern, text, 0).is_some() {
                return Err(Broken::new(kind.rule, kind.placeholder)); // a report should not tell it
            }
        }
        Ok(())
    }

    /// Put placeholders in place of personal data.
    pub(crate) fn mask(&self, text: &mut String, changed: &mut Vec<&'static str>) {
        for (kind, pattern) in &self.kinds {
            let (mut out, mut done) = (String::new(), 0);
            while let Some(found) = next(kind, pattern, text, done) {
                out.push_str(&text[done..found.start]);
                out.push_str(kind.placeholder);
                done = found.end;
            }
            if done > 0 {
                out.push_str(&text[done..]);
                *text = out;
                if !changed.contains(&kind.rule) {
                    changed.push(kind.rule);
                }
            }
        }
    }
}

/// The next place from `from` on that is of this kind.
fn next(kind: &Kind, pattern: &Regex, text: &str, from: usize) -> Option<Range<usize>> {
    let mut from = from;
    loop {
        let found = pattern.find_at(text, from)?.range();
        if (kind.check)(text, found.clone()) {
            return Some(found);
        }
        // go on one character later: what begins within may be one
        from = found.start + text[found.start..].chars().next().map_or(1, char::len_utf8);
    }
}
