//! UTF-8 that was read as Latin-1 or Windows-1252, and how to tell.
//!
//! Each character above ASCII is turned back into the byte it came from; where the bytes are UTF-8
//! and the characters could hardly have stood there by intent, the decoded text takes their place.
//! What can't be sure stays: `CAFÉ”` is a café in quotation marks, though its last two characters
//! would decode. Encoding the repaired text again gives the original back.

/// Repair, several times if it was damaged several times; None when there is nothing to repair.
pub(super) fn repaired(text: &str) -> Option<String> {
    let mut out = once(text)?;
    for _ in 0..3 {
        match once(&out) {
            Some(better) => out = better,
            None => break,
        }
    }
    Some(out)
}

/// What Windows-1252 has at 0x80 to 0x9F; its five holes are Latin-1's control characters.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// What a C1 control character was meant to be; None where Windows-1252 has nothing.
pub(super) fn from_windows(letter: char) -> Option<char> {
    let meant = *WINDOWS.get((letter as usize).checked_sub(0x80)?)?;
    (meant != letter).then_some(meant)
}

/// The byte that was read as `letter`, and whether only Latin-1 reads it so (a control character).
fn byte_of(letter: char) -> Option<u8> {
    match u32::from(letter) {
        code @ 0x80..=0xFF => u8::try_from(code).ok(),
        code if code > 0xFF => {
            let at = WINDOWS.iter().position(|&other| other == letter)?;
            u8::try_from(0x80 + at).ok()
        }
        _ => None,
    }
}

fn once(text: &str) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    if let Some(whole) = whole(&letters) {
        return Some(whole);
    }
    let mut out = String::new();
    let (mut at, mut changed) = (0, false);
    while at < letters.len() {
        let end = at + letters[at..].iter().take_while(|&&letter| byte_of(letter).is_some()).count();
        if end == at {
            out.push(letters[at]);
            at += 1;
            continue;
        }
        let before = at.checked_sub(1).map(|at| letters[at]);
        changed |= run(&letters[at..end], before, letters.get(end).copied(), &mut out);
        at = end;
    }
    changed.then_some(out)
}

/// The text of which every character above ASCII is part of a damaged one, when one of them is for
/// certain: then the others, of which each could have been meant by itself, are as well.
fn whole(letters: &[char]) -> Option<String> {
    let mut out = String::new();
    let (mut at, mut sure) = (0, false);
    while at < letters.len() {
        if letters[at].is_ascii() {
            out.push(letters[at]);
            at += 1;
            continue;
        }
        let length = letters[at..].iter().take_while(|letter| !letter.is_ascii()).count();
        let (part, before) = (&letters[at..at + length], at.checked_sub(1).map(|at| letters[at]));
        let pieces = decode(part);
        if pieces.iter().map(|piece| piece.length).sum::<usize>() != length {
            return None;
        }
        sure = sure || certain(part, &pieces, before, letters.get(at + length).copied());
        out.extend(pieces.iter().map(|piece| piece.letter));
        at += length;
    }
    sure.then_some(out)
}

/// One character that several bytes were read from.
struct Piece {
    letter: char,
    length: usize,
}

/// Repair what is between ASCII (or characters that no byte is read as); says whether it did.
fn run(letters: &[char], before: Option<char>, after: Option<char>, out: &mut String) -> bool {
    let mut changed = false;
    let mut at = 0;
    while at < letters.len() {
        let pieces = decode(&letters[at..]);
        let length: usize = pieces.iter().map(|piece| piece.length).sum();
        let left = if at == 0 { before } else { Some(letters[at - 1]) };
        let right =
            letters.get(at + length).copied().or(if at + length == letters.len() { after } else { None });
        if !pieces.is_empty() && certain(&letters[at..at + length], &pieces, left, right) {
            out.extend(pieces.iter().map(|piece| piece.letter));
            changed = true;
            at += length;
        } else if let Some(first) = pieces.first() {
            // one piece by itself may be certain where the whole row of them is not
            let single = &letters[at..at + first.length];
            let next = letters.get(at + first.length).copied().or(after);
            if pieces.len() > 1 && certain(single, &pieces[..1], left, next) {
                out.push(first.letter);
                changed = true;
            } else {
                out.extend(single);
            }
            at += first.length;
        } else {
            out.push(letters[at]);
            at += 1;
        }
    }
    changed
}

/// The characters that the bytes of `letters` are, as far as they are UTF-8.
fn decode(letters: &[char]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let Some(lead) = byte_of(letters[at]) else { break };
        let length = match lead {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => break,
        };
        let bytes: Vec<u8> =
            letters[at..].iter().take(length).filter_map(|&letter| byte_of(letter)).collect();
        let Ok(text) = std::str::from_utf8(&bytes) else { break };
        let Some(letter) = text.chars().next() else { break };
        pieces.push(Piece { letter, length });
        at += length;
    }
    pieces
}

/// Signs that stand after words: quotation marks, dashes, marks of ownership.
fn is_quotation(letter: char) -> bool {
    matches!(
        letter,
        '»' | '«'
            | '”'
            | '“'
            | '„'
            | '’'
            | '‘'
            | '…'
            | '–'
            | '—'
            | '›'
            | '‹'
            | '™'
            | '®'
            | '\u{a0}'
    )
}

/// Signs that may well follow a letter in a text without errors.
fn may_follow(letter: char) -> bool {
    let footnote = matches!(letter, '°' | '²' | '³' | '·' | '•' | '†' | '‡' | 'º' | 'ª' | '¹' | '©' | '§');
    is_quotation(letter) || footnote || matches!(letter, '€' | '£' | '¢' | '‚')
}

/// Whether these letters can't have been meant.
#[allow(clippy::match_same_arms, reason = "one reason an arm")]
fn certain(letters: &[char], pieces: &[Piece], before: Option<char>, after: Option<char>) -> bool {
    if letters.iter().any(|letter| matches!(letter, '\u{80}'..='\u{9f}')) {
        return true; // control characters within a word
    }
    // a byte read as a letter stands where a reader would not put it
    let strange = |piece: &[char]| !piece[1..].iter().all(|&letter| may_follow(letter));
    let mut start = 0;
    let mut evidence = 0;
    for piece in pieces {
        let part = &letters[start..start + piece.length];
        start += piece.length;
        evidence += match (piece.letter, part[1]) {
            // accents of Western Europe and signs
            ('®' | '™', _) => 4,
            ('\u{80}'..='\u{ff}', second) if !is_quotation(second) => 4,
            ('\u{80}'..='\u{bf}', _) | ('\u{80}'..='\u{ff}', '™' | '®') => 3,
            ('\u{c0}'..='\u{ff}', _) => 2,
            // quotation marks, dashes and signs; emoji
            ('\u{2010}'..='\u{2bff}', '€') | ('\u{1f000}'.., _) => 4,
            ('\u{2010}'..='\u{2bff}', _) if strange(part) => 4,
            _ if part.len() >= 3 && strange(part) => 3,
            _ if strange(part) => 2,
            _ => 1,
        };
    }
    let in_a_word = |letter: Option<char>| letter.is_some_and(char::is_lowercase);
    if in_a_word(before) && letters[0].is_uppercase() {
        evidence += 3;
    }
    if in_a_word(after) {
        let joins = matches!(letters[letters.len() - 1], '…' | '–' | '—' | '’');
        evidence += if joins { 1 } else { 3 };
    }
    evidence >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UTF-8 read as Windows-1252.
    fn damaged(text: &str) -> String {
        let read = |&byte: &u8| {
            if (0x80..0xA0).contains(&byte) { WINDOWS[usize::from(byte) - 0x80] } else { byte.into() }
        };
        text.as_bytes().iter().map(read).collect()
    }

    #[test]
    fn damaged_text_is_repaired_once_and_twice() {
        for text in [
            "café",
            "naïve – “quoted”",
            "It’s",
            "10 € a day",
            "Привет, мир",
            "Ελληνικά",
            "你好，世界",
            "日本語の文",
            "😀 smile",
            "Łódź",
            "São Paulo",
            "ÀÉÎÕÜ über",
            "™ ® © °C",
            "a\u{a0}b",
            "한국어 문장",
            "שלום",
            "œuvre",
            "да в лес и с ним",
        ] {
            assert_eq!(repaired(&damaged(text)).as_deref(), Some(text));
            assert_eq!(repaired(&damaged(&damaged(text))).as_deref(), Some(text), "twice");
        }
    }

    #[test]
    fn text_without_errors_stays() {
        for text in [
            "CAFÉ™ is a mark",
            "“CAFÉ”",
            "«VOILÀ»",
            "le café… été",
            "GROSS- UND KLEINSCHREIBUNG: SPAẞ»",
            "Spaß» sagte",
            "AÇÃO” disse",
            "IRMû",
            "voilà»… et",
            "naïve “quoted” – it’s 10 €",
            "Łódź – Kraków",
            "Ã is a letter",
            "Привет",
            "你好",
            "à «quoted» è",
            "ß²",
            "Å™",
            "Â is one, â another",
            "L’Étoile",
            "PARÍS… SÍ",
            "É’",
        ] {
            assert_eq!(repaired(text), None, "{text}");
        }
    }
}
