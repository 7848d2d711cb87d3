//! Which languages stay: told by trigrams and scripts (whatlang, 69 languages), or by a fastText model.

mod fasttext;
mod file;
mod matrix;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use whatlang::Lang;

use crate::Wrong;
use crate::cleaner::{Broken, Held};
use fasttext::FastText;

/// Which languages stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LanguagePlan {
    /// ISO 639 codes of two or three letters, as `en` or `eng`; labels of the model, where there is one.
    pub languages: Vec<String>,
    /// A fastText model that tells the language, as `lid.176.ftz`.
    pub fasttext: Option<PathBuf>,
    /// Rows whose language is told with less confidence than this go; 0 keeps them.
    pub min_confidence: f64,
    /// Rows of fewer letters stay, whatever they are: nobody can tell.
    pub min_letters: usize,
}

impl Default for LanguagePlan {
    fn default() -> Self {
        Self { languages: Vec::new(), fasttext: None, min_confidence: 0.0, min_letters: 40 }
    }
}

/// Codes of two letters for whatlang's of three.
const SHORT: [(&str, &str); 71] = [
    ("af", "afr"),
    ("ak", "aka"),
    ("am", "amh"),
    ("ar", "ara"),
    ("az", "aze"),
    ("be", "bel"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("cy", "cym"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("et", "est"),
    ("fa", "pes"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("jv", "jav"),
    ("ka", "kat"),
    ("km", "khm"),
    ("kn", "kan"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lt", "lit"),
    ("lv", "lav"),
    ("mk", "mkd"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("my", "mya"),
    ("nb", "nob"),
    ("ne", "nep"),
    ("nl", "nld"),
    ("no", "nob"),
    ("or", "ori"),
    ("pa", "pan"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sn", "sna"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("th", "tha"),
    ("tk", "tuk"),
    ("tl", "tgl"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("yi", "yid"),
    ("zh", "cmn"),
    ("zu", "zul"),
];

pub(crate) struct LanguageRule {
    plan: LanguagePlan,
    teller: Teller,
}

/// What tells languages, and which of them stay.
enum Teller {
    Trigrams(Vec<Lang>),
    Model { model: Box<FastText>, stay: Vec<bool> },
}

impl LanguageRule {
    pub(crate) fn new(plan: &LanguagePlan) -> Result<Self, Vec<Wrong>> {
        if plan.languages.is_empty() && plan.min_confidence <= 0.0 {
            return Err(vec![Wrong::new(
                "clean.language",
                "name `languages` to keep, or a `min_confidence`",
            )]);
        }
        let teller = if let Some(path) = &plan.fasttext {
            let io =
                |error| vec![Wrong::new("clean.language.fasttext", format!("`{}`: {error}", path.display()))];
            let model = Box::new(FastText::read(path).map_err(io)?);
            let mut labels: Vec<&str> = model.labels().iter().map(String::as_str).collect();
            let stay = labels.iter().map(|label| plan.languages.iter().any(|code| code == label)).collect();
            labels.sort_unstable();
            refuse(plan, |code| labels.binary_search(&code).is_ok(), &labels)?;
            Teller::Model { model, stay }
        } else {
            refuse(plan, |code| of_code(code).is_some(), &known())?;
            Teller::Trigrams(plan.languages.iter().filter_map(|code| of_code(code)).collect())
        };
        Ok(Self { plan: plan.clone(), teller })
    }

    pub(crate) fn check(&self, text: &str) -> Held {
        if text.chars().filter(|letter| letter.is_alphabetic()).take(self.plan.min_letters).count()
            < self.plan.min_letters
        {
            return Ok(());
        }
        let Some((code, confidence, stays)) = self.tell(text) else {
            return Err(Broken::new("language.unknown", ""));
        };
        if !self.plan.languages.is_empty() && !stays {
            let detail = format!("confidence {confidence:.2}");
            return Err(Broken { rule: format!("language.{code}").into(), detail });
        }
        if confidence < self.plan.min_confidence {
            return Err(Broken::new("language.uncertain", format!("{code}, confidence {confidence:.2}")));
        }
        Ok(())
    }

    /// The language of a text, how sure that is, and whether it is among those that stay.
    fn tell(&self, text: &str) -> Option<(&str, f64, bool)> {
        match &self.teller {
            Teller::Trigrams(stay) => {
                let found = whatlang::detect(text)?;
                Some((short(found.lang()), found.confidence(), stay.contains(&found.lang())))
            }
            Teller::Model { model, stay } => {
                let (label, probability) = model.predict(text)?;
                Some((&model.labels()[label], probability.into(), stay[label]))
            }
        }
    }
}

/// Refuse the languages that nobody can tell.
fn refuse(plan: &LanguagePlan, knows: impl Fn(&str) -> bool, known: &[&str]) -> Result<(), Vec<Wrong>> {
    let known = known.join(", ");
    let unknown = plan.languages.iter().enumerate().filter(|(_, code)| !knows(code));
    let wrong: Vec<Wrong> = unknown
        .map(|(index, code)| {
            let reason = format!("`{code}` is no language that can be told; those are {known}");
            Wrong::new(format!("clean.language.languages[{index}]"), reason)
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn of_code(code: &str) -> Option<Lang> {
    let lower = code.to_lowercase();
    let long = SHORT.iter().find(|(short, _)| *short == lower).map_or(lower.as_str(), |(_, long)| long);
    Lang::from_code(if long == "zho" { "cmn" } else { long })
}

fn short(lang: Lang) -> &'static str {
    SHORT.iter().find(|(_, long)| *long == lang.code()).map_or(lang.code(), |(short, _)| short)
}

fn known() -> Vec<&'static str> {
    let mut codes: Vec<&str> = Lang::all().iter().map(|&lang| short(lang)).collect();
    codes.sort_unstable();
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_code_is_a_language() {
        for (_, long) in SHORT {
            assert!(Lang::from_code(long).is_some(), "{long}");
        }
        assert!(Lang::all().iter().all(|&lang| short(lang).len() == 2), "{:?}", known());
    }
}
