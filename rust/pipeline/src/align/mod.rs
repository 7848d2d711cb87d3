//! From a row of JSON to the canonical record, by a named format.
//!
//! What a row lacks or has wrong is told with the field's name; nothing is repaired in silence.

mod messages;
mod pairs;
mod tools;

use fastft_record::{Code, Document, RowError};
use serde_json::{Map, Value};

use crate::format::Format;

/// Align one parsed row.
///
/// # Errors
/// `E_TYPE`, `E_MISSING`, `E_ROLE` or `E_EMPTY` with the field that is wrong.
pub fn align(row: Value, format: &Format) -> Result<Document, RowError> {
    if let (Format::Text(_), Value::String(text)) = (format, &row) {
        return text_document(text.clone());
    }
    let Value::Object(mut row) = row else {
        return Err(RowError::new(Code::Type, format!("the row is {}, expected an object", type_name(&row))));
    };
    match format {
        Format::Alpaca(names) => pairs::align(&mut row, names).map(Document::Conversation),
        Format::ShareGpt(names) => messages::sharegpt(&mut row, names).map(Document::Conversation),
        Format::OpenAi(names) => messages::openai(&mut row, names).map(Document::Conversation),
        Format::Text(names) => text_document(required(&mut row, &names.column)?),
    }
}

/// Refuse whole numbers of more than 64 bits in tools and calls: read as floats, they would be
/// printed otherwise than Python prints them. `text` is the row.
///
/// # Errors
/// `E_TYPE` when there is one.
pub fn exact_numbers(document: &Document, text: &str) -> Result<(), RowError> {
    fn large(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64() && number.as_f64().is_some_and(|x| x.abs() >= 9.2e18),
            Value::Array(items) => items.iter().any(large),
            Value::Object(fields) => fields.values().any(large),
            _ => false,
        }
    }
    let calls = document.messages().filter_map(|message| message.tool_calls.as_ref());
    // a float such as 1e300 is as large and is read right; only digits in a row are a whole number
    if calls.chain(document.tools()).any(large)
        && text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() >= 19)
    {
        let reason = "a whole number in the tools or their calls has more than 64 bits; make it a string";
        return Err(RowError::new(Code::Type, reason));
    }
    Ok(())
}

/// A document of plain text.
///
/// # Errors
/// `E_EMPTY` when there is nothing but white space.
pub fn text_document(text: String) -> Result<Document, RowError> {
    if text.trim().is_empty() {
        return Err(RowError::new(Code::Empty, "the text is empty"));
    }
    Ok(Document::Text(text))
}

/// The text of a field that may be missing or null.
fn optional(row: &mut Map<String, Value>, key: &str) -> Result<Option<String>, RowError> {
    match row.get_mut(key).map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(key, &other, "a string")),
    }
}

fn required(row: &mut Map<String, Value>, key: &str) -> Result<String, RowError> {
    optional(row, key)?.ok_or_else(|| missing(key))
}

fn missing(key: &str) -> RowError {
    RowError::new(Code::Missing, format!("`{key}` is missing or null"))
}

fn wrong_type(key: &str, value: &Value, expected: &str) -> RowError {
    RowError::new(Code::Type, format!("`{key}` is {}, expected {expected}", type_name(value)))
}

fn empty(key: &str) -> RowError {
    RowError::new(Code::Empty, format!("`{key}` is empty"))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use fastft_record::Message;
    use serde_json::json;

    use super::*;
    use crate::format::{Alpaca, OpenAi, ShareGpt};

    fn messages(row: Value, format: &Format) -> Value {
        match align(row, format).unwrap() {
            Document::Conversation(conversation) => serde_json::to_value(conversation).unwrap(),
            Document::Text(text) => json!(text),
            other => panic!("{other:?}"),
        }
    }

    fn code(row: Value, format: &Format) -> Code {
        align(row, format).unwrap_err().code
    }

    #[test]
    fn alpaca_joins_instruction_and_input_after_history() {
        let format = Format::Alpaca(Alpaca::default());
        let row =
            json!({"instruction": "a", "input": "b", "output": "c", "system": "s", "history": [["q", "r"]]});
        let want = json!({"messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "r"},
            {"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "c"}]});
        assert_eq!(messages(row, &format), want);
        assert_eq!(code(json!({"instruction": "a", "output": ""}), &format), Code::Empty);
        assert_eq!(code(json!({"instruction": "a"}), &format), Code::Missing);
        assert_eq!(code(json!({"instruction": 3, "output": "b"}), &format), Code::Type);
        assert_eq!(code(json!({"instruction": "a", "output": "b", "history": [["q"]]}), &format), Code::Type);
        assert_eq!(code(json!([1]), &format), Code::Type);
        let row = json!({"instruction": "a", "output": "b", "history": [["q", " "]]});
        assert_eq!(code(row, &format), Code::Empty);
    }

    #[test]
    fn sharegpt_knows_calls_and_observations() {
        let format = Format::ShareGpt(ShareGpt::default());
        let row = json!({"tools": "[{\"name\": \"f\", \"parameters\": {}}]", "conversations": [
            {"from": "human", "value": "a"},
            {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"z\": 1, \"a\": 2}}"},
            {"from": "observation", "value": "3"}, {"from": "gpt", "value": "b"}]});
        let want = json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"z": 1, "a": 2}}}]},
            {"role": "tool", "content": "3"}, {"role": "assistant", "content": "b"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]});
        assert_eq!(messages(row, &format).to_string(), want.to_string());
        let one = |from: &str, value: &str| json!({"conversations": [{"from": from, "value": value}]});
        assert_eq!(code(one("gpt", "a"), &format), Code::Role);
        assert_eq!(code(one("human", "a"), &format), Code::Role);
        assert_eq!(code(one("robot", "a"), &format), Code::Role);
        assert_eq!(code(json!({"conversations": []}), &format), Code::Empty);
        assert_eq!(code(json!({"conversations": "x"}), &format), Code::Type);
    }

    #[test]
    fn whole_numbers_of_more_than_64_bits_are_refused_and_large_floats_are_not() {
        for (number, fits) in
            [("18446744073709551615", true), ("18446744073709551616", false), ("1e300", true)]
        {
            let call = format!("{{\"function\": {{\"name\": \"f\", \"arguments\": {{\"n\": {number}}}}}}}");
            let row = format!(
                "{{\"messages\": [{{\"role\": \"user\", \"content\": \"a\"}}, {{\"role\": \"assistant\", \"tool_calls\": [{call}]}}]}}"
            );
            let document =
                align(serde_json::from_str(&row).unwrap(), &Format::OpenAi(OpenAi::default())).unwrap();
            assert_eq!(exact_numbers(&document, &row).is_ok(), fits, "{number}");
        }
    }

    #[test]
    fn openai_takes_parts_reasoning_calls_and_weights() {
        let format = Format::OpenAi(OpenAi::default());
        let row = json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "value": "b"}], "loss_weight": 0.0},
            {"role": "assistant", "content": [{"type": "reasoning", "value": "r"}, {"type": "text", "value": "c"}], "loss_weight": 1.0},
            {"role": "tool", "content": "d", "name": "f", "tool_call_id": "1"},
            {"role": "assistant", "content": "e", "train": false}]});
        let Document::Conversation(found) = align(row, &format).unwrap() else { panic!("no conversation") };
        assert_eq!(found.messages[0].content.as_deref(), Some("ab"));
        assert_eq!(found.messages[1].reasoning.as_deref(), Some("r"));
        assert_eq!(
            found.messages.iter().map(Message::train).collect::<Vec<_>>(),
            [Some(false), Some(true), None, Some(false)]
        );
        assert_eq!(found.messages[2].tool_call_id.as_deref(), Some("1"));
        let answer = |message: Value| json!({"messages": [{"role": "user", "content": "a"}, message]});
        assert_eq!(code(answer(json!({"role": "assistant", "content": null})), &format), Code::Empty);
        let call = json!({"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]});
        assert_eq!(messages(answer(call.clone()), &format)["messages"][1], call);
        assert_eq!(code(answer(json!({"role": "robot", "content": "b"})), &format), Code::Role);
        assert_eq!(
            code(answer(json!({"role": "assistant", "content": "b", "loss_weight": 0.5})), &format),
            Code::Type
        );
        assert_eq!(
            code(answer(json!({"role": "assistant", "content": [{"type": "image_url"}]})), &format),
            Code::Type
        );
        assert_eq!(code(json!({"messages": [{"content": "b"}]}), &format), Code::Missing);
        assert_eq!(code(json!({"messages": [{"role": "user", "content": "b"}]}), &format), Code::NoTarget);
    }
}
