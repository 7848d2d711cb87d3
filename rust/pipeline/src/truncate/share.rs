//! LLaMA-Factory's rule: room is shared between question and answer by their lengths.
//!
//! Turn by turn, with what the turns before left. Of a turn of `q + a` tokens that has room for `n`:
//!
//! ```text
//! 2 a < n              the question gives way:  a' = a,                  q' = n - a'
//! 2 q < n              the answer gives way:    q' = q,                  a' = n - q'
//! else                 both do:                 a' = floor(n a / (q+a)), q' = n - a'
//! ```
//!
//! It differs where that rule loses what ends an answer: here a shortened answer keeps its end token,
//! a question keeps the tokens that ask for the answer, and a turn of which less would be left ends
//! the row before it.

use fastft_record::{Code, RowError};

use super::tokens::{MAX_TAIL, answers, ending, num_targets, select};
use crate::encode::Encoded;

/// Tokens of question and answer that fit into `room`.
pub fn share(question: usize, answer: usize, room: usize) -> (usize, usize) {
    let most = if answer * 2 < room {
        room
    } else if question * 2 < room {
        room - question
    } else {
        room * answer / (question + answer)
    };
    let answer = most.min(answer);
    (question.min(room - answer), answer)
}

/// A conversation cut by the rule.
pub fn turn_by_turn(
    encoded: &Encoded,
    max_length: usize,
    is_added: &dyn Fn(u32) -> bool,
) -> Result<Encoded, RowError> {
    let length = encoded.ids.len();
    let answers = answers(encoded);
    let mut keep: Vec<usize> = Vec::with_capacity(max_length);
    let mut done = 0;
    for (index, &(begin, end)) in answers.iter().enumerate() {
        let from = ending(encoded, (begin, end), is_added);
        let last = index + 1 == answers.len() && length - end < MAX_TAIL;
        let stop = if last { length } else { end };
        let (questions, answered) = share(begin - done, stop - begin, max_length - keep.len());
        let header = header(encoded, done, begin, is_added);
        if questions < header + usize::from(header < begin - done) || answered < stop - from + 1 {
            break;
        }
        keep.extend(done..done + questions - header);
        keep.extend(begin - header..begin);
        let cut = answered < stop - begin;
        keep.extend(begin..if cut { begin + answered - (stop - from) } else { from });
        keep.extend(from..stop);
        done = stop;
    }
    let cut = select(encoded, keep.into_iter());
    if num_targets(&cut) == 0 {
        let reason = "cut by LLaMA-Factory's rule, no answer is left to learn from";
        return Err(RowError::new(Code::NoTarget, reason));
    }
    Ok(cut)
}

/// Tokens at the end of a question that end it and ask for the answer: from the last but one group of
/// added tokens on, at most `2 MAX_TAIL`.
fn header(encoded: &Encoded, from: usize, to: usize, is_added: &dyn Fn(u32) -> bool) -> usize {
    let near = to.saturating_sub(2 * MAX_TAIL).max(from);
    (near..to).find(|&at| is_added(encoded.ids[at])).map_or(0, |at| to - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_as_in_llama_factory() {
        for (question, answer, room, expected) in [
            (3000, 2000, 1000, (600, 400)),
            (2000, 3000, 1000, (400, 600)),
            (1000, 100, 1000, (900, 100)),
            (100, 1000, 1000, (100, 900)),
            (100, 500, 1000, (100, 500)),
            (500, 100, 1000, (500, 100)),
            (1000, 10, 100, (90, 10)),
            (10, 1000, 100, (10, 90)),
        ] {
            assert_eq!(share(question, answer, room), expected);
        }
    }

    #[test]
    fn each_turn_keeps_its_end_token() {
        // 100 tokens: question 0..40 (its end 36), answer 40..80 (end 79), question 80..90, answer 90..99, a newline
        let encoded =
            Encoded { ids: (0..100).collect(), trained: vec![(40, 80), (90, 99)], ..Encoded::default() };
        let is_added = |id: u32| [36, 79, 98].contains(&id);
        let cut = turn_by_turn(&encoded, 40, &is_added).unwrap();
        let expected: Vec<u32> = (0..16).chain(36..40).chain(40..59).chain([79]).collect();
        assert_eq!((cut.ids, cut.trained), (expected, vec![(20, 40)]));
        let cut = turn_by_turn(&encoded, 96, &is_added).unwrap();
        assert_eq!(cut.ids.len(), 96);
        assert_eq!(cut.ids[94..], [98, 99]);
        assert!(turn_by_turn(&encoded, 3, &is_added).is_err());
    }
}
