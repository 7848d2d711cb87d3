//! Rows that a template refuses as they stand, and what may be changed about them.

use std::collections::BTreeMap;

use fastft_record::{Conversation, Message};
use serde_json::Value;

/// The conversation with null `content` left out, which `in` and `+` can't look into.
pub fn without_null(conversation: &Conversation) -> Option<Conversation> {
    changed(conversation, |message| {
        let is_null = message.content.is_none() && message.content_is_null;
        message.content_is_null &= !is_null;
        is_null
    })
}

/// The conversation with an empty `content` where the assistant calls tools and has none: the calls
/// are what such a message says.
pub fn with_empty_content(conversation: &Conversation) -> Option<Conversation> {
    changed(conversation, |message| {
        let only_calls =
            message.role == "assistant" && message.content.is_none() && !calls(message).is_empty();
        if only_calls {
            message.content = Some(String::new());
            message.content_is_null = false;
        }
        only_calls
    })
}

/// The conversation with ids of nine letters and digits on calls of tools and the answers to them,
/// as Mistral's templates demand: the calls are numbered, and an answer without an id is that of the
/// first call that has none yet.
pub fn with_call_ids(conversation: &Conversation) -> Option<Conversation> {
    let mut conversation = conversation.clone();
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    let mut waiting: Vec<String> = Vec::new();
    let mut number = 0;
    for message in &mut conversation.messages {
        if message.role == "assistant" && !calls(message).is_empty() {
            waiting.clear();
        }
        for call in message.tool_calls.as_mut().and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(call) = call.as_object_mut() else { continue };
            number += 1;
            let id = format!("call{number:05}");
            if let Some(Value::String(old)) = call.insert("id".to_owned(), id.clone().into()) {
                given.insert(old, id.clone());
            }
            waiting.push(id);
        }
        if message.role == "tool" {
            let known = message.tool_call_id.as_ref().and_then(|old| given.get(old)).cloned();
            let id = known.or_else(|| waiting.first().cloned())?;
            waiting.retain(|other| *other != id);
            message.tool_call_id = Some(id);
        }
    }
    (number > 0).then_some(conversation)
}

/// A copy of which some messages were changed; None if none was.
fn changed(conversation: &Conversation, change: impl Fn(&mut Message) -> bool) -> Option<Conversation> {
    let mut conversation = conversation.clone();
    let count = conversation.messages.iter_mut().map(change).filter(|changed| *changed).count();
    (count > 0).then_some(conversation)
}

fn calls(message: &Message) -> &[Value] {
    message.tool_calls.as_ref().and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_calls_and_their_answers_stay_together() {
        let row = r#"{"messages":[
            {"role":"assistant","tool_calls":[{"id":"call_b","function":{}},{"id":"call_a","function":{}}]},
            {"role":"tool","content":"a","tool_call_id":"call_a"},
            {"role":"tool","content":"b","tool_call_id":"call_b"},
            {"role":"assistant","tool_calls":[{"function":{}}]},
            {"role":"tool","content":"c"}]}"#;
        let conversation: Conversation = serde_json::from_str(row).unwrap();
        let repaired = with_call_ids(&conversation).unwrap();
        let ids: Vec<_> =
            repaired.messages.iter().filter_map(|message| message.tool_call_id.as_deref()).collect();
        assert_eq!(ids, ["call00002", "call00001", "call00003"]);
        assert_eq!(repaired.messages[0].tool_calls.as_ref().unwrap()[1]["id"], "call00002");
        assert!(with_call_ids(&Conversation::default()).is_none());
    }
}
