//! Rows with a list of messages: `ShareGPT`'s and `OpenAI`'s, alone, with a label, or as the
//! prompt of a better and a worse answer.

use fastft_record::{Code, Document, Message, RowError};
use serde_json::{Map, Value};

use super::answers::{self, Setting};
use super::at::At;
use super::messages::Reader;
use super::tools::{self, Bare};
use crate::format::{OpenAi, ShareGpt};

/// What the two formats have in common.
struct Names<'a> {
    messages: &'a str,
    pair: Option<(&'a str, &'a str)>,
    only_chosen: bool,
    label: &'a str,
    /// Whether the list of messages has to end with an answer.
    strict: bool,
}

/// Turns must alternate, user or observation first, and end with an answer, as in LLaMA-Factory.
pub(super) fn sharegpt(row: &mut Map<String, Value>, names: &ShareGpt) -> Result<Document, RowError> {
    let media = [&*names.images, &*names.videos, &*names.audios];
    let setting = Setting::take(row, &names.system, &names.tools, Bare::Wrap, media)?;
    let chat = Names {
        messages: &names.messages,
        pair: (!names.chosen.is_empty() && names.label.is_empty())
            .then_some((&names.chosen, &names.rejected)),
        only_chosen: names.answer.is_some(),
        label: &names.label,
        strict: true,
    };
    align(row, &chat, &Reader::sharegpt(names), setting)
}

/// Messages as `apply_chat_template` takes them; which orders are possible is the template's business.
pub(super) fn openai(row: &mut Map<String, Value>, names: &OpenAi) -> Result<Document, RowError> {
    let media = [&*names.images, &*names.videos, &*names.audios];
    let mut setting = Setting::take(row, &names.system, &names.tools, Bare::Keep, media)?;
    if setting.tools.is_none() {
        setting.tools = tools::column(row, &names.functions, Bare::Wrap)?;
    }
    let chat = Names {
        messages: &names.messages,
        pair: (!names.chosen.is_empty() && names.label.is_empty())
            .then_some((&names.chosen, &names.rejected)),
        only_chosen: names.answer.is_some(),
        label: &names.label,
        strict: false,
    };
    align(row, &chat, &Reader::openai(names), setting)
}

fn align(
    row: &mut Map<String, Value>,
    names: &Names<'_>,
    reader: &Reader<'_>,
    setting: Setting<'_>,
) -> Result<Document, RowError> {
    let mut messages = reader.column(row, names.messages)?;
    let at = At::ROW.key(names.messages);
    if let Some((chosen, rejected)) = names.pair {
        let found = answers::pair_answers(row, chosen, rejected, names.only_chosen, &reader.of_answers())?;
        let (prompt, found) = answers::join(Some(messages), &at, found, row)?;
        return answers::finish(setting, prompt, found, names.only_chosen);
    }
    let is_answer = |message: &Message| message.role == "assistant";
    if names.strict && !messages.last().is_some_and(is_answer) {
        return Err(at.error(Code::Role, "the last message is not an answer"));
    }
    let Some(last) = messages.iter().rposition(is_answer) else {
        return Err(at.error(Code::NoTarget, "no message is from the assistant"));
    };
    if names.label.is_empty() {
        return setting.conversation(messages).map(Document::Conversation);
    }
    let desirable = answers::label(row, names.label)?;
    answers::mute(&mut messages[..last]);
    Ok(Document::Labelled { conversation: setting.conversation(messages)?, desirable })
}
