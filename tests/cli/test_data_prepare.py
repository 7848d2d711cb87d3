"""`fastft data preview`, `prepare` and `stats`, with a tokenizer and without weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny

from fastft.cli import main as entry
from fastft.cli.data.progress import Progress, line
from fastft.cli.data.stats import picture
from fastft.core.events import Bus, DataProgress
from fastft.data import TokenStore
from fastft.data import load as load_rows
from fastft.data.stats import Bucket, _cut

KEYS = {
    "read",
    "used",
    "quarantined",
    "filtered",
    "duplicates",
    "truncated",
    "tokens",
    "trained_tokens",
    "rows_packed",
    "fill",
    "seconds",
    "cpu_seconds",
    "peak_bytes",
    "key",
}
CONFIG = """
[model]
path = "model"
[data]
train = [{path = "a.jsonl"}, {path = "b.jsonl", repeat = 3}]
max_length = 64
[stage]
kind = "sft"
[method]
kind = "lora"
[optimizer]
kind = "adamw"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, rows, and a tokenizer that no weights are beside."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "model").mkdir()
    tiny.tokenizer().save_pretrained(folder / "model")
    (folder / "model" / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    assert not [path for path in (folder / "model").iterdir() if path.suffix in (".safetensors", ".bin", ".gguf")]
    for name, count in (("a", 20), ("b", 10)):
        rows = ({"instruction": f"{name}{n}", "output": "o" * (3 * n + 1)} for n in range(count))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "run.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def run(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `fastft data` in a folder that is not the config's: its paths, the model's too, are found beside it."""
    monkeypatch.chdir(tmp_path)

    def call(word: str, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = entry.run(["data", word, str(project / "run.toml"), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    call.said = capsys.readouterr  # type: ignore[attr-defined]
    return call


def test_prepare_gives_scripts_the_books(run: Any) -> None:
    code, out, _ = run("prepare", "--json")
    told = json.loads(out)
    assert code == 0
    assert set(told) >= KEYS
    assert told["read"] == 30
    assert told["read"] == told["used"] + told["dropped"]["too_long"]
    assert told["rows_packed"] > told["used"]  # b is used three times
    assert 0 < told["fill"] <= 1
    assert told["peak_bytes"] > 10 << 20
    assert json.loads(run("prepare", "--json")[1])["cached"] is True


@pytest.mark.parametrize("word", ["prepare", "check", "stats"])
def test_json_is_one_object_on_stdout_and_the_rest_goes_to_stderr(run: Any, word: str) -> None:
    code, out, err = run(word, "--json", "--set", "data.max_length=48")
    told = json.loads(out)
    assert (code, out.count("\n")) == (0, 1)
    assert set(told) >= (KEYS if word != "check" else {"read", "quarantined", "seconds", "cpu_seconds", "peak_bytes"})
    assert told["read"] == 30
    assert word == "check" or "warning[data.format-found]" in err
    if word != "check":
        numbers = ("duplicates", "truncated", "tokens", "trained_tokens", "rows_packed", "peak_bytes")
        assert all(isinstance(told[name], int) for name in numbers)
        assert all(isinstance(told[name], float) for name in ("fill", "seconds", "cpu_seconds"))
        assert all(isinstance(told[name], dict) for name in ("quarantined", "filtered"))


def test_books_name_rules_codes_duplicates_and_cuts(run: Any, tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": text} for text in ("o" * 400, "yes yes", "yes yes", "x", "long enough")]
    lines = [*(json.dumps(row) for row in rows), "broken"]
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines) + "\n")
    words = [
        "data.train=[{path='mixed.jsonl'}]",
        "data.truncate='right'",
        "data.dedup={}",
        "data.clean={length={min_chars=5}}",
    ]
    told = json.loads(run("prepare", "--json", *(part for word in words for part in ("--set", word)))[1])
    assert {name: told[name] for name in ("read", "used", "quarantined", "filtered", "duplicates", "truncated")} == {
        "read": 6,
        "used": 3,
        "quarantined": {"E_JSON": 1},
        "filtered": {"length.few_chars": 1},
        "duplicates": 1,
        "truncated": 1,
    }
    assert told["rows_packed"] == told["used"]
    assert 0 < told["trained_tokens"] < told["tokens"]


@pytest.mark.parametrize("word", ["prepare", "stats"])
def test_the_table_of_books_balances_with_duplicates(run: Any, tmp_path: Path, word: str) -> None:
    rows = [{"instruction": "a", "output": text} for text in ("yes yes", "yes yes", "x", "long enough")]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    words = ["--set", "data.train=[{path='mixed.jsonl'}]", "--set", "data.clean={length={min_chars=5}}"]

    def table(*more: str) -> tuple[list[str], str]:
        lines = run(word, *words, *more)[1].splitlines()
        at = next(at for at, line in enumerate(lines) if line.startswith("source"))
        return re.split(r"  +", lines[at]), lines[at + 1]

    header, line = table("--set", "data.dedup={}")
    assert header == ["source", "format", "read", "used", "set aside", "filtered", "duplicates", "tokens", "trained"]
    assert re.match(r"mixed +alpaca +5 +2 +1 E_JSON +1 length\.few_chars +1 exact +\d+ +\d+$", line)
    assert "duplicates" not in table()[0]


def test_prepare_says_the_same_to_a_person(run: Any) -> None:
    code, out, err = run("prepare")
    assert code == 0
    assert out.startswith("source  format  read  used  dropped")
    assert "windows  " in out
    assert "warning[data.format-found]" in err


def test_out_is_a_store_that_opens_and_is_never_mixed_with_other_files(run: Any, tmp_path: Path) -> None:
    told = json.loads(run("prepare", "--json", "--out", "there/store")[1])
    store = TokenStore.open(tmp_path / "there" / "store")
    assert (store.key, store.tokens) == (told["key"], told["tokens"])
    assert run("prepare", "--out", "there/store")[0] == 0  # the same store: nothing to do
    code, _, err = run("prepare", "--out", "there/store", "--set", "data.max_length=32")
    assert (code, "holds another store" in err) == (5, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    code, _, err = run("prepare", "--out", "mine")
    assert (code, "holds other files" in err) == (5, True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary.txt"]
    code, _, err = run("prepare", "--out", "/proc/nowhere")
    assert (code, "can't be written" in err, "Traceback" in err) == (5, True, False)


def test_evaluation_rows_of_their_own_lie_in_the_store(run: Any, tmp_path: Path, project: Path) -> None:
    run("prepare", "--out", "store", "--set", f"data.eval=[{{path='{project / 'b.jsonl'}'}}]")
    assert len(TokenStore.open(tmp_path / "store" / "eval")) == 10


@pytest.mark.parametrize("words", [("preview",), ("stats",), ("mix",), ("check", "--tokens")])
def test_no_weights_are_needed_to_look_at_rows(run: Any, words: tuple[str, ...]) -> None:
    code, out, err = run(*words, "--json")
    assert (code, bool(out), "Traceback" in err) == (0, True, False), err


@pytest.mark.parametrize(
    "words", [("plan",), ("export", "--to", "parquet"), ("export", "--to", "datasets"), ("export", "--to", "megatron")]
)
def test_a_place_that_can_not_be_written_is_told(run: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    for out in ("/proc/nowhere", "/proc/no/where", "file/below"):
        more = ("--loss-mask", "drop") if "megatron" in words else ()
        code, _, err = run(*words, *more, "--out", out)
        assert (code, f"`{out}` can't be written" in err, "Traceback" in err) == (5, True, False), err


def test_preview_shows_what_is_trained(run: Any) -> None:
    code, out, _ = run("preview", "--rows", "1")
    assert code == 0
    assert re.search(r"^a, .*a\.jsonl:1\n", out)
    assert "<|im_start|>user\na0<|im_end|>\n<|im_start|>assistant\n>>o<|im_end|><<" in out
    rows = [json.loads(text) for text in run("preview", "--rows", "2", "--json")[1].splitlines()]
    assert [(row["source"], row["row"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert sum(rows[0]["trained"]) == 2


def test_preview_says_what_changed_a_row_or_left_it_out(run: Any, tmp_path: Path) -> None:
    rows = [
        {"instruction": "RenÃ©?", "output": "yes, that is he"},
        {"instruction": "a", "output": "b"},
        {"instruction": "q", "output": "word " * 40},
    ]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        "data.train=[{path='odd.jsonl'}]",
        "data.clean={repair={}, length={min_chars=4}}",
        "data.truncate=right",
        "data.dedup={}",
        "data.augment=[{kind='characters', rate=0.5, probability=1}]",
    ]
    code, out, err = run("preview", *(part for word in words for part in ("--set", word)))
    titles = [text for text in out.splitlines() if text.startswith("odd, ")]
    assert code == 0, err
    assert titles == [
        "odd, odd.jsonl:1",
        "odd, odd.jsonl:1, copy 1",
        "odd, odd.jsonl:2: left out by length.few_chars (3 characters)",
        "odd, odd.jsonl:3",
        "odd, odd.jsonl:3, copy 1",
    ]
    assert "user\nRené?<|im_end|>" in out
    assert re.search(r"\d+ tokens, \d+ trained, changed by repair\.mojibake\n", out)
    assert re.search(r"64 tokens, \d+ trained, \d+ tokens cut off by `truncate = \"right\"`\n", out)
    assert "user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>" in out
    assert ", 0 trained\n" in out
    assert "duplicates are not looked for here: that takes all rows\n" in err


def test_preview_and_check_name_the_same_place(run: Any, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "asistant", "content": "b"}]
    (tmp_path / "odd.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    words = ("--set", "data.train=[{path='odd.jsonl', format={kind='openai'}}]")
    checked = json.loads(run("check", *words, "--json")[1])["findings"][0]
    code, _, err = run("preview", *words)
    place = f"odd.jsonl:1:{checked['path']}: {checked['code']}: {checked['reason']}"
    assert (code, checked["path"]) == (4, "messages[1].role")
    assert f"warning[data.quarantined]: {place}\n" in err
    (told,) = (json.loads(line) for line in run("preview", *words, "--json")[1].splitlines())
    names = ("source", "file", "line", "path", "code", "reason")
    assert told == {"row": 0, **{name: checked[name] for name in names}}


def test_the_store_of_prepare_is_what_load_reads(run: Any, project: Path, tmp_path: Path) -> None:
    told = json.loads(run("prepare", "--out", "store", "--json")[1])
    store = TokenStore.open(tmp_path / told["store"])
    assert (store.tokens, len(store)) == (told["tokens"], told["used"])
    heard: list[Any] = []
    bus = Bus([SimpleNamespace(emit=heard.append)])
    rows = load_rows(
        project / "run.toml", ["data.train=[{path='a.jsonl'}, {path='b.jsonl'}]"], as_batches=True, bus=bus
    )
    trained = sum(batch.num_targets for batch in rows)
    (ready,) = [event for event in heard if event.event == "data_ready"]
    assert (ready.key, ready.cached, trained) == (told["key"], True, told["trained_tokens"])


def test_stats_add_up(run: Any) -> None:
    told = json.loads(run("stats", "--json")[1])
    assert sum(bucket["rows"] for bucket in told["lengths"]) == 30
    by_length = {cut["max_length"]: cut for cut in told["cuts"]}
    assert by_length[64]["rows"] == told["books"]["total"]["dropped"]["too_long"] > 0
    assert by_length[128]["rows"] == 0
    packed = told["packed"]
    assert [each["documents"] for each in packed["sources"]] == [told["books"]["sources"]["a"]["used"], 30]
    assert sum(each["share"] for each in packed["sources"]) == pytest.approx(1)
    assert packed["tokens"] == sum(each["tokens"] for each in packed["sources"])
    assert told["percentiles"]["p50"] <= told["percentiles"]["p99"]


def test_stats_draw_lengths(run: Any) -> None:
    code, out, _ = run("stats")
    assert code == 0
    for word in ("# rows\n", "# lengths, in tokens, before any cut\n<=  32  ", "64 (set)", "# an epoch\n", "% full"):
        assert word in out


def test_explain_key_names_what_differs(run: Any, project: Path, tmp_path: Path) -> None:
    run("prepare", "--out", "one")
    run("prepare", "--out", "two", "--set", "data.max_length=32", "--set", "data.train.0.rows=5")
    run.said()
    code = entry.run(["data", "explain-key", "one", "two", "--json"])
    told = json.loads(run.said().out)
    assert code == 0
    assert told["differences"] == [
        {"name": "sources[0].rows", "one": "null", "two": "5"},
        {"name": "max_length", "one": "64", "two": "32"},
    ]
    entry.run(["data", "explain-key", "one", str(project / "run.toml")])
    assert run.said().out == "the same key: one serves for the other\n"
    assert entry.run(["data", "explain-key", "one", "nowhere"]) == 2
    assert entry.run(["data", "explain-key", "one", str(project)]) == 4


def test_export_writes_what_other_tools_read(run: Any, tmp_path: Path) -> None:
    from pyarrow import parquet

    told = json.loads(run("prepare", "--json")[1])
    code, out, err = run("export", "--to", "parquet", "--out", "rows.parquet")
    assert (code, out) == (0, f"rows.parquet: {told['used']} rows\n"), err
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert sum(len(ids) for ids in table.column("input_ids").to_pylist()) == told["tokens"]
    packed = json.loads(run("export", "--to", "datasets", "--out", "folder", "--packed", "--json")[1])
    assert packed["rows"] == told["windows"]
    code, _, err = run("export", "--to", "megatron", "--out", "mega")
    assert (code, "Traceback" in err) == (4, False)
    assert run("export", "--to", "megatron", "--out", "mega", "--loss-mask", "file")[0] == 0
    assert (tmp_path / "mega_loss_mask.bin").is_file()
    assert run("export", "--to", "parquet", "--out", "x", "--loss-mask", "drop")[0] == 2
    assert run("export", "--to", "parquet", "--out", "x", "--part", "eval")[0] == 2


def test_the_picture_has_a_bar_a_power_of_two() -> None:
    text = picture([Bucket(30, 5, 150), Bucket(34, 10, 340), Bucket(128, 1, 128)])
    assert text == (
        "<=  32   5   31.2%  ████████████████████\n"
        "<=  64  10   62.5%  ████████████████████████████████████████\n"
        "<= 128   1    6.2%  ████"
    )
    assert picture([]) == "no row"


def test_cuts_are_exact_at_bounds_and_said_to_be_about_elsewhere() -> None:
    lengths = [Bucket(32, 4, 128), Bucket(64, 2, 126)]  # 63 and 63 tokens
    cut = _cut(lengths, 32)
    assert (cut.rows, cut.tokens, cut.whole_tokens, cut.exact) == (2, 62, 126, True)
    assert _cut(lengths, 63).exact is False
    assert (_cut(lengths, 64).rows, _cut(lengths, 64).exact) == (0, True)


def test_progress_says_speed_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    event = DataProgress(rows=1000, tokens=50_000, bytes_read=2_000_000, total_bytes=8_000_000, seconds=2.0)
    assert line(event) == " 25%  1000 rows  500 rows/s  1.0 MB/s  50k tokens  left 6 s"
    small = DataProgress(rows=1, tokens=1, bytes_read=80, total_bytes=80_000, seconds=1.0)
    assert line(small) == "  0%  1 row  1 rows/s  80 B/s  1 token"
    now = [100.0]
    monkeypatch.setattr("fastft.cli.data.progress.time.monotonic", lambda: now[0])
    progress = Progress()
    for _ in range(6):
        now[0] += 1
        progress.emit(event)
    assert capsys.readouterr().err.count("\n") == 3  # a line every 2 s where no terminal is
