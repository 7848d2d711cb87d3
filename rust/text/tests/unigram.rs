//! The path of Unigram beside the reference: pipelines of each form, on vocabularies that are drawn.

use fastft_text::{Library, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Maps of characters for a normalizer, each with what it is written for, in order.
const MAPS: [(&str, &str); 17] = [
    ("\t", " "),
    ("\n", " "),
    ("\r", " "),
    ("\u{1}", ""),
    ("e\u{301}", "\u{e9}"),
    ("\u{a0}", " "),
    ("\u{a8}", " \u{308}"),
    ("\u{ad}", ""),
    ("\u{b5}", "\u{3bc}"),
    ("\u{915}\u{94d}", "k"),
    ("\u{1100}\u{1161}", "\u{ac00}"),
    ("\u{2026}", "..."),
    ("\u{212b}", "\u{c5}"),
    ("\u{3000}", " "),
    ("\u{fb01}", "fi"),
    ("\u{feff}", ""),
    ("\u{ff21}", "A"),
];

/// A `precompiled_charsmap` of them: a trie in a double array over their bytes, and what they are written for.
fn charsmap(maps: &[(&str, &str)]) -> String {
    let mut texts = Vec::new();
    // of each node its bytes' children, and the value where one ends
    let mut nodes: Vec<(std::collections::BTreeMap<u8, usize>, Option<u32>)> = vec![Default::default()];
    for (from, to) in maps {
        let mut node = 0;
        for byte in from.bytes() {
            let next = nodes.len();
            node = *nodes[node].0.entry(byte).or_insert(next);
            if node == next {
                nodes.push(Default::default());
            }
        }
        nodes[node].1 = Some(u32::try_from(texts.len()).unwrap());
        texts.extend(to.bytes().chain([0]));
    }
    let mut units: Vec<Option<u32>> = vec![Some(0)];
    let mut places = vec![0_usize; nodes.len()];
    // a node's children lie at its place, less its offset by exclusive or, told by their byte; its value at byte 0
    for at in 0..nodes.len() {
        let (children, value) = &nodes[at];
        let labels: Vec<u8> = value.map(|_| 0).into_iter().chain(children.keys().copied()).collect();
        let place = places[at];
        let free = |base: usize| {
            labels.iter().all(|label| units.get(base ^ usize::from(*label)).is_none_or(Option::is_none))
        };
        let base = (1..1 << 21).map(|step| place ^ step).find(|base| *base > 255 && free(*base)).unwrap();
        let offset = u32::try_from(base ^ place).unwrap();
        let size = units.len().max((base | 255) + 1);
        units.resize(size, None);
        let label = units[place].unwrap_or(0) & 0xff;
        units[place] = Some(label | offset << 10 | u32::from(value.is_some()) << 8);
        if let Some(value) = value {
            units[base] = Some(value | 1 << 31);
        }
        for (byte, child) in children {
            places[*child] = base ^ usize::from(*byte);
            units[places[*child]] = Some(u32::from(*byte));
        }
    }
    let mut bytes = u32::try_from(units.len() * 4).unwrap().to_le_bytes().to_vec();
    // a label that is none's
    bytes.extend(units.iter().flat_map(|unit| unit.unwrap_or(1 << 31 | 0xff).to_le_bytes()));
    bytes.extend(texts);
    base64(&bytes)
}

fn base64(bytes: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let group = (0..3)
                .fold(0_usize, |group, at| group << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
            (0..4).map(
                move |at| {
                    if at <= chunk.len() { char::from(letters[group >> (18 - 6 * at) & 63]) } else { '=' }
                },
            )
        })
        .collect()
}

/// How a pipeline normalizes.
fn normalizers() -> Vec<Value> {
    let map = json!({"type": "Precompiled", "precompiled_charsmap": charsmap(&MAPS)});
    let strip = json!({"type": "Strip", "strip_left": false, "strip_right": true});
    let one = |content: &str| json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content});
    let all = |parts: &[&Value]| json!({"type": "Sequence", "normalizers": parts});
    vec![
        Value::Null,
        map.clone(),
        strip.clone(),
        all(&[&map, &strip, &one("\u{2581}")]),
        all(&[&map, &one(" ")]),
        all(&[&strip, &one("\u{2581}")]),
        all(&[&map, &strip]),
        all(&[&one(" ")]),
    ]
}

/// How it cuts.
fn splitters() -> Vec<Value> {
    let space = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": split});
    let mut all: Vec<Value> = ["always", "first", "never"]
        .iter()
        .flat_map(|scheme| [true, false].map(|split| space(scheme, split)))
        .collect();
    all.extend([true, false].map(|split| {
        json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space("always", split)]})
    }));
    all
}

/// Whether a pipeline is one that is left to the reference: several spaces become a mark, which is then no white space.
fn left(normalizer: usize, splitter: usize) -> bool {
    splitter >= 6 && matches!(normalizer, 3 | 5)
}

const LETTERS: [&str; 12] =
    ["\u{2581}", "a", "b", "c", ".", "\u{e9}", "\u{3bc}", "\u{4f60}", "\u{ac00}", "A", "\n", "k"];

/// A model of drawn tokens and scores, in tenths, of which many are equal.
fn drawn(normalizer: &Value, splitter: &Value, draws: &[(usize, usize, i32)], bytes: bool) -> Value {
    let mut tokens: Vec<(String, f64)> =
        vec![("<unk>".into(), 0.0), ("<s>".into(), 0.0), ("<x>".into(), -1.0), ("<y>".into(), 0.0)];
    let mut pool: Vec<String> = LETTERS.iter().map(ToString::to_string).collect();
    if bytes {
        tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), -20.0)));
    }
    // two letters have no token
    tokens.extend(LETTERS[..10].iter().map(|letter| ((*letter).to_owned(), -3.0)));
    for (left, right, score) in draws {
        let joined = [pool[left % pool.len()].clone(), pool[right % pool.len()].clone()].concat();
        if tokens.iter().all(|(token, _)| *token != joined) {
            tokens.push((joined.clone(), f64::from(*score) / 10.0));
            pool.push(joined);
        }
    }
    let added = |content: &str, lstrip: bool, rstrip: bool| {
        json!({"id": 0, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": rstrip,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "normalizer": normalizer, "pre_tokenizer": splitter,
        "added_tokens": [
            added("<unk>", false, false), added("<s>", false, false), added("<x>", true, false),
            added("<y>", false, true),
        ],
        "post_processor": null, "decoder": null,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": bytes, "vocab": tokens},
    })
}

struct Pair {
    ours: Library,
    reference: Library,
}

impl Pair {
    fn new(json: &Value) -> Self {
        let load = || Library::from_json(&json.to_string()).unwrap();
        Self { ours: load(), reference: load().without_words() }
    }

    /// Both have the same ids and offsets.
    fn check(&self, text: &str) {
        for plain in [false, true] {
            let encode = |library: &Library| {
                if plain { library.encode_plain(text) } else { library.encode(text) }.unwrap()
            };
            assert_eq!(encode(&self.ours), encode(&self.reference), "{text:?}");
        }
    }
}

/// Letters, spaces of all kinds, marks, what is mapped, and what is one grapheme with what is before or behind it.
const TEXTS: &str = "([abc]{1,6}|[abcA.\u{e9}\u{4f60}]{1,4}| {1,3}|[ \t\n\r\u{a0}\u{3000}\u{85}\u{2028}]{1,3}|\r\n|\u{2581}{1,2}\
     |<s>|<x>|<y>|<unk>|[ZY\u{5f00}\u{1f642}]{1,2}|[\u{1}\u{ad}\u{feff}]\
     |[\u{a8}\u{b5}\u{2026}\u{212b}\u{fb01}\u{ff21}]|[ea \u{212b}][\u{301}\u{308}\u{200d}]{1,2}|[\u{301}\u{600}]\
     |\u{915}\u{94d}?|\u{1100}\u{1161}?|[\u{ac00}\u{1161}\u{11a8}]|[\u{1f1e9}\u{1f1ea}]{1,3}){0,10}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn words_are_the_references_tokens(
        normalizer in 0..8_usize,
        splitter in 0..8_usize,
        draws in prop::collection::vec((0..60_usize, 0..60_usize, -90..20_i32), 0..60),
        bytes in any::<bool>(),
        texts in prop::collection::vec(TEXTS, 1..12),
        long in "[abc\u{4f60} ]{32,200}",
    ) {
        let pair = Pair::new(&drawn(&normalizers()[normalizer], &splitters()[splitter], &draws, bytes));
        prop_assert_eq!(pair.ours.has_words(), !left(normalizer, splitter));
        // twice: what was made is kept
        for text in texts.iter().chain([&long]).chain(&texts) {
            pair.check(text);
        }
    }
}

/// Merges of letters, marks and others.
const DRAWS: [(usize, usize, i32); 8] = [
    (0, 1, -20),
    (1, 2, -25),
    (12, 3, -40),
    (0, 7, -31),
    (7, 7, -50),
    (9, 9, -10),
    (0, 0, -60),
    (13, 13, -55),
];

/// All planes take minutes; `examples/differ.rs` takes them.
#[test]
fn every_code_point_of_two_planes_is_the_references_in_four_surroundings() {
    let pair = Pair::new(&drawn(&normalizers()[3], &splitters()[0], &DRAWS, false));
    assert!(pair.ours.has_words());
    let all: Vec<char> = ('\0'..'\u{20000}').collect();
    for (before, after) in [("", ""), ("a", "b "), (" ", "c1\n"), ("e\u{301}", "\u{301}a")] {
        // each but the first is behind another, as the reference moves what is behind a text's beginning
        for some in all.chunks(8) {
            let text = some.iter().map(|c| format!("{before}{c}{after} a ")).collect::<Vec<_>>().concat();
            assert_eq!(pair.ours.encode(&text).unwrap(), pair.reference.encode(&text).unwrap(), "{text:?}");
        }
    }
}

#[test]
fn a_token_has_the_bytes_of_its_characters() {
    let json = drawn(&normalizers()[3], &splitters()[0], &DRAWS, false);
    let pair = Pair::new(&json);
    let tokens = |text: &str| {
        let encoding = pair.ours.encode(text).unwrap();
        let name = |id: &u32| json["model"]["vocab"][*id as usize][0].as_str().unwrap().to_owned();
        (encoding.ids.iter().map(name).collect::<Vec<_>>().join(" "), encoding.offsets)
    };
    assert_eq!(tokens("b"), ("\u{2581} b".into(), vec![(0, 1), (0, 1)]));
    assert_eq!(tokens("a  \u{3000}a \n"), ("\u{2581}a \u{2581}a".into(), vec![(0, 1), (3, 7)]));
    assert_eq!(tokens("a\u{2026}"), ("\u{2581}a . . .".into(), vec![(0, 1), (1, 4), (1, 4), (1, 4)]));
    assert_eq!(tokens("aZY\u{5f00}"), ("\u{2581}a <unk>".into(), vec![(0, 1), (1, 6)]));
    assert_eq!(tokens("ae\u{301}\r\na"), ("\u{2581}a \u{e9} \u{2581}a".into(), vec![(0, 1), (1, 2), (4, 7)]));
}

#[test]
fn pipelines_that_do_more_are_left_to_the_reference() {
    let given = drawn(&normalizers()[3], &splitters()[0], &DRAWS, false);
    let taken = |change: &dyn Fn(&mut Value)| {
        let mut json = given.clone();
        change(&mut json);
        Library::from_json(&json.to_string()).unwrap().has_words()
    };
    assert!(taken(&|_| ()));
    for form in ["NFC", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents"] {
        assert!(!taken(&|json| json["normalizer"] = json!({"type": form})), "{form}");
    }
    assert!(!taken(&|json| json["normalizer"]["normalizers"][1]["strip_left"] = true.into()));
    assert!(!taken(&|json| json["normalizer"]["normalizers"][2]["content"] = "_".into()));
    assert!(!taken(&|json| json["normalizer"]["normalizers"][2]["pattern"] = json!({"Regex": " +"})));
    assert!(!taken(&|json| json["normalizer"]["normalizers"].as_array_mut().unwrap().reverse()));
    assert!(!taken(&|json| json["pre_tokenizer"]["replacement"] = "_".into()));
    assert!(!taken(&|json| json["pre_tokenizer"] = json!({"type": "WhitespaceSplit"})));
    assert!(!taken(&|json| json["pre_tokenizer"] = Value::Null));
    assert!(!taken(&|json| json["model"]["unk_id"] = Value::Null));
    assert!(!taken(&|json| json["model"]["alpha"] = json!(0.5)));
    assert!(!taken(&|json| json["added_tokens"][1]["single_word"] = true.into()));
    // compared with what was normalized
    assert!(!taken(&|json| json["added_tokens"][1]["normalized"] = true.into()));
    // two tokens alike
    assert!(!taken(&|json| json["model"]["vocab"].as_array_mut().unwrap().push(json!(["a", -1.0]))));
}

#[test]
fn what_is_unknown_has_its_bytes_where_all_of_them_are_tokens() {
    let mut json = drawn(&normalizers()[3], &splitters()[0], &DRAWS, true);
    Pair::new(&json).check("a Z\u{5f00} \u{1f642}");
    for token in json["model"]["vocab"].as_array_mut().unwrap() {
        if token[0] == "<0x5A>" {
            token[0] = "none".into();
        }
    }
    Pair::new(&json).check("a Z\u{5f00} \u{1f642}");
    // what is unknown by its parts may be a token, where all scores are high
    let tokens = json["model"]["vocab"].as_array_mut().unwrap();
    for token in tokens.iter_mut() {
        token[1] = json!(100.0);
    }
    tokens.push(json!(["ZZ", 100.0]));
    Pair::new(&json).check("a ZZ ZZZ <unk>");
}

#[test]
fn a_run_of_one_character_takes_linear_time() {
    for splitter in [0, 1] {
        let pair = Pair::new(&drawn(&normalizers()[3], &splitters()[splitter], &DRAWS, false));
        for unit in ["a", " ", "\u{2581}", "\r\n", "\u{301}", "\u{4f60}", "\u{1f642}", " a", "\u{1f1e9}", "Z"]
        {
            let time = |n: usize| {
                let text = format!("a{}", unit.repeat(n));
                let begin = std::time::Instant::now();
                pair.ours.encode(&text).unwrap();
                begin.elapsed().as_secs_f64()
            };
            let (short, long) = (time(20_000), time(80_000));
            // Four times the text; a quadratic path would take sixteen times as long.
            assert!(long < 9.0 * short + 0.05, "{unit:?}: {short} s, then {long} s");
        }
    }
}
