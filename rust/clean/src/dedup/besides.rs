//! What tells two documents with the same text apart.

use fastft_record::{Document, Message, Part};
use serde_json::Value;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What a document is besides its text, as hashes; 0 for plain text.
///
/// A question about one picture is no duplicate of the same question about another, a wanted answer none of the same
/// answer unwanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// Of everything: roles, names, calls, tools, weights, media, whether it is wanted. Exact duplicates agree in it.
    pub(crate) whole: u64,
    /// Of what a few other words don't change: calls, media, whether it is wanted. Near duplicates agree in it.
    pub(crate) core: u64,
}

impl Besides {
    /// What `document` is besides `document.text_for_rules()`.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let (kind, prompt) = match document {
            Document::Text(_) => return Self::default(),
            Document::Conversation(_) => ("conversation", 0),
            Document::Ranked { conversation, answers } => {
                let lengths: Vec<_> = answers.iter().map(Vec::len).collect();
                ("ranked", xxh3_64(format!("{} {lengths:?}", conversation.messages.len()).as_bytes()))
            }
            Document::Labelled { desirable: true, .. } => ("wanted", 0),
            Document::Labelled { desirable: false, .. } => ("unwanted", 0),
        };
        let (mut whole, mut core) = (Fields::default(), Fields::default());
        core.put(kind);
        whole.0.update(&prompt.to_le_bytes());
        for message in document.messages() {
            message_fields(message, &mut whole, &mut core);
        }
        whole.put_value(document.tools());
        let core = core.0.digest();
        whole.0.update(&core.to_le_bytes());
        Self { whole: whole.0.digest(), core }
    }
}

fn message_fields(message: &Message, whole: &mut Fields, core: &mut Fields) {
    let Message { role, content, parts, reasoning, tool_calls, name, tool_call_id, weight, .. } = message;
    whole.put(role);
    whole.put_size(reasoning.as_deref());
    whole.put_size(content.as_deref());
    whole.put(name.as_deref().unwrap_or_default());
    whole.put(tool_call_id.as_deref().unwrap_or_default());
    whole.put(&weight.map(|weight| weight.to_string()).unwrap_or_default());
    for part in parts {
        match part {
            Part::Text { text } => whole.put_size(Some(text)),
            Part::Image { image: place } | Part::Video { video: place } | Part::Audio { audio: place } => {
                whole.put("media");
                core.put(place);
            }
        }
    }
    core.put_value(tool_calls.as_ref());
}

/// A hash of strings, each with its length, so that no two lists run into one.
#[derive(Default)]
struct Fields(Xxh3);

impl Fields {
    fn put(&mut self, field: &str) {
        self.0.update(&(field.len() as u64).to_le_bytes());
        self.0.update(field.as_bytes());
    }

    /// Where a text ends among the others, whatever white space there is.
    fn put_size(&mut self, text: Option<&str>) {
        let size = text.map_or(u64::MAX, |text| text.chars().filter(|c| !c.is_whitespace()).count() as u64);
        self.0.update(&size.to_le_bytes());
    }

    fn put_value(&mut self, value: Option<&Value>) {
        if let Some(value) = value {
            self.put(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use fastft_record::Conversation;
    use serde_json::json;

    use super::*;

    fn chat(messages: &Value) -> Document {
        Document::Conversation(
            serde_json::from_value::<Conversation>(json!({ "messages": messages })).unwrap(),
        )
    }

    #[test]
    fn rows_with_one_text_differ_in_what_else_they_are() {
        let call = |city: &str| json!([{"function": {"name": "weather", "arguments": {"city": city}}}]);
        let image = |path: &str| json!([{"type": "image", "image": path}, {"type": "text", "text": "what?"}]);
        let mut seen: Vec<Document> = vec![
            chat(&json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])),
            chat(&json!([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])),
            chat(&json!([{"role": "user", "content": "a\nb"}])),
            chat(
                &json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}]),
            ),
            chat(&json!([{"role": "assistant", "content": "b", "reasoning": "a"}])),
            chat(&json!([{"role": "assistant", "content": "x", "tool_calls": call("Oslo")}])),
            chat(&json!([{"role": "assistant", "content": "x", "tool_calls": call("Rome")}])),
            chat(&json!([{"role": "user", "content": image("1.jpg")}])),
            chat(&json!([{"role": "user", "content": image("2.jpg")}])),
        ];
        let conversation = Conversation { messages: vec![Message::new("user", "a")], tools: None };
        for desirable in [true, false] {
            seen.push(Document::Labelled { conversation: conversation.clone(), desirable });
        }
        let answers =
            |texts: &[&str]| texts.iter().map(|text| vec![Message::new("assistant", *text)]).collect();
        let ranked = |texts| Document::Ranked { conversation: conversation.clone(), answers: answers(texts) };
        seen.extend([ranked(&["b", "c"]), ranked(&["b\nc", "d"]), ranked(&["b", "c\nd"])]);
        for (index, one) in seen.iter().enumerate() {
            assert_eq!(Besides::of(one), Besides::of(&one.clone()));
            for other in &seen[..index] {
                assert_ne!(Besides::of(one).whole, Besides::of(other).whole, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn near_duplicates_may_differ_in_roles_and_turns_only() {
        let of = |messages: Value| Besides::of(&chat(&messages)).core;
        let plain = of(json!([{"role": "user", "content": "a"}]));
        assert_eq!(plain, of(json!([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])));
        assert_ne!(plain, of(json!([{"role": "user", "content": [{"type": "image", "image": "1.jpg"}]}])));
    }
}
