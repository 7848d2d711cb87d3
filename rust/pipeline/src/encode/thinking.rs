//! Thinking blocks: how models spell them, and taking them away.

use fastft_record::Conversation;

/// What thinking stands between, in the models' own spellings.
const BLOCKS: [(&str, &str); 6] = [
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
];

/// The conversation without reasoning fields and without the thinking block that begins an answer.
pub fn without(conversation: &Conversation) -> Conversation {
    let mut conversation = conversation.clone();
    for message in conversation.messages.iter_mut().filter(|message| message.role == "assistant") {
        message.reasoning = None;
        let Some(content) = &message.content else { continue };
        if let Some((_, _, _, answer)) = block(content) {
            message.content = Some(answer.trim_start().to_owned());
        }
    }
    conversation
}

/// The block that begins an answer: what opens it, what it contains, what closes it, and the rest.
pub fn block(content: &str) -> Option<(&'static str, &str, &'static str, &str)> {
    BLOCKS.iter().find_map(|(open, close)| {
        let (inside, rest) = content.trim_start().strip_prefix(open)?.split_once(close)?;
        Some((*open, inside, *close, rest))
    })
}

/// Bytes of an empty thinking block that begins the answer at `from`, whether the block is opened in
/// the answer or by the prompt before it; the whitespace behind it included.
pub fn empty_block(text: &str, from: usize, to: usize) -> usize {
    let answer = &text[from..to];
    let rest = BLOCKS.iter().find_map(|(open, close)| {
        let inside = answer.trim_start().strip_prefix(open);
        let inside = inside.or_else(|| text[..from].trim_end().ends_with(open).then_some(answer))?;
        inside.trim_start().strip_prefix(close)
    });
    rest.map_or(0, |rest| answer.len() - rest.trim_start().len())
}

/// A prompt without the thinking block, open or empty, that it ends with; None if it ends otherwise.
pub fn unopened(prompt: &str) -> Option<&str> {
    let trimmed = prompt.trim_end();
    BLOCKS.iter().find_map(|(open, close)| {
        let inside = trimmed.strip_suffix(close).map_or(trimmed, str::trim_end);
        inside.strip_suffix(open)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_blocks_are_measured_in_the_answer_and_across_the_prompts_end() {
        assert_eq!(empty_block("ask<think>\n\n</think>\n\nyes", 3, 24), 19);
        assert_eq!(empty_block("ask<think>\n\n</think>\n\nyes", 11, 24), 11);
        assert_eq!(empty_block("ask[THINK][/THINK]yes", 3, 21), 15);
        assert_eq!(empty_block("ask<think>hm</think>yes", 3, 23), 0);
        assert_eq!(empty_block("ask</think>yes", 3, 14), 0);
    }

    #[test]
    fn what_a_prompt_opens_can_be_taken_back() {
        assert_eq!(unopened("a:<think>\n"), Some("a:"));
        assert_eq!(unopened("a:<think>\n\n</think>\n\n"), Some("a:"));
        assert_eq!(unopened("a:"), None);
    }
}
