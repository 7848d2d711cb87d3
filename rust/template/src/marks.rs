//! Marks: noncharacters that carry byte spans through a rendering.
//!
//! A mark is put where a span begins and where it ends; whatever the template does with the text,
//! the marks move with it. `take` removes them and says where they stood. The marks of a rendering
//! are chosen among the 32 noncharacters U+FDD0 to U+FDEF that its input does not contain.

/// A pair of noncharacters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Where a span begins.
    pub open: char,
    /// Where it ends.
    pub close: char,
}

/// Two pairs of marks that none of `texts` contains; None when they contain almost all of them.
pub fn choose<'a>(texts: impl Iterator<Item = &'a str>) -> Option<(Marks, Marks)> {
    let mut used = [false; 32];
    for text in texts {
        // Noncharacters begin with the bytes EF B7: rare enough for a look at each.
        let bytes = text.as_bytes();
        if !bytes.contains(&0xEF) {
            continue;
        }
        for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == 0xEF) {
            if let [0xEF, 0xB7, last @ 0x90..=0xAF, ..] = bytes[at..] {
                used[usize::from(last - 0x90)] = true;
            }
        }
    }
    let mut free =
        (0..32_u32).filter(|index| !used[*index as usize]).filter_map(|index| char::from_u32(0xFDD0 + index));
    let mut pair = || Some(Marks { open: free.next()?, close: free.next()? });
    Some((pair()?, pair()?))
}

/// A text without its marks, and the half-open byte ranges that they enclosed.
///
/// Lone marks, which a template can leave by cutting between two, bound empty ranges: they still
/// separate what stands on either side.
#[must_use]
pub fn take(text: &str, marks: Marks) -> (String, Vec<(usize, usize)>) {
    let mut out = String::with_capacity(text.len());
    let mut spans = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut done = 0;
    for (at, opens) in find(text, marks) {
        out.push_str(&text[done..at]);
        done = at + if opens { marks.open } else { marks.close }.len_utf8();
        if opens {
            open.push(out.len());
        } else {
            spans.push((open.pop().unwrap_or(out.len()), out.len()));
        }
    }
    out.push_str(&text[done..]);
    spans.extend(open.into_iter().map(|at| (at, at)));
    spans.sort_unstable();
    (out, spans)
}

/// Where marks stand, in order, and whether they open.
fn find(text: &str, marks: Marks) -> impl Iterator<Item = (usize, bool)> {
    let first = |mark: char| mark.encode_utf8(&mut [0; 4]).as_bytes()[0];
    let kind = move |at: usize| match text[at..].chars().next() {
        Some(c) if c == marks.open => Some((at, true)),
        Some(c) if c == marks.close => Some((at, false)),
        _ => None,
    };
    // no byte that begins a character is part of another
    memchr::memchr2_iter(first(marks.open), first(marks.close), text.as_bytes()).filter_map(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARKS: Marks = Marks { open: '\u{FDD0}', close: '\u{FDD1}' };

    #[test]
    fn marks_that_the_text_contains_are_not_chosen() {
        let (first, second) = choose(["a\u{FDD0}", "\u{FDD2}\u{FDD3}"].into_iter()).unwrap();
        assert_eq!((first.open, first.close, second.open), ('\u{FDD1}', '\u{FDD4}', '\u{FDD5}'));
        let all: String = ('\u{FDD0}'..='\u{FDEF}').collect();
        assert!(choose([all.as_str()].into_iter()).is_none());
    }

    proptest! {
        #[test]
        fn what_is_marked_is_found_again(parts in prop::collection::vec((any::<bool>(), "[a-zé😀]{0,5}"), 0..9)) {
            let (mut marked, mut plain, mut spans) = (String::new(), String::new(), Vec::new());
            for (inside, text) in &parts {
                let from = plain.len();
                plain.push_str(text);
                if *inside {
                    marked.push(MARKS.open);
                    spans.push((from, plain.len()));
                }
                marked.push_str(text);
                if *inside {
                    marked.push(MARKS.close);
                }
            }
            spans.sort_unstable();
            prop_assert_eq!(take(&marked, MARKS), (plain, spans));
        }
    }
}
