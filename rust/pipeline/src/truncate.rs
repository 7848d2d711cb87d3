//! Rows longer than `max_length`: cut by a rule that is counted, never without the end token.

use fastft_record::{Code, Conversation, Document, RowError};

use crate::encode::{Encoded, Encoder};
use crate::plan::Truncate;

/// What became of a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// It fits as it is.
    Whole(Encoded),
    /// It was made to fit; so many tokens are gone.
    Shortened(Encoded, u64),
    /// It became several documents; no token is gone.
    Pieces(Vec<Encoded>),
    /// It is left out.
    Dropped,
}

/// Tokens that may stand behind the last trained one and still belong to the end of its turn.
const MAX_TAIL: usize = 8;

/// Apply the rule to an encoded row.
///
/// # Errors
/// `E_TOO_LONG` where that is the rule, `E_NO_TARGET` when nothing trained but the end would be
/// left, and what encoding the shorter conversation says.
pub fn truncate(
    encoded: Encoded,
    document: &Document,
    chat: &Encoder,
    rule: Truncate,
    max_length: usize,
) -> Result<Cut, RowError> {
    let length = encoded.ids.len();
    if length <= max_length {
        return Ok(Cut::Whole(encoded));
    }
    match (rule, document) {
        (Truncate::Drop, _) => Ok(Cut::Dropped),
        (Truncate::Error, _) => Err(RowError::new(
            Code::TooLong,
            format!("the row has {length} tokens, `max_length` is {max_length}"),
        )),
        (Truncate::Right, _) => {
            right(&encoded, max_length).map(|cut| Cut::Shortened(cut, gone(length, max_length)))
        }
        (Truncate::Left, _) => {
            left(&encoded, max_length).map(|cut| Cut::Shortened(cut, gone(length, max_length)))
        }
        (Truncate::Turns, Document::Conversation(conversation)) => {
            turns(&encoded, conversation, chat, max_length).map(|cut| match cut {
                Some(cut) => {
                    let gone = gone(length, cut.ids.len());
                    Cut::Shortened(cut, gone)
                }
                None => Cut::Dropped,
            })
        }
        (Truncate::Split, Document::Text(_)) => Ok(Cut::Pieces(split(&encoded, max_length))),
        (Truncate::Turns, Document::Text(_)) | (Truncate::Split, Document::Conversation(_)) => {
            Ok(Cut::Dropped)
        }
    }
}

const fn gone(before: usize, after: usize) -> u64 {
    (before - after) as u64
}

/// The tokens from `keep` (in order), with the runs of `encoded` mapped onto them.
fn select(encoded: &Encoded, keep: impl Iterator<Item = usize>) -> Encoded {
    let mut cut = Encoded::default();
    let mut run = 0;
    for (new, old) in keep.enumerate() {
        cut.ids.push(encoded.ids[old]);
        while run < encoded.trained.len() && encoded.trained[run].1 as usize <= old {
            run += 1;
        }
        if encoded.trained.get(run).is_some_and(|run| run.0 as usize <= old) {
            #[allow(clippy::cast_possible_truncation, reason = "token indices are u32 by design")]
            let new = new as u32;
            match cut.trained.last_mut() {
                Some(last) if last.1 == new => last.1 += 1,
                _ => cut.trained.push((new, new + 1)),
            }
        }
    }
    cut.text.clone_from(&encoded.text);
    cut
}

fn right(encoded: &Encoded, max_length: usize) -> Result<Encoded, RowError> {
    let length = encoded.ids.len();
    let end = encoded.trained.last().map_or(length, |run| run.1 as usize).max(1);
    let tail = if length - end < MAX_TAIL { length - end + 1 } else { 1 }.min(max_length - 1);
    let head = max_length - tail;
    if encoded.trained.first().is_none_or(|run| run.0 as usize >= head) {
        return Err(RowError::new(Code::NoTarget, "cut on the right, no answer is left to learn from"));
    }
    Ok(select(encoded, (0..head).chain(length - tail..length)))
}

fn left(encoded: &Encoded, max_length: usize) -> Result<Encoded, RowError> {
    let cut = select(encoded, encoded.ids.len() - max_length..encoded.ids.len());
    if num_targets(&cut) == 0 {
        return Err(RowError::new(Code::NoTarget, "cut on the left, no answer is left to learn from"));
    }
    Ok(cut)
}

/// The conversation without its oldest turns, rendered anew; None when not even the last one fits.
fn turns(
    encoded: &Encoded,
    conversation: &Conversation,
    chat: &Encoder,
    max_length: usize,
) -> Result<Option<Encoded>, RowError> {
    let messages = &conversation.messages;
    let first =
        messages.iter().take_while(|message| matches!(message.role.as_str(), "system" | "developer")).count();
    let starts: Vec<usize> =
        (first + 1..messages.len()).filter(|&index| messages[index].role == "user").collect();
    // where the turns begin tells how many have to go; without it, every cut is tried
    let known = encoded.turns.len() == messages.len();
    for start in starts {
        if known {
            let saved = (encoded.turns[start] - encoded.turns[first]) as usize;
            if encoded.ids.len() - saved > max_length + 16 {
                continue;
            }
        }
        let kept = messages[..first].iter().chain(&messages[start..]).cloned().collect();
        let shorter = Conversation { messages: kept, tools: conversation.tools.clone() };
        let cut = chat.encode(&Document::Conversation(shorter))?;
        if cut.ids.len() <= max_length {
            return Ok(Some(cut));
        }
    }
    Ok(None)
}

fn split(encoded: &Encoded, max_length: usize) -> Vec<Encoded> {
    let length = encoded.ids.len();
    let starts = (0..length).step_by(max_length);
    starts.map(|start| select(encoded, start..(start + max_length).min(length))).collect()
}

/// Tokens that carry a loss: trained ones but a first one, which nothing predicts.
#[must_use]
pub fn num_targets(encoded: &Encoded) -> u64 {
    encoded.trained.iter().map(|run| u64::from(run.1) - u64::from(run.0.max(1).min(run.1))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(length: u32, trained: &[(u32, u32)]) -> Encoded {
        Encoded { ids: (0..length).collect(), trained: trained.to_vec(), ..Encoded::default() }
    }

    #[test]
    fn cutting_on_the_right_keeps_the_end_token_and_what_follows_it() {
        let cut = right(&encoded(20, &[(5, 19)]), 10).unwrap();
        assert_eq!(cut.ids, [0, 1, 2, 3, 4, 5, 6, 7, 18, 19]);
        assert_eq!(cut.trained, [(5, 9)]);
        assert_eq!(right(&encoded(20, &[(15, 19)]), 10).unwrap_err().code, Code::NoTarget);
    }

    #[test]
    fn cutting_on_the_left_keeps_the_last_tokens() {
        let cut = left(&encoded(20, &[(2, 4), (15, 19)]), 10).unwrap();
        assert_eq!((cut.ids[0], cut.trained), (10, vec![(5, 9)]));
        assert_eq!(left(&encoded(20, &[(2, 4)]), 10).unwrap_err().code, Code::NoTarget);
    }

    #[test]
    fn split_loses_no_token() {
        let pieces = split(&encoded(25, &[(0, 25)]), 10);
        assert_eq!(pieces.iter().map(|piece| piece.ids.len()).collect::<Vec<_>>(), [10, 10, 5]);
        assert!(pieces.iter().all(|piece| piece.trained[0].0 == 0));
    }

    #[test]
    fn the_first_token_is_no_target() {
        assert_eq!(num_targets(&encoded(4, &[(0, 4)])), 3);
        assert_eq!(num_targets(&encoded(4, &[(0, 1)])), 0);
        assert_eq!(num_targets(&encoded(4, &[(2, 4)])), 2);
    }
}
