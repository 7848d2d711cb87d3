//! Masks and ids, on small tokenizers that are shipped with the tests.

use fastft_record::{Code, Conversation, Document, Message};
use fastft_text::{Encoding, Library, Tokenizer};
use proptest::prelude::*;

use super::runs::{Answer, token_runs};
use super::{EncodeOptions, Encoded, Encoder, SpecialInText, TrainOn};

const TOKENIZER: &str = include_str!("../../../../tests/templates/fixtures/chatml_tokenizer.json");
const CHATML: &str = include_str!("../../../../python/fastft/data/templates/chatml.jinja");
/// The same text, with nothing that says what the answers are.
const UNTAGGED: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn encoder(template: &str, options: EncodeOptions) -> Encoder {
    let special = vec![("eos_token".to_owned(), "<|im_end|>".to_owned())];
    Encoder::new(Library::from_json(TOKENIZER).unwrap(), Some(template), &special, None, options).unwrap()
}

fn talk(texts: &[String]) -> Document {
    let messages = texts.iter().enumerate();
    let messages =
        messages.map(|(index, text)| Message::new(["user", "assistant"][index % 2], text.as_str()));
    Document::Conversation(Conversation { messages: messages.collect(), tools: None })
}

/// The only document of a row.
fn one(encoder: &Encoder, document: &Document) -> Encoded {
    let mut documents = encoder.encode(document).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn trained_texts(encoder: &Encoder, encoded: &Encoded) -> Vec<String> {
    let ids = |run: &(u32, u32)| &encoded.ids[run.0 as usize..run.1 as usize];
    encoded.trained.iter().map(|run| encoder.tokenizer().decode(ids(run), false).unwrap()).collect()
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let text = prop_oneof![
        3 => "[a-z0-9 \n'!\u{e9}\u{4f60}\u{301}]{0,12}",
        1 => "[a-z ]{0,3}<\\|im_(start|end)\\|>[a-z\n ]{0,3}",
        1 => "[\u{fdd0}-\u{fdd3}a]{0,3}",
    ];
    prop::collection::vec(text, 1..4).prop_map(|mut texts| {
        let again = texts.clone();
        texts.extend(again);
        texts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tags_and_prefixes_agree_and_answers_are_whole(texts in texts()) {
        let (tagged, untagged) = encoders();
        let document = talk(&texts);
        let encoded = one(tagged, &document);
        prop_assert_eq!(&encoded, &one(untagged, &document));
        let answers: Vec<String> = texts.iter().skip(1).step_by(2).map(|text| format!("{text}<|im_end|>")).collect();
        let trained: Vec<String> = trained_texts(tagged, &encoded);
        // NFC may have rewritten combining marks; count the turns then.
        if texts.iter().all(|text| !text.contains('\u{301}')) {
            prop_assert_eq!(trained, answers);
        } else {
            prop_assert_eq!(trained.len(), answers.len());
        }
    }

    #[test]
    fn messages_can_not_write_control_tokens(texts in texts()) {
        let (tagged, _) = encoders();
        let encoded = one(tagged, &talk(&texts));
        for token in ["<|im_start|>", "<|im_end|>"] {
            let id = tagged.tokenizer().token_to_id(token).unwrap();
            prop_assert_eq!(encoded.ids.iter().filter(|found| **found == id).count(), texts.len());
        }
    }

    #[test]
    fn without_control_tokens_plain_and_parse_are_one(texts in prop::collection::vec("[a-z \n\u{e9}<|>]{0,12}", 2..5)) {
        let (plain, _) = encoders();
        let parse = encoder_parsing();
        prop_assert_eq!(one(plain, &talk(&texts)), one(parse, &talk(&texts)));
    }
}

fn encoders() -> (&'static Encoder, &'static Encoder) {
    static BOTH: std::sync::OnceLock<(Encoder, Encoder)> = std::sync::OnceLock::new();
    let both = BOTH.get_or_init(|| {
        (encoder(CHATML, EncodeOptions::default()), encoder(UNTAGGED, EncodeOptions::default()))
    });
    (&both.0, &both.1)
}

fn encoder_parsing() -> &'static Encoder {
    static PARSING: std::sync::OnceLock<Encoder> = std::sync::OnceLock::new();
    PARSING.get_or_init(|| {
        encoder(CHATML, EncodeOptions { special_in_text: SpecialInText::Parse, ..EncodeOptions::default() })
    })
}

#[test]
fn runs_take_tokens_that_share_a_byte_and_leave_whitespace_behind_the_end_token() {
    // a bc |E| \n d: tokens of `abc<E>\nd`, with 9 the end token.
    let encoding =
        Encoding { ids: vec![1, 2, 9, 3, 4], offsets: vec![(0, 1), (1, 3), (3, 6), (6, 7), (7, 8)] };
    let is_added = |id: u32| id == 9;
    let answers = |spans: &[(usize, usize, f32)]| -> Vec<Answer> {
        spans.iter().map(|&(from, to, weight)| Answer { from, to, weight }).collect()
    };
    let runs = |spans: &[(usize, usize)]| {
        let spans: Vec<_> = spans.iter().map(|&(from, to)| (from, to, 1.0)).collect();
        token_runs("abc<E>\nd", &encoding, &answers(&spans), Some(&is_added)).0
    };
    assert_eq!(runs(&[(1, 7)]), [(1, 3)]);
    assert_eq!(runs(&[(2, 7)]), [(1, 3)]);
    assert_eq!(runs(&[(1, 3)]), [(1, 2)]);
    assert_eq!(runs(&[(1, 8)]), [(1, 5)]);
    assert_eq!(runs(&[(0, 1), (1, 3)]), [(0, 2)]);
    assert_eq!(runs(&[(4, 4)]), []);
    let weighted = |spans: &[_]| token_runs("abc<E>\nd", &encoding, &answers(spans), None);
    assert_eq!(weighted(&[(1, 7, 1.0)]).0, [(1, 4)]);
    // a token that two answers share is the first one's
    assert_eq!(weighted(&[(0, 2, 2.0), (2, 8, 0.5)]), (vec![(0, 2), (2, 5)], vec![2.0, 0.5]));
}

#[test]
fn errors_carry_their_codes() {
    let chatml = encoder(CHATML, EncodeOptions::default());
    let code = |document: &Document| chatml.encode(document).unwrap_err().code;
    assert_eq!(code(&talk(&[])), Code::Empty);
    assert_eq!(code(&talk(&["a".into()])), Code::NoTarget);
    assert_eq!(code(&Document::Text(String::new())), Code::Empty);
    let mut tool = Message::new("assistant", "");
    tool.content = None;
    let call =
        Document::Conversation(Conversation { messages: vec![Message::new("user", "a"), tool], tools: None });
    assert_eq!(code(&call), Code::Template);
    let nothing = Encoder::new(
        Library::from_json(TOKENIZER).unwrap(),
        None,
        &Vec::new(),
        None,
        EncodeOptions { append_eos_to_text: false, ..EncodeOptions::default() },
    );
    assert_eq!(nothing.unwrap().encode(&talk(&["a".into(), "b".into()])).unwrap_err().code, Code::Template);
}

#[test]
fn null_content_is_tried_as_it_stands_and_calls_are_not_lost_in_silence() {
    let call = |content: &str| {
        let row = format!(
            r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"assistant",{content}"tool_calls":[{{"function":{{"name":"look"}}}}]}}]}}"#
        );
        Document::Conversation(serde_json::from_str(&row).unwrap())
    };
    let named = |condition: &str| {
        let template = format!(
            "{{% for m in messages %}}{{% if {condition} %}}{{% generation %}}{{{{ m.tool_calls[0].function.name }}}}<|im_end|>{{% endgeneration %}}{{% else %}}{{{{ m.content }}}}{{% endif %}}{{% endfor %}}"
        );
        encoder(&template, EncodeOptions::default())
    };
    // told by `none`, as DeepSeek's template does; and a template that can't look into null
    assert_eq!(one(&named("m.content is none"), &call(r#""content":null,"#)).text, "alook<|im_end|>");
    assert_eq!(
        one(&named("'z' not in m.content and m.tool_calls"), &call(r#""content":null,"#)).text,
        "alook<|im_end|>"
    );
    // ChatML prints no calls: the answer would be empty
    let chatml = encoder(CHATML, EncodeOptions::default());
    for content in [r#""content":"","#, r#""content":" ","#] {
        let error = chatml.encode(&call(content)).unwrap_err();
        assert_eq!(error.code, Code::Template);
        assert!(error.reason.contains("`look`"), "{}", error.reason);
    }
    let error = chatml.encode(&call(r#""content":"Let me look.","#)).unwrap_err();
    assert_eq!((error.code, error.at.as_deref()), (Code::Template, Some("messages[1].tool_calls[0]")));
}

#[test]
fn a_call_without_content_is_encoded_like_one_with_empty_content_where_the_template_needs_a_text() {
    let row = |content: &str| {
        let row = format!(
            r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"assistant",{content}"tool_calls":[{{"function":{{"name":"look"}}}}]}},{{"role":"tool","content":"b"}},{{"role":"assistant","content":"c"}}]}}"#
        );
        Document::Conversation(serde_json::from_str(&row).unwrap())
    };
    let calls = "{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% endif %}";
    let head = "{{ '<|im_start|>' + m.role + '\n' }}";
    let asked = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let untagged = format!(
        "{{% for m in messages %}}{head}{{{{ '' + m.content }}}}{calls}{{{{ '<|im_end|>\n' }}}}{{% endfor %}}{asked}"
    );
    let tagged = format!(
        "{{% for m in messages %}}{head}{{% if m.role == 'assistant' %}}{{% generation %}}{{{{ '' + m.content }}}}{calls}<|im_end|>{{% endgeneration %}}{{% else %}}{{{{ m.content }}}}<|im_end|>{{% endif %}}{{{{ '\n' }}}}{{% endfor %}}{asked}"
    );
    for template in [&untagged, &tagged] {
        let side = encoder(template, EncodeOptions::default());
        let expected = one(&side, &row(r#""content":"","#));
        assert_eq!(trained_texts(&side, &expected), ["look<|im_end|>", "c<|im_end|>"]);
        for content in ["", r#""content":null,"#] {
            assert_eq!(one(&side, &row(content)), expected);
        }
    }
    // what the template refuses for another reason stays refused, in the words of the first refusal
    let refused = format!("{untagged}{{{{ '' + nothing }}}}");
    let error = encoder(&refused, EncodeOptions::default()).encode(&row("")).unwrap_err();
    assert_eq!(error.code, Code::Template);
    // a call that isn't printed stays refused, and so does an answer of neither a text nor a call
    let silent = encoder(&untagged.replace(calls, ""), EncodeOptions::default());
    assert!(silent.encode(&row("")).unwrap_err().reason.contains("`look`"));
    let nothing = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[]}]}"#;
    let nothing = Document::Conversation(serde_json::from_str(nothing).unwrap());
    let error = encoder(&untagged, EncodeOptions::default()).encode(&nothing).unwrap_err();
    assert_eq!(error.code, Code::Template);
    // and a template that tells an absent text from an empty one is asked with the row as it stands
    let tells = untagged.replace("'' + m.content", "m.content if m.content is defined else 'none'");
    let encoded = one(&encoder(&tells, EncodeOptions::default()), &row(""));
    assert!(encoded.text.contains("nonelook"), "{}", encoded.text);
}

#[test]
fn an_answer_that_begins_a_conversation_has_no_provable_prompt() {
    let untagged = encoder(UNTAGGED, EncodeOptions::default());
    let only =
        Document::Conversation(Conversation { messages: vec![Message::new("assistant", "a")], tools: None });
    assert_eq!(untagged.encode(&only).unwrap_err().code, Code::Mask);
    let all = encoder(UNTAGGED, EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() });
    assert!(all.encode(&only).is_ok());
}

#[test]
fn messages_say_themselves_what_they_weigh() {
    let row = |weights: [&str; 4]| {
        let messages: Vec<String> = weights
            .iter()
            .enumerate()
            .map(|(index, weight)| {
                format!(r#"{{"role":"{}","content":"{index}"{weight}}}"#, ["user", "assistant"][index % 2])
            })
            .collect();
        let row = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
        Document::Conversation(serde_json::from_str(&row).unwrap())
    };
    let train = |train_on| EncodeOptions { train_on, ..EncodeOptions::default() };
    for template in [CHATML, UNTAGGED] {
        let made = |train_on, weights| {
            let encoder = encoder(template, train(train_on));
            let encoded = one(&encoder, &row(weights));
            (trained_texts(&encoder, &encoded), encoded.weights)
        };
        let both = vec!["1<|im_end|>".to_owned(), "3<|im_end|>".to_owned()];
        assert_eq!(made(TrainOn::Responses, ["", "", "", ""]), (both.clone(), vec![]));
        assert_eq!(
            made(TrainOn::Responses, ["", r#","weight":0.5"#, "", ""]),
            (both.clone(), vec![0.5, 1.0])
        );
        assert_eq!(made(TrainOn::LastResponse, ["", r#","train":true"#, "", ""]), (both.clone(), vec![]));
        assert_eq!(
            made(TrainOn::PerMessage, ["", r#","weight":2"#, "", ""]),
            (both[..1].to_vec(), vec![2.0]),
            "no other message says that it is trained"
        );
        // a question that says so is trained like an answer: its text and what ends it
        let question = "2<|im_end|>".to_owned();
        assert_eq!(made(TrainOn::PerMessage, ["", "", r#","train":true"#, ""]), (vec![question], vec![]));
        let (texts, weights) = made(TrainOn::All, [r#","weight":0"#, r#","weight":0.5"#, "", ""]);
        assert_eq!((texts.len(), weights), (2, vec![0.5, 1.0]));
        assert!(texts[1].ends_with("3<|im_end|>\n") && texts[1].starts_with("<|im_start|>user"));
        let nothing = encoder(template, train(TrainOn::PerMessage)).encode(&row(["", "", "", ""]));
        assert_eq!(nothing.unwrap_err().code, Code::NoTarget);
        let negative = encoder(template, train(TrainOn::All)).encode(&row(["", r#","weight":-1"#, "", ""]));
        assert_eq!(negative.unwrap_err().code, Code::Type);
    }
}

#[test]
fn ranked_rows_are_one_document_an_answer_and_labelled_rows_one() {
    let prompt = Conversation {
        messages: vec![Message::new("user", "a"), Message::new("assistant", "b"), Message::new("user", "c")],
        tools: None,
    };
    let answers = ["best", "worse", "worst"].map(|text| vec![Message::new("assistant", text)]).to_vec();
    for template in [CHATML, UNTAGGED] {
        let encoder = encoder(template, EncodeOptions::default());
        let ranked = Document::Ranked { conversation: prompt.clone(), answers: answers.clone() };
        let documents = encoder.encode(&ranked).unwrap();
        let texts: Vec<_> = documents.iter().map(|document| trained_texts(&encoder, document)).collect();
        assert_eq!(texts, [["best<|im_end|>"], ["worse<|im_end|>"], ["worst<|im_end|>"]]);
        assert_eq!(documents.iter().map(|document| document.rank).collect::<Vec<_>>(), [0, 1, 2]);
        let mut whole = prompt.clone();
        whole.messages.push(Message::new("assistant", "d"));
        for (desirable, rank) in [(true, 0), (false, 1)] {
            let labelled = Document::Labelled { conversation: whole.clone(), desirable };
            let document = one(&encoder, &labelled);
            assert_eq!(
                (document.rank, trained_texts(&encoder, &document)),
                (rank, vec!["d<|im_end|>".into()])
            );
        }
    }
}

#[test]
fn long_conversations_are_proven_in_few_renderings() {
    let untagged = encoder(UNTAGGED, EncodeOptions::default());
    let texts: Vec<String> = (0..80).map(|index| format!(" text {index} ")).collect();
    let encoded = one(&untagged, &talk(&texts));
    let expected: Vec<String> =
        texts.iter().skip(1).step_by(2).map(|text| format!("{text}<|im_end|>")).collect();
    assert_eq!(trained_texts(&untagged, &encoded), expected);
    let renderings = untagged.counters().renderings.load(std::sync::atomic::Ordering::Relaxed);
    assert!(renderings < 10, "{renderings}");
}

#[test]
fn an_answer_that_history_shows_without_its_thinking_is_trained_as_it_is_shown() {
    // as Qwen3 does: thinking only in the last answer
    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let encoder = encoder(template, EncodeOptions::default());
    let encoded = one(&encoder, &talk(&["a".into(), "b".into(), "c".into(), "d".into()]));
    assert_eq!(trained_texts(&encoder, &encoded), ["b<|im_end|>", "d<|im_end|>"]);
    // and as DeepSeek-R1 does: the prompt opens a block that the text does not have
    let encoder = self::encoder(
        &UNTAGGED.replace("assistant\n' }}", "assistant\n<think>\n' }}"),
        EncodeOptions::default(),
    );
    let encoded = one(&encoder, &talk(&["a".into(), "b".into(), "c".into(), "d".into()]));
    assert_eq!(trained_texts(&encoder, &encoded), ["b<|im_end|>", "d<|im_end|>"]);
}

#[test]
fn calls_get_ids_that_the_template_accepts_and_keys_are_text() {
    let template = "{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}{{ raise_exception('9 letters') }}{% endif %}{{ c | tojson }}{% endfor %}{{ m.tool_call_id }}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}{% endif %}";
    let encoder = encoder(template, EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() });
    let row = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"id":"call_long_id","function":{"name":"f","arguments":{"<|im_start|>":1}}}]},{"role":"tool","content":"b","tool_call_id":"call_long_id"}]}"#;
    let encoded = one(&encoder, &Document::Conversation(serde_json::from_str(row).unwrap()));
    assert_eq!(encoded.text.matches("call00001").count(), 2);
    assert_eq!(encoder.counters().documents_with_new_ids.load(std::sync::atomic::Ordering::Relaxed), 1);
    let start = encoder.tokenizer().token_to_id("<|im_start|>").unwrap();
    assert!(encoded.text.contains("<|im_start|>") && !encoded.ids.contains(&start));
}

#[test]
fn all_ids_are_the_references_when_they_have_to_be() {
    let encoder = encoder(CHATML, EncodeOptions::default());
    assert!(encoder.tokenizer().has_words());
    let ids = |encoder: &Encoder| encoder.encode(&Document::Text("some text".into())).unwrap()[0].ids.clone();
    let own = ids(&encoder);
    let encoder = encoder.by_reference();
    assert!(!encoder.tokenizer().has_words());
    assert_eq!(ids(&encoder), own);
    assert!(encoder.proven().is_ok());
}
