//! Synonyms from a `WordNet` folder: only those that fit nearly everywhere.
//!
//! A word has many senses, and which one is meant can't be told here. So a word is taken when one
//! part of speech and in it one sense make up most of its counted uses, and a synonym when that
//! sense is its own most common one. Slang, slurs and archaic words are left out. Inflected forms are made for regular verbs only, and only where
//! spelling leaves no doubt: whether a noun has a plural can't be told.

use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::plan::AugmentError;

const PARTS: [&str; 4] = ["noun", "verb", "adj", "adv"];

/// A word in one part of speech: its synsets, the most common first.
type Index = FxHashMap<String, Vec<u64>>;

/// Read the folder: words, each with its synonyms, by alphabet.
///
/// # Errors
/// A file is missing or is none of `WordNet`'s.
pub fn read(folder: &Path) -> Result<Vec<(String, Vec<String>)>, AugmentError> {
    let counts = counts(&text(folder, "cntlist.rev").unwrap_or_default());
    let indices: Vec<Index> =
        PARTS.iter().map(|part| index(folder, &format!("index.{part}"))).collect::<Result<_, _>>()?;
    let irregular: FxHashSet<String> = text(folder, "verb.exc")
        .unwrap_or_default()
        .lines()
        .flat_map(|line| line.split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut found = Vec::new();
    for (part, index) in indices.iter().enumerate() {
        let synsets = synsets(folder, &format!("data.{}", PARTS[part]))?;
        for (word, senses) in index {
            if !is_plain(word) || !is_certain(word, part, senses.len(), &indices, &counts) {
                continue;
            }
            let members = synsets.get(&senses[0]).map(Vec::as_slice).unwrap_or_default();
            let fits = |other: &&String| {
                *other != word && is_plain(other) && index.get(*other).is_some_and(|own| own[0] == senses[0])
            };
            let synonyms: Vec<String> = members.iter().filter(fits).cloned().collect();
            if synonyms.is_empty() {
                continue;
            }
            if part == 1 && is_regular(word, &irregular) {
                for form in [Form::S, Form::Ed, Form::Ing] {
                    let Some(inflected) = inflect(word, form) else { continue };
                    let others: Vec<String> = synonyms
                        .iter()
                        .filter(|other| is_regular(other, &irregular))
                        .filter_map(|other| inflect(other, form))
                        .collect();
                    let is_word = indices.iter().any(|index| index.contains_key(&inflected));
                    if !is_word && !others.is_empty() {
                        found.push((inflected, others));
                    }
                }
            }
            found.push((word.clone(), synonyms));
        }
    }
    found.sort();
    Ok(found)
}

fn text(folder: &Path, name: &str) -> Result<String, AugmentError> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|error| AugmentError::Unreadable {
        reason: format!("{error}; a WordNet folder holds index.noun, data.noun and so on"),
        path,
    })
}

/// How often each sense was counted in texts: word -> (part, sense from 1) -> times.
fn counts(text: &str) -> FxHashMap<String, Vec<(usize, usize, u64)>> {
    let mut counts: FxHashMap<String, Vec<(usize, usize, u64)>> = FxHashMap::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(key), Some(sense), Some(times)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Some((word, rest)) = key.split_once('%') else { continue };
        let part = match rest.as_bytes().first() {
            Some(b'1') => 0,
            Some(b'2') => 1,
            Some(b'3' | b'5') => 2,
            _ => 3,
        };
        if let (Ok(sense), Ok(times)) = (sense.parse(), times.parse()) {
            counts.entry(word.to_owned()).or_default().push((part, sense, times));
        }
    }
    counts
}

/// Whether nearly every use of a word is in its first sense of this part of speech.
fn is_certain(
    word: &str,
    part: usize,
    senses: usize,
    indices: &[Index],
    counts: &FxHashMap<String, Vec<(usize, usize, u64)>>,
) -> bool {
    let counted = counts.get(word).map(Vec::as_slice).unwrap_or_default();
    let all: u64 = counted.iter().map(|count| count.2).sum();
    if all < 4 {
        let elsewhere =
            indices.iter().enumerate().any(|(other, index)| other != part && index.contains_key(word));
        return senses == 1 && !elsewhere;
    }
    let here: u64 = counted.iter().filter(|count| count.0 == part).map(|count| count.2).sum();
    let first: u64 =
        counted.iter().filter(|count| (count.0, count.1) == (part, 1)).map(|count| count.2).sum();
    here * 10 >= all * 9 && first * 10 >= all * 6
}

fn index(folder: &Path, name: &str) -> Result<Index, AugmentError> {
    let text = text(folder, name)?;
    let mut index = Index::default();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with(' ') {
            continue; // the licence
        }
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // lemma pos synset_cnt p_cnt [p_cnt symbols] sense_cnt tagsense_cnt [synset_cnt offsets]
        let parsed = (|| {
            let senses: usize = fields.get(2)?.parse().ok()?;
            let offsets = fields.get(fields.len().checked_sub(senses)?..)?;
            let offsets: Option<Vec<u64>> = offsets.iter().map(|offset| offset.parse().ok()).collect();
            offsets.filter(|offsets| !offsets.is_empty())
        })();
        let Some(offsets) = parsed else {
            return Err(AugmentError::Line {
                path: folder.join(name),
                line: number + 1,
                reason: "this is no line of a WordNet index".to_owned(),
            });
        };
        index.insert(fields[0].to_owned(), offsets);
    }
    Ok(index)
}

/// The words of each synset, by its place in the file.
fn synsets(folder: &Path, name: &str) -> Result<FxHashMap<u64, Vec<String>>, AugmentError> {
    let text = text(folder, name)?;
    let mut synsets = FxHashMap::default();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with(' ') {
            continue;
        }
        let fields: Vec<&str> = line.split(' ').collect();
        let parsed = (|| {
            let offset: u64 = fields.first()?.parse().ok()?;
            let len = usize::from_str_radix(fields.get(3)?, 16).ok()?;
            let words = fields.get(4..4 + 2 * len)?;
            // `;u`: slang, slurs, archaic and such; what is said so has no everyday synonym
            let everyday = !line.split('|').next()?.contains(" ;u ");
            let words = if everyday { words } else { &[] };
            let plain = |word: &&str| word.split('(').next().unwrap_or_default().to_owned();
            Some((offset, words.iter().step_by(2).map(plain).collect()))
        })();
        let Some((offset, words)) = parsed else {
            return Err(AugmentError::Line {
                path: folder.join(name),
                line: number + 1,
                reason: "this is no line of WordNet data".to_owned(),
            });
        };
        synsets.insert(offset, words);
    }
    Ok(synsets)
}

/// Small letters only: no names, numbers or words of several parts.
fn is_plain(word: &str) -> bool {
    word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Whether a verb, without what is put before verbs, is not among the irregular ones.
fn is_regular(verb: &str, irregular: &FxHashSet<String>) -> bool {
    const BEFORE: [&str; 11] = ["", "over", "under", "out", "re", "un", "fore", "mis", "up", "with", "be"];
    !BEFORE.iter().filter_map(|before| verb.strip_prefix(before)).any(|rest| irregular.contains(rest))
}

/// A form of a regular verb.
#[derive(Clone, Copy)]
enum Form {
    S,
    Ed,
    Ing,
}

/// A regular verb's form; None where the spelling may double a letter.
fn inflect(verb: &str, form: Form) -> Option<String> {
    let letters = verb.as_bytes();
    let vowel = |at: usize| {
        matches!(letters[at], b'a' | b'e' | b'i' | b'o')
            || (letters[at] == b'u' && (at == 0 || letters[at - 1] != b'q'))
    };
    let (last, before) = (letters.len() - 1, letters.len() - 2);
    let stem = &verb[..last];
    let falls = letters[last] == b'y' && !vowel(before);
    let hisses = verb.ends_with(['s', 'x', 'z', 'o']) || verb.ends_with("ch") || verb.ends_with("sh");
    let ends_hard = !vowel(last) && !matches!(letters[last], b'w' | b'x' | b'y');
    let after_one_vowel = vowel(before) && (last < 2 || !vowel(last - 2));
    let doubles = letters[last] == b'c' || (ends_hard && after_one_vowel);
    match form {
        Form::S if falls => Some(format!("{stem}ies")),
        Form::S if hisses => Some(format!("{verb}es")),
        Form::S => Some(format!("{verb}s")),
        Form::Ed if falls => Some(format!("{stem}ied")),
        Form::Ed if letters[last] == b'e' => Some(format!("{verb}d")),
        Form::Ing if verb.ends_with("ie") => Some(format!("{}ying", &verb[..before])),
        Form::Ing if letters[last] == b'e' && !matches!(letters[before], b'e' | b'o' | b'y') => {
            Some(format!("{stem}ing"))
        }
        _ if doubles => None,
        Form::Ed => Some(format!("{verb}ed")),
        Form::Ing => Some(format!("{verb}ing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_inflected_where_that_is_certain() {
        let forms = |verb| [Form::S, Form::Ed, Form::Ing].map(|form| inflect(verb, form).unwrap_or_default());
        assert_eq!(forms("purchase"), ["purchases", "purchased", "purchasing"]);
        assert_eq!(forms("carry"), ["carries", "carried", "carrying"]);
        assert_eq!(forms("fix"), ["fixes", "fixed", "fixing"]);
        assert_eq!(forms("plan"), ["plans", "", ""]);
        assert_eq!(forms("equip"), ["equips", "", ""]);
        assert_eq!(forms("panic"), ["panics", "", ""]);
        assert_eq!(forms("tie"), ["ties", "tied", "tying"]);
        assert_eq!(forms("play"), ["plays", "played", "playing"]);
        assert_eq!(forms("agree"), ["agrees", "agreed", "agreeing"]);
    }

    #[test]
    fn a_folder_of_a_few_words_is_read() {
        let folder = std::env::temp_dir().join(format!("fastft-wordnet-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        for part in PARTS {
            write(&format!("index.{part}"), "  licence\n");
            write(&format!("data.{part}"), "  licence\n");
        }
        write(
            "index.verb",
            "  licence\nbuy v 1 1 @ 1 1 00000100\npurchase v 1 1 @ 1 1 00000100\nacquire v 2 0 2 0 00000200 00000100\n",
        );
        write(
            "data.verb",
            "  licence\n00000100 40 v 03 buy 0 purchase 0 acquire 1 000 | obtain\n00000200 40 v 01 acquire 0 000 | get\n",
        );
        write("verb.exc", "bought buy\n");
        let found = read(&folder).unwrap();
        let want = [("buy", "purchase"), ("purchase", "buy")];
        assert_eq!(found, want.map(|(word, other)| (word.to_owned(), vec![other.to_owned()])));
        write("index.noun", "  licence\nthing\n");
        let error = read(&folder).unwrap_err().to_string();
        assert!(error.contains("index.noun:2: "), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
