"""LLaMA-Factory's `dataset_info.json`, read as it is.

    train = [{ path = "data/dataset_info.json", dataset = ["identity", "alpaca_en_demo"] }]

Each named entry becomes a plain source: where its rows are, and the format that its `formatting`,
`ranking`, `columns` and `tags` spell out. As there, an entry with `columns` reads no other
columns; unlike there, tags that are not given keep their usual names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastft.config.kinds import FORMATS
from fastft.core.errors import DataError
from fastft.core.registry import closest

if TYPE_CHECKING:
    from fastft.config.kinds import Format
    from fastft.config.schema import SourceConfig

FILE_NAME = "dataset_info.json"

_HUBS = {"ms_hub_url": "ModelScope", "om_hub_url": "OpenMind"}
_PLACES = ("hf_hub_url", *_HUBS, "script_url", "cloud_file_name", "file_name")
_FIELDS = (*_PLACES, "formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags")
_COMMON = ("system", "tools", "images", "videos", "audios", "chosen", "rejected")
_COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output", "history": "history"},
    "sharegpt": {"messages": "messages"},
    "openai": {"messages": "messages"},
}
"""For each formatting, its own columns and what our formats call them."""
_DEFAULTS = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
"""Columns of an entry without `columns`."""
_TAGS = ("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag")


def expand(source: SourceConfig, path: Path) -> list[SourceConfig]:
    """The plain sources of a source that names datasets of a `dataset_info.json`.

    Args:
        source: has `dataset`.
        path: the file, or the folder that holds it.

    Raises:
        DataError: the file can't be read, has no such dataset, or says what can't be done.
    """
    if path.is_dir():
        path = path / FILE_NAME
    wanted = source.dataset or []
    entries = _read(path)
    if not wanted:
        hint = f"`dataset` names one, several with commas, or a list; there is {_listed(entries)}"
        raise DataError("no dataset of the file is named", hint=hint, code="data.dataset-info", path=str(path))
    found = []
    for name in wanted:
        if name not in entries:
            near = closest(name, list(entries))
            hint = f"did you mean `{near}`?" if near else f"it has {_listed(entries)}"
            raise DataError(
                f"`{path.name}` has no dataset `{name}`", hint=hint, code="data.dataset-info", path=str(path)
            )
        entry = _Entry(path, name, entries[name])
        rows = [count for count in (source.rows, entry.num_samples()) if count is not None]
        update = {
            "path": entry.path(),
            "dataset": None,
            "format": source.format or entry.format(),
            "name": source.name if source.name and len(wanted) == 1 else name,
            "rows": min(rows, default=None),
        }
        found.append(source.model_copy(update=update))
    return found


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(f"`{name}`" for name in shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _read(path: Path) -> dict[str, Any]:
    def refuse(message: str, hint: str, line: int | None = None) -> DataError:
        return DataError(message, hint=hint, code="data.dataset-info", path=str(path), line=line)

    try:
        entries = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise refuse(
            f"`{path}` can't be read: {error.strerror}", "`path` is a dataset_info.json, or the folder that holds it"
        ) from None
    except UnicodeDecodeError as error:
        raise refuse(f"`{path.name}` is no UTF-8 text: {error.reason}", "save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise refuse(
            f"`{path.name}` is no JSON: {error.msg}", "`dataset` needs a dataset_info.json", error.lineno
        ) from None
    if not isinstance(entries, dict):
        raise refuse(
            f"`{path.name}` is no dataset_info.json: it holds no object of datasets",
            "leave `dataset` out to read the file's rows themselves",
        )
    return entries


class _Entry:
    """One dataset of the file."""

    def __init__(self, path: Path, name: str, entry: Any) -> None:
        self._file, self._name = path, name
        if not isinstance(entry, dict):
            raise self._error("is no object", "an entry has `file_name` or `hf_hub_url` at least")
        self._entry = entry
        self._check_names(entry, _FIELDS, "")
        for part, known in (("columns", (*_COLUMNS["alpaca"], "messages", *_COMMON, "kto_tag")), ("tags", _TAGS)):
            names = entry.get(part, {})
            if not isinstance(names, dict) or not all(isinstance(value, str | None) for value in names.values()):
                raise self._error(f"has `{part}` that is no object of names", "write names as strings")
            self._check_names(names, known, f"{part}.")

    def path(self) -> str:
        """Where the rows are."""
        entry = self._entry
        if entry.get("hf_hub_url"):
            return self._hub_path(str(entry["hf_hub_url"]))
        for key, hub in _HUBS.items():
            if entry.get(key):
                raise self._error(
                    f"is on {hub} (`{key}`), which fastft does not read",
                    f"download `{entry[key]}` and give its folder as `file_name`, or its copy on Hugging Face as `hf_hub_url`",
                )
        if entry.get("script_url"):
            raise self._error(
                "is made by a Python script (`script_url`), and fastft runs no code that comes with data",
                "run the script yourself, save its rows as JSONL, and give the file as `file_name`",
            )
        if entry.get("cloud_file_name"):
            return str(entry["cloud_file_name"])
        if entry.get("file_name"):
            return str(self._file.parent / str(entry["file_name"]))
        raise self._error("does not say where its rows are", "give it `file_name` or `hf_hub_url`")

    def num_samples(self) -> int | None:
        """How many rows are used."""
        count = self._entry.get("num_samples")
        if count is None:
            return None
        if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
            raise self._error(f"has `num_samples` {json.dumps(count)}", "it is a whole number from 1")
        return count

    def format(self) -> Format:
        """Which fields are which."""
        entry, formatting = self._entry, self._entry.get("formatting") or "alpaca"
        if formatting not in _COLUMNS:
            near = closest(str(formatting), list(_COLUMNS))
            raise self._error(
                f"has the unknown formatting `{formatting}`",
                f"did you mean `{near}`?" if near else f"known are {_listed(_COLUMNS)}",
            )
        columns: Mapping[str, str | None] = entry.get("columns", _DEFAULTS)
        ranking, label = bool(entry.get("ranking")), columns.get("kto_tag")
        if formatting == "alpaca" and columns.get("prompt") and not (columns.get("response") or ranking or label):
            return self._text(columns)
        wanted = {ours: columns.get(theirs) or "" for theirs, ours in _COLUMNS[formatting].items()}
        if formatting == "alpaca" and not (wanted["instruction"] or wanted["input"]):
            raise self._error("has no question", "give it `columns.prompt`")
        wanted |= {name: columns.get(name) or "" for name in _COMMON}
        wanted["label"] = "" if ranking else label or ""
        if ranking:
            wanted |= {name: wanted[name] or name for name in ("chosen", "rejected")}
        else:
            wanted |= {"chosen": "", "rejected": ""}
        if formatting != "alpaca":
            wanted["messages"] = wanted["messages"] or "conversations"
            wanted |= {tag: name for tag, name in entry.get("tags", {}).items() if name}
        if formatting == "openai":
            wanted["functions"] = ""
        return self._make(formatting, wanted)

    def _text(self, columns: Mapping[str, str | None]) -> Format:
        """An entry with a prompt and no response is text to learn as it is."""
        others = [name for name, column in columns.items() if column and name != "prompt"]
        if others:
            raise self._error(
                f"has no `response`, so its rows are plain text, but {_listed(others)} besides",
                "give it `columns.response`, or leave `columns.prompt` alone",
            )
        return self._make("text", {"column": columns["prompt"] or ""})

    @staticmethod
    def _make(kind: str, names: Mapping[str, str]) -> Format:
        member = FORMATS.get(kind)
        assert member is not None, kind
        return member.model_validate(names)

    def _hub_path(self, repository: str) -> str:
        """A data set of the hub; its part is named as a query."""
        entry = self._entry
        folder = f"/{entry['folder']}" if entry.get("folder") else ""
        part = {key: str(entry[key]) for key in ("subset", "split") if entry.get(key)}
        return f"hf://datasets/{repository}{folder}" + (f"?{urlencode(part)}" if part else "")

    def _check_names(self, names: Iterable[str], known: Sequence[str], prefix: str) -> None:
        for name in names:
            if name not in known:
                near = closest(name, list(known))
                hint = f"did you mean `{prefix}{near}`?" if near else f"known are {_listed(known)}"
                raise self._error(f"has no key `{prefix}{name}`", hint)

    def _error(self, message: str, hint: str) -> DataError:
        return DataError(f"dataset `{self._name}` {message}", hint=hint, code="data.dataset-info", path=str(self._file))
