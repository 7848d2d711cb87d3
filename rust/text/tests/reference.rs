//! The word path beside the reference, on tokenizers that are shipped with the tests.

use fastft_text::{Library, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

const CHATML: &str = include_str!("../../../tests/templates/fixtures/chatml_tokenizer.json");
const MANY: &str = include_str!("../../../tests/templates/fixtures/many_tokenizer.json");

/// What `DeepSeek` LLM and V3 cut by, in short.
const LLM: [&str; 4] = [r"[\r\n]", r"\s?[A-Za-zé]+", r"\s?[!-/:-~]+", r"\s+$"];
const V3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
    "[!-/:-~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
];

/// A tokenizer that cuts by expressions, one after the other.
fn cut_by(expressions: &[&str], digits: bool) -> String {
    let mut tokenizer: Value = serde_json::from_str(CHATML).unwrap();
    let mut parts: Vec<Value> = expressions
        .iter()
        .map(|text| json!({"type": "Split", "pattern": {"Regex": text}, "behavior": "Isolated", "invert": false}))
        .collect();
    if digits {
        parts.push(json!({"type": "Digits", "individual_digits": true}));
    }
    parts.push(
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
    );
    tokenizer["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": parts});
    tokenizer.to_string()
}

/// A tokenizer of a normal form, of whose added tokens some are compared with the normalized text, some take the white
/// space around them.
fn normalized(form: &str) -> String {
    let mut tokenizer: Value = serde_json::from_str(CHATML).unwrap();
    tokenizer["normalizer"] = json!({"type": form});
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    for (content, flag) in [("<think>", "normalized"), ("<|im_start|>", "rstrip"), ("<|im_end|>", "lstrip")] {
        added.iter_mut().find(|token| token["content"] == content).unwrap()[flag] = true.into();
    }
    for (id, content, lstrip, rstrip) in
        [(518, "  ", false, false), (519, "e\u{301}", false, true), (520, "fi", true, false)]
    {
        added.push(json!({"id": id, "content": content, "single_word": false, "lstrip": lstrip,
                          "rstrip": rstrip, "normalized": true, "special": false}));
    }
    tokenizer.to_string()
}

fn pairs() -> Vec<(Library, Library)> {
    let mut normal: Value = serde_json::from_str(CHATML).unwrap();
    normal["normalizer"] = json!({"type": "NFC"});
    let forms = [normalized("NFC"), normalized("NFKC")];
    [
        CHATML,
        MANY,
        &normal.to_string(),
        &forms[0],
        &forms[1],
        &cut_by(&LLM, true),
        &cut_by(&V3, false),
        &cut_by(&[], false),
    ]
    .iter()
    .map(|json| (Library::from_json(json).unwrap(), Library::from_json(json).unwrap().without_words()))
    .collect()
}

fn check(fast: &Library, reference: &Library, text: &str) {
    for plain in [false, true] {
        let encode = |library: &Library| {
            if plain { library.encode_plain(text) } else { library.encode(text) }.unwrap()
        };
        let (ours, theirs) = (encode(fast), encode(reference));
        assert_eq!(ours.ids, theirs.ids, "{text:?}");
        for (index, (our, their)) in ours.offsets.iter().zip(&theirs.offsets).enumerate() {
            assert!(our.0 >= their.0 && our.1 <= their.1, "{text:?} token {index}: {our:?} in {their:?}");
        }
    }
}

#[test]
fn the_word_path_is_taken_for_all_tokenizers() {
    assert!(pairs().iter().all(|(fast, reference)| fast.has_words() && !reference.has_words()));
}

#[test]
fn an_empty_text_has_no_tokens() {
    for (fast, reference) in pairs() {
        check(&fast, &reference, "");
    }
}

#[test]
fn a_run_of_one_character_takes_linear_time() {
    let (fast, _) = &pairs()[0];
    for unit in ["a", " ", "\n", "'", "\u{4f60}", "\u{1f642}\u{200d}"] {
        let time = |n: usize| {
            let text = unit.repeat(n);
            let begin = std::time::Instant::now();
            fast.encode(&text).unwrap();
            begin.elapsed().as_secs_f64()
        };
        let (small, large) = (time(20_000), time(80_000));
        // Four times the text; a quadratic path would take sixteen times as long.
        assert!(large < 9.0 * small + 0.05, "{unit:?}: {small} s, then {large} s");
    }
}

#[test]
fn ids_decode_to_the_text() {
    for (fast, _) in pairs() {
        let text = "Gr\u{fc}\u{df}e<|im_end|> 12 \u{4f60}\u{597d}\n";
        assert_eq!(fast.decode(&fast.encode(text).unwrap().ids, false).unwrap(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn words_give_the_references_ids(
        text in "([a-zA-Z]{1,6}|[ \n\t\r]{1,3}|[0-9\u{b2}\u{664}]{1,4}|'(s|T|ll|\u{17f})|<\\|im_(start|end)\\|>| ?<\\|im_(start|end)\\|>[ \u{3000}]{0,3}|</?(think|s)>|\\[/?INST\\]|[!-/]{1,3}|[\u{e9}\u{4f60}\u{3042}\u{30a}\u{301}\u{a0}\u{85}\u{1f642}\u{200d}\u{1}\u{4}\u{212b}\u{344}\u{327}\u{915}\u{93c}\u{958}\u{1100}\u{1161}\u{11a8}\u{ac00}\u{1d15e}]|[eo]\u{301}|\u{fb01}|fi|[\u{a8}\u{ff21}\u{3392}\u{fdfa}\u{2460}]){0,12}"
    ) {
        for (fast, reference) in pairs_once() {
            check(fast, reference, &text);
        }
    }
}

fn pairs_once() -> &'static [(Library, Library)] {
    static PAIRS: std::sync::OnceLock<Vec<(Library, Library)>> = std::sync::OnceLock::new();
    PAIRS.get_or_init(pairs)
}
