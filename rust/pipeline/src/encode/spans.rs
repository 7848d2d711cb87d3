//! Where in a rendering the trained parts stand.

use std::borrow::Cow;
use std::cell::OnceCell;

use fastft_record::{Code, Conversation, RowError};
use fastft_template::{Marks, Value, marks, messages, tools};
use serde::Serialize;

use super::control::{self, Marked};
use super::runs::Answer;
use super::targets::{self, is_answer};
use super::{Encoder, Renderer, SpecialInText, TrainOn, prefix};

/// A rendered conversation.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// The rendering.
    pub marked: Marked,
    /// The trained parts, in order.
    pub answers: Vec<Answer>,
}

/// A conversation as its renderer sees it.
pub struct View<'a> {
    encoder: &'a Encoder,
    pub(super) conversation: Cow<'a, Conversation>,
    /// What is rendered, where it has to be.
    values: OnceCell<(Vec<Value>, Value)>,
    /// Around control tokens in messages.
    plain: Marks,
    /// Around generation blocks, or texts.
    pub(super) generation: Marks,
}

impl<'a> View<'a> {
    /// As it stands, nothing marked.
    pub fn new(encoder: &'a Encoder, conversation: &'a Conversation) -> Self {
        let marks = Marks { open: '\u{FDD0}', close: '\u{FDD1}' };
        Self::over(encoder, Cow::Borrowed(conversation), marks, marks)
    }

    /// With control tokens marked, if they are to be plain text.
    pub fn marked(encoder: &'a Encoder, conversation: &'a Conversation) -> Result<Self, RowError> {
        let (plain, generation) = control::choose(control::texts(conversation).into_iter())?;
        let conversation = match encoder.options.special_in_text {
            SpecialInText::Plain => encoder.controls.mark(conversation, plain, &encoder.counters),
            SpecialInText::Parse => Cow::Borrowed(conversation),
        };
        Ok(Self::over(encoder, conversation, plain, generation))
    }

    fn over(
        encoder: &'a Encoder,
        conversation: Cow<'a, Conversation>,
        plain: Marks,
        generation: Marks,
    ) -> Self {
        Self { encoder, conversation, values: OnceCell::new(), plain, generation }
    }

    /// Render the first `len` messages.
    pub fn render(&self, len: usize, add_generation_prompt: bool) -> Result<String, RowError> {
        self.render_marked(len, add_generation_prompt, None)
    }

    /// Render another conversation for the same purpose; None where that is refused.
    pub fn render_other(&self, conversation: &Conversation) -> Option<String> {
        let other = View::over(self.encoder, Cow::Borrowed(conversation), self.plain, self.generation);
        other.render(conversation.messages.len(), false).ok()
    }

    /// The token that ends texts.
    pub fn eos(&self) -> Option<&str> {
        self.encoder.eos.as_deref()
    }

    /// A rendering without its marks.
    pub fn unmarked(&self, text: String) -> Marked {
        match self.conversation {
            Cow::Owned(_) => Marked::from_marked(&text, self.plain),
            Cow::Borrowed(_) => Marked::unmarked(text),
        }
    }

    fn render_marked(&self, len: usize, prompt: bool, marks: Option<Marks>) -> Result<String, RowError> {
        self.encoder.count_rendering();
        let refused = |reason: String| {
            RowError::new(Code::Template, format!("the chat template refuses the row: {reason}"))
        };
        match &self.encoder.renderer {
            Some(Renderer::Rust(template)) => {
                if let Some(text) = template.fill(&self.conversation, len, prompt, marks) {
                    return Ok(text);
                }
                let (messages, tools) =
                    self.values.get_or_init(|| (messages(&self.conversation), tools(&self.conversation)));
                template
                    .render_values(&messages[..len], tools, prompt, marks)
                    .map_err(|error| refused(error.0))
            }
            Some(Renderer::Elsewhere(render)) => {
                #[derive(Serialize)]
                struct Call<'a> {
                    messages: &'a [fastft_record::Message],
                    tools: &'a Option<serde_json::Value>,
                    add_generation_prompt: bool,
                }
                let call = Call {
                    messages: &self.conversation.messages[..len],
                    tools: &self.conversation.tools,
                    add_generation_prompt: prompt,
                };
                let json = serde_json::to_string(&call).map_err(|error| refused(error.to_string()))?;
                render(&json).map_err(refused)
            }
            None => {
                Err(RowError::new(Code::Template, "there is no chat template, and the row is a conversation"))
            }
        }
    }

    /// The generation blocks of the messages before `len`, as a count.
    fn num_blocks(&self, len: usize) -> Option<usize> {
        let text = self.render_marked(len, false, Some(self.generation)).ok()?;
        Some(marks::take(&text, self.generation).1.len())
    }
}

impl Spans {
    /// Render a conversation and find what is trained, by the definition in `encode.rs`.
    pub fn find(encoder: &Encoder, conversation: &Conversation, rule: TrainOn) -> Result<Self, RowError> {
        if conversation.messages.is_empty() {
            return Err(RowError::new(Code::Empty, "the conversation has no messages"));
        }
        let weights = targets::weights(conversation, rule)?;
        let view = View::marked(encoder, conversation)?;
        let (text, mut answers) = if rule == TrainOn::All {
            let text = view.render(conversation.messages.len(), false)?;
            let answers = turns(&view, &text, &weights)?;
            (text, answers)
        } else {
            chosen(&view, &weights)?
        };
        if matches!(view.conversation, Cow::Owned(_)) {
            // Something was marked.
            let marks = [view.plain.open, view.plain.close];
            let (mut done, mut gone) = (0, 0);
            let mut unmark = |at: usize| {
                // answers come in order, but may share their first byte
                gone = if at < done {
                    text[..at].matches(marks).count()
                } else {
                    gone + text[done..at].matches(marks).count()
                };
                done = at;
                at - 3 * gone
            };
            for answer in &mut answers {
                (answer.from, answer.to) = (unmark(answer.from), unmark(answer.to));
            }
        }
        Ok(Self { marked: view.unmarked(text), answers })
    }
}

/// The rendering, and the answers of messages with a weight; of other roles their texts with what ends
/// them.
fn chosen(view: &View<'_>, weights: &[f32]) -> Result<(String, Vec<Answer>), RowError> {
    let messages = &view.conversation.messages;
    let chosen: Vec<usize> =
        (0..messages.len()).filter(|&index| weights[index] > 0.0 && is_answer(&messages[index])).collect();
    let (text, mut answers) = if view.encoder.by_tags() {
        let text = view.render_marked(messages.len(), false, Some(view.generation))?;
        let (text, blocks) = marks::take(&text, view.generation);
        (text, by_block(view, weights, &chosen, blocks)?)
    } else {
        let text = view.render(messages.len(), false)?;
        let spans = prefix::answers(view, &text, &chosen)?;
        let answers = chosen.iter().zip(spans);
        let answers =
            answers.map(|(&index, (from, to))| Answer { from, to, weight: weights[index] }).collect();
        (text, answers)
    };
    for (index, message) in messages.iter().enumerate() {
        if weights[index] > 0.0 && !is_answer(message) {
            let (from, to) = said(view, &text, index)?;
            answers.push(Answer { from, to, weight: weights[index] });
        }
    }
    answers.sort_by_key(|answer| (answer.from, answer.to));
    Ok((text, answers))
}

/// The text of a message and what ends it, without what the template writes before it.
fn said(view: &View<'_>, text: &str, index: usize) -> Result<(usize, usize), RowError> {
    let unproven = |what: &str| {
        let reason =
            format!("what message {} says can't be told from the template's text: {what}", index + 1);
        RowError::new(Code::Mask, reason)
    };
    let from = begin(view, text, index).ok_or_else(|| unproven("it is not printed as it stands"))?;
    let len = index + 1;
    let to = if len == view.conversation.messages.len() {
        Some(text.len())
    } else {
        view.render(len, false).ok().and_then(|before| prefix(text, &before, view.eos()))
    };
    let to = to.filter(|to| from <= *to);
    Ok((from, to.ok_or_else(|| unproven("the template changes it when later messages follow"))?))
}

/// Where the text of a message begins: marked as it is, or between the whitespace that a template may
/// strip, it stands in the same rendering.
fn begin(view: &View<'_>, text: &str, index: usize) -> Option<usize> {
    let content = view.conversation.messages[index].content.as_deref()?;
    let head = content.len() - content.trim_start().len();
    [(0, content.len()), (head, content.trim_end().len())].into_iter().find_map(|(from, to)| {
        let marks = view.generation;
        let mut conversation = view.conversation.as_ref().clone();
        let marked = conversation.messages[index].content.as_mut()?;
        marked.insert(to.max(from), marks.close);
        marked.insert(from, marks.open);
        let (plain, spans) = marks::take(&view.render_other(&conversation)?, marks);
        let alone = spans.len() == 1 && plain == text;
        alone.then(|| spans[0].0)
    })
}

/// The generation blocks of the chosen messages.
fn by_block(
    view: &View<'_>,
    weights: &[f32],
    chosen: &[usize],
    blocks: Vec<(usize, usize)>,
) -> Result<Vec<Answer>, RowError> {
    let messages = &view.conversation.messages;
    let all: Vec<usize> = (0..messages.len()).filter(|&index| is_answer(&messages[index])).collect();
    let answer = |(from, to), weight| Answer { from, to, weight };
    let Some(&first) = chosen.first() else { return Ok(Vec::new()) };
    let one_weight = chosen.iter().all(|&index| weights[index].to_bits() == weights[first].to_bits());
    if chosen.len() == all.len() && one_weight {
        return Ok(blocks.into_iter().map(|block| answer(block, weights[first])).collect());
    }
    if blocks.len() == all.len() {
        let blocks = all.iter().zip(blocks).filter(|(index, _)| chosen.contains(index));
        return Ok(blocks.map(|(&index, block)| answer(block, weights[index])).collect());
    }
    // Several blocks a message, or none: those of a message are the ones that it adds.
    let counts: Option<Vec<usize>> = (1..=messages.len())
        .map(|len| if len == messages.len() { Some(blocks.len()) } else { view.num_blocks(len) })
        .collect();
    let mut answers = Vec::new();
    for &index in chosen {
        let range = counts
            .as_ref()
            .map(|counts| index.checked_sub(1).map_or(0, |before| counts[before])..counts[index]);
        let own = range.filter(|range| range.start < range.end).and_then(|range| blocks.get(range));
        let own = own.ok_or_else(|| {
            let reason = format!(
                "the template has {} generation blocks for {} assistant messages, so those that are trained can't be told apart",
                blocks.len(),
                all.len()
            );
            RowError::new(Code::Mask, reason)
        })?;
        answers.extend(own.iter().map(|&block| answer(block, weights[index])));
    }
    Ok(answers)
}

/// Whole messages, headers included, with their weights.
fn turns(view: &View<'_>, text: &str, weights: &[f32]) -> Result<Vec<Answer>, RowError> {
    let first = weights[0];
    if weights.iter().all(|weight| weight.to_bits() == first.to_bits()) {
        return Ok(vec![Answer { from: 0, to: text.len(), weight: first }]);
    }
    let mut begins = vec![0];
    for index in 1..weights.len() {
        let before = view.render(index, false).ok().and_then(|before| prefix(text, &before, view.eos()));
        let at = before.ok_or_else(|| {
            let reason = "where the messages without loss begin and end can't be proven";
            RowError::new(Code::Mask, reason)
        })?;
        begins.push(at.max(begins[index - 1]));
    }
    let ends = begins[1..].iter().copied().chain(std::iter::once(text.len()));
    let spans = begins.iter().copied().zip(ends).zip(weights);
    let spans = spans.filter(|(_, weight)| **weight > 0.0);
    Ok(spans.map(|((from, to), &weight)| Answer { from, to, weight }).collect())
}

/// Bytes of `text` that `part` covers: it is a prefix as it stands, or without the final EOS.
pub fn prefix(text: &str, part: &str, eos: Option<&str>) -> Option<usize> {
    if text.starts_with(part) {
        return Some(part.len());
    }
    let part = part.strip_suffix(eos.filter(|eos| !eos.is_empty())?)?;
    text.starts_with(part).then_some(part.len())
}
