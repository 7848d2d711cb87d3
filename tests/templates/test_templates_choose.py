"""Which template is chosen, what it is checked against, and what is said when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastft.config.kinds import TokenizerFiles
from fastft.core.errors import ConfigError, DataError
from fastft.data.templates import builtin, catalog, choose, table

# Renders, but Python escapes what is added to a text that is marked as safe.
DIFFERS = (
    "{% for tool in tools %}{{ tool }}{% endfor %}{{ '' | safe + '>' }}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


def files(template: str | None, folder: Path, special: dict[str, str] | None = None) -> TokenizerFiles:
    special = {"bos_token": "<s>", "eos_token": "</s>"} if special is None else special
    return TokenizerFiles(folder, template, special, None, None, None, 512, "key")


def test_auto_is_the_tokenizers_own_and_the_engine_renders_it(tmp_path):
    chosen = choose("auto", files(PLAIN, tmp_path), cache=tmp_path)
    assert (chosen.source, chosen.rendered_by, chosen.fallback, chosen.mask) == (PLAIN, "rust", None, "prefix")


def test_a_tokenizer_without_template_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(DataError) as caught:
        choose("auto", files(None, tmp_path), cache=tmp_path)
    assert str(caught.value) == (
        "error[data.no-template]: the tokenizer has no chat template, and the rows are conversations\n"
        "hint: set `data.template` to a built-in one (`fastft data templates` lists them) or to a `.jinja` file"
    )


@pytest.mark.parametrize("name", builtin())
def test_built_in_templates_are_rendered_by_the_engine_and_mark_their_answers(name, tmp_path):
    chosen = choose(name, files(None, tmp_path), cache=tmp_path)
    assert (chosen.rendered_by, chosen.mask, chosen.reason) == ("rust", "generation", None)


def test_a_name_that_is_nearly_right_is_guessed(tmp_path):
    with pytest.raises(ConfigError) as caught:
        choose("qwne3", files(None, tmp_path), cache=tmp_path)
    assert "did you mean `qwen3`?" in str(caught.value)


def test_a_file_is_found_beside_the_config(tmp_path):
    (tmp_path / "own.jinja").write_text(PLAIN, encoding="utf-8")
    chosen = choose("own.jinja", files(None, tmp_path), config_dir=tmp_path, cache=tmp_path)
    assert chosen.source == PLAIN
    with pytest.raises(ConfigError, match=r"there is no file `other\.jinja`"):
        choose("other.jinja", files(None, tmp_path), config_dir=tmp_path, cache=tmp_path)


def test_a_template_that_does_not_compile_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="can't be compiled"):
        choose("auto", files("{% for m in messages %}", tmp_path), cache=tmp_path)


def test_a_template_that_reads_differently_falls_back_to_transformers(tmp_path):
    chosen = choose("auto", files(DIFFERS, tmp_path), cache=tmp_path)
    assert chosen.rendered_by == "python"
    assert chosen.reason is not None
    assert "&gt;" in chosen.reason
    assert chosen.fallback is not None
    row = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"a": 1}], "add_generation_prompt": False}
    assert chosen.fallback(json.dumps(row)) == "{'a': 1}&gt;user: hi\n"


def test_the_fallback_gives_the_engine_the_ids_of_transformers(tmp_path):
    from transformers import PreTrainedTokenizerFast

    from fastft import _engine

    json_text = (Path(__file__).parent / "fixtures" / "chatml_tokenizer.json").read_text(encoding="utf-8")
    hf = PreTrainedTokenizerFast(tokenizer_file=str(Path(__file__).parent / "fixtures" / "chatml_tokenizer.json"))
    chosen = choose("auto", files(DIFFERS, tmp_path), cache=tmp_path)
    engine = _engine.ChatEncoder(json_text, chosen.source, {}, '{"train_on": "all"}', chosen.fallback)
    row = {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}],
        "tools": [{"a": 1}],
    }
    text, ids, runs = engine.encode(json.dumps(row))
    assert ids == hf.apply_chat_template(row["messages"], tools=row["tools"], chat_template=DIFFERS)["input_ids"]
    assert (text, runs) == ("{'a': 1}&gt;user: hi\nassistant: yes\n", [(0, len(ids))])
    with pytest.raises(
        ValueError, match="E_TEMPLATE: the chat template refuses the row: 'NoneType' object is not iterable"
    ):
        engine.encode(json.dumps({"messages": row["messages"]}))


def test_the_verdict_depends_on_the_special_tokens_and_so_does_the_key(tmp_path):
    first = choose("auto", files(PLAIN, tmp_path), cache=tmp_path)
    second = choose("auto", files(PLAIN, tmp_path, {"eos_token": "<end>"}), cache=tmp_path)
    assert first.key != second.key
    assert first.key == choose("auto", files(PLAIN, tmp_path), cache=tmp_path).key
    assert len(list((tmp_path / "templates").iterdir())) == 2


def test_a_template_that_prints_the_date_pins_it(tmp_path):
    import datetime

    chosen = choose("auto", files("{{ strftime_now('%Y') }}" + PLAIN, tmp_path), cache=tmp_path)
    assert chosen.today == datetime.date.today().isoformat()
    assert chosen.rendered_by == "rust"
    assert choose("auto", files(PLAIN, tmp_path), cache=tmp_path).today is None


def test_the_second_choice_imports_neither_transformers_nor_torch(tmp_path):
    choose("auto", files(PLAIN, tmp_path), cache=tmp_path)
    code = (
        "import sys; from pathlib import Path; from fastft.config.kinds import TokenizerFiles\n"
        "from fastft.data.templates.choose import choose\n"
        f"files = TokenizerFiles(Path(), {PLAIN!r}, {{'bos_token': '<s>', 'eos_token': '</s>'}}, None, None, None, 512, 'key')\n"
        f"chosen = choose('auto', files, cache=Path({str(tmp_path)!r}))\n"
        "assert chosen.rendered_by == 'rust'\n"
        "print([name for name in ('torch', 'transformers', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_broken_verdict_is_made_again(tmp_path):
    choose("auto", files(PLAIN, tmp_path), cache=tmp_path)
    (verdict,) = (tmp_path / "templates").iterdir()
    verdict.write_text("{", encoding="utf-8")
    assert choose("auto", files(PLAIN, tmp_path), cache=tmp_path).rendered_by == "rust"
    assert json.loads(verdict.read_text(encoding="utf-8"))["difference"] is None


def test_the_fallback_prints_the_pinned_date_and_not_the_clock(tmp_path):
    chosen = choose("auto", files("{{ strftime_now('%Y-%m-%d') }}" + DIFFERS, tmp_path), cache=tmp_path)
    assert chosen.rendered_by == "python"
    call = chosen.fallback.func
    row = {"messages": [{"role": "user", "content": "hi"}], "tools": [], "add_generation_prompt": False}
    text = call(chosen.source, {}, "2001-02-03", json.dumps(row))
    assert text == "2001-02-03&gt;user: hi\n"
    assert chosen.fallback(json.dumps(row)).startswith(chosen.today)


def test_names_that_others_use_mean_built_in_templates(tmp_path):
    names = [name for row in table() for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names)) >= 40
    for name in ("default", "chatml", "llama2", "qwen2.5", "gemma3", "phi4", "deepseek3", "glm4", "yi", "vicuna"):
        assert catalog.resolve(name) is not None
    for name in ("zephyr", "alpaca", "baichuan2", "falcon", "cohere", "granite3", "olmo", "exaone", "solar"):
        assert catalog.resolve(name) == name
    assert catalog.resolve("nothing") is None
    assert choose("llama3.1", files(None, tmp_path), cache=tmp_path).source == catalog.source("llama3")


@pytest.mark.parametrize("row", table(), ids=lambda row: row.name)
def test_the_table_says_what_the_template_does(row):
    from fastft.data.templates._certify import render

    special = {"bos_token": "<s>", "eos_token": "</s>"}
    talk = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    text = render(catalog.source(row.name), special, talk, None, False)
    assert any(text.rstrip().endswith(end.replace("{eos}", "</s>")) for end in (*row.end, "{eos}"))
    if row.default_system:
        assert row.default_system in text
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    if row.tools:
        assert "weather" in render(catalog.source(row.name), special, talk, [tool], False)
    thought = [talk[0], {**talk[1], "reasoning_content": "hm"}]
    assert ("hm" in render(catalog.source(row.name), special, thought, None, False)) == row.thinking


def test_official_templates_get_the_built_in_twin_that_marks_answers(tmp_path):
    own = (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    chosen = choose("auto", files(own, tmp_path), cache=tmp_path)
    assert (chosen.rendered_by, chosen.mask) == ("rust", "generation")
    assert chosen.source == choose("smollm2", files(None, tmp_path), cache=tmp_path).source
