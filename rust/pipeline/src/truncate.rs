//! Rows longer than `max_length`: cut by a rule that is counted, never without the end token.
//!
//! | rule | conversation | text |
//! | --- | --- | --- |
//! | `drop` | left out | left out |
//! | `error` | refused | refused |
//! | `right` | the end, but for the end token of the answer that the cut falls into | the end, but for EOS |
//! | `left` | the beginning | the beginning |
//! | `middle` | the middle; the first token behind the gap is not trained | the middle |
//! | `turns` | the oldest questions and answers; the system message stays | left out |
//! | `split` | left out | nothing: pieces |
//! | `llamafactory` | turn by turn, questions and answers by their share of the room | as `right` |
//!
//! Of ranked and labelled rows the prompt is cut and the answers never, and all answers keep one
//! prompt; only `llamafactory` takes from both.

mod group;
mod share;
mod tokens;

use fastft_record::{Code, Conversation, Document, RowError};

use crate::encode::{Encoded, Encoder};
use crate::plan::Truncate;

pub use tokens::num_targets;

/// What became of a row.
#[derive(Debug, PartialEq)]
pub enum Cut {
    /// It fits as it is: one document, or one an answer.
    Whole(Vec<Encoded>),
    /// It was made to fit; so many tokens are gone, over all documents.
    Shortened(Vec<Encoded>, u64),
    /// It is left out.
    Dropped,
}

impl Cut {
    /// The documents that are left.
    #[must_use]
    pub fn documents(&self) -> &[Encoded] {
        match self {
            Self::Whole(documents) | Self::Shortened(documents, _) => documents,
            Self::Dropped => &[],
        }
    }
}

/// Apply the rule to an encoded row.
///
/// # Errors
/// `E_TOO_LONG` where that is the rule, `E_NO_TARGET` when nothing trained but the end would be
/// left, and what encoding the shorter conversation says.
pub fn truncate(
    encoded: Vec<Encoded>,
    document: &Document,
    chat: &Encoder,
    rule: Truncate,
    max_length: usize,
) -> Result<Cut, RowError> {
    let longest = encoded.iter().map(|encoded| encoded.ids.len()).max().unwrap_or(0);
    if longest <= max_length {
        return Ok(Cut::Whole(encoded));
    }
    let before: usize = encoded.iter().map(|encoded| encoded.ids.len()).sum();
    let is_added = |id: u32| chat.is_added(id);
    let one = |cut: Result<Encoded, RowError>| cut.map(|cut| Some(vec![cut]));
    let cut = match (rule, document) {
        (Truncate::Error, _) => {
            let reason = format!("the row has {longest} tokens, `max_length` is {max_length}");
            return Err(RowError::new(Code::TooLong, reason));
        }
        (Truncate::Drop, _)
        | (Truncate::Turns, Document::Text(_))
        | (
            Truncate::Split,
            Document::Conversation(_) | Document::Ranked { .. } | Document::Labelled { .. },
        ) => None,
        (Truncate::Turns, _) => turns(document, chat, max_length)?,
        (Truncate::Split, Document::Text(_)) => Some(tokens::split(&encoded[0], max_length)),
        (_, Document::Ranked { .. } | Document::Labelled { .. }) => {
            group::cut(&encoded, group::question(&encoded, document, chat), rule, max_length, &is_added)
        }
        (Truncate::Right, _) => one(tokens::right(&encoded[0], max_length, &is_added))?,
        (Truncate::Left, _) => one(tokens::left(&encoded[0], max_length))?,
        (Truncate::Middle, _) => one(tokens::middle(&encoded[0], max_length))?,
        (Truncate::LlamaFactory, Document::Text(_)) => {
            one(tokens::right(&encoded[0], max_length, &is_added))?
        }
        (Truncate::LlamaFactory, _) => one(share::turn_by_turn(&encoded[0], max_length, &is_added))?,
    };
    let Some(cut) = cut else { return Ok(Cut::Dropped) };
    if cut.iter().any(|cut| num_targets(cut) == 0) {
        return Err(RowError::new(Code::NoTarget, "cut to `max_length`, no answer is left to learn from"));
    }
    let after: usize = cut.iter().map(|cut| cut.ids.len()).sum();
    Ok(Cut::Shortened(cut, before.saturating_sub(after) as u64))
}

/// The row without its oldest turns, rendered anew; None when not even the last one fits.
///
/// What a turn costs can't be told from its text alone, so beginnings are tried, by halves: later ones
/// are shorter.
fn turns(document: &Document, chat: &Encoder, max_length: usize) -> Result<Option<Vec<Encoded>>, RowError> {
    let (Document::Conversation(conversation)
    | Document::Ranked { conversation, .. }
    | Document::Labelled { conversation, .. }) = document
    else {
        return Ok(None);
    };
    let messages = &conversation.messages;
    let first =
        messages.iter().take_while(|message| matches!(message.role.as_str(), "system" | "developer")).count();
    let starts: Vec<usize> =
        (first + 1..messages.len()).filter(|&index| messages[index].role == "user").collect();
    let (mut low, mut high) = (0, starts.len());
    let (mut best, mut refused) = (None, None);
    while low < high {
        let middle = usize::midpoint(low, high);
        let kept = messages[..first].iter().chain(&messages[starts[middle]..]).cloned().collect();
        let shorter = Conversation { messages: kept, tools: conversation.tools.clone() };
        match chat.encode(&with(document, shorter)) {
            Ok(cut) if cut.iter().all(|cut| cut.ids.len() <= max_length) => {
                (best, high) = (Some(cut), middle);
            }
            Ok(_) => low = middle + 1,
            // a last question without an answer, for example: an earlier beginning may have one
            Err(error) if error.code == Code::NoTarget => (refused, high) = (Some(error), middle),
            Err(error) => (refused, low) = (Some(error), middle + 1),
        }
    }
    match (best, refused) {
        (None, Some(error)) => Err(error),
        (best, _) => Ok(best),
    }
}

/// The same kind of row with another conversation.
fn with(document: &Document, conversation: Conversation) -> Document {
    match document {
        Document::Ranked { answers, .. } => Document::Ranked { conversation, answers: answers.clone() },
        Document::Labelled { desirable, .. } => Document::Labelled { conversation, desirable: *desirable },
        Document::Conversation(_) | Document::Text(_) => Document::Conversation(conversation),
    }
}
