//! The path of `SentencePiece`'s BPE beside the reference, on vocabularies that are drawn.

use fastft_text::{Library, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

mod fixtures;

use fixtures::{FORMS, Pair, drawn, small};

const TEXTS: &str = "([abc]{1,8}|[<>. 0]{1,3}| {1,6}|\u{2581}{1,3}|[\u{e9}\u{4f60}\u{597d}]{1,4}|[\n\t]|[dZ\u{e8}\u{5f00}\u{1f642}]|<s>|<x>|<y>){0,14}";

/// Of which words are merged that don't fit in small arrays.
const LONG: &str = "[abc]{129,300}|[ab ]{129,300}|[\u{e9}\u{4f60}a]{129,200}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn pieces_are_the_references_tokens(
        form in 0..FORMS,
        draws in prop::collection::vec((0..80_usize, 0..80_usize), 0..60),
        bytes in prop::sample::select(vec![0_usize, 200, 256]),
        normalized in any::<bool>(),
        texts in prop::collection::vec(prop_oneof![8 => TEXTS, 1 => LONG], 1..10),
    ) {
        let json = drawn(form, &draws, bytes, normalized);
        let pair = Pair::of(&json);
        // put before a text, a mark is matched too by tokens that are compared with what was normalized
        let marked = normalized && (form == 0 || form == 6);
        prop_assert_eq!(pair.ours.has_words(), !marked);
        // twice: what was made is kept
        for text in texts.iter().chain(&texts) {
            prop_assert_eq!(pair.difference(text), None);
        }
    }
}

#[test]
fn a_mark_before_a_text_has_the_bytes_of_its_first_character() {
    let json = drawn(0, &[(1, 2), (0, 3)], 256, false);
    let ours = Library::from_json(&json).unwrap();
    let offsets = |text: &str| ours.encode(text).unwrap().offsets;
    assert_eq!(offsets("ab"), [(0, 1), (0, 2)]);
    assert_eq!(offsets("ca"), [(0, 1), (1, 2)]);
    assert_eq!(offsets("\u{4f60}<s>ab"), [(0, 3), (0, 3), (3, 6), (6, 7), (6, 8)]);
    assert_eq!(offsets(""), []);
}

#[test]
fn pipelines_that_do_more_are_left_to_the_reference() {
    let given: Value = serde_json::from_str(&small(0, 256)).unwrap();
    let taken = |change: &dyn Fn(&mut Value)| {
        let mut json = given.clone();
        change(&mut json);
        Library::from_json(&json.to_string()).unwrap().has_words()
    };
    assert!(taken(&|_| ()));
    assert!(!taken(&|json| json["normalizer"] = Value::Null));
    assert!(!taken(&|json| json["normalizer"]["normalizers"][0]["prepend"] = "_".into()));
    assert!(!taken(&|json| json["normalizer"]["normalizers"][1]["pattern"] = json!({"Regex": " "})));
    assert!(!taken(&|json| json["pre_tokenizer"] = json!({"type": "Whitespace"})));
    assert!(!taken(&|json| json["model"]["ignore_merges"] = true.into()));
    assert!(!taken(&|json| json["model"]["end_of_word_suffix"] = "</w>".into()));
    assert!(!taken(&|json| json["added_tokens"][1]["single_word"] = true.into()));
    // a byte's token that is also merged
    assert!(!taken(&|json| {
        json["model"]["vocab"]["<0x41>a"] = 900.into();
        json["model"]["merges"].as_array_mut().unwrap().push(json!(["<0x41>", "a"]));
    }));
    // two tokens of one id
    assert!(!taken(&|json| json["model"]["vocab"]["zz"] = 7.into()));
}
