//! Prompts with one answer or several: preferences, rankings, labels, completions.

use fastft_record::{Code, Conversation, Document, Message, RowError};
use serde_json::{Map, Value};

use super::at::{At, optional, take};
use super::media::Media;
use super::messages::Reader;
use super::tools::{self, Bare};
use super::transcript;
use crate::format::{Completion, Kto, Preference, Ranked, Ties};

/// An answer and where it stands.
pub(super) struct Candidate<'a> {
    pub messages: Vec<Message>,
    pub at: At<'a>,
}

/// What stands around the answers of a row.
pub(super) struct Setting<'a> {
    pub system: Option<String>,
    pub tools: Option<Value>,
    pub media: Media<'a>,
}

impl<'a> Setting<'a> {
    /// Take the columns out of a row.
    pub fn take(
        row: &mut Map<String, Value>,
        system: &str,
        tools: &str,
        bare: Bare,
        media: [&'a str; 3],
    ) -> Result<Self, RowError> {
        Ok(Self {
            system: optional(row, system, &At::ROW)?.filter(|text| !text.is_empty()),
            tools: tools::column(row, tools, bare)?,
            media: Media::take(row, media)?,
        })
    }

    /// The messages with the system message at their head, unless they have one.
    pub fn complete(&mut self, mut messages: Vec<Message>) -> Vec<Message> {
        if let Some(system) = self.system.take()
            && messages.first().is_none_or(|first| first.role != "system")
        {
            messages.insert(0, Message::new("system", system));
        }
        messages
    }

    /// A conversation of which all messages are known.
    pub fn conversation(mut self, messages: Vec<Message>) -> Result<Conversation, RowError> {
        let mut messages = self.complete(messages);
        self.media.place(&mut messages)?;
        self.media.finish()?;
        Ok(Conversation { messages, tools: self.tools })
    }

    /// A prompt with its answers, best first.
    pub fn ranked(mut self, prompt: Vec<Message>, answers: Vec<Vec<Message>>) -> Result<Document, RowError> {
        let mut messages = self.complete(prompt);
        self.media.place(&mut messages)?;
        let mut placed = Vec::with_capacity(answers.len());
        for mut answer in answers {
            let mut media = self.media.clone();
            media.place(&mut answer)?;
            media.finish()?;
            placed.push(answer);
        }
        let conversation = Conversation { messages, tools: self.tools };
        Ok(Document::Ranked { conversation, answers: placed })
    }
}

/// A prompt: a text, a transcript, a message or messages.
pub(super) fn prompt(value: Value, reader: &Reader<'_>, at: &At<'_>) -> Result<Vec<Message>, RowError> {
    let mut messages = match value {
        Value::String(text) if text.trim().is_empty() => return Err(at.empty()),
        Value::String(text) => transcript::read(&text).unwrap_or_else(|| vec![Message::new("user", text)]),
        Value::Array(list) => reader.list(list, at)?,
        message @ Value::Object(_) => vec![reader.message(message, at)?],
        other => return Err(at.wrong_type(&other, "a string or a list of messages")),
    };
    let silent = |message: &Message| message.content.as_deref().is_some_and(|text| text.trim().is_empty());
    if messages.last().is_some_and(|last| last.role == "assistant" && silent(last)) {
        messages.pop(); // the cue at the end of a transcript, `Assistant:`
    }
    Ok(messages)
}

/// An answer: a text, a message, messages, or the whole conversation.
pub(super) fn answer<'a>(value: Value, reader: &Reader<'_>, at: At<'a>) -> Result<Candidate<'a>, RowError> {
    let messages = match value {
        Value::String(text) if text.trim().is_empty() => return Err(at.empty()),
        Value::String(text) => {
            transcript::read(&text).unwrap_or_else(|| vec![Message::new("assistant", text)])
        }
        Value::Array(list) => reader.list(list, &at)?,
        message @ Value::Object(_) => vec![reader.message(message, &at)?],
        other => return Err(at.wrong_type(&other, "a string, a message or a list of messages")),
    };
    let said = |message: &Message| {
        let text = message.content.as_deref().is_some_and(|text| !text.trim().is_empty());
        text || message.tool_calls.is_some() || !message.parts.is_empty()
    };
    match messages.last() {
        Some(last) if last.role != "assistant" => {
            Err(at.error(Code::Role, format!("the last message is from `{}`, expected an answer", last.role)))
        }
        Some(last) if said(last) => Ok(Candidate { messages, at }),
        _ => Err(at.empty()),
    }
}

/// Cut answers from their common prompt.
///
/// Answers that begin with an assistant's message follow `given`; answers that are whole
/// conversations have their prompt in common, and `given` has to agree with it.
pub(super) fn join(
    given: Option<Vec<Message>>,
    prompt_at: &At<'_>,
    mut answers: Vec<Candidate<'_>>,
    row: &Map<String, Value>,
) -> Result<(Vec<Message>, Vec<Vec<Message>>), RowError> {
    let is_whole = |answer: &Candidate<'_>| answer.messages[0].role != "assistant";
    let whole = answers.iter().filter(|answer| is_whole(answer)).count();
    let prompt = if whole == 0 {
        let prompt = given.ok_or_else(|| prompt_at.missing("what the answers are to", row))?;
        ends_with_question(&prompt, prompt_at)?;
        prompt
    } else if whole == answers.len() {
        let len = common_prompt(&answers);
        if len == 0 {
            return Err(answers[0].at.error(Code::Pair, "the conversations have no common prompt"));
        }
        let prompt: Vec<Message> = answers[0].messages[..len].to_vec();
        if let Some(given) = given
            && !agrees(&given, &prompt)
        {
            let reason = format!("the conversations do not begin with `{prompt_at}`");
            return Err(answers[0].at.error(Code::Pair, reason));
        }
        for answer in &mut answers {
            answer.messages.drain(..len);
        }
        prompt
    } else {
        let reason = "one answer is a whole conversation and another is not";
        return Err(answers[0].at.error(Code::Pair, reason));
    };
    for (index, answer) in answers.iter().enumerate() {
        if let Some(same) = answers[..index].iter().find(|other| other.messages == answer.messages) {
            let reason = format!("the answer is the same as `{}`", same.at);
            return Err(answer.at.error(Code::Pair, reason));
        }
    }
    Ok((prompt, answers.into_iter().map(|answer| answer.messages).collect()))
}

/// Refuse a prompt to which nothing can be answered.
fn ends_with_question(prompt: &[Message], at: &At<'_>) -> Result<(), RowError> {
    match prompt.last() {
        None => Err(at.empty()),
        Some(last) if last.role == "assistant" => {
            Err(at.error(Code::Role, "the prompt ends with an answer, expected a question"))
        }
        Some(_) => Ok(()),
    }
}

/// Messages that all conversations begin with, followed in each by an assistant's.
fn common_prompt(answers: &[Candidate<'_>]) -> usize {
    let first = &answers[0].messages;
    let same =
        |index: &usize| answers.iter().all(|answer| answer.messages.get(*index) == Some(&first[*index]));
    let common = (0..first.len()).take_while(same).count();
    let answered = |len: &usize| {
        answers.iter().all(|answer| answer.messages.get(*len).is_some_and(|next| next.role == "assistant"))
    };
    // one answer to a prompt: what stands before the last of its assistant's messages
    let common = if answers.len() == 1 { first.len() - 1 } else { common };
    let asked = |len: &usize| first[*len - 1].role != "assistant";
    (1..=common).rev().find(|len| asked(len) && answered(len)).unwrap_or(0)
}

/// Whether the column of the prompt says what the conversations begin with: all of it, its
/// beginning, or the last question.
fn agrees(given: &[Message], prompt: &[Message]) -> bool {
    let text = |message: &Message| message.content.as_deref().unwrap_or_default().trim().to_owned();
    let same = |one: &Message, two: &Message| one.role == two.role && text(one) == text(two);
    let at = |from: usize| prompt[from..].iter().zip(given).all(|(one, two)| same(one, two));
    given.len() <= prompt.len() && (0..=prompt.len() - given.len()).any(at)
}

/// Take the loss from answers in a prompt: only what follows is learnt.
pub(super) fn mute(prompt: &mut [Message]) {
    for message in prompt.iter_mut().filter(|message| message.role == "assistant") {
        message.weight = message.weight.or(Some(0.0));
    }
}

/// `true` or `false`, as JSON, as 0 and 1, or as text.
pub(super) fn label(row: &mut Map<String, Value>, key: &str) -> Result<bool, RowError> {
    let at = At::ROW.key(key);
    let Some(value) = take(row, key) else { return Err(at.missing("`true` or `false`", row)) };
    let text = match &value {
        Value::String(text) => text.to_ascii_lowercase(),
        other => other.to_string(),
    };
    match text.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(at.error(Code::Type, format!("`{key}` is {value}, expected `true` or `false`"))),
    }
}

/// A better and a worse answer.
pub(super) fn preference(row: &mut Map<String, Value>, names: &Preference) -> Result<Document, RowError> {
    let media = [&*names.images, &*names.videos, &*names.audios];
    let setting = Setting::take(row, &names.system, &names.tools, Bare::Keep, media)?;
    let reader = Reader::any(&names.role_tag, &names.content_tag);
    pair(row, &names.prompt, (&names.chosen, &names.rejected), names.answer.is_some(), &reader, setting)
}

fn pair(
    row: &mut Map<String, Value>,
    prompt_key: &str,
    (chosen, rejected): (&str, &str),
    only_chosen: bool,
    reader: &Reader<'_>,
    setting: Setting<'_>,
) -> Result<Document, RowError> {
    let at = At::ROW.key(prompt_key);
    let given = take(row, prompt_key).map(|value| prompt(value, reader, &at)).transpose()?;
    let answers = pair_answers(row, chosen, rejected, only_chosen, reader)?;
    let (prompt, answers) = join(given, &at, answers, row)?;
    finish(setting, prompt, answers, only_chosen)
}

/// The answers of two columns; the chosen one alone where the other is not to be read.
pub(super) fn pair_answers<'a>(
    row: &mut Map<String, Value>,
    chosen: &'a str,
    rejected: &'a str,
    only_chosen: bool,
    reader: &Reader<'_>,
) -> Result<Vec<Candidate<'a>>, RowError> {
    let columns = if only_chosen { &[chosen][..] } else { &[chosen, rejected] };
    let read = |key: &&'a str| {
        let at = At::ROW.key(key);
        match take(row, key) {
            Some(value) => answer(value, reader, at),
            None => Err(at.missing("an answer", row)),
        }
    };
    columns.iter().map(read).collect()
}

/// A document of a prompt and its answers; with the best alone, a conversation.
pub(super) fn finish(
    setting: Setting<'_>,
    mut prompt: Vec<Message>,
    answers: Vec<Vec<Message>>,
    only_best: bool,
) -> Result<Document, RowError> {
    if !only_best {
        return setting.ranked(prompt, answers);
    }
    mute(&mut prompt);
    prompt.extend(answers.into_iter().next().unwrap_or_default());
    setting.conversation(prompt).map(Document::Conversation)
}

/// Prompt and answer, of which only the answer is learnt.
fn completed(
    row: &mut Map<String, Value>,
    prompt_key: &str,
    completion: &str,
    reader: &Reader<'_>,
) -> Result<Vec<Message>, RowError> {
    let at = At::ROW.key(prompt_key);
    let given = take(row, prompt_key).map(|value| prompt(value, reader, &at)).transpose()?;
    let answers = pair_answers(row, completion, "", true, reader)?;
    let (mut messages, answers) = join(given, &at, answers, row)?;
    mute(&mut messages);
    messages.extend(answers.into_iter().flatten());
    Ok(messages)
}

/// Prompt and completion.
pub(super) fn completion(row: &mut Map<String, Value>, names: &Completion) -> Result<Document, RowError> {
    let media = [&*names.images, &*names.videos, &*names.audios];
    let setting = Setting::take(row, &names.system, &names.tools, Bare::Keep, media)?;
    let reader = Reader::any(&names.role_tag, &names.content_tag);
    let messages = completed(row, &names.prompt, &names.completion, &reader)?;
    setting.conversation(messages).map(Document::Conversation)
}

/// Prompt, completion and label.
pub(super) fn kto(row: &mut Map<String, Value>, names: &Kto) -> Result<Document, RowError> {
    let media = [&*names.images, &*names.videos, &*names.audios];
    let setting = Setting::take(row, &names.system, &names.tools, Bare::Keep, media)?;
    let desirable = label(row, &names.label)?;
    let reader = Reader::any(&names.role_tag, &names.content_tag);
    let messages = completed(row, &names.prompt, &names.completion, &reader)?;
    Ok(Document::Labelled { conversation: setting.conversation(messages)?, desirable })
}

/// Answers with ranks or scores.
pub(super) fn ranked(row: &mut Map<String, Value>, names: &Ranked) -> Result<Document, RowError> {
    let media = [&*names.images, &*names.videos, &*names.audios];
    let setting = Setting::take(row, &names.system, &names.tools, Bare::Keep, media)?;
    let reader = Reader::any(&names.role_tag, &names.content_tag);
    let prompt_at = At::ROW.key(&names.prompt);
    let given = take(row, &names.prompt).map(|value| prompt(value, &reader, &prompt_at)).transpose()?;
    let list_at = At::ROW.key(&names.answers);
    let list = match take(row, &names.answers) {
        None => return Err(list_at.missing("a list of answers", row)),
        Some(Value::Array(list)) if list.len() >= 2 => list,
        Some(Value::Array(_)) => {
            return Err(list_at.error(Code::Pair, "there are less than two answers to compare"));
        }
        Some(other) => return Err(list_at.wrong_type(&other, "a list of answers")),
    };
    let places = places(row, names, &list, &list_at)?;
    let mut candidates = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let at = list_at.index(index);
        let value = match value {
            Value::Object(mut object) if !object.contains_key(&names.role_tag) => {
                let inside = at.key(&names.text_tag);
                take(&mut object, &names.text_tag).ok_or_else(|| inside.missing("an answer", &object))?
            }
            value => value,
        };
        candidates.push((places[index], index, answer(value, &reader, at)?));
    }
    candidates.sort_by(|one, two| one.0.total_cmp(&two.0).then(one.1.cmp(&two.1)));
    let only_best = names.answer.is_some();
    if let (Ties::Error, false, Some(tie)) =
        (names.ties, only_best, candidates.windows(2).find(|two| two[0].0.total_cmp(&two[1].0).is_eq()))
    {
        let reason = format!(
            "`{}` and `{}` are equally good; set `ties = \"first\"` to keep the first of such answers",
            tie[0].2.at, tie[1].2.at
        );
        return Err(list_at.error(Code::Pair, reason));
    }
    candidates.dedup_by(|later, first| later.0.total_cmp(&first.0).is_eq());
    if candidates.len() < 2 && !only_best {
        return Err(list_at.error(Code::Pair, "all answers are equally good"));
    }
    let answers = candidates.into_iter().map(|(_, _, answer)| answer).collect();
    let (prompt, answers) = join(given, &prompt_at, answers, row)?;
    finish(setting, prompt, answers, only_best)
}

/// For each answer a number that is smaller the better it is.
fn places(
    row: &mut Map<String, Value>,
    names: &Ranked,
    list: &[Value],
    list_at: &At<'_>,
) -> Result<Vec<f64>, RowError> {
    for (column, sign) in [(&names.ranks, 1.0), (&names.scores, -1.0)] {
        let at = At::ROW.key(column);
        let values = match take(row, column) {
            None => continue,
            Some(Value::Array(values)) => values,
            Some(other) => return Err(at.wrong_type(&other, "a list of numbers")),
        };
        if values.len() != list.len() {
            let reason = format!("there are {} numbers for {} answers", values.len(), list.len());
            return Err(at.error(Code::Pair, reason));
        }
        let number = |(index, value): (usize, &Value)| {
            let number = value.as_f64().map(|number| number * sign + 0.0);
            number.ok_or_else(|| at.index(index).wrong_type(value, "a number"))
        };
        return values.iter().enumerate().map(number).collect();
    }
    for (tag, sign) in [(&names.rank_tag, 1.0), (&names.score_tag, -1.0)] {
        if !list.iter().any(|answer| answer.get(tag).is_some()) {
            continue;
        }
        let number = |(index, answer): (usize, &Value)| {
            let at = list_at.index(index);
            match (answer, answer.get(tag)) {
                (_, Some(value)) => {
                    let number = value.as_f64().map(|number| number * sign + 0.0);
                    number.ok_or_else(|| at.key(tag).wrong_type(value, "a number"))
                }
                (Value::Object(object), None) => Err(at.key(tag).missing("a number", object)),
                (other, None) => Err(at.wrong_type(other, "an object")),
            }
        };
        return list.iter().enumerate().map(number).collect();
    }
    let reason = format!(
        "the answers have neither ranks (`{}`, `{}`) nor scores (`{}`, `{}`)",
        names.ranks, names.rank_tag, names.scores, names.score_tag
    );
    Err(list_at.error(Code::Missing, reason))
}
