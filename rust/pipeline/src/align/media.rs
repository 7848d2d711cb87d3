//! Media of a row: columns of references, of which each takes the place of a placeholder.

use std::collections::VecDeque;

use fastft_record::{Code, Message, Part, RowError};
use serde_json::{Map, Value};

use super::at::{At, take};

/// Placeholders in texts, in the order of the columns `images`, `videos`, `audios`.
const PLACEHOLDERS: [&str; 3] = ["<image>", "<video>", "<audio>"];

/// References that no message has taken yet; None where the row has no such column.
#[derive(Clone, Default)]
pub(super) struct Media<'a> {
    columns: [&'a str; 3],
    queues: [Option<VecDeque<String>>; 3],
    given: [usize; 3],
}

impl<'a> Media<'a> {
    /// Take the columns `images`, `videos` and `audios` out of a row.
    pub fn take(row: &mut Map<String, Value>, columns: [&'a str; 3]) -> Result<Self, RowError> {
        let mut media = Self { columns, ..Self::default() };
        for (kind, column) in columns.into_iter().enumerate() {
            let at = At::ROW.key(column);
            let found: VecDeque<String> = match take(row, column) {
                None => continue,
                Some(Value::Array(items)) => {
                    let items = items.into_iter().enumerate();
                    items.map(|(index, item)| reference(item, &at.index(index))).collect::<Result<_, _>>()?
                }
                Some(one) => VecDeque::from([reference(one, &at)?]),
            };
            media.given[kind] = found.len();
            media.queues[kind] = Some(found);
        }
        Ok(media)
    }

    /// Put references in the places of placeholders, in the order of the messages.
    pub fn place(&mut self, messages: &mut [Message]) -> Result<(), RowError> {
        for message in messages {
            if let Some(text) = &message.content
                && let Some(parts) = self.split(text)?
            {
                message.parts = parts;
                message.content = None;
            }
            for part in &mut message.parts {
                let (kind, reference) = match part {
                    Part::Text { .. } => continue,
                    Part::Image { image } => (0, image),
                    Part::Video { video } => (1, video),
                    Part::Audio { audio } => (2, audio),
                };
                if reference.is_empty() {
                    *reference = self.next(kind)?;
                }
            }
        }
        Ok(())
    }

    /// Refuse references that no message asked for.
    pub fn finish(&self) -> Result<(), RowError> {
        for (kind, queue) in self.queues.iter().enumerate() {
            if queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
                let left = queue.as_ref().map_or(0, VecDeque::len);
                return Err(self.mismatch(kind, self.given[kind] - left));
            }
        }
        Ok(())
    }

    /// The text cut at its placeholders; None when it has none. Where the row has no column of a
    /// kind, its placeholder is text.
    fn split(&mut self, text: &str) -> Result<Option<Vec<Part>>, RowError> {
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let found = (0..3).filter(|kind| self.queues[*kind].is_some());
            let found = found.filter_map(|kind| Some((rest.find(PLACEHOLDERS[kind])?, kind))).min();
            let before = &rest[..found.map_or(rest.len(), |(place, _)| place)];
            if found.is_none() && parts.is_empty() {
                return Ok(None);
            }
            if !before.is_empty() {
                parts.push(Part::Text { text: before.to_owned() });
            }
            let Some((place, kind)) = found else { return Ok(Some(parts)) };
            let reference = self.next(kind)?;
            parts.push(match kind {
                0 => Part::Image { image: reference },
                1 => Part::Video { video: reference },
                _ => Part::Audio { audio: reference },
            });
            rest = &rest[place + PLACEHOLDERS[kind].len()..];
        }
    }

    fn next(&mut self, kind: usize) -> Result<String, RowError> {
        let next = self.queues[kind].as_mut().and_then(VecDeque::pop_front);
        next.ok_or_else(|| self.mismatch(kind, self.given[kind] + 1))
    }

    fn mismatch(&self, kind: usize, asked: usize) -> RowError {
        let more = if asked > self.given[kind] { " or more" } else { "" };
        let reason = format!(
            "`{}` has {} references, the messages have {asked}{more} places for them (`{}`)",
            self.columns[kind], self.given[kind], PLACEHOLDERS[kind]
        );
        At::ROW.key(self.columns[kind]).error(Code::Media, reason)
    }
}

/// A path or URL, an object with one, or the frames of a film as a list of them.
pub(super) fn reference(value: Value, at: &At<'_>) -> Result<String, RowError> {
    const EXPECTED: &str = "a path, a URL, or an object with `path` or `url`";
    match value {
        Value::String(text) if text.trim().is_empty() => Err(at.empty()),
        Value::String(text) => Ok(text),
        Value::Array(frames) if !frames.is_empty() && frames.iter().all(Value::is_string) => {
            Ok(Value::Array(frames).to_string())
        }
        Value::Object(mut object) => {
            let found = ["path", "url"].into_iter().find_map(|key| take(&mut object, key));
            match found {
                Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
                Some(other) => Err(at.wrong_type(&other, EXPECTED)),
                None => Err(at.key("path").missing(EXPECTED, &object)),
            }
        }
        other => Err(at.wrong_type(&other, EXPECTED)),
    }
}
