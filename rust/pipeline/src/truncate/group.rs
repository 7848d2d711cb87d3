//! Cuts of documents that are answers to one prompt: all of them keep the same one.

use fastft_record::{Conversation, Document};

use super::share::share;
use super::tokens::{MAX_TAIL, ending, select};
use crate::encode::{Encoded, Encoder};
use crate::plan::Truncate;

/// Tokens of the question, without those that end it and ask for the answer.
pub fn question(encoded: &[Encoded], document: &Document, chat: &Encoder) -> usize {
    let prompt = match document {
        Document::Ranked { conversation, .. } => Some(conversation.clone()),
        Document::Labelled { conversation, .. } => {
            let last = conversation.messages.iter().rposition(|message| message.role == "assistant");
            let messages = conversation.messages[..last.unwrap_or(0)].to_vec();
            Some(Conversation { messages, tools: conversation.tools.clone() })
        }
        Document::Conversation(_) | Document::Text(_) => None,
    };
    let prompt_tokens = prompt_tokens(encoded);
    let shown = prompt.and_then(|prompt| chat.question(&prompt));
    shown.filter(|shown| *shown <= prompt_tokens).unwrap_or(prompt_tokens.saturating_sub(MAX_TAIL))
}

/// Tokens that all documents begin with and none trains.
fn prompt_tokens(encoded: &[Encoded]) -> usize {
    let Some((first, others)) = encoded.split_first() else { return 0 };
    let untrained =
        |encoded: &Encoded| encoded.trained.first().map_or(encoded.ids.len(), |run| run.0 as usize);
    let same = |other: &Encoded| first.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
    others.iter().map(|other| same(other).min(untrained(other))).fold(untrained(first), usize::min)
}

/// All documents with the same part of the prompt gone; None where it is too short for that.
pub fn cut(
    encoded: &[Encoded],
    question: usize,
    rule: Truncate,
    max_length: usize,
    is_added: &dyn Fn(u32) -> bool,
) -> Option<Vec<Encoded>> {
    let longest = encoded.iter().map(|encoded| encoded.ids.len()).max()?;
    if rule == Truncate::LlamaFactory {
        let prompt = prompt_tokens(encoded);
        let (kept, room) = share(prompt, longest - prompt, max_length);
        let head = (question + kept).checked_sub(prompt).filter(|head| *head > 0)?;
        let shorten = |encoded: &Encoded| {
            let end = encoded.ids.len();
            let answer = encoded.trained.first()?.0 as usize;
            let stop = encoded.trained.last()?.1 as usize;
            let from = ending(encoded, (answer, stop), is_added);
            let keep = (0..head).chain(question..prompt);
            if end - prompt <= room {
                return Some(select(encoded, keep.chain(prompt..end)));
            }
            let body = room.checked_sub(end - from).filter(|body| prompt + body > answer)?;
            Some(select(encoded, keep.chain(prompt..prompt + body).chain(from..end)))
        };
        return encoded.iter().map(shorten).collect();
    }
    let gone = longest - max_length;
    let from = match rule {
        Truncate::Left => 0,
        Truncate::Middle => question.checked_sub(gone)? / 2,
        _ => question.checked_sub(gone)?,
    };
    // something of the question has to be left
    (gone < question).then(|| {
        let keep = |encoded: &Encoded| (0..from).chain(from + gone..encoded.ids.len());
        encoded.iter().map(|encoded| select(encoded, keep(encoded))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prompts of 20 tokens, of which 15 are the question; answers of 10 and 4 tokens.
    fn pair() -> Vec<Encoded> {
        let document = |answer: u32, rank| Encoded {
            ids: (0..20).chain(100 * answer..100 * answer + answer).collect(),
            trained: vec![(20, 20 + answer)],
            rank,
            ..Encoded::default()
        };
        vec![document(10, 0), document(4, 1)]
    }

    #[test]
    fn the_prompt_is_cut_alike_and_answers_stay() {
        let kept = |rule| {
            let cut = cut(&pair(), 15, rule, 22, &|_| false).unwrap();
            assert_eq!(cut[0].ids[..12], cut[1].ids[..12]);
            assert_eq!((cut[0].ids.len(), cut[1].ids.len(), cut[1].rank), (22, 16, 1));
            assert_eq!((cut[0].trained[0], cut[1].trained[0]), ((12, 22), (12, 16)));
            cut[0].ids[..12].to_vec()
        };
        assert_eq!(kept(Truncate::Left), (8..20).collect::<Vec<u32>>());
        assert_eq!(kept(Truncate::Right), (0..7).chain(15..20).collect::<Vec<u32>>());
        assert_eq!(kept(Truncate::Middle), (0..3).chain(11..20).collect::<Vec<u32>>());
        assert!(cut(&pair(), 15, Truncate::Left, 15, &|_| false).is_none(), "the answer alone is too long");
    }

    #[test]
    fn llama_factorys_rule_takes_from_both_and_leaves_the_ends() {
        let cut = cut(&pair(), 15, Truncate::LlamaFactory, 16, &|_| false).unwrap();
        // 20 + 10 into 16: 5 for the answer, 11 for the prompt
        assert_eq!(cut[0].ids[..11], [0, 1, 2, 3, 4, 5, 15, 16, 17, 18, 19]);
        assert_eq!(cut[0].ids[11..], [1000, 1001, 1002, 1003, 1009]);
        assert_eq!(cut[1].ids[11..], [400, 401, 402, 403]);
    }
}
