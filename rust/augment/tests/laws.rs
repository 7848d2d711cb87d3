//! What holds for every plan and every row.

use std::sync::LazyLock;

use fastft_augment::{AugmentPlan, Augmenter, Copy, derived};
use fastft_record::{Conversation, Document, Message};
use proptest::prelude::*;
use serde_json::json;

fn plan(seed: u64, ops: &serde_json::Value) -> AugmentPlan {
    serde_json::from_value(json!({"seed": seed, "ops": ops})).unwrap()
}

/// One table of each kind, `copies` of each.
fn all_kinds(rate: f64, copies: u16, roles: &[&str]) -> serde_json::Value {
    let shared = |first: u16, kind: &str| json!({"kind": kind, "first": 1 + first * copies, "copies": copies, "probability": 1.0, "roles": roles, "rate": rate});
    let mut characters = shared(0, "characters");
    characters["edits"] = json!(["typo", "swap", "delete", "insert", "case"]);
    let mut words = shared(1, "words");
    words["edits"] = json!(["drop", "swap", "repeat"]);
    let mut spacing = shared(2, "spacing");
    spacing["edits"] = json!(["double", "join", "loose", "drop", "repeat"]);
    let synonyms = shared(3, "synonyms");
    let mut sentences = shared(4, "sentences");
    sentences.as_object_mut().unwrap().remove("rate");
    sentences["shuffle"] = json!(rate);
    sentences["merge"] = json!(rate);
    json!([characters, words, spacing, synonyms, sentences])
}

const RATES: [f64; 4] = [0.0, 0.1, 0.5, 1.0];

/// Augmenters of three seeds and the rates above: to make one takes longer than to use it.
static MADE: LazyLock<Vec<[Augmenter; 4]>> = LazyLock::new(|| {
    let of = |seed, rate| Augmenter::new(&plan(seed, &all_kinds(rate, 2, &["user", "text"]))).unwrap();
    (0..3).map(|seed| RATES.map(|rate| of(seed, rate))).collect()
});

fn made(rate: usize, seed: usize, document: &Document, hash: u64) -> Vec<Copy> {
    MADE[seed][rate].copies(document, hash).unwrap()
}

fn talk(user: &str, answer: &str) -> Document {
    let messages = vec![
        Message::new("system", "Be kind to all of them."),
        Message::new("user", user),
        Message::new("assistant", answer),
    ];
    Document::Conversation(Conversation { messages, tools: Some(json!([{"name": "search the web"}])) })
}

fn messages(document: &Document) -> &[Message] {
    let Document::Conversation(conversation) = document else { panic!("a conversation") };
    &conversation.messages
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_copies(text in any::<String>(), seed in 0..3usize, hash: u64, rate in 0..4usize) {
        let document = Document::Text(text);
        let again = std::thread::scope(|scope| scope.spawn(|| made(rate, seed, &document, hash)).join()).unwrap();
        prop_assert_eq!(made(rate, seed, &document, hash), again);
    }

    #[test]
    fn a_rate_of_zero_gives_no_copy(text in any::<String>(), seed in 0..3usize) {
        prop_assert!(made(0, seed, &Document::Text(text), 1).is_empty());
    }

    #[test]
    fn a_copy_is_never_empty_and_never_the_row(text in "\\PC{0,40}|[a-z ,.]{1,60}", seed in 0..3usize, rate in 1..4usize) {
        let document = Document::Text(text);
        let copies = made(rate, seed, &document, 1);
        for (at, copy) in copies.iter().enumerate() {
            prop_assert_ne!(&copy.document, &document);
            prop_assert!(copies[..at].iter().all(|other| other.document != copy.document && other.variant < copy.variant));
            let Document::Text(text) = &copy.document else { panic!() };
            prop_assert!(!text.trim().is_empty());
        }
    }

    #[test]
    fn other_roles_and_tools_are_untouched(user in "[a-z ]{5,60}", answer in "\\PC{0,40}", seed in 0..3usize) {
        let document = talk(&user, &answer);
        for copy in made(1, seed, &document, 5) {
            let (old, new) = (messages(&document), messages(&copy.document));
            prop_assert_eq!((&old[0], &old[2]), (&new[0], &new[2]));
            prop_assert_ne!(&old[1], &new[1]);
            let (Document::Conversation(a), Document::Conversation(b)) = (&document, &copy.document) else { panic!() };
            prop_assert_eq!(&a.tools, &b.tools);
        }
    }

    #[test]
    fn what_a_machine_reads_is_in_every_copy(before in "[a-z]{2,9} [a-z]{2,9}", after in "[a-z]{2,9} [a-z]{2,9}", seed in 0..3usize) {
        for kept in ["`some code here`", "https://a.example/the/path", "<image>", "3,141.5", "<|im_end|>", "{\"a\": \"b c\"}", "{name}"] {
            let text = format!("{before} {kept} {after}");
            for copy in made(2, seed, &Document::Text(text), 9) {
                let Document::Text(text) = &copy.document else { panic!() };
                prop_assert!(text.contains(kept), "{}", text);
            }
        }
    }
}

#[test]
fn rows_numbers_and_seeds_give_other_copies() {
    let document = Document::Text("the quick brown fox jumps over the lazy dog again and again".into());
    let [one, two] = [made(1, 1, &document, 1), made(1, 1, &document, 2)];
    assert_ne!(one, two);
    assert_ne!(one, made(1, 2, &document, 1));
    assert_eq!(one[..4].iter().map(|copy| copy.variant).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(
        one[..4].iter().map(|copy| &*copy.kind).collect::<Vec<_>>(),
        ["characters", "characters", "words", "words"]
    );
}

#[test]
fn a_table_of_another_kind_before_it_changes_no_bytes() {
    let document = Document::Text("the quick brown fox jumps over the lazy dog".into());
    let both = made(1, 1, &document, 1);
    let mut ops = all_kinds(0.1, 2, &["text"]);
    ops.as_array_mut().unwrap().remove(0);
    let alone = Augmenter::new(&plan(1, &ops)).unwrap().copies(&document, 1).unwrap();
    assert_eq!(both[2..], alone[..]);
}

#[test]
fn half_of_the_rows_get_a_copy_when_that_is_asked() {
    let mut ops = all_kinds(0.2, 1, &["user"]);
    ops[0]["probability"] = json!(0.5);
    ops.as_array_mut().unwrap().truncate(1);
    let augmenter = Augmenter::new(&plan(3, &ops)).unwrap();
    let document = talk("please tell me about the weather", "Sunny.");
    let copies: usize = (0..2000).map(|hash| augmenter.copies(&document, hash).unwrap().len()).sum();
    assert!((900..1100).contains(&copies), "{copies}");
}

#[test]
fn control_tokens_of_the_tokenizer_are_kept() {
    let mut plan = plan(1, &all_kinds(0.9, 3, &["text"]));
    plan.control = vec!["begin of turn".into()];
    let augmenter = Augmenter::new(&plan).unwrap();
    for copy in augmenter.copies(&Document::Text("well begin of turn is here".into()), 1).unwrap() {
        let Document::Text(text) = &copy.document else { panic!() };
        assert!(text.contains("begin of turn"), "{text}");
    }
}

#[test]
fn copies_made_beforehand_stand_among_the_others() {
    let path = std::env::temp_dir().join(format!("fastft-laws-{}.jsonl", std::process::id()));
    let row = Document::Text("the quick brown fox".into());
    let other = Document::Text("a fast fox of brown".into());
    let lines = [(5, 2, &other), (5, 4, &row), (6, 1, &other)];
    let text: Vec<String> = lines
        .iter()
        .map(|(hash, variant, row)| derived::line(*hash, *variant, "paraphrase", row).unwrap())
        .collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    let mut plan = plan(
        1,
        &json!([{"kind": "words", "first": 3, "copies": 1, "probability": 1.0, "roles": ["text"], "rate": 0.3, "edits": ["swap"]}]),
    );
    plan.derived = vec![path.clone()];
    let copies = Augmenter::new(&plan).unwrap().copies(&row, 5).unwrap();
    std::fs::remove_file(&path).unwrap();
    // the one that is equal to the row is no copy
    assert_eq!(
        copies.iter().map(|copy| (copy.variant, &*copy.kind)).collect::<Vec<_>>(),
        [(2, "paraphrase"), (3, "words")]
    );
}

#[test]
fn a_bad_plan_is_told_with_its_place() {
    let said = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut ops = all_kinds(0.1, 1, &["user"]);
        change(&mut ops[1]);
        Augmenter::new(&plan(1, &ops)).unwrap_err().to_string()
    };
    assert_eq!(
        said(&|op| op["rate"] = json!(1.5)),
        "data.augment.1: `rate` is 1.5; expected a part, from 0 to 1"
    );
    assert_eq!(
        said(&|op| op["edits"] = json!([])),
        "data.augment.1: `edits` is empty, so there is nothing to do"
    );
    assert!(said(&|op| op["first"] = json!(0)).contains("`first` is 0"));
    assert!(serde_json::from_value::<AugmentPlan>(json!({"seed": 1, "ops": [], "other": 1})).is_err());
}
