//! The paths of our own beside the reference, on tokenizers that are shipped with the tests or made of them.

use std::sync::LazyLock;

use fastft_text::Tokenizer;
use proptest::prelude::*;

mod fixtures;
mod grammar;

use fixtures::{Pair, byte_level, pieces};

static BYTE_LEVEL: LazyLock<Vec<Pair>> = LazyLock::new(byte_level);
static PIECES: LazyLock<Vec<Pair>> = LazyLock::new(pieces);

#[test]
fn a_path_of_our_own_is_taken_for_all_tokenizers() {
    assert!(
        BYTE_LEVEL.iter().chain(&*PIECES).all(|pair| pair.ours.has_words() && !pair.reference.has_words())
    );
}

#[test]
fn an_empty_text_has_no_tokens() {
    for pair in BYTE_LEVEL.iter().chain(&*PIECES) {
        assert_eq!(pair.difference(""), None);
        assert!(pair.ours.encode("").unwrap().ids.is_empty());
    }
}

#[test]
fn tokens_behind_a_byte_that_has_none_have_the_references_places() {
    let lacking = BYTE_LEVEL.last().unwrap();
    for text in ["\u{1f3f4}\u{e0067}\0's", "a\u{4}\0'\u{4}\u{e9}\u{4f60}", "\u{4}", "\u{1f642}\u{1f642}"] {
        assert_eq!(lacking.difference(text), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn words_have_the_references_ids_offsets_and_texts(text in grammar::text(14)) {
        for pair in &*BYTE_LEVEL {
            prop_assert_eq!(pair.difference(&text), None);
        }
    }

    #[test]
    fn pieces_have_the_references_ids_offsets_and_texts(text in grammar::text(14)) {
        for pair in &*PIECES {
            prop_assert_eq!(pair.difference(&text), None);
        }
    }
}
