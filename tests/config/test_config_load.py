"""A file and overrides -> a config and its origins, or every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from fastft.config.kinds import Optimizer
from fastft.config.load import load
from fastft.core.errors import ConfigError, Problem, render

Write = Callable[..., Path]

HOUSE = """\
# fastft train configs/sft/qwen3-4b-lora.toml --set optimizer.lr=2e-4
name = "qwen3-4b-identity"
seed = 42
epochs = 3

[model]
path = "Qwen/Qwen3-4B-Instruct-2507"
quantize = { kind = "nf4" }

[data]
template = "qwen3"
max_length = 2048
packing = "best-fit"

[[data.train]]
path = "data/identity.jsonl"
format = { kind = "alpaca" }

[method]
kind = "lora"
rank = 8

[stage]
kind = "sft"
loss_on = "response"

[optimizer]
kind = "adamw"
lr = 1e-4

[batch]
tokens = 65_536            # per optimizer step, all devices; the planner finds the micro batch
"""


def problems(path: Path, *overrides: str, files: bool = False) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, files=files)
    return caught.value.problems


def test_the_example_of_the_design_loads_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "qwen3-4b-lora.toml"
    path.write_text(HOUSE)
    loaded = load(path, ["optimizer.lr=2e-4"])
    run = loaded.config
    assert (run.name, run.seed, run.epochs, run.batch.tokens) == ("qwen3-4b-identity", 42, 3, 65536)
    assert run.model.quantize is not None
    assert run.data.train[0].format is not None
    assert (run.model.quantize.kind, run.data.train[0].format.kind) == ("nf4", "alpaca")
    assert (run.method.kind, run.method.model_dump()["rank"], run.optimizer.lr) == ("lora", 8, 2e-4)
    assert str(loaded.origins["optimizer.lr"]) == "--set optimizer.lr=2e-4"
    assert str(loaded.origins["method.rank"]) == f"{path}:21"
    assert "method.alpha" not in loaded.origins
    assert loaded.texts == {str(path): HOUSE}


@pytest.mark.usefixtures("scratch_members")
def test_the_errors_of_the_design_read_word_for_word(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    class GaLore(Optimizer, kind="galore"):
        """Projected gradients."""

        lr: Annotated[float, Field(gt=0)] = 1e-4
        """Peak learning rate."""

        def conflicts(self, run: Any) -> Iterable[Problem]:
            if run.method.kind == "lora":
                yield Problem(
                    "method.projected-twice",
                    "optimizer.kind",
                    "`galore` projects full-rank gradients; `lora` leaves none",
                    hint='use `kind = "adamw"`, or `method.kind = "full"`',
                )

    path = write(name="configs/bad.toml", body=BAD)
    monkeypatch.chdir(path.parent.parent)
    with pytest.raises(ConfigError) as caught:
        load("configs/bad.toml", ["method.dropout=2", "optimizer.kind=galore"])
    assert str(caught.value) == EXPECTED
    assert render(caught.value.problems) == EXPECTED


BAD = """\
name = "bad"

[model]
path = "owner/name"

[[data.train]]
path = "rows.jsonl"

[stage]
kind = "sft"

[method]
kind = "lora"


rnak = 8

[optimizer]
kind = "adamw"
"""

EXPECTED = """\
error[config.unknown-key]: `method` has no key `rnak`
  --> configs/bad.toml:16
   |
16 | rnak = 8
   | ^^^^
hint: did you mean `rank`?

error[config.invalid-value]: `method.dropout`: input should be less than 1, got 2
  --> --set method.dropout=2

error[method.projected-twice]: `galore` projects full-rank gradients; `lora` leaves none
  --> --set optimizer.kind=galore
hint: use `kind = "adamw"`, or `method.kind = "full"`"""


def test_configs_are_frozen(write: Write) -> None:
    config = load(write()).config
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda c: c.seed == 7),
        ("name=a-b.c", lambda c: c.name == "a-b.c"),
        ("optimizer.lr=2e-4", lambda c: c.optimizer.lr == 2e-4),
        ("data.train.0.path=other file.jsonl", lambda c: c.data.train[0].path == "other file.jsonl"),
        ("data.train.1.path=second.jsonl", lambda c: [s.path for s in c.data.train] == ["rows.jsonl", "second.jsonl"]),
        ('data.train=[{path="x", repeat=2}]', lambda c: c.data.train[0].repeat == 2 and len(c.data.train) == 1),
        ('stage={kind="pretrain"}', lambda c: c.stage.kind == "pretrain"),
        ("schedule=linear", lambda c: c.schedule.kind == "linear"),
        ('schedule.kind="linear"', lambda c: c.schedule.kind == "linear"),
        ('method.targets=["q_proj","v_proj"]', lambda c: c.method.targets == ["q_proj", "v_proj"]),
        ("batch.tokens=64k tokens", lambda c: c.batch.tokens == 64000),
        ("model.trust_remote_code=true", lambda c: c.model.trust_remote_code is True),
        ('data."max_length"=64', lambda c: c.data.max_length == 64),
        ("optimizer.betas=[0.8,0.9]", lambda c: c.optimizer.betas == (0.8, 0.9)),
    ],
)
def test_an_override_takes_a_toml_value_or_a_bare_word(
    write: Write, override: str, read: Callable[[Any], bool]
) -> None:
    assert read(load(write(), [override]).config)


def test_overrides_are_applied_left_to_right(write: Write) -> None:
    config = load(write(), ["seed=1", "seed=2", 'method={kind="full"}', 'method={kind="lora"}', "method.rank=3"]).config
    assert (config.seed, config.method.model_dump()["rank"]) == (2, 3)


def test_an_empty_override_takes_a_key_away(write: Write) -> None:
    path = write("steps = 5\nseed = 9")
    assert load(path).config.steps == 5
    loaded = load(path, ["steps=", "seed="])
    assert (loaded.config.steps, loaded.config.seed) == (None, 42)
    assert "seed" not in loaded.origins


def test_a_key_of_a_table_given_as_its_kind_can_be_set(write: Write) -> None:
    body = (
        write()
        .read_text()
        .replace('[optimizer]\nkind = "adamw"', "")
        .replace("[model]", 'optimizer = "adamw"\n[model]')
    )
    assert load(write(body=body), ["optimizer.lr=3e-3"]).config.optimizer.lr == 3e-3


def test_after_a_new_kind_stale_keys_are_named_with_the_way_out(write: Write) -> None:
    body = write().read_text().replace('kind = "sft"', 'kind = "sft"\nloss_on = "all"')
    (problem,) = problems(write(body=body), "stage.kind=pretrain")
    assert problem.message == "`stage` of kind `pretrain` has no key `loss_on`"
    assert problem.hint is not None
    way_out = problem.hint.partition("--set '")[2].removesuffix("'")
    assert load(write(body=body), [way_out]).config.stage.kind == "pretrain"


def test_problems_come_in_file_order_and_overrides_last(write: Write) -> None:
    found = problems(write("sead = 1", "\n[batch]\nwindows = 0"), "data.max_length=3", "method.rank=0")
    assert [problem.key for problem in found] == ["sead", "batch.windows", "data.max_length", "method.rank"]


def test_a_conflict_is_told_beside_other_mistakes(write: Write) -> None:
    codes = [problem.code for problem in problems(write('data.truncate = "split"\nsead = 3'))]
    assert codes == ["stage.split-conversation", "config.unknown-key"]


def test_what_a_mistake_hides_is_not_guessed_at(write: Write) -> None:
    """`truncate` is wrong itself: nothing is said of how it goes with the stage."""
    (problem,) = problems(write('data.truncate = "splitt"'))
    assert problem.code == "config.invalid-value"


@pytest.mark.parametrize(("text", "code"), [('"8"', "rank"), ("8.0", "rank"), ("true", "rank")])
def test_a_file_gives_each_key_its_own_type(write: Write, text: str, code: str) -> None:
    body = write().read_text().replace('kind = "lora"', f'kind = "lora"\n{code} = {text}')
    assert [problem.key for problem in problems(write(body=body))] == ["method.rank"]


def test_python_may_build_a_config_from_values(write: Write) -> None:
    config = load(write()).config
    assert type(config).model_validate(config.model_dump()) == config


# extends


def test_a_base_is_merged_key_by_key_with_its_own_origins(write: Write) -> None:
    base = write("seed = 5\nepochs = 2", "\n[batch]\ntokens = 4096", name="bases/base.toml")
    top = write(name="run.toml", body='extends = "bases/base.toml"\nseed = 6\n[method]\nrank = 4\n')
    loaded = load(top)
    assert (loaded.config.seed, loaded.config.epochs) == (6, 2)
    assert (loaded.config.method.model_dump()["rank"], loaded.config.batch.tokens) == (4, 4096)
    assert str(loaded.origins["seed"]) == f"{top}:2"
    assert str(loaded.origins["epochs"]) == f"{base}:2"
    assert list(loaded.texts) == [str(top), str(base)]


def test_lists_and_tables_of_another_kind_replace_those_of_the_base(write: Write) -> None:
    write("", "lr = 1.0\nbetas = [0.1, 0.2]", name="base.toml")
    top = write(body='extends = "base.toml"\n[optimizer]\nkind = "sgd"\n[[data.train]]\npath = "mine"\n')
    loaded = load(top)
    assert (loaded.config.optimizer.kind, loaded.config.optimizer.lr) == ("sgd", 0.01)
    assert [source.path for source in loaded.config.data.train] == ["mine"]
    assert "optimizer.lr" not in loaded.origins


def test_bases_chain(write: Write) -> None:
    write("seed = 1\nepochs = 1", name="a/one.toml")
    write(name="a/two.toml", body='extends = "one.toml"\nepochs = 2\n')
    assert load(write(body='extends = "a/two.toml"\n')).config.epochs == 2


def test_a_problem_of_a_base_points_into_the_base(write: Write) -> None:
    base = write("sead = 5", name="base.toml")
    (problem,) = problems(write(body='extends = "base.toml"\n'))
    assert str(problem.origin) == f"{base}:1"


# files


def test_load_itself_does_not_look_for_files(write: Write) -> None:
    load(write())
    assert [problem.code for problem in problems(write(), files=True)] == ["data.missing-file"]


def test_files_are_found_in_the_working_directory_or_beside_the_config(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(name="deep/run.toml")
    rows = path.parent / "rows.jsonl"
    rows.write_text("{}\n")
    load(path, files=True)
    rows.unlink()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    load(path, files=True)


def test_a_pattern_that_matches_is_no_problem(write: Write, tmp_path: Path) -> None:
    (tmp_path / "shard-1.jsonl").write_text("{}\n")
    load(write(), ["data.train.0.path=shard-*.jsonl"], files=True)
    load(write(), [f"data.train.0.path={tmp_path}/shard-?.jsonl"], files=True)
    assert problems(write(), "data.train.0.path=shard-*.json", files=True)[0].code == "data.missing-file"


def test_missing_files_are_told_although_a_choice_is_wrong(write: Write) -> None:
    body = write().read_text().replace('"lora"', '"lorra"')
    assert [problem.code for problem in problems(write(body=body), files=True)] == [
        "data.missing-file",
        "config.unknown-kind",
    ]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("./nowhere", "model.missing-file"),
        ("models/a/b", "model.missing-file"),
        ("nothing.gguf", "model.missing-file"),
        ("owner/name", None),
        ("embedded:anything", None),
    ],
)
def test_only_a_path_that_must_be_local_is_missed(write: Write, tmp_path: Path, path: str, code: str | None) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    if code is None:
        load(write(), [f"model.path={path}"], files=True)
    else:
        assert [problem.code for problem in problems(write(), f"model.path={path}", files=True)] == [code]


def test_a_folder_without_a_model_is_told(write: Write, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "m").mkdir()
    assert problems(write(), f"model.path={tmp_path / 'm'}", files=True)[0].code == "model.no-model"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.yaml", b"a: 1", "is no TOML file"),
        ("big.toml", b"#" * (2**20 + 1), "is larger than 1 MiB"),
        ("latin.toml", b"name = 'caf\xe9'", "byte 0xe9 is no UTF-8"),
    ],
)
def test_what_can_not_be_a_config_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert said in problems(path)[0].message


def test_a_missing_config_names_the_nearest(write: Write) -> None:
    path = write(name="quickstart.toml")
    (problem,) = problems(path.with_name("quickstrat.toml"))
    assert problem.hint == f"did you mean `{path}`?"
