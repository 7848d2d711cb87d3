//! Answers of templates that do not mark them: what stands behind the prompt that asks for them.
//!
//! Let `F` be the rendering of all messages, `P` that of the messages before answer `i` with the
//! generation prompt, `R` that of the messages up to and with it. The answer begins where `P` ends,
//! which has to be a prefix of `F` (if need be without a thinking block that `P` opens and history
//! does not show), and ends where `R` ends (if need be without the EOS token that ends a rendering).
//! Where the template prints an answer otherwise once others follow, as those that leave old thinking
//! out, `R` is no prefix: the answer then ends where what `R` has behind the message's text ends.
//!
//! Rendering two prefixes for each answer is quadratic. One rendering more, with every text
//! between marks, shows what stands between the texts: of answers between the same roles and the same
//! bytes the first and the row's last one are proven, the others end and begin alike.

use std::collections::HashMap;

use fastft_record::{Code, RowError};
use fastft_template::marks;

use super::spans::{View, prefix};
use super::thinking;

/// Answers from which on the marked rendering pays.
const MANY: usize = 3;

/// What is between two texts: roles around it and bytes on both sides.
type Shape<'a> = ([&'a str; 3], &'a str, &'a str);

/// Byte ranges of the chosen answers in `text`, the rendering of the whole conversation.
pub fn answers(view: &View<'_>, text: &str, chosen: &[usize]) -> Result<Vec<(usize, usize)>, RowError> {
    let messages = &view.conversation.messages;
    let mut texts = Lazy::default();
    if chosen.len() >= MANY {
        texts.get(view, text);
    }
    let mut proven: HashMap<Shape<'_>, (usize, usize)> = HashMap::new();
    let mut found = Vec::with_capacity(chosen.len());
    for (position, &index) in chosen.iter().enumerate() {
        let last = position + 1 == chosen.len();
        let around = texts.0.as_ref().and_then(|texts| texts.as_ref()?.around(index, text.len()));
        let shape = around.map(|(before, (from, to), behind)| {
            let role = |index: usize| messages.get(index).map_or("", |message| message.role.as_str());
            let roles = [role(index.wrapping_sub(1)), role(index), role(index + 1)];
            (roles, &text[before..from], &text[to..behind])
        });
        if let (Some((_, (from, to), _)), Some(shape), false) = (around, &shape, last)
            && let Some((head, tail)) = proven.get(shape)
        {
            found.push((from - head, to + tail));
            continue;
        }
        let (from, to) = prove(view, text, index, &mut texts)?;
        if let (Some((before, (begin, end), behind)), Some(shape)) = (around, shape)
            && (before..=begin).contains(&from)
            && (end..=behind).contains(&to)
        {
            proven.insert(shape, (begin - from, to - end));
        }
        found.push((from, to));
    }
    Ok(found)
}

/// One answer, by rendering the prompt before it and the messages with it.
fn prove(view: &View<'_>, text: &str, index: usize, texts: &mut Lazy) -> Result<(usize, usize), RowError> {
    let len = view.conversation.messages.len();
    let unproven = |what: &str| {
        let reason = format!(
            "what the assistant wrote in message {} can't be told from the template's text: {what}; \
             train on `last_response`, or use a template with {{% generation %}} blocks (built-in templates have them)",
            index + 1
        );
        RowError::new(Code::Mask, reason)
    };
    if index == 0 {
        return Err(unproven("nothing was asked before it"));
    }
    let prompt = view.render(index, true).map_err(|error| {
        unproven(&format!("the messages before it can't be rendered alone ({})", error.reason))
    })?;
    let begin = if text.starts_with(&prompt) {
        prompt.len()
    } else {
        thinking::unopened(&prompt)
            .filter(|prompt| text.starts_with(prompt))
            .map(str::len)
            .ok_or_else(|| unproven("the prompt before it reads differently in the whole conversation"))?
    };
    let end = if index + 1 == len {
        text.len()
    } else {
        let whole = view.render(index + 1, false).map_err(|error| {
            unproven(&format!("the messages up to it can't be rendered alone ({})", error.reason))
        })?;
        let end = prefix(text, &whole, view.eos()).or_else(|| {
            let (from, to) = texts.get(view, text)?.of(index)?;
            let (_, end) = Texts::find(view, &whole, index + 1)?.of(index)?;
            let tail = prefix(&text[to..], &whole[end..], view.eos()).filter(|tail| *tail > 0)?;
            (begin <= from).then_some(to + tail)
        });
        end.ok_or_else(|| unproven("the template changes it when later messages follow"))?
    };
    if end < begin {
        return Err(unproven("it ends before its prompt does"));
    }
    Ok((begin, end))
}

/// Texts that are looked for when first needed; None inside where they can't be found.
#[derive(Default)]
#[allow(clippy::option_option, reason = "not looked for and not found are two things")]
struct Lazy(Option<Option<Texts>>);

impl Lazy {
    fn get(&mut self, view: &View<'_>, text: &str) -> Option<&Texts> {
        self.0.get_or_insert_with(|| Texts::find(view, text, view.conversation.messages.len())).as_ref()
    }
}

/// Where the texts of messages stand in a rendering.
struct Texts(Vec<Option<(usize, usize)>>);

impl Texts {
    /// Find the texts of the first `len` messages in their rendering; None where a text is not
    /// printed once, in order and as it is.
    fn find(view: &View<'_>, text: &str, len: usize) -> Option<Self> {
        let marks = view.generation;
        let mut conversation = view.conversation.as_ref().clone();
        conversation.messages.truncate(len);
        let mut marked = Vec::with_capacity(len);
        for message in &mut conversation.messages {
            let content = message.content.as_mut().filter(|content| !content.trim().is_empty());
            marked.push(content.is_some());
            if let Some(content) = content {
                // whitespace stays outside, so that templates that strip a text do so
                let head = content.len() - content.trim_start().len();
                content.insert(content.trim_end().len(), marks.close);
                content.insert(head, marks.open);
            }
        }
        let (plain, spans) = marks::take(&view.render_other(&conversation)?, marks);
        let in_order = spans.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        let count = marked.iter().filter(|marked| **marked).count();
        if plain != text || !in_order || spans.len() != count {
            return None;
        }
        let mut spans = spans.into_iter();
        let mut found = Vec::with_capacity(len);
        for (message, marked) in view.conversation.messages.iter().zip(marked) {
            let span = marked.then(|| spans.next()).flatten();
            if let (Some((from, to)), Some(content)) = (span, &message.content)
                && text[from..to] != *content.trim()
            {
                return None;
            }
            found.push(span);
        }
        Some(Self(found))
    }

    fn of(&self, index: usize) -> Option<(usize, usize)> {
        self.0.get(index).copied().flatten()
    }

    /// The end of the text before, the text, and the beginning of the text behind.
    fn around(&self, index: usize, len: usize) -> Option<(usize, (usize, usize), usize)> {
        let before = self.of(index.checked_sub(1)?)?.1;
        let behind = if index + 1 == self.0.len() { len } else { self.of(index + 1)?.0 };
        Some((before, self.of(index)?, behind))
    }
}
