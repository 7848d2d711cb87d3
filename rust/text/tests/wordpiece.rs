//! The path of `WordPiece` beside the reference: every option, drawn texts, and all code points.

use fastft_text::{Library, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Tokens; several are parts of others, some begin as parts inside of words do.
const TOKENS: [&str; 40] = [
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "b",
    "ab",
    "abc",
    "##a",
    "##b",
    "##c",
    "##bc",
    "##ab",
    "the",
    "##e",
    "##s",
    "e",
    "1",
    "##1",
    "12",
    ".",
    ",",
    "##",
    "#",
    "\u{4e2d}",
    "##\u{4e2d}",
    "\u{6587}",
    "\u{e9}",
    "##\u{e9}",
    "e\u{301}",
    "\u{3b1}",
    "##\u{3b1}",
    "A",
    "##A",
    "\u{130}",
    "i\u{307}",
    "\u{1100}",
    "##\u{1161}",
    "\u{ac00}",
    "##1##",
    "<y>",
];

fn bert(clean: bool, chinese: bool, accents: Option<bool>, lowercase: bool) -> Value {
    json!({"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents,
           "lowercase": lowercase})
}

/// Every combination of the options of BERT's normalizer, and what else treats each character by itself.
fn normalizers() -> Vec<Value> {
    let flags = [false, true];
    let accents = [None, Some(false), Some(true)];
    let mut all: Vec<Value> = flags
        .iter()
        .flat_map(|clean| flags.iter().map(move |chinese| (*clean, *chinese)))
        .flat_map(|(clean, chinese)| accents.iter().map(move |accents| (clean, chinese, *accents)))
        .flat_map(|(clean, chinese, accents)| {
            flags.iter().map(move |lower| bert(clean, chinese, accents, *lower))
        })
        .collect();
    let parts = |names: &[&str]| {
        let parts: Vec<Value> = names.iter().map(|name| json!({"type": name})).collect();
        json!({"type": "Sequence", "normalizers": parts})
    };
    all.extend([
        Value::Null,
        json!({"type": "Lowercase"}),
        json!({"type": "StripAccents"}),
        parts(&["NFD", "Lowercase", "StripAccents"]),
        parts(&["NFKD", "StripAccents"]),
        parts(&["Lowercase", "NFKD"]),
        parts(&["NFD"]),
    ]);
    all
}

fn splitters() -> Vec<Value> {
    let parts = |parts: &[Value]| json!({"type": "Sequence", "pretokenizers": parts});
    let space = json!({"type": "WhitespaceSplit"});
    let marks = json!({"type": "Punctuation", "behavior": "Isolated"});
    let digits = json!({"type": "Digits", "individual_digits": true});
    vec![
        json!({"type": "BertPreTokenizer"}),
        space.clone(),
        parts(&[space.clone(), marks.clone()]),
        parts(&[marks, digits, space]),
    ]
}

fn model(normalizer: &Value, splitter: &Value, prefix: &str, longest: usize) -> Value {
    let vocab: serde_json::Map<String, Value> =
        TOKENS.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    let added = |content: &str, lstrip: bool, rstrip: bool| {
        json!({"id": 0, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": rstrip,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "normalizer": normalizer, "pre_tokenizer": splitter,
        "added_tokens": [
            added("[UNK]", false, false), added("[CLS]", false, false), added("<x>", true, false),
            added("<y>", false, true),
        ],
        "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix,
                  "max_input_chars_per_word": longest, "vocab": vocab},
    })
}

struct Pair {
    ours: Library,
    reference: Library,
}

impl Pair {
    fn new(json: &Value) -> Self {
        let load = || Library::from_json(&json.to_string()).unwrap();
        let pair = Self { ours: load(), reference: load().without_words() };
        assert!(pair.ours.has_words(), "{json}");
        pair
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

fn pairs() -> &'static [Pair] {
    static PAIRS: std::sync::OnceLock<Vec<Pair>> = std::sync::OnceLock::new();
    PAIRS.get_or_init(|| {
        let bert_splitter = || json!({"type": "BertPreTokenizer"});
        let mut models: Vec<Value> = normalizers()
            .into_iter()
            .map(|normalizer| model(&normalizer, &bert_splitter(), "##", 8))
            .collect();
        models.extend(splitters().into_iter().map(|splitter| model(&Value::Null, &splitter, "##", 8)));
        let both = bert(true, true, None, true);
        models.extend(splitters().into_iter().map(|splitter| model(&both, &splitter, "##", 100)));
        for (prefix, longest) in [("", 100), ("#", 3), ("##1", 100), ("%", 100), ("##", 0)] {
            models.push(model(&both, &bert_splitter(), prefix, longest));
        }
        models.iter().map(Pair::new).collect()
    })
}

/// What has to do with accents, case, Chinese, spaces of all kinds, marks that change places, and syllables.
const TEXTS: &str = "([abcABC]{1,5}|the|[ \t\n\r\u{a0}\u{3000}\u{85}\u{2028}]{1,2}|[.,#!]|##|1{1,3}|<x>|<y>|\\[UNK\\]|\\[CLS\\]\
     |[\u{4e2d}\u{6587}\u{f900}\u{2f800}\u{3042}]{1,3}|[\u{e9}\u{c9}\u{130}\u{df}\u{1e9e}\u{3b1}\u{391}\u{3a3}\u{345}]\
     |[ae][\u{301}\u{323}\u{327}\u{344}\u{20dd}\u{903}\u{302e}\u{16ff0}\u{1d165}\u{1d166}\u{f73}\u{f71}]{1,3}\
     |[\u{301}\u{323}\u{200d}\u{ad}\u{feff}\u{fffd}\u{0}\u{7f}\u{e000}]{1,2}\
     |[\u{ac00}\u{ac01}\u{1100}\u{1161}\u{11a8}\u{915}\u{93f}\u{94d}\u{e33}\u{fb01}\u{a8}\u{fdfa}\u{37e}\u{1fef}\u{1f642}]){0,10}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn words_are_the_references_tokens(texts in prop::collection::vec(TEXTS, 1..4), long in "[ab]{9,130}") {
        for pair in pairs() {
            // twice: what was made is kept
            for text in texts.iter().chain([&long]).chain(&texts) {
                pair.check(text);
            }
        }
    }
}

/// All planes take minutes; `examples/differ.rs` takes them.
#[test]
fn every_code_point_of_two_planes_is_the_references_in_four_surroundings() {
    let pair =
        Pair::new(&model(&bert(true, true, None, true), &json!({"type": "BertPreTokenizer"}), "##", 100));
    let all: Vec<char> = ('\0'..'\u{20000}').collect();
    for (before, after) in [("", ""), ("a", "b "), (" ", "s1\n"), ("e\u{323}", "\u{301}a")] {
        // a text of which one is left to the reference shows nothing of the others
        for some in all.chunks(8) {
            let text = some.iter().map(|c| format!("{before}{c}{after} the ")).collect::<Vec<_>>().concat();
            assert_eq!(pair.ours.encode(&text).unwrap(), pair.reference.encode(&text).unwrap(), "{text:?}");
        }
    }
}

#[test]
fn a_token_has_the_bytes_of_its_characters() {
    let pair =
        Pair::new(&model(&bert(true, true, None, true), &json!({"type": "BertPreTokenizer"}), "##", 100));
    let tokens = |text: &str| {
        let encoding = pair.ours.encode(text).unwrap();
        let names: Vec<&str> = encoding.ids.iter().map(|id| TOKENS[*id as usize]).collect();
        (names, encoding.offsets)
    };
    assert_eq!(tokens("\u{c1}b\u{301}c."), (vec!["abc", "."], vec![(0, 6), (6, 7)]));
    assert_eq!(tokens("a\u{301}\u{0}A\u{301} "), (vec!["a", "##a"], vec![(0, 1), (4, 5)]));
    assert_eq!(tokens("\u{0}a\u{4e2d}a"), (vec!["a", "\u{4e2d}", "a"], vec![(1, 2), (2, 5), (5, 6)]));
    assert_eq!(tokens("xyz\u{ac00}"), (vec!["[UNK]"], vec![(0, 6)]));
    assert_eq!(tokens(" \t\u{ad}"), (vec![], vec![]));
}

#[test]
fn pipelines_that_do_more_are_left_to_the_reference() {
    let given = model(&bert(true, true, None, true), &json!({"type": "BertPreTokenizer"}), "##", 100);
    let taken = |change: &dyn Fn(&mut Value)| {
        let mut json = given.clone();
        change(&mut json);
        Library::from_json(&json.to_string()).unwrap().has_words()
    };
    assert!(taken(&|_| ()));
    for form in ["NFC", "NFKC", "Nmt", "ByteLevel"] {
        assert!(!taken(&|json| json["normalizer"] = json!({"type": form})), "{form}");
    }
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    assert!(!taken(&|json| json["normalizer"] = json!({"type": "Sequence", "normalizers": [strip]})));
    for splitter in [
        Value::Null,
        json!({"type": "Whitespace"}),
        json!({"type": "Punctuation", "behavior": "MergedWithPrevious"}),
        json!({"type": "Digits", "individual_digits": false}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}, {"type": "Whitespace"}]}),
    ] {
        assert!(!taken(&|json| json["pre_tokenizer"] = splitter.clone()), "{splitter}");
    }
    assert!(!taken(&|json| json["model"]["dropout"] = json!(0.1)));
    assert!(!taken(&|json| json["added_tokens"][1]["single_word"] = true.into()));
    // compared with what was normalized
    assert!(!taken(&|json| json["added_tokens"][1]["normalized"] = true.into()));
}

#[test]
fn a_word_that_is_unknown_where_nothing_stands_for_it_is_refused_as_the_reference_refuses_it() {
    let mut json = model(&Value::Null, &json!({"type": "BertPreTokenizer"}), "##", 100);
    json["model"]["unk_token"] = "[NONE]".into();
    let pair = Pair::new(&json);
    pair.check("abc the");
    let refused = |library: &Library| library.encode("abc xyz").unwrap_err().to_string();
    assert_eq!(refused(&pair.ours), refused(&pair.reference));
}

#[test]
fn a_run_of_one_character_takes_linear_time() {
    let pair =
        Pair::new(&model(&bert(true, true, None, true), &json!({"type": "BertPreTokenizer"}), "##", 1 << 30));
    for unit in ["a", " ", "ab", ".", "\u{301}", "\u{4e2d}", "\u{1f642}", " a", "z"] {
        let time = |n: usize| {
            let text = unit.repeat(n);
            let begin = std::time::Instant::now();
            pair.ours.encode(&text).unwrap();
            begin.elapsed().as_secs_f64()
        };
        let (short, long) = (time(20_000), time(80_000));
        // Four times the text; a quadratic path would take sixteen times as long.
        assert!(long < 9.0 * short + 0.05, "{unit:?}: {short} s, then {long} s");
    }
}
