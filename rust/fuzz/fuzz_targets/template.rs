//! Any text as a chat template, and behind a NUL a conversation: it renders, twice to the same, or says why not, and
//! reads no file.
#![no_main]

use fastft_fuzz::write;
use fastft_record::{Conversation, Message};
use fastft_template::{Bounds, Marks, Moment, Template, marks, messages, tools};
use libfuzzer_sys::fuzz_target;

/// The content of a file beside the templates.
const CANARY: &str = "canary 7f3a51";
/// Bounds of one rendering: the time of a run is short.
const BOUNDS: Bounds = Bounds { fuel: 20_000, bytes: 1 << 20 };

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    write("canary", CANARY.as_bytes());
    let (source, row) = text.split_once('\0').unwrap_or((text, ""));
    let conversation: Conversation = serde_json::from_str(row).unwrap_or_else(|_| Conversation {
        messages: vec![
            Message::new("system", "a b"),
            Message::new("user", "hi"),
            Message::new("assistant", "yes "),
        ],
        tools: None,
    });
    let special =
        vec![("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())];
    let Ok(template) = Template::compile_within(source, &special, Moment::default(), BOUNDS) else { return };
    for add_generation_prompt in [false, true] {
        let rendered = template.render(&conversation, add_generation_prompt);
        if let Ok(text) = &rendered {
            assert!(!text.contains(CANARY) || source.contains("canary 7") || row.contains("canary 7"));
        }
        assert_eq!(template.render(&conversation, add_generation_prompt), rendered);
    }
    let around: Option<(Marks, Marks)> = marks::choose([source, row].into_iter());
    let Some((marks, _)) = around.filter(|_| template.has_generation()) else { return };
    let (values, tools) = (messages(&conversation), tools(&conversation));
    if let Ok(text) = template.render_values(&values, &tools, false, Some(marks)) {
        let (text, spans) = marks::take(&text, marks);
        assert!(!text.contains([marks.open, marks.close]));
        assert!(spans.iter().all(|&(begin, end)| text.get(begin..end).is_some()));
    }
});
