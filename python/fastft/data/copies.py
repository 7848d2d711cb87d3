"""Copies that an endpoint writes, made before the engine runs: which rows there are, then what it says of each.

rows that are used   from a store without such copies, so that nobody pays for rows that are left out; the engine
                     adds the copies to it, and makes no token of a row again (`rust/pipeline/src/extend.rs`)
their documents      sifted out of the sources, aligned and cleaned as the engine does it
copies/KEY.jsonl     what `augment.py` wrote of them; the plan names it, so the store's key covers its content
answers.jsonl        every answer that was ever given: nothing is asked twice
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.config.augmentation import EndpointAugmentation
from fastft.core import paths
from fastft.core.errors import DataError
from fastft.core.events import Bus, DataProgress, Warned
from fastft.data import augment
from fastft.data.dataset import TokenStore
from fastft.data.engine import engine
from fastft.data.plan import EnginePlan, numbered
from fastft.data.watch import Watch

if TYPE_CHECKING:
    from fastft.config.schema import DataConfig

_NO_ROW = {"length": {"min_chars": 1 << 40}}
"""A rule that leaves out every row, which makes the engine list all of them with their places."""
_BLOCK = 256
"""Rows that are aligned at a time."""


def with_copies(
    plan: EnginePlan, data: DataConfig, *, seed: int, cache: Path, bus: Bus
) -> tuple[EnginePlan, dict[str, Any] | None]:
    """Ask for the copies that tables with an `endpoint` want, and name them in the plan.

    Returns:
        The plan, and what was asked and what came of it; None where no table asks.

    Raises:
        DataError: the endpoint fails for good, or too many answers can't be used; what was answered is kept.
        ConfigError: the API key is missing.
    """
    tables = _tables(data)
    if not tables:
        return plan, None
    target = _target(plan, tables, seed, cache)
    counted = target.with_suffix(".json")
    if not (target.is_file() and counted.is_file()):
        rows = _rows(plan, cache, bus)

        def tell(report: augment.Report) -> None:
            bus.emit(DataProgress(report.rows, report.tokens, 0, 0, report.seconds))

        with paths.writing(target):
            report = augment.derive(rows, tables, target, cache / "answers.jsonl", seed=seed, tell=tell)
            paths.write_atomic(counted, json.dumps(report.as_dict()) + "\n")
    asked: dict[str, Any] = json.loads(counted.read_text("utf-8"))
    if asked["rejected"]:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(asked["rejected"].items()))
        bus.emit(Warned("data.copies-rejected", f"answers that can't be used, so their copies are missing: {reasons}"))
    return _naming(plan, target), asked


def with_known_copies(plan: EnginePlan, data: DataConfig, *, seed: int, cache: Path) -> EnginePlan:
    """The same with copies that were made before; nothing is asked.

    Raises:
        DataError: they were not.
    """
    tables = _tables(data)
    if not tables:
        return plan
    target = _target(plan, tables, seed, cache)
    if not target.is_file():
        kinds = ", ".join(sorted({f"`{table.kind}`" for _, table in tables}))
        raise DataError(
            f"the key depends on the copies of {kinds}, which are not made yet",
            hint="`fastft data prepare` asks for them",
            code="data.no-copies",
        )
    return _naming(plan, target)


def _tables(data: DataConfig) -> list[tuple[int, EndpointAugmentation]]:
    return [(first, table) for first, table in numbered(data.augment) if isinstance(table, EndpointAugmentation)]


def _target(plan: EnginePlan, tables: Sequence[tuple[int, EndpointAugmentation]], seed: int, cache: Path) -> Path:
    """The file of copies, by all that decides its content but the answers."""
    key, _ = engine().plan_key(_alone(plan))
    asked = [[first, table.kind, table.model_dump(mode="json")] for first, table in tables]
    made = hashlib.sha256(json.dumps([key, seed, asked]).encode()).hexdigest()[:32]
    return cache.absolute() / "copies" / f"{made}.jsonl"


def _alone(plan: EnginePlan, **changes: Any) -> str:
    """The plan without copies."""
    return json.dumps({**json.loads(plan.json), "augment": None, **changes})


def _unasked(plan: EnginePlan) -> str:
    """The plan with the copies that the engine makes: its store is what those of endpoints are added to."""
    told = json.loads(plan.json)
    return plan.json if told["augment"]["ops"] else _alone(plan)


def _naming(plan: EnginePlan, target: Path) -> EnginePlan:
    told = json.loads(plan.json)
    told["augment"]["derived"] = [str(target)]
    return replace(plan, json=json.dumps(told))


def _rows(plan: EnginePlan, cache: Path, bus: Bus) -> Iterator[augment.Row]:
    """The rows that are used, each once, with hash and document."""
    progress = engine().Progress()
    with Watch(progress, bus):
        made = engine().prepare(_unasked(plan), progress, plan.fallback)
    store = TokenStore.open(Path(made["folder"]))
    used = _used(store, made["files"])
    formats = [json.dumps(source["format"]) for source in store.manifest["sources"]]
    clean = json.loads(plan.json)["clean"]
    cleaner = None if clean is None else _Cleaned(clean)
    known: set[int] = set()
    with tempfile.TemporaryDirectory(dir=cache, prefix=".rows.") as folder:
        found = _numbered_rows(plan, Path(folder), bus)
        wanted = ((used[place], row) for place, row in found if place in used)
        for source, group in groupby(wanted, key=lambda each: each[0][0]):
            while block := [each for each, _ in zip(group, range(_BLOCK), strict=False)]:
                lines = [line for _, line in block]
                aligned = json.loads(engine().align_rows(formats[source], f"[{','.join(lines)}]"))
                for ((_, row_hash), line), document in zip(block, aligned, strict=True):
                    if row_hash not in known:
                        known.add(row_hash)
                        # a row of a text file has no columns, whatever the format says of other files
                        whole = json.loads(line) if "code" in document else document
                        yield f"{row_hash:016x}", _document(whole, cleaner)


def _used(store: TokenStore, files: Sequence[str]) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Source and hash of the rows that have documents, by source, file and number in the file."""
    used = {}
    columns = store.arrow().select(["row", "hash"]) if len(store) else None
    at = 0
    for part in store.manifest["parts"]:
        if columns is None or not part["documents"]:
            continue
        rows = columns.slice(at, part["documents"])
        at += part["documents"]
        name = store.manifest["sources"][part["source"]]["name"]
        for row, row_hash in zip(rows["row"].to_pylist(), rows["hash"].to_pylist(), strict=True):
            used[name, files[part["file"]], part["first_row"] + row] = (part["source"], row_hash)
    return used


def _numbered_rows(plan: EnginePlan, folder: Path, bus: Bus) -> Iterator[tuple[tuple[str, str, int], str]]:
    """Each good row as a line of JSON, after source, file and number in the file."""
    for name, clean in (("good", None), ("all", _NO_ROW)):
        (folder / f"{name}.work").mkdir()
        progress = engine().Progress()
        with Watch(progress, bus):
            engine().sift(
                _alone(plan, clean=clean, dedup=None),
                str(folder / f"{name}.kept"),
                str(folder / f"{name}.dropped"),
                str(folder / f"{name}.work"),
                progress,
            )
    numbers: dict[tuple[str, str], int] = {}
    with (folder / "good.kept").open(encoding="utf-8") as good, (folder / "all.dropped").open("rb") as every:
        for text in every:
            entry = json.loads(text)
            place = (entry["source"], entry["file"])
            number = numbers.get(place, 0)
            numbers[place] = number + 1
            if not entry["rule"].startswith("E_"):  # a bad row has a code for a rule, and is in no list of good ones
                yield (*place, number), good.readline()


class _Cleaned:
    """Cleans documents that no rule leaves out, as the engine does."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._whole = engine().Cleaner(json.dumps(plan))
        # prompt and answers one by one: a rule about all of them says nothing of each
        parts: dict[str, Any] = {key: dict(plan[key]) for key in ("repair", "pii") if plan.get(key) is not None}
        if "repair" in parts:
            parts["repair"]["max_replacement"] = 1.0
        self._part = engine().Cleaner(json.dumps(parts))

    def text(self, text: str) -> str:
        return str(self._whole.text(text)[1])

    def messages(self, messages: Sequence[Any], *, whole: bool) -> list[Any]:
        cleaner = self._whole if whole else self._part
        cleaned: list[Any] = json.loads(cleaner.conversation(json.dumps({"messages": messages}))[1])["messages"]
        return cleaned


def _document(row: Mapping[str, Any], cleaner: _Cleaned | None) -> dict[str, Any]:
    """An aligned row as the engine has it after cleaning, weights where the messages are."""
    if "text" in row:
        return {"text": row["text"] if cleaner is None else cleaner.text(row["text"])}
    document = {key: value for key, value in row.items() if key != "weights"}
    if cleaner is not None:
        document["messages"] = cleaner.messages(row["messages"], whole="answers" not in row)
        if "answers" in row:
            document["answers"] = [cleaner.messages(answer, whole=False) for answer in row["answers"]]
    if weights := row.get("weights"):
        messages = [message for each in (document["messages"], *document.get("answers", ())) for message in each]
        for message, weight in zip(messages, weights, strict=True):
            message |= {} if weight is None else {"weight": weight}
    return document
