//! What a template leaves out is told, and what it leaves out on purpose is not.

use fastft_record::{Code, Conversation, Document, RowError};
use fastft_text::Library;

use super::{EncodeOptions, Encoder, Thinking};

const TOKENIZER: &str = include_str!("../../../../tests/templates/fixtures/chatml_tokenizer.json");
const ASKED: &str = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A template that prints a message by `inside`, and before all of them `before`.
fn encoder(before: &str, inside: &str, thinking: Thinking) -> Encoder {
    let template = format!(
        "{before}{{% for m in messages %}}{{{{ '<|im_start|>' + m.role + '\n' }}}}{inside}{{{{ '<|im_end|>\n' }}}}{{% endfor %}}{ASKED}"
    );
    let special = vec![("eos_token".to_owned(), "<|im_end|>".to_owned())];
    let options = EncodeOptions { thinking, ..EncodeOptions::default() };
    Encoder::new(Library::from_json(TOKENIZER).unwrap(), Some(&template), &special, None, options).unwrap()
}

fn row(text: &str) -> Document {
    let conversation: Conversation = serde_json::from_str(text).unwrap();
    Document::Conversation(conversation)
}

fn lost(result: Result<Vec<super::Encoded>, RowError>) -> Option<(String, String)> {
    let error = result.err()?;
    assert_eq!(error.code, Code::Template, "{error}");
    assert!(error.reason.contains("does not print") && error.reason.contains("choose"), "{error}");
    Some((error.at.unwrap_or_default(), error.reason))
}

const TEXT: &str = "{{ m.content or '' }}";
const CALLS: &str = "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}";
const TOOLS: &str = "{% if tools %}{{ tools | tojson }}{% endif %}";

/// A call of `w`, which is also a letter of the question and the tools.
const CALLING: &str = r#"{"messages":[{"role":"user","content":"weather?"},
    {"role":"assistant","content":"let me look","tool_calls":[{"function":{"name":"w","arguments":{"c":"Paris"}}}]},
    {"role":"tool","content":"sun"},{"role":"assistant","content":"Sunny."}],
    "tools":[{"type":"function","function":{"name":"w","description":"weather"}}]}"#;

#[test]
fn calls_tools_and_texts_that_are_not_printed_are_told() {
    let all = format!("{TEXT}{CALLS}");
    for (before, inside, at) in [
        (TOOLS, all.as_str(), None),
        ("", &all, Some("tools")),
        (TOOLS, TEXT, Some("messages[1].tool_calls[0]")),
        (
            TOOLS,
            "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% else %}{{ m.content }}{% endif %}",
            Some("messages[1].content"),
        ),
        (
            TOOLS,
            "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}",
            Some("messages[1].tool_calls[0]"),
        ),
        (
            TOOLS,
            "{% if m.role != 'tool' %}{{ m.content }}{% endif %}{{ (m.tool_calls or []) | tojson }}",
            Some("messages[2].content"),
        ),
    ] {
        let encoder = encoder(before, inside, Thinking::MaskEmpty);
        for _ in 0..2 {
            // the second time from what is known of the shape
            let found = lost(encoder.encode(&row(CALLING)));
            assert_eq!(found.as_ref().map(|found| found.0.as_str()), at, "{inside}: {found:?}");
        }
    }
}

#[test]
fn thinking_is_lost_where_even_a_last_answer_does_not_show_it() {
    let field = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","reasoning_content":"hm","content":"a"},
        {"role":"user","content":"q"},{"role":"assistant","reasoning_content":"so","content":"b"}]}"#;
    let inline =
        r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"<think>so</think>b"}]}"#;
    let last = "{% if loop.last and m.thinking %}{{ '<think>' + m.thinking + '</think>' }}{% endif %}{{ m.content }}";
    let cut = "{{ m.content.split('</think>')[-1] }}";
    for (inside, text, thinking, at) in [
        (TEXT, field, Thinking::MaskEmpty, Some("messages[1]")),
        (TEXT, field, Thinking::Keep, Some("messages[1]")),
        (TEXT, field, Thinking::Strip, None),
        (last, field, Thinking::Keep, None), // of history it is left out on purpose
        (cut, inline, Thinking::Keep, Some("messages[1]")),
        (cut, inline, Thinking::Strip, None),
        (TEXT, inline, Thinking::Keep, None),
    ] {
        let found = lost(encoder("", inside, thinking).encode(&row(text)));
        assert_eq!(found.as_ref().map(|found| found.0.as_str()), at, "{inside}: {found:?}");
        assert!(found.is_none_or(|found| found.1.contains("`data.thinking = \"strip\"`")));
    }
    let silent = field.replace(r#""reasoning_content":"so","#, "");
    let untrained = silent.replace(r#""reasoning_content":"hm""#, r#""weight":0,"reasoning_content":"hm""#);
    assert!(lost(encoder("", TEXT, Thinking::Keep).encode(&row(&silent))).is_some());
    assert!(lost(encoder("", TEXT, Thinking::Keep).encode(&row(&untrained))).is_none());
}

#[test]
fn a_first_question_that_is_trained_is_trained_without_the_templates_own_words() {
    let before = "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}";
    for (inside, text, want) in [
        (TEXT, " q1 ", " q1 <|im_end|>"),
        ("{{ m.content | trim }}", " q1 ", "q1<|im_end|>"),
        (TEXT, "q1", "q1<|im_end|>"),
        (TEXT, "user", "user<|im_end|>"),
    ] {
        let encoder = encoder(before, inside, Thinking::MaskEmpty);
        let row = row(&format!(
            r#"{{"messages":[{{"role":"user","content":"{text}","train":true}},{{"role":"assistant","content":"a1"}}]}}"#
        ));
        let encoded = encoder.encode(&row).unwrap().remove(0);
        let texts: Vec<String> = encoded
            .trained
            .iter()
            .map(|run| {
                fastft_text::Tokenizer::decode(
                    encoder.tokenizer(),
                    &encoded.ids[run.0 as usize..run.1 as usize],
                    false,
                )
                .unwrap()
            })
            .collect();
        assert_eq!(texts, [want, "a1<|im_end|>"], "{inside}");
    }
}
