//! Rows longer than `max_length`: cut by a rule that is counted, never without the end token.

use fastft_record::{Code, Conversation, Document, RowError};
use fastft_text::Tokenizer;

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
        (Truncate::Error, _) => Err(RowError::new(
            Code::TooLong,
            format!("the row has {length} tokens, `max_length` is {max_length}"),
        )),
        (Truncate::Right, _) => {
            let added = chat.tokenizer().added_tokens();
            let is_added = |id: u32| added.binary_search_by_key(&id, |token| token.id).is_ok();
            right(&encoded, max_length, &is_added).map(|cut| shortened(length, cut))
        }
        (Truncate::Left, _) => left(&encoded, max_length).map(|cut| shortened(length, cut)),
        (Truncate::Turns, Document::Conversation(conversation)) => turns(conversation, chat, max_length)
            .map(|cut| cut.map_or(Cut::Dropped, |cut| shortened(length, cut))),
        (Truncate::Split, Document::Text(_)) => Ok(Cut::Pieces(split(&encoded, max_length))),
        (Truncate::Drop | Truncate::Turns | Truncate::Split, _) => Ok(Cut::Dropped),
    }
}

fn shortened(before: usize, cut: Encoded) -> Cut {
    let gone = before.saturating_sub(cut.ids.len()) as u64;
    Cut::Shortened(cut, gone)
}

/// The tokens from `keep` (in order), with the runs of `encoded` mapped onto them; without the text,
/// of which many pieces would hold as many copies.
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
    cut
}

/// The beginning, and the end of the answer that the cut falls into: its last added token (or its
/// last token) and, at the end of the row, the few tokens behind it.
///
/// Where the cut falls between answers, the row ends with the last one that is whole: an end token
/// behind half a question would teach to end questions.
fn right(encoded: &Encoded, max_length: usize, is_added: &dyn Fn(u32) -> bool) -> Result<Encoded, RowError> {
    let length = encoded.ids.len();
    let runs = || encoded.trained.iter().map(|run| (run.0 as usize, run.1 as usize));
    if let Some((begin, end)) = runs().find(|run| run.0 < max_length && run.1 > max_length) {
        let near = end.saturating_sub(MAX_TAIL).max(begin);
        let from = (near..end).rev().find(|&at| is_added(encoded.ids[at])).unwrap_or(end - 1);
        let to = if length - end < MAX_TAIL { length } else { end };
        let to = to.min(from + max_length - 1);
        let head = max_length - (to - from);
        if begin < head {
            return Ok(select(encoded, (0..head).chain(from..to)));
        }
    }
    let whole = runs().map(|run| run.1).take_while(|&end| end <= max_length).last().unwrap_or(0);
    let cut = select(encoded, 0..whole);
    if num_targets(&cut) == 0 {
        return Err(RowError::new(Code::NoTarget, "cut on the right, no answer is left to learn from"));
    }
    Ok(cut)
}

fn left(encoded: &Encoded, max_length: usize) -> Result<Encoded, RowError> {
    let cut = select(encoded, encoded.ids.len() - max_length..encoded.ids.len());
    if num_targets(&cut) == 0 {
        return Err(RowError::new(Code::NoTarget, "cut on the left, no answer is left to learn from"));
    }
    Ok(cut)
}

/// The conversation without its oldest turns, rendered anew; None when not even the last one fits.
///
/// What a turn costs can't be told from its text alone, so beginnings are tried, by halves: later ones
/// are shorter.
fn turns(
    conversation: &Conversation,
    chat: &Encoder,
    max_length: usize,
) -> Result<Option<Encoded>, RowError> {
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
        match chat.encode(&Document::Conversation(shorter)) {
            Ok(cut) if cut.ids.len() <= max_length => (best, high) = (Some(cut), middle),
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

/// Pieces of `max_length` and the rest. A rest of one token, which nothing would predict, takes a
/// second one from the piece before: it is the end token.
fn split(encoded: &Encoded, max_length: usize) -> Vec<Encoded> {
    let length = encoded.ids.len();
    let mut ends: Vec<usize> = (max_length..length).step_by(max_length).collect();
    if let Some(last) = ends.last_mut().filter(|last| length - **last == 1 && max_length > 2) {
        *last -= 1;
    }
    ends.push(length);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, &end)| select(encoded, start..end)).collect()
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
        let cut = right(&encoded(20, &[(5, 19)]), 10, &|_| false).unwrap();
        assert_eq!(cut.ids, [0, 1, 2, 3, 4, 5, 6, 7, 18, 19]);
        assert_eq!(cut.trained, [(5, 9)]);
        assert_eq!(right(&encoded(20, &[(15, 19)]), 10, &|_| false).unwrap_err().code, Code::NoTarget);
        // all is trained, and a newline stands behind the end token 18
        let cut = right(&encoded(20, &[(0, 20)]), 10, &|id| id == 18).unwrap();
        assert_eq!((cut.ids, cut.trained), (vec![0, 1, 2, 3, 4, 5, 6, 7, 18, 19], vec![(0, 10)]));
    }

    #[test]
    fn cutting_on_the_right_gives_each_answer_its_own_end_and_questions_none() {
        // cut inside the first of two answers: the end of that one
        let cut = right(&encoded(40, &[(5, 19), (30, 39)]), 10, &|_| false).unwrap();
        assert_eq!((cut.ids, cut.trained), (vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 18], vec![(5, 10)]));
        // cut inside the second question, or where nothing of the second answer but its end would stay
        for max_length in [15, 30, 31] {
            let cut = right(&encoded(40, &[(5, 9), (30, 39)]), max_length, &|_| false).unwrap();
            assert_eq!((cut.ids.len(), cut.trained), (9, vec![(5, 9)]));
        }
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
        let lengths = |length| {
            split(&encoded(length, &[(0, length)]), 10)
                .iter()
                .map(|piece| piece.ids.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths(20), [10, 10]);
        assert_eq!(lengths(21), [10, 9, 2], "an end token of its own would be no target");
    }

    #[test]
    fn pieces_hold_no_copy_of_the_whole_text() {
        let whole = Encoded { text: "x".repeat(100), ..encoded(100, &[(0, 100)]) };
        assert!(split(&whole, 10).iter().all(|piece| piece.text.is_empty()));
    }

    #[test]
    fn the_first_token_is_no_target() {
        assert_eq!(num_targets(&encoded(4, &[(0, 4)])), 3);
        assert_eq!(num_targets(&encoded(4, &[(0, 1)])), 0);
        assert_eq!(num_targets(&encoded(4, &[(2, 4)])), 2);
    }
}
