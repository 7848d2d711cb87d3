//! Conversations as one text, in Anthropic's notation: `\n\nHuman: ...\n\nAssistant: ...`.

use fastft_record::Message;

const TURNS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

/// The messages of a text that begins with a human's turn and has an assistant's; None for any
/// other text. White space around the turns is not theirs.
pub(super) fn read(text: &str) -> Option<Vec<Message>> {
    let start = text.trim_start();
    if !start.starts_with("Human:") || !start.contains("\n\nAssistant:") {
        return None;
    }
    let mut messages = Vec::new();
    let mut rest = &start["Human:".len()..];
    let mut role = "user";
    loop {
        let next = TURNS.iter().filter_map(|(mark, role)| Some((rest.find(mark)?, mark.len(), *role))).min();
        let end = next.map_or(rest.len(), |(place, _, _)| place);
        messages.push(Message::new(role, rest[..end].trim()));
        let Some((place, len, next_role)) = next else { return Some(messages) };
        rest = &rest[place + len..];
        role = next_role;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_cut_at_their_marks_and_other_texts_are_left_alone() {
        let found = read("\n\nHuman: a\n\nb\n\nAssistant: c\n\nHuman: d\n\nAssistant:").unwrap();
        let found: Vec<_> =
            found.iter().map(|turn| (turn.role.as_str(), turn.content.as_deref().unwrap())).collect();
        assert_eq!(found, [("user", "a\n\nb"), ("assistant", "c"), ("user", "d"), ("assistant", "")]);
        assert_eq!(read("Human: a"), None);
        assert_eq!(read("He said Human: a\n\nAssistant: b"), None);
    }
}
