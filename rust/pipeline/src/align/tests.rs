use fastft_record::{Message, Part};
use serde_json::json;

use super::*;

fn format(spec: Value) -> Format {
    serde_json::from_value(spec).unwrap()
}

fn show(message: &Message) -> Value {
    serde_json::to_value(message).unwrap()
}

fn messages(row: Value, spec: Value) -> Value {
    match align(row, &format(spec)).unwrap() {
        Document::Conversation(conversation) => serde_json::to_value(conversation).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Prompt and answers, as texts.
fn ranked(row: Value, spec: Value) -> (Vec<String>, Vec<Vec<String>>) {
    let texts = |list: &[Message]| {
        list.iter().map(|m| format!("{}: {}", m.role, m.content.as_deref().unwrap_or("-"))).collect()
    };
    match align(row, &format(spec)).unwrap() {
        Document::Ranked { conversation, answers } => {
            (texts(&conversation.messages), answers.iter().map(|answer| texts(answer)).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(row: Value, spec: Value) -> (Code, String, String) {
    let RowError { code, reason, at } = align(row, &format(spec)).unwrap_err();
    (code, reason, at.unwrap_or_default())
}

fn code(row: Value, spec: Value) -> Code {
    refusal(row, spec).0
}

#[test]
fn alpaca_joins_instruction_and_input_after_history() {
    let spec = || json!({"kind": "alpaca"});
    let row =
        json!({"instruction": "a", "input": "b", "output": "c", "system": "s", "history": [["q", "r"]]});
    let want = json!({"messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "r"},
        {"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "c"}]});
    assert_eq!(messages(row, spec()), want);
    assert_eq!(code(json!({"instruction": "a", "output": ""}), spec()), Code::Empty);
    assert_eq!(code(json!({"instruction": "a"}), spec()), Code::Missing);
    assert_eq!(code(json!({"instruction": 3, "output": "b"}), spec()), Code::Type);
    assert_eq!(code(json!([1]), spec()), Code::Type);
    let history = |turns: Value| json!({"instruction": "a", "output": "b", "history": turns});
    let (code, reason, at) = refusal(history(json!([["q", "r"], ["q"]])), spec());
    assert_eq!((code, at.as_str()), (Code::Type, "history[1]"));
    assert_eq!(reason, "`history[1]` is a list, expected two strings, [question, answer]");
    let (code, _, at) = refusal(history(json!([["q", " "]])), spec());
    assert_eq!((code, at.as_str()), (Code::Empty, "history[0][1]"));
}

#[test]
fn sharegpt_knows_calls_and_observations() {
    let spec = || json!({"kind": "sharegpt"});
    let row = json!({"tools": "[{\"name\": \"f\", \"parameters\": {}}]", "conversations": [
        {"from": "human", "value": "a"},
        {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"z\": 1, \"a\": 2}}"},
        {"from": "observation", "value": "3"}, {"from": "gpt", "value": "b"}]});
    let want = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"z": 1, "a": 2}}}]},
        {"role": "tool", "content": "3"}, {"role": "assistant", "content": "b"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]});
    assert_eq!(messages(row, spec()).to_string(), want.to_string());
    let one = |from: &str, value: &str| json!({"conversations": [{"from": from, "value": value}]});
    let (code_, reason, at) = refusal(one("gpt", "a"), spec());
    assert_eq!((code_, at.as_str()), (Code::Role, "conversations[0].from"));
    assert_eq!(reason, "a message from `gpt` stands where a question should");
    assert_eq!(code(one("human", "a"), spec()), Code::Role);
    let (_, reason, _) = refusal(one("humen", "a"), spec());
    assert!(reason.ends_with("did you mean `human`?"), "{reason}");
    assert_eq!(code(json!({"conversations": []}), spec()), Code::Empty);
    assert_eq!(code(json!({"conversations": "x"}), spec()), Code::Type);
    let thought = "<think>hm</think>\n{\"name\": \"f\", \"arguments\": \"{}\"}";
    let turns = json!([{"from": "human", "value": "a"}, {"from": "function_call", "value": thought}]);
    let found = messages(json!({"conversations": turns}), spec());
    assert_eq!(found["messages"][1]["content"], "<think>hm</think>");
    assert_eq!(found["messages"][1]["tool_calls"][0]["function"]["arguments"], json!({}));
}

#[test]
fn whole_numbers_of_more_than_64_bits_are_refused_and_floats_are_read_exactly() {
    let spec = format(json!({"kind": "openai"}));
    for (number, fits) in [
        ("18446744073709551615", true),
        ("18446744073709551616", false),
        ("1e300", true),
        ("0.1234567890123456789", true),
        ("8.41034173640061537e-5", true),
    ] {
        let call = format!("{{\"function\": {{\"name\": \"f\", \"arguments\": {{\"n\": {number}}}}}}}");
        let text = format!(
            "{{\"id\": 99999999999999999999, \"messages\": [{{\"role\": \"user\", \"content\": \"a\"}}, {{\"role\": \"assistant\", \"tool_calls\": [{call}]}}]}}"
        );
        let found = row(serde_json::from_str(&text).unwrap(), &text, &spec);
        assert_eq!(found.is_ok(), fits, "{number}");
        let Ok(Document::Conversation(conversation)) = found else { continue };
        let calls = conversation.messages[1].tool_calls.as_ref().unwrap();
        let read = calls[0]["function"]["arguments"]["n"].as_f64();
        assert_eq!(read.map(f64::to_bits), number.parse().ok().map(f64::to_bits), "{number}");
    }
}

#[test]
fn openai_takes_parts_reasoning_calls_and_weights() {
    let spec = || json!({"kind": "openai"});
    let row = json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "value": "b"}], "loss_weight": 0.0},
        {"role": "assistant", "content": [{"type": "reasoning", "value": "r"}, {"type": "text", "value": "c"}], "loss_weight": 0.5},
        {"role": "tool", "content": "d", "name": "f", "tool_call_id": "1"},
        {"role": "assistant", "content": "e", "train": false, "weight": 2}]});
    let Document::Conversation(found) = align(row, &format(spec())).unwrap() else { panic!() };
    assert_eq!(found.messages[0].content.as_deref(), Some("ab"));
    assert_eq!(found.messages[1].reasoning.as_deref(), Some("r"));
    let weights: Vec<_> = found.messages.iter().map(|message| message.weight).collect();
    assert_eq!(weights, [Some(0.0), Some(0.5), None, Some(0.0)]);
    assert_eq!(found.messages[2].tool_call_id.as_deref(), Some("1"));
    let answer = |message: Value| json!({"messages": [{"role": "user", "content": "a"}, message]});
    let (code_, _, at) = refusal(answer(json!({"role": "assistant", "content": null})), spec());
    assert_eq!((code_, at.as_str()), (Code::Empty, "messages[1].content"));
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]});
    assert_eq!(messages(answer(call.clone()), spec())["messages"][1], call);
    assert_eq!(code(answer(json!({"role": "robot", "content": "b"})), spec()), Code::Role);
    let heavy = json!({"role": "assistant", "content": "b", "loss_weight": -0.5});
    let (code_, reason, at) = refusal(answer(heavy), spec());
    assert_eq!((code_, at.as_str()), (Code::Type, "messages[1].loss_weight"));
    assert_eq!(reason, "`loss_weight` is -0.5, expected a number from 0");
    assert_eq!(code(json!({"messages": [{"content": "b"}]}), spec()), Code::Missing);
    assert_eq!(code(json!({"messages": [{"role": "user", "content": "b"}]}), spec()), Code::NoTarget);
}

#[test]
fn openai_keeps_text_beside_calls_and_reads_arguments_and_old_functions() {
    let row = json!({"functions": [{"name": "f"}], "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"z\":1, \"a\":0.1}"}},
            {"id": "2", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "content": "x", "tool_call_id": "1"}, {"role": "tool", "content": "y", "tool_call_id": "2"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "z"},
        {"role": "assistant", "content": "b"}]});
    let found = messages(row, json!({"kind": "openai"}));
    assert_eq!(found["tools"], json!([{"type": "function", "function": {"name": "f"}}]));
    let turns = &found["messages"];
    assert_eq!(turns[1]["content"], "I look.");
    assert_eq!(turns[1]["tool_calls"][0]["function"]["arguments"].to_string(), r#"{"z":1,"a":0.1}"#);
    assert_eq!(turns[1]["tool_calls"][1]["function"]["arguments"], json!({}));
    assert_eq!((&turns[3]["content"], &turns[3]["tool_call_id"]), (&json!("y"), &json!("2")));
    let call = json!([{"type": "function", "function": {"name": "f", "arguments": {}}}]);
    assert_eq!(turns[4]["tool_calls"], call);
    assert_eq!((&turns[5]["role"], &turns[5]["name"]), (&json!("tool"), &json!("f")));
    let call = |call: Value| {
        let row = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]});
        let (code, reason, at) = refusal(row, json!({"kind": "openai"}));
        (code, format!("{at}: {reason}"))
    };
    let at = "messages[1].tool_calls[0]";
    let want =
        format!("{at}.function.name: `name` is missing, expected the name of a tool; did you mean `nam`?");
    assert_eq!(call(json!({"function": {"nam": "f"}})), (Code::Missing, want));
    let want =
        format!("{at}.arguments: `arguments` is a list, expected an object, or one as JSON in a string");
    assert_eq!(call(json!({"name": "f", "arguments": "[1]"})), (Code::Type, want));
    let (code, reason) = call(json!({"name": "f", "arguments": "{1"}));
    assert!(code == Code::Type && reason.contains("should hold JSON"), "{reason}");
}

#[test]
fn a_pair_may_be_texts_messages_lists_or_whole_conversations() {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let spec = || json!({"kind": "preference"});
    let want =
        (vec!["user: q".to_owned()], vec![vec!["assistant: a".to_owned()], vec!["assistant: b".to_owned()]]);
    let (q, a, b) = (turn("user", "q"), turn("assistant", "a"), turn("assistant", "b"));
    for row in [
        json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
        json!({"prompt": [q], "chosen": a, "rejected": b}),
        json!({"prompt": [q], "chosen": [a], "rejected": [b]}),
        json!({"chosen": [q, a], "rejected": [q, b]}),
        json!({"prompt": "q", "chosen": [q, a], "rejected": [q, b]}),
        json!({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}),
        json!({"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": "b"}),
    ] {
        let (prompt, mut answers) = ranked(row, spec());
        answers[0][0] = answers[0][0].replace(":  a", ": a");
        assert_eq!((prompt, answers), want);
    }
    let row = json!({"instruction": "q", "input": "", "chosen": "a", "rejected": "b"});
    assert_eq!(ranked(row, json!({"kind": "alpaca", "chosen": "chosen", "rejected": "rejected"})), want);
    let from = |role: &str, text: &str| json!({"from": role, "value": text});
    let row = json!({"conversations": [from("human", "q")], "chosen": from("gpt", "a"), "rejected": from("gpt", "b")});
    assert_eq!(ranked(row, json!({"kind": "sharegpt", "chosen": "chosen", "rejected": "rejected"})), want);
    let row = json!({"messages": [q], "chosen": [a], "rejected": b});
    assert_eq!(ranked(row, json!({"kind": "openai", "chosen": "chosen", "rejected": "rejected"})), want);
}

#[test]
fn the_common_prompt_ends_where_the_first_answers_differ_or_begin() {
    let chat = |texts: &[&str]| -> Value {
        let turn = |(index, text): (usize, &&str)| json!({"role": (["user", "assistant"][index % 2]), "content": text});
        texts.iter().enumerate().map(turn).collect()
    };
    let row = json!({"chosen": chat(&["q", "a", "r", "b"]), "rejected": chat(&["q", "a", "s", "c"])});
    let (prompt, answers) = ranked(row, json!({"kind": "preference"}));
    assert_eq!(prompt, ["user: q"]);
    assert_eq!(answers[1], ["assistant: a", "user: s", "assistant: c"]);
}

#[test]
fn pairs_that_are_none_are_refused() {
    let spec = || json!({"kind": "preference"});
    let whole = |question: &str, answer: &str| json!([{"role": "user", "content": question}, {"role": "assistant", "content": answer}]);
    for (row, want, at) in [
        (
            json!({"prompt": "q", "chosen": "a", "rejected": "a"}),
            "the answer is the same as `chosen`",
            "rejected",
        ),
        (
            json!({"chosen": whole("q", "a"), "rejected": whole("r", "b")}),
            "the conversations have no common prompt",
            "chosen",
        ),
        (
            json!({"prompt": "x", "chosen": whole("q", "a"), "rejected": whole("q", "b")}),
            "the conversations do not begin with `prompt`",
            "chosen",
        ),
        (
            json!({"prompt": "q", "chosen": whole("q", "a"), "rejected": "b"}),
            "one answer is a whole conversation and another is not",
            "chosen",
        ),
    ] {
        assert_eq!(refusal(row, spec()), (Code::Pair, want.to_owned(), at.to_owned()));
    }
    let row = json!({"chosen": "a", "rejected": "b"});
    let (code_, reason, at) = refusal(row, spec());
    assert_eq!((code_, at.as_str()), (Code::Missing, "prompt"));
    assert!(
        reason.starts_with("`prompt` is missing, expected what the answers are to; there is "),
        "{reason}"
    );
    let row = json!({"prompt": "q", "chosen": "a", "rejected": null});
    assert_eq!(refusal(row, spec()).1, "`rejected` is null, expected an answer");
    assert_eq!(code(json!({"prompt": "q", "chosen": "a", "rejected": " "}), spec()), Code::Empty);
    let row = json!({"prompt": whole("q", "a"), "chosen": "a", "rejected": "b"});
    assert_eq!(refusal(row, spec()).1, "the prompt ends with an answer, expected a question");
}

#[test]
fn the_chosen_answer_alone_makes_a_conversation() {
    let row = json!({"prompt": "q", "chosen": "a", "rejected": 3});
    let found = messages(row, json!({"kind": "preference", "answer": "chosen"}));
    assert_eq!(found["messages"][1], json!({"role": "assistant", "content": "a"}));
}

#[test]
fn rankings_follow_ranks_or_scores() {
    let spec = || json!({"kind": "ranked"});
    let order = |row: Value, spec: Value| -> Vec<String> {
        ranked(row, spec).1.into_iter().map(|answer| answer[0].replace("assistant: ", "")).collect()
    };
    let with = |key: &str, values: Value| json!({"prompt": "q", "answers": ["a", "b", "c"], key: values});
    assert_eq!(order(with("ranks", json!([3, 1, 2])), spec()), ["b", "c", "a"]);
    assert_eq!(order(with("scores", json!([0.5, -1, 7])), spec()), ["c", "a", "b"]);
    let row = json!({"prompt": "q", "answers": [{"answer": "a", "rank": 1.5}, {"answer": "b", "rank": 0}]});
    assert_eq!(order(row, json!({"kind": "ranked", "text_tag": "answer"})), ["b", "a"]);
    let tied = || with("scores", json!([1, 2, 2]));
    let (code_, reason, at) = refusal(tied(), spec());
    assert_eq!((code_, at.as_str()), (Code::Pair, "answers"));
    let want = "`answers[1]` and `answers[2]` are equally good; set `ties = \"first\"` to keep the first of such answers";
    assert_eq!(reason, want);
    assert_eq!(order(tied(), json!({"kind": "ranked", "ties": "first"})), ["b", "a"]);
    let all = with("scores", json!([1, 1, 1]));
    assert_eq!(code(all, json!({"kind": "ranked", "ties": "first"})), Code::Pair);
    assert_eq!(refusal(with("ranks", json!([1])), spec()).1, "there are 1 numbers for 3 answers");
    assert_eq!(refusal(with("ranks", json!([1, "2", 3])), spec()).2, "ranks[1]");
    assert_eq!(code(with("other", json!(1)), spec()), Code::Missing);
    let best = messages(tied(), json!({"kind": "ranked", "answer": "chosen"}));
    assert_eq!(best["messages"][1]["content"], "b");
}

#[test]
fn labels_are_read_in_every_shape() {
    let labelled = |row: Value, spec: Value| match align(row, &format(spec)).unwrap() {
        Document::Labelled { conversation, desirable } => {
            let weights: Vec<_> = conversation.messages.iter().map(|message| message.weight).collect();
            (conversation.messages.len(), weights, desirable)
        }
        other => panic!("{other:?}"),
    };
    let chat = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]);
    let found =
        labelled(json!({"messages": chat, "label": true}), json!({"kind": "openai", "label": "label"}));
    assert_eq!(found, (4, vec![None, Some(0.0), None, None], true));
    let row = json!({"instruction": "a", "output": "b", "kto_tag": "False"});
    assert_eq!(labelled(row, json!({"kind": "alpaca", "label": "kto_tag"})), (2, vec![None, None], false));
    let row = json!({"prompt": chat.as_array().unwrap()[..3], "completion": "d", "label": 1});
    assert_eq!(labelled(row, json!({"kind": "kto"})), (4, vec![None, Some(0.0), None, None], true));
    let row = json!({"prompt": "a", "completion": "b", "label": "good"});
    let (code_, reason, at) = refusal(row, json!({"kind": "kto"}));
    assert_eq!((code_, at.as_str()), (Code::Type, "label"));
    assert_eq!(reason, "`label` is \"good\", expected `true` or `false`");
    assert_eq!(code(json!({"prompt": "a", "completion": "b"}), json!({"kind": "kto"})), Code::Missing);
}

#[test]
fn of_prompt_and_completion_only_the_completion_is_learnt() {
    let chat = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}]);
    let row = json!({"prompt": chat, "completion": [{"role": "assistant", "content": "d"}]});
    let Document::Conversation(found) = align(row, &format(json!({"kind": "completion"}))).unwrap() else {
        panic!()
    };
    let weights: Vec<_> = found.messages.iter().map(|message| message.weight).collect();
    assert_eq!(weights, [None, Some(0.0), None, None]);
    assert_eq!(show(&found.messages[3]), json!({"role": "assistant", "content": "d"}));
}

#[test]
fn media_take_the_places_of_their_placeholders() {
    let row = json!({"images": ["1.jpg", {"path": "2.jpg"}], "videos": [["f1", "f2"]], "messages": [
        {"role": "user", "content": "<image>Who?<video>"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "image"}]},
        {"role": "assistant", "content": "<audio> is text here"}]});
    let Document::Conversation(found) = align(row, &format(json!({"kind": "openai"}))).unwrap() else {
        panic!()
    };
    let image = |image: &str| Part::Image { image: image.into() };
    let text = |text: &str| Part::Text { text: text.into() };
    let film = Part::Video { video: "[\"f1\",\"f2\"]".into() };
    assert_eq!(found.messages[0].parts, [image("1.jpg"), text("Who?"), film]);
    assert_eq!(found.messages[2].parts, [text("And"), image("2.jpg")]);
    assert_eq!(found.messages[3].content.as_deref(), Some("<audio> is text here"));
    let parts = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "http://x/1.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}]}, {"role": "assistant", "content": "b"}]});
    let Document::Conversation(found) = align(parts, &format(json!({"kind": "openai"}))).unwrap() else {
        panic!()
    };
    let audio = Part::Audio { audio: "data:audio/mp3;base64,AAAA".into() };
    assert_eq!(found.messages[0].parts, [image("http://x/1.png"), audio]);
    let count = |images: Value, text: &str| {
        refusal(json!({"instruction": text, "output": "b", "images": images}), json!({"kind": "alpaca"}))
    };
    let want = "`images` has 1 references, the messages have 0 places for them (`<image>`)";
    assert_eq!(count(json!(["1"]), "a"), (Code::Media, want.into(), "images".into()));
    let want = "`images` has 1 references, the messages have 2 or more places for them (`<image>`)";
    assert_eq!(count(json!(["1"]), "<image><image>").1, want);
    assert_eq!(count(json!([3]), "a").2, "images[0]");
}

#[test]
fn answers_of_one_prompt_each_take_the_media_that_are_left() {
    let row =
        json!({"prompt": "<image>q", "chosen": "a<image>", "rejected": "b<image>", "images": ["1", "2"]});
    let Document::Ranked { conversation, answers } =
        align(row, &format(json!({"kind": "preference"}))).unwrap()
    else {
        panic!()
    };
    assert!(conversation.messages[0].has_media());
    assert!(answers.iter().all(|answer| answer[0].parts[1] == Part::Image { image: "2".into() }));
}
