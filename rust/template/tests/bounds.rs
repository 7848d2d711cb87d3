//! What a rendering may spend: a template that never ends, or grows without end, is refused.

use fastft_record::{Conversation, Message};
use fastft_template::{Bounds, Moment, Template, TemplateError};

fn within(fuel: u64, bytes: usize, source: &str) -> Result<String, TemplateError> {
    let template = Template::compile_within(source, &Vec::new(), Moment::default(), Bounds { fuel, bytes })?;
    template.render(&Conversation { messages: vec![Message::new("user", "hi")], tools: None }, false)
}

#[test]
fn a_template_that_never_ends_runs_out_of_fuel() {
    let source =
        "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}";
    assert!(within(50_000, 1 << 20, source).unwrap_err().0.contains("fuel"));
    assert!(within(1, 100, "{{ 1 + 1 }}").is_err());
    assert_eq!(within(100, 100, "{{ 1 + 1 }}").unwrap(), "2");
}

#[test]
fn what_filters_go_over_is_counted() {
    for filter in [
        "groupby('role')",
        "list",
        "sort",
        "unique",
        "first",
        "reverse | list",
        "map('upper') | list",
        "sum",
        "min",
        "max",
    ] {
        let source =
            format!("{{% for a in range(100) %}}{{% set b = range(9999) | {filter} %}}{{% endfor %}}");
        let error = within(50_000, 1 << 30, &source).unwrap_err();
        assert!(error.0.contains("go over more than 50000 items"), "{filter}: {error}");
    }
    let text = "{% set t = 'a' * 99999 %}{% for a in range(100) %}{{ (t | upper)[0] }}{% endfor %}";
    assert!(within(50_000, 1 << 30, text).unwrap_err().0.contains("go over more"));
    assert_eq!(within(50_000, 1 << 30, "{{ range(9999) | list | length }}").unwrap(), "9999");
}

fn refused_as_too_much(source: &str) {
    let error = within(1_000_000, 1 << 20, source).unwrap_err();
    assert!(!error.0.contains("fuel"), "{source}: {error}");
}

#[test]
fn what_grows_in_a_loop_is_refused() {
    for step in [
        "{% set n.s = n.s ~ n.s %}",
        "{% set n.s = n.s + n.s %}",
        "{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}",
        "{% set n.s = n.s.replace('a', n.s) %}",
        "{% set n.s = n.s | replace('a', n.s) %}",
        "{% set n.s = [n.s, n.s] | join(n.s) %}",
        "{% set n.s = n.s.join([n.s, n.s]) %}",
        "{% set n.l = [n.l, n.l] %}",
        "{% set n.l = n.l + n.l %}",
    ] {
        let begin = "{% set n = namespace(s='ab', l=[1]) %}{% for i in range(60) %}";
        refused_as_too_much(&format!("{begin}{step}{{% endfor %}}{{{{ n.l }}}}"));
    }
    for source in [
        "{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
        "{% set s = 'a' * 1000 %}{% for i in range(9999) %}{{ s }}{% endfor %}",
        "{% macro m() %}{{ 'a' * 1000 }}{% endmacro %}{% for i in range(9999) %}{% set x = m() %}{% endfor %}",
    ] {
        refused_as_too_much(source);
    }
}

#[test]
fn what_one_step_makes_too_much_of_is_refused() {
    for source in [
        "{{ 'a' | indent(9999999999999999) }}",
        "{{ ('\n' * 9999) | indent(width=9999) }}",
        "{{ [1] | batch(9999999999, 0) | list }}",
        "{{ [1] | slice(9999999999) | list }}",
        "{{ '%09999999999999d%5d' | format(1, 2) }}",
        "{{ '{:.9999999999999f}'.format(1.5) }}",
    ] {
        refused_as_too_much(source);
    }
    for printed in ["a", "a | string", "a | tojson", "a | pprint"] {
        let doubled = "{% with a = [a, a] %}".repeat(40);
        let ends = "{% endwith %}".repeat(40);
        refused_as_too_much(&format!("{doubled}{{{{ {printed} }}}}{ends}"));
    }
}

#[test]
fn what_is_measured_is_as_it_was() {
    for (source, text) in [
        ("{% set a, b = 1, 'x' ~ 'y' %}{{ a }}{{ b }}", "1xy"),
        ("{% set c = (1,) %}{% set d = 2, %}{{ c }}{{ d }}", "(1,)(2,)"),
        ("{% set e = nothing %}{{ e is defined }}", "False"),
        ("{{ 'a\nb' | indent(2) }}{{ 'c' | indent(width=1, first=true) }}", "a\n  b c"),
        (
            "{{ [1, 2, 3] | batch(2, 0) | list }}{{ [1, 2, 3] | slice(2) | list }}",
            "[[1, 2], [3, 0]][[1, 2], [3]]",
        ),
        ("{{ '%03d|%s' | format(7, 'x') }}{{ '{}-{:>3}'.format(1, 'y') }}", "007|x1-  y"),
    ] {
        assert_eq!(within(1000, 1000, source).unwrap(), text, "{source}");
    }
}

#[test]
fn to_divide_by_nothing_is_an_error_and_no_panic() {
    for (source, text) in [("{{ 6 is divisibleby 3 }}", "True"), ("{{ 7.5 is divisibleby 2.5 }}", "True")] {
        assert_eq!(within(100, 100, source).unwrap(), text);
    }
    for source in ["{{ 1 is divisibleby 0 }}", "{{ 1 is divisibleby false }}"] {
        assert!(within(100, 100, source).unwrap_err().0.contains("division by zero"), "{source}");
    }
}
