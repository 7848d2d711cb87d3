"""Rows become what LLaMA-Factory's own loader makes of them, on all of its demo files.

Where `llamafactory` is installed, its converters run beside ours; otherwise what 0.9.5 made is
read from `golden/alignment.json` (`python tests/parity/test_alignment.py` writes it anew).
What differs on purpose is in `test_what_differs_is_known`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastft.config.schema import SourceConfig
from fastft.data import dataset_info
from fastft.data.engine import engine

pytestmark = pytest.mark.parity

GOLDEN = Path(__file__).with_name("golden") / "alignment.json"
DEMOS = (
    "identity",
    "alpaca_en_demo",
    "alpaca_zh_demo",
    "glaive_toolcall_en_demo",
    "mllm_demo",
    "dpo_en_demo",
    "kto_en_demo",
    "wiki_demo",
    "c4_demo",
)
KEPT = {"identity": 1, "alpaca_en_demo": 1, "alpaca_zh_demo": 1, "glaive_toolcall_en_demo": 2, "mllm_demo": 2}
KEPT |= {"dpo_en_demo": 1, "kto_en_demo": 2, "wiki_demo": 0, "c4_demo": 0}
"""How many rows of each are kept in whole, so that something is compared where the files are not."""

CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
OPENAI = {
    "formatting": "openai",
    "file_name": "openai.json",
    "columns": {"messages": "messages", "tools": "tools", "system": "system"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "function_tag": "function_call",
        "system_tag": "system",
    },
}
OPENAI_ROWS = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "1 + 2?"},
            {"role": "assistant", "content": "I add.", "tool_calls": [CALL, CALL]},
            {"role": "tool", "content": "3"},
            {"role": "tool", "content": "3"},
            {"role": "assistant", "content": "3"},
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "1 + 2?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "3"},
        ]
    },
]


def demo_folder() -> Path | None:
    shared = os.environ.get("FASTFT_SHARED")
    folder = None if shared is None else Path(shared) / "data" / "llamafactory_demo"
    return folder if folder is not None and folder.is_dir() else None


def read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line]
    return [{"text": line} for line in text.split("\n") if line.strip()]


def peer(info: dict[str, Any], rows: dict[str, list[Any]]) -> dict[str, list[Any]] | None:
    """What LLaMA-Factory makes of rows, None where it is not installed."""
    found = importlib.util.find_spec("llamafactory")
    if found is None or not found.submodule_search_locations:
        return None
    site = Path(found.submodule_search_locations[0]).parent
    asked = json.dumps({"info": info, "names": list(rows), "rows": rows})
    script = Path(__file__).with_name("peer_alignment.py")
    done = subprocess.run([sys.executable, script, site], input=asked, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@functools.cache
def peer_of_demos(folder: Path) -> dict[str, list[Any]] | None:
    """What LLaMA-Factory makes of all demo files, asked once: it takes a while to import."""
    info = json.loads((folder / "dataset_info.json").read_text("utf-8"))
    return peer(info, {name: read(folder / info[name]["file_name"]) for name in DEMOS})


def ours(entry: dict[str, Any], rows: list[Any], tmp_path: Path) -> list[Any]:
    """What the engine makes of rows by the same entry of a dataset_info.json."""
    info = tmp_path / dataset_info.FILE_NAME
    info.write_text(json.dumps({"rows": entry}), "utf-8")
    [source] = dataset_info.expand(SourceConfig(path=str(info), dataset=["rows"]), info)
    return json.loads(engine().align_rows(json.dumps(source.format.mapping()), json.dumps(rows)))


def as_peer(row: dict[str, Any]) -> dict[str, Any]:
    """Our row in their shape: prompt, response, system, tools, images."""
    if "text" in row:
        return {"prompt": [["user", row["text"]]], "response": [], "system": "", "tools": None, "images": []}
    images: list[str] = []
    messages = [_turn(message, images) for message in row["messages"]]
    system = messages.pop(0)[1] if messages[0][0] == "system" else ""
    if "answers" in row:
        prompt, response = messages, [_turn(answer[0], images) for answer in row["answers"]]
    else:
        prompt, response = messages[:-1], messages[-1:]
        if "desirable" in row:
            nothing = [["assistant", ""]]
            response = response + nothing if row["desirable"] else nothing + response
    tools = row.get("tools") and [tool["function"] for tool in row["tools"]]
    return {"prompt": prompt, "response": response, "system": system, "tools": tools, "images": images}


def _turn(message: dict[str, Any], images: list[str]) -> list[Any]:
    if calls := message.get("tool_calls"):
        return ["function", [call["function"] for call in calls]]
    content = message["content"]
    if isinstance(content, list):
        images += [part["image"] for part in content if part["type"] == "image"]
        content = "".join("<image>" if part["type"] == "image" else part["text"] for part in content)
    return [{"tool": "observation"}.get(message["role"], message["role"]), content]


def theirs(row: dict[str, Any]) -> dict[str, Any]:
    """Their row, with what is JSON in a string parsed: neither side prints it as the row has it."""

    def turn(message: dict[str, Any]) -> list[Any]:
        content = message["content"]
        if message["role"] == "function":
            content = json.loads(content)
            content = content if isinstance(content, list) else [content]
        return [message["role"], content]

    tools = row["_tools"] and (json.loads(row["_tools"]) if isinstance(row["_tools"], str) else row["_tools"])
    return {
        "prompt": [turn(message) for message in row["_prompt"]],
        "response": [turn(message) for message in row["_response"]],
        "system": row["_system"] or "",
        "tools": tools or None,
        "images": row["_images"] or [],
    }


def digest(row: Any) -> str:
    return hashlib.sha256(json.dumps(row, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_file_is_aligned_as_llamafactory_does(name: str, tmp_path: Path) -> None:
    folder = demo_folder()
    if folder is None:
        pytest.skip("FASTFT_SHARED has LLaMA-Factory's demo files")
    entry = json.loads((folder / "dataset_info.json").read_text("utf-8"))[name]
    rows = read(folder / entry["file_name"])
    made = [as_peer(row) for row in ours(entry, rows, tmp_path)]
    live = peer_of_demos(folder)
    if live is not None:
        assert made == [theirs(row) for row in live[name]]
    golden = json.loads(GOLDEN.read_text("utf-8"))["digests"][name]
    assert "".join(map(digest, made)) == golden


def test_kept_rows_are_aligned_as_llamafactory_did(tmp_path: Path) -> None:
    kept = json.loads(GOLDEN.read_text("utf-8"))["rows"]
    assert sum(map(len, kept.values())) > 8
    for case in (case for cases in kept.values() for case in cases):
        [made] = ours(case["entry"], [case["row"]], tmp_path)
        assert as_peer(made) == case["aligned"]


def test_what_differs_is_known(tmp_path: Path) -> None:
    """LLaMA-Factory's `formatting: openai` changes what is learnt; we keep the rows' own words."""
    live = peer({"openai": OPENAI}, {"openai": OPENAI_ROWS})
    golden = json.loads(GOLDEN.read_text("utf-8"))["openai"]
    if live is not None:
        assert live["openai"] == golden
    made = ours(OPENAI, OPENAI_ROWS, tmp_path)
    parsed = {"name": "add", "arguments": {"a": 1, "b": 2}}
    # it writes "detailed thinking off" into every system prompt without tools
    assert [row["_system"] for row in golden[:2]] == ["detailed thinking off", "Be brief.\ndetailed thinking off"]
    assert [as_peer(row)["system"] for row in made[:2]] == ["", "Be brief."]
    # it drops the text beside calls, and prints arguments that are JSON already once more
    call = json.loads(golden[2]["_prompt"][1]["content"])[0]
    assert "I add." not in json.dumps(golden[2])
    assert isinstance(call["arguments"], str)
    assert made[2]["messages"][1]["content"] == "I add."
    assert [call["function"] for call in made[2]["messages"][1]["tool_calls"]] == [parsed, parsed]
    # it joins the answers of parallel calls with Qwen's tags, whatever the template
    assert golden[2]["_prompt"][2]["content"] == "3\n</tool_response>\n<tool_response>\n3"
    assert [message["content"] for message in made[2]["messages"][2:4]] == ["3", "3"]
    # it drops an answer of a tool that ends the row
    assert "3" not in [message["content"] for message in golden[3]["_prompt"] + golden[3]["_response"]]
    assert made[3]["messages"][-1]["content"] == "3"


V1_DEMOS = ("v1_sft_demo.jsonl", "reason_tool_use_demo_50.jsonl")


@pytest.mark.parametrize("name", V1_DEMOS)
def test_rows_of_its_second_version_keep_their_parts(name: str) -> None:
    """Its v1 takes these rows as they are: texts, reasoning, calls and weights come through."""
    folder = demo_folder()
    if folder is None:
        pytest.skip("FASTFT_SHARED has LLaMA-Factory's demo files")
    rows = read(folder / name)
    mapping = engine().guess_format(json.dumps(rows), "conversation")
    made = json.loads(engine().align_rows(mapping, json.dumps(rows)))
    for row, aligned in zip(rows, made, strict=True):
        weights = aligned.get("weights", [None] * len(row["messages"]))
        for message, found, weight in zip(row["messages"], aligned["messages"], weights, strict=True):
            assert (message["role"], message.get("loss_weight")) == (found["role"], weight)
            for kind, value in {
                "text": found.get("content") or "",
                "reasoning": found.get("reasoning_content") or "",
            }.items():
                assert "".join(part["value"] for part in message["content"] if part["type"] == kind) == value
            calls = [json.loads(part["value"]) for part in message["content"] if part["type"] == "tool_call"]
            assert calls == [call["function"] for call in found.get("tool_calls", [])]


def test_pairs_of_its_second_version_keep_their_common_prompt() -> None:
    folder = demo_folder()
    if folder is None:
        pytest.skip("FASTFT_SHARED has LLaMA-Factory's demo files")
    rows = read(folder / "v1_dpo_demo.jsonl")
    mapping = engine().guess_format(json.dumps(rows), "preference")
    for row, aligned in zip(rows, json.loads(engine().align_rows(mapping, json.dumps(rows))), strict=True):
        for side, answer in zip(("chosen_messages", "rejected_messages"), aligned["answers"], strict=True):
            words = ["".join(part["value"] for part in message["content"]) for message in row[side]]
            assert words == [message["content"] for message in aligned["messages"] + answer]


def write_golden() -> None:
    """Ask the installed LLaMA-Factory, and keep digests of all rows and a few whole ones."""
    folder = demo_folder()
    assert folder is not None
    info = json.loads((folder / "dataset_info.json").read_text("utf-8"))
    rows = {name: read(folder / info[name]["file_name"]) for name in DEMOS}
    live = peer(info | {"openai": OPENAI}, rows | {"openai": OPENAI_ROWS})
    assert live is not None, "llamafactory is not installed"
    golden: dict[str, Any] = {"llamafactory": "0.9.5", "openai": live.pop("openai"), "digests": {}, "rows": {}}
    for name, aligned in live.items():
        golden["digests"][name] = "".join(digest(theirs(row)) for row in aligned)
        small = sorted(range(len(aligned)), key=lambda index: len(json.dumps(rows[name][index])))[: KEPT[name]]
        golden["rows"][name] = [
            {"entry": info[name], "row": rows[name][index], "aligned": theirs(aligned[index])} for index in small
        ]
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    write_golden()
