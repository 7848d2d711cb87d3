//! Cuts of one document's tokens.

use fastft_record::{Code, RowError};

use crate::encode::Encoded;

/// Tokens that may stand behind the last trained one and still belong to the end of its turn.
pub const MAX_TAIL: usize = 8;

/// The tokens from `keep` (in order), with the runs of `encoded` mapped onto them; without the text,
/// of which many pieces would hold as many copies.
pub fn select(encoded: &Encoded, keep: impl Iterator<Item = usize>) -> Encoded {
    let mut cut = Encoded { rank: encoded.rank, ..Encoded::default() };
    let mut run = 0;
    let mut last_run = None;
    for (new, old) in keep.enumerate() {
        cut.ids.push(encoded.ids[old]);
        while run < encoded.trained.len() && encoded.trained[run].1 as usize <= old {
            run += 1;
        }
        if encoded.trained.get(run).is_some_and(|run| run.0 as usize <= old) {
            #[allow(clippy::cast_possible_truncation, reason = "token indices are u32 by design")]
            let new = new as u32;
            match cut.trained.last_mut() {
                Some(last) if last.1 == new && same_weight(encoded, last_run, run) => last.1 += 1,
                _ => {
                    cut.trained.push((new, new + 1));
                    cut.weights.extend(encoded.weights.get(run));
                }
            }
            last_run = Some(run);
        }
    }
    cut
}

fn same_weight(encoded: &Encoded, last: Option<usize>, run: usize) -> bool {
    let weight = |run: usize| encoded.weights.get(run).map(|weight| weight.to_bits());
    last.is_some_and(|last| weight(last) == weight(run))
}

/// Runs of trained tokens, whatever their weights: the answers.
pub fn answers(encoded: &Encoded) -> Vec<(usize, usize)> {
    let mut answers: Vec<(usize, usize)> = Vec::with_capacity(encoded.trained.len());
    for &(begin, end) in &encoded.trained {
        let (begin, end) = (begin as usize, end as usize);
        match answers.last_mut() {
            Some(last) if last.1 == begin => last.1 = end,
            _ => answers.push((begin, end)),
        }
    }
    answers
}

/// Where the tokens begin that end the answer `begin..end`: its last added token, or its last one.
pub fn ending(encoded: &Encoded, (begin, end): (usize, usize), is_added: &dyn Fn(u32) -> bool) -> usize {
    let near = end.saturating_sub(MAX_TAIL).max(begin);
    (near..end).rev().find(|&at| is_added(encoded.ids[at])).unwrap_or(end - 1)
}

/// The beginning, and the end of the answer that the cut falls into: its last added token (or its
/// last token) and, at the end of the row, the few tokens behind it.
///
/// Where the cut falls between answers, the row ends with the last one that is whole: an end token
/// behind half a question would teach to end questions.
pub fn right(
    encoded: &Encoded,
    max_length: usize,
    is_added: &dyn Fn(u32) -> bool,
) -> Result<Encoded, RowError> {
    let length = encoded.ids.len();
    let answers = answers(encoded);
    if let Some(&(begin, end)) = answers.iter().find(|run| run.0 < max_length && run.1 > max_length) {
        let from = ending(encoded, (begin, end), is_added);
        let to = if length - end < MAX_TAIL { length } else { end };
        let to = to.min(from + max_length - 1);
        let head = max_length - (to - from);
        if begin < head {
            return Ok(select(encoded, (0..head).chain(from..to)));
        }
    }
    let whole = answers.iter().map(|run| run.1).take_while(|&end| end <= max_length).last().unwrap_or(0);
    let cut = select(encoded, 0..whole);
    if num_targets(&cut) == 0 {
        return Err(RowError::new(Code::NoTarget, "cut on the right, no answer is left to learn from"));
    }
    Ok(cut)
}

/// The last tokens.
pub fn left(encoded: &Encoded, max_length: usize) -> Result<Encoded, RowError> {
    let cut = select(encoded, encoded.ids.len() - max_length..encoded.ids.len());
    if num_targets(&cut) == 0 {
        return Err(RowError::new(Code::NoTarget, "cut on the left, no answer is left to learn from"));
    }
    Ok(cut)
}

/// The first and the last tokens, half of `max_length` each. What would be predicted across the gap
/// is not trained.
pub fn middle(encoded: &Encoded, max_length: usize) -> Result<Encoded, RowError> {
    let length = encoded.ids.len();
    let head = max_length / 2;
    let tail = length - (max_length - head);
    let mut cut = select(encoded, (0..head).chain(tail..length));
    untrain(&mut cut, head);
    if num_targets(&cut) == 0 {
        return Err(RowError::new(Code::NoTarget, "cut in the middle, no answer is left to learn from"));
    }
    Ok(cut)
}

/// Take the loss from the token at `at`.
fn untrain(encoded: &mut Encoded, at: usize) {
    let Ok(at) = u32::try_from(at) else { return };
    let Some(index) = encoded.trained.iter().position(|run| run.0 <= at && at < run.1) else { return };
    let (begin, end) = encoded.trained.remove(index);
    let weight = (!encoded.weights.is_empty()).then(|| encoded.weights.remove(index));
    for (begin, end) in [(at + 1, end), (begin, at)] {
        if begin < end {
            encoded.trained.insert(index, (begin, end));
            if let Some(weight) = weight {
                encoded.weights.insert(index, weight);
            }
        }
    }
}

/// Pieces of `max_length` and the rest. A rest of one token, which nothing would predict, takes a
/// second one from the piece before: it is the end token.
pub fn split(encoded: &Encoded, max_length: usize) -> Vec<Encoded> {
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
    fn nothing_is_predicted_across_the_gap_of_a_cut_in_the_middle() {
        let whole = Encoded { weights: vec![2.0], ..encoded(20, &[(1, 20)]) };
        let cut = middle(&whole, 10).unwrap();
        assert_eq!(cut.ids, [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]);
        assert_eq!((cut.trained, cut.weights), (vec![(1, 5), (6, 10)], vec![2.0, 2.0]));
    }

    #[test]
    fn weights_go_with_their_runs() {
        let whole = Encoded { weights: vec![1.0, 0.5, 2.0], ..encoded(20, &[(2, 4), (4, 9), (15, 19)]) };
        let cut = select(&whole, (3..6).chain(14..20));
        assert_eq!((cut.trained, cut.weights), (vec![(0, 1), (1, 3), (4, 8)], vec![1.0, 0.5, 2.0]));
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
