//! Which characters Unicode's normal forms C and KC leave alone in any surroundings.

use unicode_normalization_alignments::{is_nfc, is_nfkc};

/// A normal form that composes.
#[derive(Clone, Copy)]
pub enum Form {
    /// NFC.
    Canonical,
    /// NFKC.
    Compatible,
}

impl Form {
    /// Whether the form changes nothing in `text`, told from its characters where they are inert, else by looking.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Self::Canonical => inert_only(text) || is_nfc(text),
            Self::Compatible => text.is_ascii() || is_nfkc(text),
        }
    }

    /// Whether a character is one that the form leaves alone in any surroundings; false may mean unknown.
    pub fn leaves(self, c: char) -> bool {
        inert(c)
            && match self {
                Self::Canonical => true,
                Self::Compatible => c.is_ascii() || is_nfkc(c.encode_utf8(&mut [0; 4])),
            }
    }
}

/// Whether NFC certainly changes nothing.
///
/// False only means unknown. The blocks below hold characters that are never composed with, never
/// composed onto by one another and never decomposed; stability of normalization is a promise of
/// Unicode, so they are good for any version.
fn inert_only(text: &str) -> bool {
    text.is_ascii() || text.chars().all(inert)
}

/// Whether a character is in one of the blocks of such characters.
fn inert(c: char) -> bool {
    matches!(u32::from(c),
        0..=0x2FF               // Latin with its marks composed; no combining marks
        | 0x0400..=0x0482       // Cyrillic
        | 0x048A..=0x052F
        | 0x05D0..=0x05EA       // Hebrew letters
        | 0x0621..=0x064A       // Arabic letters
        | 0x0660..=0x066D
        | 0x0671..=0x06D3
        | 0x0E01..=0x0E37       // Thai without its combining marks
        | 0x0E3F..=0x0E47
        | 0x2010..=0x2027       // dashes, quotes
        | 0x2030..=0x205E
        | 0x20A0..=0x20BF       // currencies
        | 0x2190..=0x21FF       // arrows
        | 0x2460..=0x27FF       // enclosed, boxes, dingbats
        | 0x3001..=0x3029       // CJK punctuation
        | 0x3041..=0x3096       // kana
        | 0x309D..=0x309E
        | 0x30A0..=0x30FF
        | 0x3105..=0x312F
        | 0x3400..=0x4DBF       // Han
        | 0x4E00..=0x9FFF
        | 0xAC00..=0xD7A3       // Hangul syllables; jamo are not in this list
        | 0xFF01..=0xFF9D       // full width
        | 0x1F300..=0x1F64F     // emoji
        | 0x1F680..=0x1F6FF
        | 0x1F900..=0x1F9FF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::normalizers::unicode::{NFC, NFKC};
    use tokenizers::{NormalizedString, Normalizer};

    fn normal(form: &impl Normalizer, text: &str) -> String {
        let mut normalized = NormalizedString::from(text);
        form.normalize(&mut normalized).unwrap();
        normalized.get().to_owned()
    }

    #[test]
    fn the_reference_leaves_every_inert_character_alone() {
        let all = |form: Form| ('\0'..=char::MAX).filter(|c| form.leaves(*c)).collect::<String>();
        let (canonical, compatible) = (all(Form::Canonical), all(Form::Compatible));
        assert!(compatible.chars().count() > 39_000 && canonical.len() > compatible.len());
        assert_eq!((normal(&NFC, &canonical), normal(&NFKC, &compatible)), (canonical, compatible));
    }

    #[test]
    fn a_character_is_normal_when_the_reference_leaves_it_alone() {
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            assert_eq!(Form::Compatible.holds(&text), normal(&NFKC, &text) == text, "{c:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_normal_when_the_reference_leaves_it_alone(
            text in "[a-e\u{300}-\u{315}\u{e0}-\u{e5}\u{915}\u{93c}\u{958}\u{1100}-\u{1112}\u{1161}-\u{1175}\u{ac00}\u{ac01}\u{1e0a}\u{323}\u{212b}\u{fb01}\u{a8}]{0,8}"
        ) {
            proptest::prop_assert_eq!(Form::Canonical.holds(&text), normal(&NFC, &text) == text);
            proptest::prop_assert_eq!(Form::Compatible.holds(&text), normal(&NFKC, &text) == text);
        }
    }

    #[test]
    fn inert_characters_do_not_compose_with_one_another() {
        let all: Vec<char> = ('\0'..=char::MAX).filter(|c| inert(*c)).collect();
        // What could be composed onto a character is a character that appears second in some
        // canonical decomposition: find those by decomposing everything, they must not be inert.
        for c in ('\0'..=char::MAX).filter(|c| !('\u{AC00}'..='\u{D7A3}').contains(c)) {
            let mut decomposed = NormalizedString::from(c.to_string());
            tokenizers::normalizers::unicode::NFD.normalize(&mut decomposed).unwrap();
            for second in decomposed.get().chars().skip(1) {
                assert!(all.binary_search(&second).is_err(), "{second:?} from {c:?}");
            }
        }
    }
}
