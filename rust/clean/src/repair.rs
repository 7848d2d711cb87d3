//! Repairs of obvious errors of Unicode: only where the error is certain.

mod mojibake;

use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::cleaner::{Broken, Held};
use crate::script::is_unspaced;
use crate::words::fraction;

/// Which errors are repaired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option")]
pub struct RepairPlan {
    /// UTF-8 that was read as Latin-1 or Windows-1252, once or several times: `cafÃ©`.
    pub mojibake: bool,
    /// Control characters: C1 are read as Windows-1252 meant them, others but tab, line feed and
    /// carriage return are removed.
    pub control: bool,
    /// Zero-width spaces and joiners where they join nothing, byte order marks.
    pub zero_width: bool,
    /// Normalization form C: letters and their accents as one character.
    pub nfc: bool,
    /// Part of the characters that are U+FFFD, from which on a row goes: bytes were lost; 1 keeps all.
    pub max_replacement: f64,
}

impl Default for RepairPlan {
    fn default() -> Self {
        Self { mojibake: true, control: true, zero_width: true, nfc: false, max_replacement: 0.01 }
    }
}

pub(crate) struct Repairer {
    plan: RepairPlan,
}

impl Repairer {
    pub(crate) const fn new(plan: RepairPlan) -> Self {
        Self { plan }
    }

    /// Repair a text in place; the names of what was done are added to `changed`, each once.
    pub(crate) fn repair(&self, text: &mut String, changed: &mut Vec<&'static str>) {
        let mut note = |text: &mut String, name, new: Option<String>| {
            if let Some(new) = new {
                *text = new;
                if !changed.contains(&name) {
                    changed.push(name);
                }
            }
        };
        if self.plan.mojibake && !text.is_ascii() {
            note(text, "repair.mojibake", mojibake::repaired(text));
        }
        if self.plan.control {
            note(text, "repair.control", without_controls(text));
        }
        if self.plan.zero_width && !text.is_ascii() {
            note(text, "repair.zero_width", without_zero_width(text));
        }
        if self.plan.nfc && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            let composed: String = text.nfc().collect();
            let new = (composed != *text).then_some(composed);
            note(text, "repair.nfc", new);
        }
    }

    /// Leave out texts of which too much is lost.
    pub(crate) fn check(&self, text: &str) -> Held {
        let lost = if text.is_ascii() { 0 } else { text.matches('\u{FFFD}').count() };
        if lost > 0 {
            let part = fraction(lost, text.chars().count());
            if part > self.plan.max_replacement {
                return Err(Broken::new("repair.replacement", format!("{lost} characters were lost")));
            }
        }
        Ok(())
    }
}

fn without_controls(text: &str) -> Option<String> {
    let wrong = |letter: char| matches!(letter, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}');
    if !text.contains(wrong) {
        return None;
    }
    let fix = |letter: char| match letter {
        '\u{85}' => Some('\n'), // the one C1 character in use: next line
        '\u{80}'..='\u{9f}' => mojibake::from_windows(letter),
        letter if wrong(letter) => None,
        letter => Some(letter),
    };
    Some(text.chars().filter_map(fix).collect())
}

fn without_zero_width(text: &str) -> Option<String> {
    let wide =
        |letter: char| matches!(letter, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{180e}' | '\u{feff}');
    if !text.contains(wide) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let before = out.chars().next_back();
        let after = letters.peek().copied();
        let neighbour = |is: &dyn Fn(char) -> bool| before.is_some_and(is) && after.is_some_and(is);
        let stays = match letter {
            // Thai, Khmer and others mark where lines may be broken
            '\u{200b}' => neighbour(&is_unspaced) && before.is_some_and(|letter| letter < '\u{2000}'),
            // joins letters of Indic and Arabic scripts, and emoji
            '\u{200c}' | '\u{200d}' => {
                before.is_some_and(|letter| letter >= '\u{600}') && !before.is_some_and(wide)
            }
            letter => !wide(letter),
        };
        if stays {
            out.push(letter);
        }
    }
    (out != text).then_some(out)
}
