//! Chat templates, rendered as transformers 5 renders them.
//!
//! `Template::compile` takes the Jinja source and the tokenizer's special tokens; `render` gives
//! the text of a conversation, and the marked forms also say which bytes `{% generation %}` blocks
//! wrote and which bytes come from strings that the caller marked (`marks`). Where `MiniJinja` and
//! Jinja differ is a matter of fact, not of trust: certification compares both before a run.

mod bounds;
mod date;
mod environment;
mod iterate;
pub mod marks;
mod printed;
mod python;
mod rewrite;
mod skeleton;
mod slice;

use fastft_record::{Conversation, Message};
use minijinja::Environment;
use minijinja::value::Serde;

pub use bounds::Bounds;
pub use date::Moment;
pub use marks::Marks;
pub use minijinja::value::Value;
use skeleton::Skeletons;

/// A template that can't be compiled or a conversation that it refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// The special tokens that a template can print by name, for example (`bos_token`, `<s>`).
pub type SpecialTokens = Vec<(String, String)>;

/// A compiled chat template, shared by all threads.
pub struct Template {
    env: Environment<'static>,
    special: SpecialTokens,
    generation: bool,
    skeletons: Option<Skeletons>,
}

impl Template {
    /// Compile a template.
    ///
    /// # Errors
    /// `TemplateError` with the line that `MiniJinja` can't read.
    pub fn compile(source: &str, special: &SpecialTokens, now: Moment) -> Result<Self, TemplateError> {
        Self::compile_within(source, special, now, Bounds::default())
    }

    /// Compile a template with other bounds than the default ones.
    ///
    /// # Errors
    /// As `compile`.
    pub fn compile_within(
        source: &str,
        special: &SpecialTokens,
        now: Moment,
        bounds: Bounds,
    ) -> Result<Self, TemplateError> {
        let mut env = environment::environment(now, bounds);
        let rewrite::Rewritten { source, generation, refused } = rewrite::rewrite(source);
        if let Some(refused) = refused {
            return Err(TemplateError(refused.to_owned()));
        }
        let skeletons = Skeletons::new(&source, special);
        env.add_template_owned("chat", source).map_err(|error| TemplateError(message(&error)))?;
        Ok(Self { env, special: special.clone(), generation, skeletons })
    }

    /// Whether the template says itself what the assistant wrote, by `{% generation %}`.
    #[must_use]
    pub const fn has_generation(&self) -> bool {
        self.generation
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// `TemplateError` with what the template says, or with what went wrong in it.
    pub fn render(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        if let Some(text) = self.fill(conversation, conversation.messages.len(), add_generation_prompt, None)
        {
            return Ok(text);
        }
        self.render_values(&messages(conversation), &tools(conversation), add_generation_prompt, None)
    }

    /// What `render_values` gives for the first `len` messages, put together from their texts; None where it has
    /// to be rendered. It is for conversations of texts alone and templates that only print them.
    #[must_use]
    pub fn fill(
        &self,
        conversation: &Conversation,
        len: usize,
        add_generation_prompt: bool,
        marks: Option<Marks>,
    ) -> Option<String> {
        let skeletons = self.skeletons.as_ref().filter(|_| conversation.tools.is_none())?;
        let render = |messages: &[Message]| {
            let values: Vec<Value> = messages.iter().map(message_value).collect();
            self.render_values(&values, &Value::from(()), add_generation_prompt, marks)
        };
        let messages = &conversation.messages[..len];
        let text = skeletons.fill(messages, add_generation_prompt, marks, |placed| render(placed).ok());
        debug_assert!(
            text.is_none() || text.as_ref() == render(messages).as_ref().ok(),
            "a skeleton is wrong"
        );
        text
    }

    /// The text of messages that are converted already, with `marks` around generation blocks.
    ///
    /// # Errors
    /// As `render`.
    pub fn render_values(
        &self,
        messages: &[Value],
        tools: &Value,
        add_generation_prompt: bool,
        marks: Option<Marks>,
    ) -> Result<String, TemplateError> {
        let mut context: Vec<(&str, Value)> = Vec::with_capacity(self.special.len() + 5);
        context.push(("messages", Value::from(messages.to_vec())));
        context.push(("tools", tools.clone()));
        context.push(("documents", Value::from(())));
        context.push(("add_generation_prompt", Value::from(add_generation_prompt)));
        for (name, token) in &self.special {
            context.push((name, Value::from(token.as_str())));
        }
        if let Some(marks) = marks {
            context.push(("__marks", Value::from([marks.open, marks.close].iter().collect::<String>())));
        }
        let context = Value::from_pairs(context);
        let template = self.env.get_template("chat").map_err(|error| TemplateError(message(&error)))?;
        template.render(context).map_err(|error| TemplateError(message(&error)))
    }
}

/// Messages as templates see them: the dicts of `apply_chat_template`, reasoning under both names.
#[must_use]
pub fn messages(conversation: &Conversation) -> Vec<Value> {
    conversation.messages.iter().map(message_value).collect()
}

/// Tools as templates see them: None where there are none.
#[must_use]
pub fn tools(conversation: &Conversation) -> Value {
    conversation.tools.as_ref().map_or_else(|| Value::from(()), |tools| Value::from(Serde(tools)))
}

fn message_value(message: &Message) -> Value {
    let mut pairs: Vec<(&str, Value)> = Vec::with_capacity(4);
    if let Some(reasoning) = &message.reasoning {
        pairs.push(("thinking", Value::from(reasoning.as_str())));
    }
    pairs.push(("role", Value::from(message.role.as_str())));
    match &message.content {
        Some(content) => pairs.push(("content", Value::from(content.as_str()))),
        None if message.content_is_null => pairs.push(("content", Value::from(()))),
        None => {}
    }
    if let Some(reasoning) = &message.reasoning {
        pairs.push(("reasoning_content", Value::from(reasoning.as_str())));
    }
    if let Some(calls) = &message.tool_calls {
        pairs.push(("tool_calls", Value::from(Serde(calls))));
    }
    let mut text = |name, value: &Option<String>| {
        if let Some(value) = value {
            pairs.push((name, Value::from(value.as_str())));
        }
    };
    text("name", &message.name);
    text("tool_call_id", &message.tool_call_id);
    Value::from_pairs(pairs)
}

/// What `MiniJinja` says, with the line in the template, on one line.
fn message(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.to_string(), ToOwned::to_owned);
    let text =
        error.line().map_or_else(|| detail.clone(), |line| format!("{detail} (line {line} of the template)"));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, conversation: &Conversation) -> Result<String, TemplateError> {
        let special = vec![("bos_token".to_owned(), "<s>".to_owned())];
        Template::compile(source, &special, Moment::default())?.render(conversation, false)
    }

    fn hello() -> Conversation {
        Conversation {
            messages: vec![Message::new("user", "hi <b>"), Message::new("assistant", " yes\u{1c}")],
            tools: None,
        }
    }

    #[test]
    fn values_print_as_in_python() {
        let source = "{{ bos_token }}{{ none }}{{ true }}{{ 1.0 }}{{ 1e-7 }}{{ ['a', 1, none, \"it's\"] }}{{ nothing }}";
        assert_eq!(render(source, &hello()).unwrap(), "<s>NoneTrue1.01e-07['a', 1, None, \"it's\"]");
    }

    #[test]
    fn tojson_escapes_no_html_and_takes_transformers_arguments() {
        let source = "{{ messages[0] | tojson }}{{ [1, 2] | tojson(separators=(',', ':')) }}{{ {'a': 1} | tojson(indent=2) }}";
        assert_eq!(
            render(source, &hello()).unwrap(),
            "{\"role\": \"user\", \"content\": \"hi <b>\"}[1,2]{\n  \"a\": 1\n}"
        );
    }

    #[test]
    fn none_can_not_be_iterated_and_a_string_can() {
        let source = "{{ none is iterable }}{{ 'a' is iterable }}{{ [1] is iterable }}{{ 1 is iterable }}{{ tools is none }}";
        assert_eq!(render(source, &hello()).unwrap(), "FalseTrueTrueFalseTrue");
    }

    #[test]
    fn loops_and_filters_refuse_none_and_generators_are_read_once() {
        for source in [
            "{% for x in tools %}{% endfor %}",
            "{{ none | list }}",
            "{{ [1] | map('string') | tojson }}",
            "{{ [1] | select | length }}",
        ] {
            assert!(render(source, &hello()).is_err(), "{source}");
        }
        let source = "{% set g = [1, 2] | map('string') %}{{ g | join('+') }}{{ g | list }}{% for c in 'ab', 'c' %}{{ c }}{% endfor %}{% for c in 'de' %}{{ c }}{% endfor %}";
        assert_eq!(render(source, &hello()).unwrap(), "1+2[]abcde");
    }

    #[test]
    fn slices_are_those_of_python() {
        for (source, text) in [
            (
                "{{ 'abcde'[::-1] }}|{{ 'abcde'[3:0:-1] }}|{{ 'abcde'[-2:-9:-2] }}|{{ ''[::-1] }}",
                "edcba|dcb|db|",
            ),
            (
                "{{ 'abcde'[0:5:-1] }}|{{ 'abcde'[1::2] }}|{{ 'abcde'[:-1:3] }}|{{ 'abc'[9:-9:-1] }}",
                "|bd|ad|cba",
            ),
            ("{{ [1, 2, 3][1:][::-1] }}{{ [][::-1] }}{{ (1, 2)[::-1] }}", "[3, 2][](2, 1)"),
            ("{% for m in messages[::-1] %}{{ m.role }},{% endfor %}", "assistant,user,"),
            ("{{ 'a[::-1]' }}{{ {'b': ['c:d:e']}['b'][::-1][0][('xy'[::-1] | length) - 1:1] }}", "a[::-1]"),
            ("{{ 'abc'[9223372036854775807:-9223372036854775807 - 1:-9223372036854775807 - 1] }}", "c"),
        ] {
            assert_eq!(render(source, &hello()).unwrap(), text, "{source}");
        }
        for source in ["{{ 'abc'[::0] }}", "{{ none[::-1] }}", "{{ nothing[::-1] }}", "{{ {}[::-1] }}"] {
            assert!(render(source, &hello()).is_err(), "{source}");
        }
    }

    #[test]
    fn strip_strips_what_python_strips() {
        assert_eq!(
            render("[{{ messages[1].content.strip() }}|{{ messages[1].content | trim }}]", &hello()).unwrap(),
            "[yes|yes]"
        );
    }

    #[test]
    fn reasoning_has_both_names_and_thinking_comes_first() {
        let mut conversation = hello();
        conversation.messages[1].reasoning = Some("hm".into());
        assert_eq!(
            render("{{ messages[1] | tojson }}", &conversation).unwrap(),
            "{\"thinking\": \"hm\", \"role\": \"assistant\", \"content\": \" yes\\u001c\", \"reasoning_content\": \"hm\"}"
        );
    }

    #[test]
    fn null_content_is_none_and_absent_content_undefined() {
        let mut conversation = hello();
        let source = "{{ messages[1].content is none }}{{ messages[1].content is defined }}";
        conversation.messages[1].content = None;
        assert_eq!(render(source, &conversation).unwrap(), "FalseFalse");
        conversation.messages[1].content_is_null = true;
        assert_eq!(render(source, &conversation).unwrap(), "TrueTrue");
    }

    #[test]
    fn what_a_template_raises_is_the_error() {
        let error = render("a\n{{ raise_exception('no system role') }}", &hello()).unwrap_err();
        assert_eq!(error.0, "no system role (line 2 of the template)");
    }

    #[test]
    fn generation_blocks_are_bracketed_and_see_their_loop() {
        let source = "{% for m in messages %}{{ m.role }}{% generation %}{{ loop.index }}{{ m.content }}{% endgeneration %}{% endfor %}";
        let template = Template::compile(source, &Vec::new(), Moment::default()).unwrap();
        assert!(template.has_generation());
        let conversation = hello();
        let marks = Marks { open: '\u{FDD0}', close: '\u{FDD1}' };
        let text = template
            .render_values(&messages(&conversation), &tools(&conversation), false, Some(marks))
            .unwrap();
        let (text, spans) = marks::take(&text, marks);
        assert_eq!(text, template.render(&conversation, false).unwrap());
        assert_eq!(text, "user1hi <b>assistant2 yes\u{1c}");
        assert_eq!(spans.iter().map(|&(a, b)| &text[a..b]).collect::<Vec<_>>(), ["1hi <b>", "2 yes\u{1c}"]);
    }
}
