//! Which characters Unicode's normal form C leaves alone in any surroundings.

/// Whether NFC changes nothing in `text`, told from its characters where they are inert, else by looking.
#[must_use]
pub fn is_nfc(text: &str) -> bool {
    inert_only(text) || unicode_normalization_alignments::is_nfc(text)
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
pub fn inert(c: char) -> bool {
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
    use tokenizers::normalizers::unicode::NFC;
    use tokenizers::{NormalizedString, Normalizer};

    fn nfc(text: &str) -> String {
        let mut normalized = NormalizedString::from(text);
        NFC.normalize(&mut normalized).unwrap();
        normalized.get().to_owned()
    }

    #[test]
    fn the_reference_leaves_every_inert_character_alone() {
        let all: String = ('\0'..=char::MAX).filter(|c| inert(*c)).collect();
        assert!(all.chars().count() > 40_000);
        assert_eq!(nfc(&all), all);
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_normal_when_the_reference_leaves_it_alone(
            text in "[a-e\u{300}-\u{315}\u{e0}-\u{e5}\u{915}\u{93c}\u{958}\u{1100}-\u{1112}\u{1161}-\u{1175}\u{ac00}\u{ac01}\u{1e0a}\u{323}\u{212b}]{0,8}"
        ) {
            proptest::prop_assert_eq!(is_nfc(&text), nfc(&text) == text);
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
