//! Renderings put together from texts against renderings: for templates made at random, for tricky ones, and for
//! the forms that real ones have.

use fastft_record::{Conversation, Message};
use fastft_template::{Marks, Moment, Template, Value, messages};
use proptest::prelude::*;
use proptest::sample::select;

fn compiled(source: &str) -> Option<Template> {
    let special = vec![("bos_token".to_owned(), "<s>".to_owned())];
    Template::compile(source, &special, Moment::default()).ok()
}

fn template(source: &str) -> Template {
    compiled(source).unwrap()
}

fn rendered(
    template: &Template,
    conversation: &Conversation,
    prompt: bool,
    marks: Option<Marks>,
) -> Option<String> {
    template.render_values(&messages(conversation), &Value::from(()), prompt, marks).ok()
}

fn conversation(turns: &[(&str, &str)]) -> Conversation {
    Conversation {
        messages: turns.iter().map(|(role, text)| Message::new(*role, *text)).collect(),
        tools: None,
    }
}

/// Whether the texts of a conversation are put into a skeleton.
fn fills(source: &str, turns: &[(&str, &str)]) -> bool {
    let (template, conversation) = (template(source), conversation(turns));
    let filled = template.fill(&conversation, turns.len(), false, None);
    assert!(filled.is_none() || filled == rendered(&template, &conversation, false, None), "{source}");
    filled.is_some()
}

const TEXTS: [&str; 26] = [
    "(x | upper)",
    "(ns.a | upper)",
    "(l.previtem.content | upper)",
    "g()",
    "m.content",
    "m['content']",
    "messages[0].content",
    "messages[-1]['content']",
    "messages[1].content",
    "x",
    "ns.a",
    "ns.b",
    "m.content | trim",
    "m.content.strip()",
    "m.content.rstrip('\\n')",
    "('<' + m.content + ' > ').strip()",
    "(m.content if m.role == 'user' else x)",
    "(x ~ 'q')",
    "f(m.content)",
    "f(m.content, b='<')",
    "loop.previtem.content",
    "m.content.split('#')[-1]",
    "(m.content | default('z'))",
    "m.get('content')",
    "(m.content or 'e')",
    "(m.reasoning_content and m.content)",
];
const CONDITIONS: [&str; 27] = [
    "'' in m.content",
    "m.content.startswith('')",
    "m.content == ''",
    "m.role == 'user'",
    "m.role != 'tool'",
    "m.role in ['tool', 'ipython']",
    "loop.first",
    "loop.last and add_generation_prompt",
    "'#' in m.content",
    "not m.content.startswith('#')",
    "m.content == 'hi'",
    "m.content",
    "x",
    "ns.a",
    "ns.b is defined",
    "x is defined",
    "x is string",
    "m.content is string",
    "m.content | length > 0",
    "loop.previtem and loop.previtem.role == 'user'",
    "messages[loop.index0 + 1] is defined",
    "messages[1].content is defined",
    "m.tool_calls",
    "tools is not none",
    "'content' in m",
    "messages | length > 2",
    "f(m.content) == 'hi'",
];

fn block() -> impl Strategy<Value = String> {
    let text = || select(TEXTS.to_vec());
    let leaf = prop_oneof![
        4 => text().prop_map(|text| format!("{{{{ {text} }}}}")),
        2 => text().prop_map(|text| format!("{{% set x = {text} %}}")),
        1 => text().prop_map(|text| format!("{{% set ns.a = {text} %}}")),
        1 => text().prop_map(|text| format!("{{% set ns.b = {text} %}}")),
        1 => Just("{{ m.role }}".to_owned()),
        1 => Just(" [a] \n".to_owned()),
        1 => Just("{% set x = none %}".to_owned()),
        1 => Just("{% set l = loop %}".to_owned()),
        1 => Just("{% continue %}".to_owned()),
        1 => Just("{% break %}".to_owned()),
        1 => Just("{{ raise_exception('no') }}".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let many = || prop::collection::vec(inner.clone(), 1..4).prop_map(|blocks| blocks.concat());
        prop_oneof![
            3 => (select(CONDITIONS.to_vec()), many(), many())
                .prop_map(|(cond, yes, no)| format!("{{% if {cond} %}}{yes}{{% else %}}{no}{{% endif %}}")),
            1 => many().prop_map(|block| format!("{{% set x %}}{block}{{% endset %}}")),
            1 => many().prop_map(|block| format!("{{% with x = 'a' %}}{block}{{% endwith %}}")),
            1 => (many(), many())
                .prop_map(|(block, other)| format!("{{% for x in ['q'] %}}{block}{{% else %}}{other}{{% endfor %}}")),
            1 => (many(), many())
                .prop_map(|(block, other)| format!("{{% for m in messages[9:] %}}{block}{{% else %}}{other}{{% endfor %}}")),
            1 => many().prop_map(|block| format!("{{% for m in messages[1:] %}}{block}{{% endfor %}}")),
            1 => many().prop_map(|block| format!("{{% for m in messages | selectattr('role', '==', 'user') %}}{block}{{% endfor %}}")),
            1 => many().prop_map(|block| format!("{{% generation %}}{block}{{% endgeneration %}}")),
            1 => many(),
        ]
    })
}

fn turns() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let text = select(vec!["hi", "hi", "you\n", " \u{a0}a b", "#", "x#y", "", " \n", "<q>"]);
    let role = select(vec!["user", "assistant", "system", "user", "assistant", "tool"]);
    prop::collection::vec((role, text), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn what_is_put_together_is_what_is_rendered(
        body in prop::collection::vec(block(), 1..5), rows in prop::collection::vec(turns(), 6), prompt: bool,
        x in select(vec!["''", "messages[0].content", "none"]),
        macro_text in select(vec!["{{ a }}", "{% if a is string %}{{ a }}{% endif %}", "{{ b }}{{ a }}", "{{ x }}{{ a | trim }}"]),
    ) {
        let source = format!(
            "{{% set x = {x} %}}{{% macro f(a, b='') %}}{macro_text}{{% endmacro %}}{{% macro g() %}}{{{{ x | upper }}}}{{% endmacro %}}{{% set ns = namespace(a='') %}}{{% for m in messages %}}{}{{% endfor %}}{{{{ x }}}}{{{{ ns.a }}}}",
            body.concat()
        );
        // a loop can't be left from within a generation block
        let Some(template) = compiled(&source) else { return Ok(()) };
        let marks = template.has_generation().then_some(Marks { open: '\u{FDD0}', close: '\u{FDD1}' });
        for row in rows {
            let conversation = conversation(&row);
            if let Some(text) = template.fill(&conversation, row.len(), prompt, marks) {
                prop_assert_eq!(Some(text), rendered(&template, &conversation, prompt, marks), "{}", source);
            }
        }
    }
}

const PLAIN: [(&str, &str); 3] = [("system", "be kind"), ("user", "hi"), ("assistant", "you")];

#[test]
fn templates_that_print_texts_are_filled() {
    for source in [
        "{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}{% endfor %}",
        "{% set loop_messages = messages[1:] %}{% for m in loop_messages[::-1] %}{% set content = bos_token + m.content %}{{ content }}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'tool' %}{{ m.content | tojson }}{% else %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[1] }}{% endif %}{{ m.content.lstrip('\\n') }}{% endfor %}",
        "{% macro show(c) %}{% if c is string %}{{ c }}{% else %}{{ c[0].text }}{% endif %}{% endmacro %}{% for m in messages %}{% set c = show(m.content) %}{% if not c.startswith('<r>') %}{{ c }}{% endif %}{% endfor %}",
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    ] {
        assert!(fills(source, &PLAIN), "{source}");
        // a tool's answer, nothing, and no text are for the template itself
        assert!(!fills(source, &[("user", "hi"), ("tool", "4")]), "{source}");
        assert!(!fills(source, &[("user", "hi"), ("assistant", " ")]), "{source}");
    }
}

#[test]
fn whitespace_is_kept_or_stripped_as_the_template_does() {
    let wide: Vec<(&str, &str)> = PLAIN.iter().map(|(role, _)| (*role, "\n a\u{a0}")).collect();
    for (source, wanted) in [
        (
            "{% for m in messages %}{{ m.content }}{{ m.content.lstrip() }}{{ ' ' + m.content.rstrip() }}{% endfor %}",
            true,
        ),
        ("{% for m in messages %}{{ (m.content + ' ') | trim }}{{ m.content.strip() }}{% endfor %}", true),
        ("{% for m in messages %}{{ m.content.strip('\\n') }}{% endfor %}", false),
    ] {
        assert!(fills(source, &PLAIN), "{source}");
        assert_eq!(fills(source, &wide), wanted, "{source}");
    }
}

#[test]
fn texts_that_a_template_looks_at_are_rendered() {
    let source =
        "{% for m in messages %}{% if m.content.startswith('you') %}!{% endif %}{{ m.content }}{% endfor %}";
    assert!(!fills(source, &PLAIN) && fills(source, &PLAIN[..2]));
    for source in [
        "{{ messages | tojson }}",
        "{% for m in messages %}{{ m.role }}{% else %}{{ raise_exception('none') }}{% endfor %}{{ messages[0].content | upper }}",
        "{% set x = messages[0].content %}{% for m in messages %}{% else %}{% set x = '' %}{% endfor %}{{ x | upper }}",
        "{% set x = messages[0].content %}{% macro f() %}{{ x | upper }}{% endmacro %}{% for x in ['q'] %}{{ f() }}{% endfor %}",
        "{% set x = messages[0].content %}{% macro f() %}{{ x | upper }}{% endmacro %}{% with x = 'q' %}{{ f() }}{% endwith %}",
        "{% for m in messages %}{% set l = loop %}{% if l.previtem %}{{ l.previtem.content | upper }}{% endif %}{% endfor %}",
        "{% for m in messages %}{{ '\\u2003' + m.content.strip() }}|{% endfor %}",
        "{% for m in messages %}{{ m.content.strip() + '\\u2002' }}|{% endfor %}",
        "{% for m in messages %}{% if '' in m.content %}!{% endif %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% if m.content.startswith('') %}!{% endif %}{{ m.content }}{% endfor %}",
        "{{ messages[0] }}",
        "{% for m in messages %}{{ m.content | length }}{% endfor %}",
        "{% for m in messages %}{{ m.content[:2] }}{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{% if m.content > 'b' %}{% endif %}{% endfor %}",
        "{% for m in messages %}{% for c in m.content %}{{ c }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{{ [m.content] }}{{ m.content in ['hi'] }}{% endfor %}",
        "{% for m in messages %}{% for k, v in m.items() %}{{ v }}{% endfor %}{% endfor %}",
        "{% set x = 'a' %}{% for m in messages %}{% if 'a' in x + m.content %}!{% endif %}{% endfor %}",
        "{% for m in messages %}{% filter upper %}{{ m.content }}{% endfilter %}{% endfor %}",
        "{% for m in messages %}{{ m[m.role ~ 'x'] }}{% endfor %}",
        "{% set ns = namespace(a='') %}{% for m in messages %}{% if ns.a == 'hi' %}!{% endif %}{% set ns.a = m.content %}{% endfor %}",
    ] {
        assert!(!fills(source, &PLAIN), "{source}");
    }
}
