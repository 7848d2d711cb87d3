//! Letters of scripts that are written without spaces between words.

use unicode_normalization::char::is_combining_mark;

/// Whether words of this letter's script are not separated by spaces: Han, kana, Thai, Lao, Khmer,
/// Burmese.
#[inline]
#[must_use]
pub fn is_unspaced(letter: char) -> bool {
    matches!(u32::from(letter),
        0x0E01..=0x0EDF | 0x1000..=0x109F | 0x1780..=0x17D3 | 0x3005..=0x3007 | 0x3041..=0x30FF
        | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0xFF66..=0xFF9F
        | 0x20000..=0x3FFFF)
        && !matches!(letter, '฿' | '๏' | '゠' | '・' | '၊' | '။')
        && !is_digit(letter)
}

/// Thai, Lao and Burmese digits make numbers, which are words.
const fn is_digit(letter: char) -> bool {
    matches!(letter as u32, 0x0E50..=0x0E59 | 0x0ED0..=0x0ED9 | 0x1040..=0x1049 | 0x1090..=0x1099)
}

/// Whether it is written onto the letter before it.
#[inline]
#[must_use]
pub fn is_mark(letter: char) -> bool {
    letter >= '\u{300}' && (is_combining_mark(letter) || matches!(letter, '\u{200C}' | '\u{200D}'))
}
