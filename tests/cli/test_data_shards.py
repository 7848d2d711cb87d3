"""`fastft data plan | run | commit`, and the same on Ray: the union of shards is what one machine makes."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny

from fastft.cli import main as entry
from fastft.cli.data.run import chosen

CONFIG = """
[model]
path = "model"
[data]
train = [{path = "a.jsonl"}, {path = "b.jsonl"}]
max_length = 128
[stage]
kind = "sft"
[method]
kind = "lora"
[optimizer]
kind = "adamw"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of which the first is several units."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "model").mkdir()
    tiny.tokenizer().save_pretrained(folder / "model")
    for name, count in (("a", 30_000), ("b", 20)):
        rows = ({"instruction": f"{name}{n}", "output": "o" * (n % 90 + 1)} for n in range(count))
        lines = [json.dumps(row) for row in rows]
        lines[7] = "broken"
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "run.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def run(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `fastft data`, with a cache of tokens of its own."""
    monkeypatch.chdir(tmp_path)
    tokenizers = Path(os.environ["FASTFT_CACHE"]) / "tokenizers"
    (tmp_path / "cache").mkdir()
    tokenizers.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache" / "tokenizers").symlink_to(tokenizers)
    monkeypatch.setenv("FASTFT_CACHE", str(tmp_path / "cache"))

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = entry.run(["data", *(str(project / "run.toml") if word == "CONFIG" else word for word in words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def content(store: Path) -> dict[str, bytes]:
    """The bytes of a store's files."""
    manifest = json.loads((store / "manifest.json").read_text())
    names = [part["name"] for part in (*manifest["parts"], *manifest["lists"])]
    return {name: (store / name).read_bytes() for name in ["manifest.json", *names]}


def test_shards_make_the_bytes_that_one_machine_makes(run: Any, tmp_path: Path) -> None:
    code, out, err = run("plan", "CONFIG", "--out", "shared/store", "--json")
    assert code == 0, err
    assert json.loads(out)["units"] >= 3
    code, _, err = run("run", "shared/store", "--shard", "2/3")
    assert code == 0
    first = re.fullmatch(r"shard 2 of 3: ([\d,]+) rows, [\d,]+ tokens\n", err)
    assert first is not None, err
    code, _, err = run("commit", "shared/store")
    assert code == 4
    assert re.search(
        r"error\[data\.shards-missing\]: not all shards of `shared/store` are done: \d+ of \d+ units are not done, the "
        r"first is 00000\d-00000; run the shards that are missing\nhint: run those that are missing, "
        r"`fastft data run shared/store --shard I/N`; what is done stays\n",
        err,
    ), err
    for shard in ("0/3", "1/3"):
        assert run("run", "shared/store", "--shard", shard)[0] == 0
    code, _, err = run("run", "shared/store", "--shard", "2/3")
    assert (code, err) == (0, f"shard 2 of 3: {first[1]} rows there already\n")
    code, out, err = run("commit", "shared/store")
    assert code == 0, err
    assert out.startswith("shared/store: key ")
    told = json.loads(run("prepare", "CONFIG", "--json")[1])
    assert told["cached"] is True
    assert told["quarantined"] == {"E_JSON": 2}
    alone = tmp_path / "alone"
    os.environ["FASTFT_CACHE"] = str(alone)
    one = json.loads(run("prepare", "CONFIG", "--json")[1])
    assert (one["cached"], one["key"]) == (False, told["key"])
    assert content(tmp_path / "shared" / "store") == content(Path(one["store"])) == content(Path(told["store"]))


def test_a_folder_without_a_plan_and_a_full_one_are_refused(run: Any, tmp_path: Path) -> None:
    code, _, err = run("run", "nowhere", "--shard", "0/2")
    assert (code, "nothing is planned in `nowhere`" in err) == (4, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    code, _, err = run("plan", "CONFIG", "--out", "mine")
    assert (code, "`mine` is not empty" in err) == (5, True)


@pytest.mark.parametrize(
    ("shard", "count", "variables", "want"),
    [
        ("3/8", None, {}, (3, 8)),
        (None, None, {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "8"}, (4, 8)),
        (None, 4, {"JOB_COMPLETION_INDEX": "2"}, (2, 4)),
        (None, None, {"JOB_COMPLETION_INDEX": "2"}, "how many"),
        (None, None, {}, "say which"),
        ("8/8", None, {}, "the first is 0"),
        ("x", None, {}, "for example 0/8"),
        ("1/2", 3, {}, "without --of"),
    ],
)
def test_the_shard_comes_from_the_option_or_the_launcher(
    shard: str | None, count: int | None, variables: dict[str, str], want: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import click

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if isinstance(want, tuple):
        assert chosen(shard, count) == want
    else:
        with pytest.raises(click.UsageError, match=want):
            chosen(shard, count)


def test_without_ray_the_line_that_installs_it_is_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = run("prepare", "CONFIG", "--on", "ray")
    assert (code, "pip install 'fastft[ray]'" in err) == (5, True)
    assert run("prepare", "CONFIG", "--address", "host:1")[0] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_ray_workers_make_the_bytes_that_one_machine_makes(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'fastft[ray]'")
    handler = signal.getsignal(signal.SIGTERM)  # ray puts its own in its place
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        code, out, err = run("prepare", "CONFIG", "--on", "ray", "--json")
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, handler)
    assert code == 0, err
    told = json.loads(out)
    assert told["cached"] is True
    os.environ["FASTFT_CACHE"] = str(tmp_path / "alone")
    one = json.loads(run("prepare", "CONFIG", "--json")[1])
    assert content(Path(told["store"])) == content(Path(one["store"]))
