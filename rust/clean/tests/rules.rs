//! Each rule by its name, on and off.
#![allow(
    clippy::format_collect,
    clippy::needless_pass_by_value,
    reason = "short texts, literals as arguments"
)]

use std::sync::LazyLock;

use fastft_clean::{CleanError, CleanPlan, Cleaner, Verdict};
use fastft_record::{Conversation, Document, Message};
use proptest::prelude::*;
use serde_json::{Value, json};

fn cleaner(plan: Value) -> Cleaner {
    Cleaner::new(&serde_json::from_value::<CleanPlan>(plan).unwrap()).unwrap()
}

fn rule(plan: Value, text: &str) -> Option<String> {
    cleaner(plan).apply(&mut Document::Text(text.into())).rule().map(str::to_owned)
}

fn cleaned(plan: Value, text: &str) -> (String, Vec<&'static str>) {
    kept(&cleaner(plan), text)
}

fn kept(cleaner: &Cleaner, text: &str) -> (String, Vec<&'static str>) {
    let mut document = Document::Text(text.into());
    let Verdict::Keep { changed } = cleaner.apply(&mut document) else { panic!("{text} is dropped") };
    let Document::Text(text) = document else { panic!("no text") };
    (text, changed)
}

fn chat(question: &str, answer: &str) -> Document {
    let messages = vec![Message::new("user", question), Message::new("assistant", answer)];
    Document::Conversation(Conversation { messages, tools: None })
}

fn prose() -> String {
    let parts = ["the ship sailed to the far island", "we have seen that it was calm", "and of its people"];
    (0..12).map(|n| format!("On day number {n} {} with hope.\n", parts[n % 3])).collect()
}

/// A rule drops `text` with the defaults, and not with `off`.
fn on_and_off(table: &str, name: &str, off: Value, text: &str) {
    assert_eq!(rule(json!({ table: {} }), text).as_deref(), Some(name), "{text}");
    let after = rule(json!({ table: off }), text);
    assert_ne!(after.as_deref(), Some(name), "{text}");
}

#[test]
fn nothing_is_done_without_a_plan() {
    let text = "\u{feff}cafÃ© me@mail.org";
    assert_eq!(cleaned(json!({}), text), (text.to_owned(), vec![]));
}

#[test]
fn length_rules() {
    for (option, name) in [("min_chars", "length.few_chars"), ("min_words", "length.few_words")] {
        assert_eq!(rule(json!({ "length": { option: 4 } }), "a b").as_deref(), Some(name));
        assert_eq!(rule(json!({ "length": { option: 2 } }), "a b"), None);
    }
    for (option, name) in [("max_chars", "length.many_chars"), ("max_words", "length.many_words")] {
        assert_eq!(rule(json!({ "length": { option: 2 } }), "你好吗？").as_deref(), Some(name));
        assert_eq!(rule(json!({ "length": { option: 5 } }), "你好吗？"), None);
    }
}

#[test]
fn gopher_rules() {
    let base = prose();
    assert_eq!(rule(json!({"gopher": {}}), &base), None);
    on_and_off("gopher", "gopher.short", json!({"min_words": 0}), "the end of that");
    on_and_off("gopher", "gopher.long", json!({"max_words": 0}), &"the and word ".repeat(40_000));
    on_and_off(
        "gopher",
        "gopher.short_words",
        json!({"min_mean_word_length": 0}),
        &"I be a to of ".repeat(20),
    );
    let long = "incomprehensibilities the and notwithstanding ".repeat(30);
    on_and_off("gopher", "gopher.long_words", json!({"max_mean_word_length": 0}), &long);
    on_and_off(
        "gopher",
        "gopher.hashes",
        json!({"max_symbol_word_ratio": 0}),
        &format!("{base}{}", "#".repeat(30)),
    );
    let ellipses = format!("{base}{}", "so … ".repeat(20));
    on_and_off("gopher", "gopher.ellipses", json!({"max_symbol_word_ratio": 0}), &ellipses);
    let bullets = base.replace("On day", "- On day");
    on_and_off("gopher", "gopher.bullet_lines", json!({"max_bullet_lines": 0}), &bullets);
    let dots = base.replace(".\n", " and so on...\n");
    on_and_off("gopher", "gopher.ellipsis_lines", json!({"max_ellipsis_lines": 0}), &dots);
    let numbers = format!("{base} {}", "1234 5678 ".repeat(40));
    on_and_off("gopher", "gopher.alphabetic", json!({"min_alphabetic_words": 0}), &numbers);
    let german = "Das Schiff fuhr an diesem schönen Tag über das weite Meer nach Norden ".repeat(5);
    on_and_off("gopher", "gopher.stop_words", json!({"min_stop_words": 0}), &german);
    assert_eq!(rule(json!({"gopher": {"stop_words": ["Das", "fuhr"]}}), &german), None);
    let chinese = "船在这个美丽的日子里驶过了宽阔的大海向北方去那里的人们都很高兴".repeat(3);
    assert_eq!(rule(json!({"gopher": {}}), &chinese), None, "words of one character, and no English");
}

#[test]
fn repetition_rules() {
    let plain = "Ships leave at dawn. Nobody waves, since everyone still sleeps; only gulls see them go. By noon \
        their sails have shrunk below the far horizon, where colder winds begin to blow, and sailors who never \
        prayed before learn how quickly water turns from blue into black under gathering clouds.";
    assert_eq!(rule(json!({"repetition": {}}), plain), None);
    let unique = |n: usize| format!("A line of its own, number {n}, is here, and says {} things", n * n);
    let lines: String = (0..10).map(|n| format!("{}\nsame\nsame\n", unique(n))).collect();
    on_and_off("repetition", "repetition.lines", json!({"max_duplicate_lines": 0}), &lines);
    let paragraphs = lines.replace('\n', "\n\n");
    on_and_off("repetition", "repetition.paragraphs", json!({"max_duplicate_paragraphs": 0}), &paragraphs);
    let long = "one quite long line that takes up a good part of the whole of this text, said again";
    let text: String = (0..4).map(|n| unique(n) + "\n").collect::<String>() + long + "\n" + long;
    on_and_off("repetition", "repetition.line_chars", json!({"max_duplicate_line_chars": 0}), &text);
    let text = text.replace('\n', "\n\n");
    on_and_off(
        "repetition",
        "repetition.paragraph_chars",
        json!({"max_duplicate_paragraph_chars": 0}),
        &text,
    );
    let top = "buy now or else ".repeat(8);
    on_and_off("repetition", "repetition.top_2gram", json!({"max_top_ngrams": [0, 0.18, 0.16]}), &top);
    on_and_off("repetition", "repetition.top_2gram", json!({"max_top_ngrams": [0.9, 0, 0]}), &top);
    let again = format!("{plain} {plain}");
    on_and_off(
        "repetition",
        "repetition.duplicate_5gram",
        json!({"max_duplicate_ngrams": [0, 0, 0, 0, 0, 0]}),
        &again,
    );
    let tenth = json!({"repetition": {"max_duplicate_ngrams": [0, 0, 0, 0, 0, 0.1]}});
    assert_eq!(rule(tenth, &again).as_deref(), Some("repetition.duplicate_10gram"));
}

#[test]
fn c4_rules_take_lines_and_rows() {
    let base = "One good line is here. Two good lines are here. Three of them.\nFour is here too. And five are here!\n";
    assert_eq!(cleaned(json!({"c4": {}}), base), (base.trim().to_owned(), vec!["c4.lines"]));
    let takes = |line: &str, option: &str, off: Value| {
        let text = format!("{base}{line}");
        assert_eq!(cleaned(json!({"c4": {}}), &text).0, base.trim(), "{line}");
        assert_ne!(cleaned(json!({"c4": { option: off }}), &text).0, base.trim(), "{line}");
    };
    takes("This line has no end", "terminal_punctuation", json!(false));
    takes("Two words.", "min_words_per_line", json!(0));
    takes(&format!("This is {} long.", "o".repeat(1001)), "max_word_chars", json!(0));
    takes("Please turn on JavaScript for this.", "javascript", json!(false));
    takes("Read our privacy policy for more.", "policy", json!(false));
    let cited = format!("{base}As he said[12] in the book[citation needed].");
    assert!(cleaned(json!({"c4": {}}), &cited).0.ends_with("As he said in the book."));
    assert!(cleaned(json!({"c4": {"remove_citations": false}}), &cited).0.contains("[12]"));
    on_and_off("c4", "c4.few_sentences", json!({"min_sentences": 0}), "Only one sentence is here.");
    on_and_off(
        "c4",
        "c4.lorem_ipsum",
        json!({"lorem_ipsum": false}),
        &format!("{base}Here is Lorem Ipsum again."),
    );
    on_and_off(
        "c4",
        "c4.curly_bracket",
        json!({"curly_bracket": false}),
        &format!("{base}let f = {{ this }}."),
    );
    let mut document = chat("Write f", "fn f() {}");
    assert_eq!(cleaner(json!({"c4": {}})).apply(&mut document).rule(), Some("c4.curly_bracket"));
    let mut document = chat("What is it", "It is short\nand has no end");
    let kept = document.clone();
    assert_eq!(cleaner(json!({"c4": {}})).apply(&mut document).rule(), None);
    assert_eq!(document, kept, "lines of a conversation are not touched");
}

#[test]
fn fineweb_rules() {
    assert_eq!(rule(json!({"fineweb": {}}), &prose()), None);
    assert_eq!(rule(json!({"fineweb": {}}), " \n ").as_deref(), Some("fineweb.empty"));
    let base = "Some words that make up a line of a decent length, with an end.\n".to_owned();
    let line = |n: usize| format!("A line {n} of more than thirty characters without end\n");
    let open: String = (0..10).map(line).collect();
    on_and_off("fineweb", "fineweb.punctuation", json!({"min_punctuated_lines": 0}), &open);
    let short: String = (0..9).map(|n| format!("Short {n} line.\n")).collect();
    on_and_off("fineweb", "fineweb.short_lines", json!({"max_short_lines": 0}), &short);
    on_and_off("fineweb", "fineweb.short_lines", json!({"short_line_chars": 5}), &short);
    on_and_off("fineweb", "fineweb.duplicate_chars", json!({"max_duplicate_chars": 0}), &base.repeat(2));
    let broken: String = (0..9).map(|n| format!("Wort{n}sehrlangesWortohneLeerzeichen.\n\n\n")).collect();
    on_and_off("fineweb", "fineweb.newlines", json!({"max_newlines_per_word": 0}), &broken);
}

#[test]
fn sft_rules_look_at_answers() {
    let drop = |options: Value, question: &str, answer: &str| {
        let verdict = cleaner(json!({ "sft": options })).apply(&mut chat(question, answer));
        verdict.rule().map(str::to_owned)
    };
    let on = |name: &str, off: Value, question: &str, answer: &str| {
        assert_eq!(drop(json!({}), question, answer).as_deref(), Some(name), "{answer}");
        assert_eq!(drop(off, question, answer), None, "{answer}");
    };
    on("sft.empty_answer", json!({"empty_answer": false}), "Well?", " ...\n");
    let question = "Which of these five words is a verb?";
    on("sft.repeats_prompt", json!({"repeats_prompt": false}), question, &format!("{question} Go."));
    on("sft.loop", json!({"max_loop": 0}), "Say", &"and then we go ".repeat(7));
    on("sft.loop", json!({"max_loop": 7}), "Say", &"and then we go ".repeat(7));
    assert_eq!(drop(json!({}), "Say", "the answer is 42, and 👍"), None);
    assert_eq!(drop(json!({}), "Sum", "42"), None);
    assert_eq!(drop(json!({}), "ok?", "👍"), None);
    assert_eq!(drop(json!({"min_answer_chars": 3}), "Sum", "42").as_deref(), Some("sft.short_answer"));
    let refusal = "I’m sorry, but I can’t help with that.";
    assert_eq!(drop(json!({"refusals": true}), "Do", refusal).as_deref(), Some("sft.refusal"));
    assert_eq!(drop(json!({}), "Do", refusal), None);
    let own = json!({"refusals": true, "refusal_phrases": ["no way"]});
    assert_eq!(drop(own.clone(), "Do", refusal), None);
    assert_eq!(drop(own, "Do", "No way, sir").as_deref(), Some("sft.refusal"));
}

#[test]
fn sft_rules_leave_what_is_not_learnt() {
    let sft = cleaner(json!({"sft": {}}));
    let Document::Conversation(mut conversation) = chat("Well?", "...") else { unreachable!() };
    conversation.messages[1].weight = Some(0.0);
    assert_eq!(sft.apply(&mut Document::Conversation(conversation.clone())).rule(), None);
    conversation.messages[1] = Message { tool_calls: Some(json!([{}])), ..Message::new("assistant", "") };
    assert_eq!(sft.apply(&mut Document::Conversation(conversation.clone())).rule(), None);
    conversation.messages.truncate(1);
    let answers = |texts: [&str; 2]| texts.map(|text| vec![Message::new("assistant", text)]).to_vec();
    let ranked = |texts| Document::Ranked { conversation: conversation.clone(), answers: answers(texts) };
    assert_eq!(sft.apply(&mut ranked(["fine", "..."])).rule(), None, "the worse answer may be bad");
    assert_eq!(sft.apply(&mut ranked(["...", "fine"])).rule(), Some("sft.empty_answer"));
}

#[test]
fn language_rules() {
    let english = "This is a plain English sentence about the weather in the north of the country.";
    let german = "Dies ist ein deutscher Satz über das Wetter im Norden des Landes und die Leute dort.";
    let chinese = "今天北京的天气非常好，我们一起去公园里散步，看到了很多美丽的花朵和高大的树木，孩子们在草地上跑来跑去，大家都很高兴。";
    let plan = json!({"language": {"languages": ["en", "zh"]}});
    assert_eq!(rule(plan.clone(), english), None);
    assert_eq!(rule(plan.clone(), chinese), None);
    assert_eq!(rule(plan.clone(), german).as_deref(), Some("language.de"));
    assert_eq!(rule(plan, "Kurz und gut"), None, "too short to tell");
    let strict = json!({"language": {"languages": ["en", "zh"], "min_letters": 0}});
    assert!(rule(strict, "Kurz und gut").is_some());
    let mixed = "the la der il het и the la der il het the la der il het de de du of";
    let unsure = json!({"language": {"min_confidence": 0.99}});
    assert_eq!(rule(unsure, mixed).as_deref(), Some("language.uncertain"));
    let error =
        Cleaner::new(&serde_json::from_value(json!({"language": {"languages": ["klingon"]}})).unwrap());
    assert!(error.err().unwrap().to_string().contains("`klingon`"));
}

#[test]
fn block_lists_know_words_in_every_script() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.txt");
    std::fs::write(&path, "# a comment\nhot deal\n/colou?r \\d+/\n赌博\n").unwrap();
    let plan = json!({"block": {"words": ["Ass"], "files": [path]}});
    for (text, name) in [
        ("kick ass!", Some("block.word")),
        ("the class passes", None),
        ("a HOT\n deal today", Some("block.word")),
        ("shot deals", None),
        ("see color 12", Some("block.pattern")),
        ("他喜欢赌博的人", Some("block.word")),
        ("# a comment", None),
    ] {
        assert_eq!(rule(plan.clone(), text).as_deref(), name, "{text}");
    }
    std::fs::write(&path, "fine\n/(/\n").unwrap();
    let error = Cleaner::new(&serde_json::from_value(plan).unwrap()).err().unwrap().to_string();
    assert!(error.contains("block.txt:2: unclosed group"), "{error}");
}

#[test]
fn every_option_that_cannot_be_met_is_told_at_once_with_its_key() {
    let plan = json!({
        "block": {"words": ["fine", "/(/", "//"], "files": ["/nowhere/block.txt"]},
        "language": {"languages": ["en", "klingon", "dothraki"]},
        "decontaminate": {"overlap": 2.0, "sets": [
            {"name": "a", "files": ["/nowhere/a.jsonl"]},
            {"name": "b", "texts": ["too short"]},
        ]},
        "pii": {"kinds": ["email", "shoe_size"]},
    });
    let Err(CleanError::Plan(wrong)) = Cleaner::new(&serde_json::from_value(plan).unwrap()) else {
        panic!("it was followed")
    };
    let keys: Vec<&str> = wrong.iter().map(|wrong| wrong.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "clean.language.languages[1]",
            "clean.language.languages[2]",
            "clean.block.words[1]",
            "clean.block.words[2]",
            "clean.block.files[0]",
            "decontaminate.overlap",
            "decontaminate.sets[0].path",
            "decontaminate.sets[1]",
            "clean.pii.kinds[1]",
        ]
    );
    assert_eq!(wrong[2].to_string(), "`data.clean.block.words[1]`: `/(/`: unclosed group");
}

#[test]
fn evaluation_items_are_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gsm.jsonl");
    let item =
        "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.";
    let short = "What is the capital city of the French republic?";
    let rows = [json!({"question": item, "answer": 72}), json!({"question": short})];
    std::fs::write(&path, rows.map(|row| row.to_string()).join("\n")).unwrap();
    let plan = |options: Value| {
        let mut plan = json!({"sets": [{"name": "gsm", "files": [path]}]});
        plan.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        json!({ "decontaminate": plan })
    };
    let found =
        |options: Value, text: &str| match cleaner(plan(options)).apply(&mut Document::Text(text.into())) {
            Verdict::Drop { rule, detail } => Some(format!("{rule} {detail}")),
            Verdict::Keep { .. } => None,
        };
    let hit = Some("decontaminate.gsm gsm.jsonl:1".to_owned());
    assert_eq!(found(json!({}), &format!("Q: {} A: 72", item.to_uppercase())), hit);
    assert_eq!(found(json!({}), &format!("so: {short} Paris")), Some("decontaminate.gsm gsm.jsonl:2".into()));
    assert_eq!(found(json!({}), "Natalia sold clips to some of her friends in June"), None);
    // two changed words leave no run of 13, and most runs of 4
    let changed = item.replace("her", "his").replace("many", "few");
    assert_eq!(found(json!({}), &changed), None);
    let part = found(json!({"overlap_ngram": 4, "overlap": 0.4}), &changed).unwrap();
    assert!(part.contains("gsm.jsonl:1, 0."), "{part}");
    assert_eq!(found(json!({"ngram": 0, "overlap_ngram": 8}), item), hit);
    assert_eq!(found(json!({"min_tokens": 10}), short), None);
    std::fs::write(&path, [item; 12].map(|text| json!(text).to_string()).join("\n")).unwrap();
    assert_eq!(found(json!({}), item), None, "what many items share is a common phrase");
    assert_eq!(found(json!({"common": 0}), item), hit);
    let fields = json!({"sets": [{"name": "gsm", "files": [path], "fields": ["question"]}]});
    std::fs::write(&path, json!({"text": item}).to_string()).unwrap();
    let error = Cleaner::new(&serde_json::from_value(json!({ "decontaminate": fields })).unwrap());
    assert!(error.err().unwrap().to_string().contains("gsm.jsonl:1: the row has no field `question`"));
}

static ALL: LazyLock<Cleaner> = LazyLock::new(|| {
    cleaner(json!({
        "repair": {"nfc": true, "max_replacement": 1}, "pii": {}, "length": {}, "gopher": {"min_words": 0},
        "repetition": {}, "c4": {"min_sentences": 0}, "fineweb": {}, "sft": {}, "language": {"min_confidence": 0.1},
        "block": {"words": ["forbidden"]}
    }))
});
static MENDING: LazyLock<Cleaner> =
    LazyLock::new(|| cleaner(json!({"repair": {"nfc": true, "max_replacement": 1}, "pii": {}})));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_text_is_too_strange_and_what_changed_is_told(text in r"[\u{0}-\u{2fff}\u{fe00}-\u{ffff}😀你好Ã©â€™\n .a-z0-9@+:-]{0,80}") {
        ALL.apply(&mut Document::Text(text.clone()));
        let (once, changed) = kept(&MENDING, &text);
        prop_assert_eq!(changed.is_empty(), once == text);
        let (_, again) = kept(&MENDING, &once);
        prop_assert!(!again.contains(&"repair.control"), "{:?} {:?}", text, once);
    }
}
