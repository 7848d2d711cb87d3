//! Instruction data: question and answer in columns of their own.

use fastft_record::{Conversation, Message, RowError};
use serde_json::{Map, Value};

use super::{empty, missing, optional, required, tools, wrong_type};
use crate::format::Alpaca;

/// System, history, then instruction and input joined by a newline, then the output.
pub(super) fn align(row: &mut Map<String, Value>, names: &Alpaca) -> Result<Conversation, RowError> {
    let mut messages = Vec::new();
    if let Some(system) = optional(row, &names.system)?.filter(|text| !text.is_empty()) {
        messages.push(Message::new("system", system));
    }
    match row.get_mut(&names.history).map(Value::take) {
        None | Some(Value::Null) => {}
        Some(Value::Array(turns)) => {
            for turn in turns {
                match turn.as_array().map(Vec::as_slice) {
                    Some([Value::String(_), Value::String(answer)]) if answer.trim().is_empty() => {
                        return Err(empty(&names.history));
                    }
                    Some([Value::String(question), Value::String(answer)]) => {
                        messages.push(Message::new("user", question));
                        messages.push(Message::new("assistant", answer));
                    }
                    _ => return Err(wrong_type(&names.history, &turn, "a list of [question, answer]")),
                }
            }
        }
        Some(other) => return Err(wrong_type(&names.history, &other, "a list of [question, answer]")),
    }
    let instruction = optional(row, &names.instruction)?;
    let input = optional(row, &names.input)?;
    if instruction.is_none() && input.is_none() {
        return Err(missing(&names.instruction));
    }
    let parts: Vec<String> =
        [instruction, input].into_iter().flatten().filter(|part| !part.is_empty()).collect();
    if parts.iter().all(|part| part.trim().is_empty()) {
        return Err(empty(&names.instruction));
    }
    messages.push(Message::new("user", parts.join("\n")));
    let output = required(row, &names.output)?;
    if output.trim().is_empty() {
        return Err(empty(&names.output));
    }
    messages.push(Message::new("assistant", output));
    Ok(Conversation { messages, tools: tools::column(row, &names.tools, tools::Bare::Wrap)? })
}
