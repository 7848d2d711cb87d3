//! Templates that nest deeply are rendered or refused: neither compiling nor rendering one ends the process.

use fastft_record::{Conversation, Message};
use fastft_template::{Moment, Template};

#[test]
fn deep_templates_are_rendered_or_refused() {
    let n = 8_000;
    let around =
        |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let cases = [
        ("brackets", format!("{{{{ {} }}}}", around("(", "1", ")"))),
        ("lists", format!("{{{{ {} }}}}", around("[", "1", "]"))),
        ("items", format!("{{{{ {} }}}}", around("a[", "1", "]"))),
        ("calls", format!("{{{{ {} }}}}", around("a(", "1", ")"))),
        ("not", format!("{{{{ {}1 }}}}", "not ".repeat(n))),
        ("minus", format!("{{{{ {}1 }}}}", "- ".repeat(n))),
        ("plus", format!("{{{{ 1{} }}}}", " + x".repeat(n))),
        ("power", format!("{{{{ 1{} }}}}", " ** x".repeat(n))),
        ("join", format!("{{{{ 1{} }}}}", " ~ x".repeat(n))),
        ("and", format!("{{{{ 1{} }}}}", " and x".repeat(n))),
        ("attributes", format!("{{{{ messages{} }}}}", ".a".repeat(n))),
        ("filters", format!("{{{{ 'a'{} }}}}", "|trim".repeat(n))),
        ("tests", format!("{{{{ 'a'{} }}}}", " is string".repeat(n))),
        ("methods", format!("{{{{ 'a'{} }}}}", ".strip()".repeat(n))),
        ("else", format!("{{{{ 1{} }}}}", " if x else 1".repeat(n))),
        ("if", around("{% if 1 %}", "x", "{% endif %}")),
        ("for", around("{% for a in [1] %}", "x", "{% endfor %}")),
        ("with", around("{% with a = 1 %}", "x", "{% endwith %}")),
        ("set", around("{% set a %}", "x", "{% endset %}")),
        ("filter", around("{% filter trim %}", "x", "{% endfilter %}")),
        ("generation", around("{% generation %}", "x", "{% endgeneration %}")),
        ("macro", around("{% macro a() %}", "x", "{% endmacro %}")),
        ("elif", format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(n))),
        ("recursion", "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}".to_owned()),
        ("loop", "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}".to_owned()),
        (
            "caller",
            "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}".to_owned(),
        ),
        (
            "generation of itself",
            "{% macro m() %}{% generation %}{{ m() }}{% endgeneration %}{% endmacro %}{{ m() }}".to_owned(),
        ),
        ("block", "{% block a %}{{ self.a() }}{% endblock %}".to_owned()),
        ("include", "{% include 'chat' %}".to_owned()),
        ("import", "{% import 'chat' as c %}".to_owned()),
        ("extends", "{% extends 'chat' %}".to_owned()),
        (
            "map",
            "{% macro m(x) %}{{ [x] | map('string') | list }}{{ [m(x)] | join }}{% endmacro %}{{ m(1) }}"
                .to_owned(),
        ),
    ];
    let conversation = Conversation { messages: vec![Message::new("user", "hi")], tools: None };
    for (name, source) in cases {
        // at the latest when it is rendered: what it nests in is not there, or the stack is used up
        if let Ok(template) = Template::compile(&source, &Vec::new(), Moment::default()) {
            let rendered = template.render(&conversation, false);
            assert!(rendered.is_err(), "{name}");
        }
    }
    let chain = format!("{{{{ 'a'{} }}}}", " ~ 'b'".repeat(1500));
    let template = Template::compile(&chain, &Vec::new(), Moment::default()).unwrap();
    assert_eq!(template.render(&conversation, false).unwrap().len(), 1501);
}
