//! Automata beside the reference's own engine.

use proptest::prelude::*;
use tokenizers::utils::SysRegex;

use super::*;

/// One a family: GPT-2; Llama 3 and cl100k; Qwen 2; Qwen 3.5; o200k; Tekken; `DeepSeek` V3's last; two of `DeepSeek` LLM's.
const PATTERNS: [&str; 10] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    r"\s+$|x",
    "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+",
    r"(?:a|ab)(?:c|bcd)(?=d)|a{2,3}?b|[x-z0-9-]+?(?!\d)|\p{^L}",
];

fn both() -> Vec<(Automaton, SysRegex)> {
    PATTERNS.iter().map(|text| (Automaton::of(text).unwrap(), SysRegex::new(text).unwrap())).collect()
}

fn check(text: &str, both: &[(Automaton, SysRegex)]) {
    for ((automaton, regex), pattern) in both.iter().zip(PATTERNS) {
        let wanted: Vec<(usize, usize)> = regex.find_iter(text).collect();
        let (mut ours, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let end = automaton.end(text, at).ok();
            ours.extend(end.map(|end| (at, end)));
            at = end.unwrap_or_else(|| at + text[at..].chars().next().unwrap().len_utf8());
        }
        assert_eq!(ours, wanted, "{pattern} {text:?}");
    }
}

#[test]
fn every_short_string_over_the_classes_is_cut_as_by_the_reference() {
    let both = both();
    let alphabet = ['s', 'L', '1', ' ', '\n', '\'', '!', '\u{301}', '你', 'ſ', '²', 'é', '\u{a0}', '/', 'ǅ'];
    let mut text = String::new();
    for (length, letters) in [(1, 15), (2, 15), (3, 15), (4, 9)] {
        for number in 0..usize::pow(letters, length) {
            let mut rest = number;
            text.clear();
            for _ in 0..length {
                text.push(alphabet[rest % letters]);
                rest /= letters;
            }
            check(&text, &both);
        }
    }
}

#[test]
fn every_code_point_is_cut_as_by_the_reference_in_its_surroundings() {
    let both = both();
    for (before, after) in [("a", " '"), (" ", "s1\n")] {
        let mut text = String::new();
        for c in '\0'..=char::MAX {
            text.extend([before, c.encode_utf8(&mut [0; 4]), after]);
            if text.len() > 4000 {
                check(&text, &both);
                text.clear();
            }
        }
        check(&text, &both);
    }
}

#[test]
fn what_lies_between_single_characters_is_cut_as_in_two_steps() {
    let set = Set::numeric();
    for pattern in PATTERNS {
        let (one, two) = (Automaton::between(&set, pattern).unwrap(), Automaton::of(pattern).unwrap());
        let alphabet = ['a', 's', ' ', '\n', '1', '\u{b2}', '\'', '!', '\u{4e00}', '\u{96f6}'];
        let cut = |automaton: &Automaton, text: &str| {
            let (mut ends, mut at) = (Vec::new(), 0);
            while at < text.len() {
                let end = automaton.end(text, at).ok();
                ends.extend(end.map(|end| (at, end)));
                at = end.unwrap_or_else(|| at + text[at..].chars().next().unwrap().len_utf8());
            }
            ends
        };
        for number in 0..100_000_usize {
            let text: String = (0..5).map(|digit| alphabet[number / 10_usize.pow(digit) % 10]).collect();
            let (mut wanted, mut from) = (Vec::new(), 0);
            for (at, c) in
                text.char_indices().filter(|(_, c)| set.has((*c).into())).chain([(text.len(), ' ')])
            {
                wanted
                    .extend(cut(&two, &text[from..at]).iter().map(|(begin, end)| (from + begin, from + end)));
                from = at + c.len_utf8();
                if at < text.len() {
                    wanted.push((at, from));
                }
            }
            assert_eq!(cut(&one, &text), wanted, "{pattern} {text:?}");
        }
    }
}

#[test]
fn no_match_begins_at_a_place_that_is_passed_over() {
    let alphabet = ['a', 'b', 'x', '1', ' ', '\n', '\u{a0}', '-'];
    let expressions = [r"\s+$", r"a+b|\s[a-z]+ *1", r"(?:a|ab)(?:x|bx1)(?=1)|-+a|a {2,3}x", r"[a-z]+(?!\S)"];
    let mut passed = 0;
    for automaton in expressions.map(|text| Automaton::of(text).unwrap()) {
        for number in 0..usize::pow(8, 6) {
            let text: String = (0..6).map(|digit| alphabet[number >> (3 * digit) & 7]).collect();
            let Err(to) = automaton.end(&text, 0) else { continue };
            let next = automaton.next_start(&text, 0, to);
            assert!(next > 0 && text.is_char_boundary(next));
            for start in (1..next).filter(|start| text.is_char_boundary(*start)) {
                assert!(automaton.end(&text, start).is_err(), "{text:?} from {start}");
                passed += 1;
            }
        }
    }
    assert!(passed > 10_000, "{passed}");
    let text = format!("{}1", " \u{a0}".repeat(1000));
    let automaton = Automaton::of(r"\s+$").unwrap();
    let to = automaton.end(&text, 0).unwrap_err();
    assert_eq!((to, automaton.next_start(&text, 0, to)), (3000, 3000));
}

#[test]
fn what_is_not_known_exactly_is_refused() {
    for text in [
        r"\w+",
        r"^a",
        r"$",
        "a.",
        r"a++",
        r"(?<=a)b",
        r"(?>a)",
        r"(?i:ss)",
        r"(?i:é)",
        r"[[:alpha:]]",
        r"[a&&b]",
        r"\p{Han}",
        "a*",
        "(?!a)",
        "(",
        "[a",
        "a{2}{3}",
        r"\bа",
        r"(a)\1",
        "a{999}",
        "(?:a*)*b",
        r"(?i:[^a])",
    ] {
        assert!(Automaton::of(text).is_none(), "{text}");
    }
}

#[test]
fn letters_are_counted_up_to_the_first_other_byte() {
    for other in 0..=u8::MAX {
        for place in 0..8 {
            for fill in *b"azAZmQ" {
                let mut eight = [fill; 8];
                eight[place] = other;
                for large in [false, true] {
                    let is_letter =
                        |byte: &u8| byte.is_ascii_lowercase() || large && byte.is_ascii_uppercase();
                    let wanted = eight.iter().take_while(|byte| is_letter(byte)).count();
                    assert_eq!(letters(u64::from_le_bytes(eight), large), wanted, "{eight:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn strings_are_cut_as_by_the_reference(text in "([a-zA-Z]{1,20}|[ \n\r\t]{1,3}|[0-9²٤]{1,4}|'[sStTrRvVlLdDmMeEſ]{1,3}|[!-/]{1,3}|[éß你あ\u{30a}\u{301}\u{a0}\u{85}🙂\u{200d}ǅʰ\u{2028}\u{180e}]){0,12}") {
        static BOTH: std::sync::LazyLock<Vec<(Automaton, SysRegex)>> = std::sync::LazyLock::new(both);
        check(&text, &BOTH);
    }
}
