//! Which languages stay: language identification by trigrams and scripts (whatlang, 69 languages).

use serde::{Deserialize, Serialize};
use whatlang::Lang;

use crate::CleanError;
use crate::cleaner::{Broken, Held};

/// Which languages stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LanguagePlan {
    /// ISO 639 codes of two or three letters, as `en` or `eng`.
    pub languages: Vec<String>,
    /// Rows whose language is told with less confidence than this go; 0 keeps them.
    pub min_confidence: f64,
    /// Rows of fewer letters stay, whatever they are: nobody can tell.
    pub min_letters: usize,
}

impl Default for LanguagePlan {
    fn default() -> Self {
        Self { languages: Vec::new(), min_confidence: 0.0, min_letters: 40 }
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
    languages: Vec<Lang>,
}

impl LanguageRule {
    pub(crate) fn new(plan: &LanguagePlan) -> Result<Self, CleanError> {
        let find = |code: &String| {
            let lower = code.to_lowercase();
            let long =
                SHORT.iter().find(|(short, _)| *short == lower).map_or(lower.as_str(), |(_, long)| long);
            Lang::from_code(if long == "zho" { "cmn" } else { long }).ok_or_else(|| {
                CleanError::Plan(format!(
                    "language.languages: `{code}` is no language that can be told; those are {}",
                    known().join(", ")
                ))
            })
        };
        let languages = plan.languages.iter().map(find).collect::<Result<_, _>>()?;
        if plan.languages.is_empty() && plan.min_confidence <= 0.0 {
            return Err(CleanError::Plan("language: name `languages` to keep, or a `min_confidence`".into()));
        }
        Ok(Self { plan: plan.clone(), languages })
    }

    pub(crate) fn check(&self, text: &str) -> Held {
        if text.chars().filter(|letter| letter.is_alphabetic()).take(self.plan.min_letters).count()
            < self.plan.min_letters
        {
            return Ok(());
        }
        let Some(found) = whatlang::detect(text) else {
            return Err(Broken::new("language.unknown", ""));
        };
        let (lang, confidence) = (found.lang(), found.confidence());
        let code = short(lang);
        if !self.languages.is_empty() && !self.languages.contains(&lang) {
            let detail = format!("confidence {confidence:.2}");
            return Err(Broken { rule: format!("language.{code}").into(), detail });
        }
        if confidence < self.plan.min_confidence {
            return Err(Broken::new("language.uncertain", format!("{code}, confidence {confidence:.2}")));
        }
        Ok(())
    }
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
