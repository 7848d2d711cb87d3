//! Finding the format of rows from their columns.
//!
//! A row may look like several formats (messages beside a chosen and a rejected answer); the first
//! that is what the stage wants is taken, else the first. Answers with a label are not taken for
//! conversations because the label can be left out: unwanted ones would be learnt like wanted ones.

use serde_json::{Map, Value};

use super::{Alpaca, Completion, Format, Kto, OpenAi, Preference, Ranked, ShareGpt, Text};
use crate::plan::Rows;

type Row = Map<String, Value>;

const MESSAGES: [&str; 3] = ["messages", "conversations", "conversation"];
const PROMPTS: [&str; 4] = ["prompt", "question", "query", "instruction"];
const PAIRS: [(&str, &str); 3] = [
    ("chosen", "rejected"),
    ("chosen_messages", "rejected_messages"),
    ("chosen_response", "rejected_response"),
];
pub(super) const LABELS: [&str; 2] = ["label", "kto_tag"];

impl Format {
    /// What one row looks like, None when like nothing known.
    #[must_use]
    pub fn guess(row: &Value, wanted: Rows) -> Option<Self> {
        let Value::Object(row) = row else {
            return row.is_string().then(|| Self::Text(Text::default()));
        };
        let mut found = Vec::new();
        found.extend(pair(row));
        found.extend(ranked(row));
        found.extend(labelled(row));
        found.extend(messages(row));
        found.extend(columns(row));
        found.extend(text(row));
        let fits = |format: &&Self| format.rows() == wanted;
        let usable = |format: &&Self| format.unwanted(wanted).is_none();
        let best = found.iter().find(fits).or_else(|| found.iter().find(usable)).or_else(|| found.first())?;
        let labelled = found.iter().find(|format| format.rows() == Rows::Labelled);
        labelled.filter(|_| best.rows() == Rows::Conversation).or(Some(best)).cloned()
    }

    /// The format that most of the rows look like, the first of equals; but not one that leaves out a
    /// label that some of the rows have.
    #[must_use]
    pub fn guess_all<'a>(rows: impl IntoIterator<Item = &'a Value>, wanted: Rows) -> Option<Self> {
        let mut votes: Vec<(Self, usize)> = Vec::new();
        for guess in rows.into_iter().filter_map(|row| Self::guess(row, wanted)) {
            match votes.iter_mut().find(|(format, _)| *format == guess) {
                Some((_, count)) => *count += 1,
                None => votes.push((guess, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        let winner = votes.iter().find(|(_, count)| *count == most).map(|(format, _)| format)?;
        let labelled = votes.iter().map(|(format, _)| format).find(|format| format.rows() == Rows::Labelled);
        labelled.filter(|_| winner.rows() == Rows::Conversation).or(Some(winner)).cloned()
    }
}

fn has(row: &Row, column: &str) -> bool {
    row.get(column).is_some_and(|value| !value.is_null())
}

/// The first object of a list of messages, or the message itself.
fn first(value: Option<&Value>) -> Option<&Row> {
    match value? {
        Value::Array(list) => list.first()?.as_object(),
        value => value.as_object(),
    }
}

/// Keys of role and text, if the value is a message or a list of them.
fn tags(value: Option<&Value>) -> Option<(&'static str, &'static str)> {
    let message = first(value)?;
    if message.contains_key("from") && message.contains_key("value") {
        return Some(("from", "value"));
    }
    let speaks = ["content", "tool_calls", "function_call"].iter().any(|key| message.contains_key(*key));
    (message.contains_key("role") && speaks).then_some(("role", "content"))
}

fn messages(row: &Row) -> Option<Format> {
    let (column, list) = MESSAGES.iter().find_map(|column| Some((*column, row.get(*column)?.as_array()?)))?;
    let (role, _) = tags(row.get(column))?;
    if role == "role" {
        return Some(Format::OpenAi(OpenAi { messages: column.into(), ..OpenAi::default() }));
    }
    let mut names = ShareGpt { messages: column.into(), ..ShareGpt::default() };
    let roles: Vec<&str> = list.iter().filter_map(|turn| turn.get("from")?.as_str()).collect();
    for (tag, others) in [
        (&mut names.user_tag, &["user"][..]),
        (&mut names.assistant_tag, &["assistant", "chatgpt", "model"][..]),
        (&mut names.observation_tag, &["tool"][..]),
    ] {
        if let (false, Some(other)) =
            (roles.contains(&tag.as_str()), others.iter().find(|other| roles.contains(*other)))
        {
            *tag = (*other).into();
        }
    }
    Some(Format::ShareGpt(names))
}

fn pair(row: &Row) -> Option<Format> {
    let (chosen, rejected) = PAIRS.into_iter().find(|(one, two)| has(row, one) && has(row, two))?;
    let answers = tags(row.get(chosen));
    if let (Some(format), Some(true)) = (messages(row), row.get(chosen).map(|value| !value.is_array())) {
        return Some(match format {
            Format::ShareGpt(names) => {
                Format::ShareGpt(ShareGpt { chosen: chosen.into(), rejected: rejected.into(), ..names })
            }
            Format::OpenAi(names) => {
                Format::OpenAi(OpenAi { chosen: chosen.into(), rejected: rejected.into(), ..names })
            }
            other => other,
        });
    }
    if has(row, "instruction") && row[chosen].is_string() && !has(row, "prompt") {
        let names = Alpaca { chosen: chosen.into(), rejected: rejected.into(), ..Alpaca::default() };
        return Some(Format::Alpaca(names));
    }
    let prompt = PROMPTS.into_iter().chain(MESSAGES).find(|column| has(row, column)).unwrap_or("prompt");
    let (role_tag, content_tag) = answers.or_else(|| tags(row.get(prompt))).unwrap_or(("role", "content"));
    Some(Format::Preference(Preference {
        prompt: prompt.into(),
        chosen: chosen.into(),
        rejected: rejected.into(),
        role_tag: role_tag.into(),
        content_tag: content_tag.into(),
        ..Preference::default()
    }))
}

fn ranked(row: &Row) -> Option<Format> {
    let answers = ["answers", "responses", "completions"]
        .into_iter()
        .find(|column| row.get(*column).and_then(Value::as_array).is_some_and(|list| list.len() > 1))?;
    let prompt = PROMPTS.into_iter().chain(MESSAGES).find(|column| has(row, column))?;
    let mut names = Ranked { prompt: prompt.into(), answers: answers.into(), ..Ranked::default() };
    let first = row[answers][0].as_object();
    let tag = |names: &[&'static str]| {
        let found = |name: &&&str| first.is_some_and(|first| first.contains_key(**name));
        names.iter().find(found).copied()
    };
    let column = |names: &[&'static str]| names.iter().find(|name| has(row, name)).copied();
    let rank = column(&["ranks", "rank"]).map(|name| names.ranks = name.into()).is_some()
        || tag(&["rank"]).is_some();
    let score = column(&["scores", "score"]).map(|name| names.scores = name.into()).is_some()
        || tag(&["score", "overall_score"]).map(|name| names.score_tag = name.into()).is_some();
    if let Some(text) = tag(&["text", "answer", "response"]) {
        names.text_tag = text.into();
    }
    if let Some((role, content)) = tags(row.get(prompt)).or_else(|| tags(Some(&row[answers][0]))) {
        (names.role_tag, names.content_tag) = (role.into(), content.into());
    }
    (rank || score).then_some(Format::Ranked(names))
}

fn labelled(row: &Row) -> Option<Format> {
    let label = LABELS.into_iter().find(|column| row.get(*column).is_some_and(Value::is_boolean))?;
    let label = label.to_owned();
    match messages(row).or_else(|| columns(row))? {
        Format::ShareGpt(names) => Some(Format::ShareGpt(ShareGpt { label, ..names })),
        Format::OpenAi(names) => Some(Format::OpenAi(OpenAi { label, ..names })),
        Format::Alpaca(names) => Some(Format::Alpaca(Alpaca { label, ..names })),
        Format::Completion(names) => Some(Format::Kto(Kto {
            prompt: names.prompt,
            completion: names.completion,
            role_tag: names.role_tag,
            content_tag: names.content_tag,
            label,
            ..Kto::default()
        })),
        _ => None,
    }
}

/// Question and answer in columns of their own.
fn columns(row: &Row) -> Option<Format> {
    if row.contains_key("prompt") && row.contains_key("completion") {
        let (role, content) =
            tags(row.get("prompt")).or_else(|| tags(row.get("completion"))).unwrap_or(("role", "content"));
        let names =
            Completion { role_tag: role.into(), content_tag: content.into(), ..Completion::default() };
        return Some(Format::Completion(names));
    }
    for (instruction, outputs) in [
        ("instruction", &["output", "response", "completion", "answer"][..]),
        ("prompt", &["response", "output", "answer"]),
        ("question", &["answer", "response"]),
        ("query", &["response", "answer"]),
    ] {
        let output = outputs.iter().find(|name| row.contains_key(**name));
        if let (true, Some(output)) = (row.contains_key(instruction), output) {
            let names =
                Alpaca { instruction: instruction.into(), output: (*output).into(), ..Alpaca::default() };
            return Some(Format::Alpaca(names));
        }
    }
    None
}

fn text(row: &Row) -> Option<Format> {
    let column =
        ["text", "content"].into_iter().find(|column| row.get(*column).is_some_and(Value::is_string))?;
    Some(Format::Text(Text { column: column.into(), ..Text::default() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(row: &Value, wanted: Rows) -> String {
        let format = Format::guess(row, wanted).unwrap();
        serde_json::to_value(&format).unwrap()["kind"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_usual_shapes_are_recognised() {
        for (row, want) in [
            (json!({"instruction": "a", "input": "", "output": "b"}), "alpaca"),
            (json!({"question": "a", "answer": "b"}), "alpaca"),
            (json!({"prompt": "a", "completion": "b"}), "completion"),
            (json!({"conversations": [{"from": "human", "value": "a"}], "tools": "[]"}), "sharegpt"),
            (json!({"messages": [{"role": "user", "content": "a"}]}), "openai"),
            (json!({"text": "a"}), "text"),
            (json!("a"), "text"),
        ] {
            assert_eq!(kind(&row, Rows::Conversation), want);
        }
        assert_eq!(Format::guess(&json!({"a": 1}), Rows::Conversation), None);
    }

    #[test]
    fn the_stage_decides_where_a_row_looks_like_two_formats() {
        let chat = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
        let row = json!({"messages": chat, "chosen": chat, "rejected": chat, "text": "x"});
        let mut labelled = row.clone();
        labelled["label"] = true.into();
        for (row, wanted, want) in [
            (&row, Rows::Conversation, "openai"),
            (&row, Rows::Preference, "preference"),
            (&labelled, Rows::Labelled, "openai"),
            (&row, Rows::Text, "text"),
        ] {
            assert_eq!(kind(row, wanted), want);
            assert_eq!(Format::guess(row, wanted).unwrap().rows(), wanted);
        }
        let pairs = json!({"prompt": "a", "chosen": "b", "rejected": "c"});
        assert_eq!(kind(&pairs, Rows::Conversation), "preference"); // and is refused with a way out
    }

    #[test]
    fn preferences_rankings_and_labels_are_recognised() {
        let message = |text: &str| json!({"from": "gpt", "value": text});
        let human = json!([{"from": "human", "value": "a"}]);
        for (row, wanted, want) in [
            (
                json!({"conversations": human, "chosen": message("b"), "rejected": message("c")}),
                Rows::Preference,
                "sharegpt",
            ),
            (
                json!({"instruction": "a", "input": "", "chosen": "b", "rejected": "c"}),
                Rows::Preference,
                "alpaca",
            ),
            (json!({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}), Rows::Preference, "preference"),
            (json!({"prompt": "a", "answers": ["b", "c"], "scores": [1, 2]}), Rows::Preference, "ranked"),
            (
                json!({"prompt": "a", "answers": [{"answer": "b", "rank": 2}, {"answer": "c", "rank": 1}]}),
                Rows::Preference,
                "ranked",
            ),
            (json!({"prompt": "a", "completion": "b", "label": false}), Rows::Labelled, "kto"),
            (
                json!({"instruction": "a", "output": "b", "input": "", "kto_tag": true}),
                Rows::Labelled,
                "alpaca",
            ),
        ] {
            assert_eq!(kind(&row, wanted), want, "{row}");
            assert_eq!(Format::guess(&row, wanted).unwrap().rows(), wanted);
        }
    }

    #[test]
    fn a_label_is_not_left_out_to_make_conversations() {
        let chat = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
        let labelled = json!({"prompt": "a", "completion": "b", "label": false});
        let odd = json!({"prompt": "a", "completion": "b", "label": "maybe"});
        for row in [&labelled, &json!({"messages": chat, "kto_tag": false})] {
            assert_eq!(Format::guess(row, Rows::Conversation).unwrap().rows(), Rows::Labelled);
        }
        let found = Format::guess_all([&odd, &labelled, &odd], Rows::Conversation).unwrap();
        assert!(found.unwanted(Rows::Conversation).unwrap().hint.contains("labels"));
        let counted = json!({"text": "a", "label": true}); // a label of a text is none of an answer
        assert_eq!(Format::guess(&counted, Rows::Text).unwrap().rows(), Rows::Text);
    }

    #[test]
    fn the_majority_decides() {
        let rows = [
            json!({"text": "a"}),
            json!({"prompt": "a", "answer": "b"}),
            json!({"prompt": "a", "answer": "b"}),
        ];
        assert!(!Format::guess_all(&rows, Rows::Conversation).unwrap().is_text());
    }

    #[test]
    fn other_names_of_roles_are_found() {
        let row =
            json!({"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]});
        let Some(Format::ShareGpt(names)) = Format::guess(&row, Rows::Conversation) else { panic!("{row}") };
        assert_eq!((names.user_tag.as_str(), names.assistant_tag.as_str()), ("user", "assistant"));
    }
}
