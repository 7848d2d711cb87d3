//! Instruction data: question and answers in columns of their own.

use fastft_record::{Document, Message, RowError};
use serde_json::{Map, Value};

use super::answers::{self, Setting};
use super::at::{At, optional, required, take};
use super::messages::Reader;
use super::tools::Bare;
use crate::format::Alpaca;

const TURNS: &str = "a list of [question, answer]";

/// System, history, then instruction and input joined by a newline, then the answer or answers.
pub(super) fn align(row: &mut Map<String, Value>, names: &Alpaca) -> Result<Document, RowError> {
    let media = [&*names.images, &*names.videos, &*names.audios];
    let mut setting = Setting::take(row, &names.system, &names.tools, Bare::Wrap, media)?;
    let mut messages = setting.complete(Vec::new());
    history(row, &names.history, &mut messages)?;
    let at = At::ROW.key(&names.instruction);
    let instruction = optional(row, &names.instruction, &At::ROW)?;
    let input = optional(row, &names.input, &At::ROW)?;
    if instruction.is_none() && input.is_none() {
        return Err(at.missing("a string", row));
    }
    let parts: Vec<String> =
        [instruction, input].into_iter().flatten().filter(|part| !part.is_empty()).collect();
    if parts.iter().all(|part| part.trim().is_empty()) {
        return Err(at.empty());
    }
    messages.push(Message::new("user", parts.join("\n")));
    if names.rows_are_pairs() {
        let reader = Reader::any("role", "content");
        let only_chosen = names.answer.is_some();
        let found = answers::pair_answers(row, &names.chosen, &names.rejected, only_chosen, &reader)?;
        let (prompt, found) = answers::join(Some(messages), &at, found, row)?;
        return answers::finish(setting, prompt, found, only_chosen);
    }
    let output = required(row, &names.output, &At::ROW)?;
    if output.trim().is_empty() {
        return Err(At::ROW.key(&names.output).empty());
    }
    if names.label.is_empty() {
        messages.push(Message::new("assistant", output));
        return setting.conversation(messages).map(Document::Conversation);
    }
    let desirable = answers::label(row, &names.label)?;
    answers::mute(&mut messages);
    messages.push(Message::new("assistant", output));
    Ok(Document::Labelled { conversation: setting.conversation(messages)?, desirable })
}

fn history(row: &mut Map<String, Value>, key: &str, messages: &mut Vec<Message>) -> Result<(), RowError> {
    let at = At::ROW.key(key);
    let turns = match take(row, key) {
        None => return Ok(()),
        Some(Value::Array(turns)) => turns,
        Some(other) => return Err(at.wrong_type(&other, TURNS)),
    };
    for (index, turn) in turns.into_iter().enumerate() {
        let at = at.index(index);
        let Value::Array(mut pair) = turn else { return Err(at.wrong_type(&turn, "[question, answer]")) };
        match pair.as_mut_slice() {
            [Value::String(_), Value::String(answer)] if answer.trim().is_empty() => {
                return Err(at.index(1).empty());
            }
            [Value::String(question), Value::String(answer)] => {
                messages.push(Message::new("user", std::mem::take(question)));
                messages.push(Message::new("assistant", std::mem::take(answer)));
            }
            _ => return Err(at.wrong_type(&Value::Array(pair), "two strings, [question, answer]")),
        }
    }
    Ok(())
}
