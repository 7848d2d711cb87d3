"""Python objects as sources: what has rows becomes a file in the cache, once for each content.

from fastft.data import source
config = config.model_copy(update={"data": config.data.model_copy(update={"train": [source(dataset)]})})
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.data import spool
from fastft.data.keep import Keep

if TYPE_CHECKING:
    from fastft.config.schema import SourceConfig


def source(rows: Any, /, *, name: str | None = None, cache: Path | None = None, **fields: Any) -> SourceConfig:
    """A source of the rows that a Python object has.

    Args:
        rows: a `datasets.Dataset`, whose own Arrow files are read where they hold just its rows; an `IterableDataset`
            or any iterable of dicts; a pandas data frame or Arrow table; an open file of bytes or text, such as
            `fsspec.open(...)`, `gzip.open(...)` or `io.BytesIO`.
        name: what reports call the source; by default the file's own name, else `data`.
        cache: folder of prepared data; None is fastft's.
        fields: the other fields of `SourceConfig`, for example `format` or `repeat`.

    Returns:
        A source with the path of a local file, or a pattern of some.

    Raises:
        DataError: the object has no rows, or rows that are not objects of plain values.
    """
    from fastft.config.schema import SourceConfig

    found = _local(rows, name, Keep(cache or paths.cache_folder()))
    return SourceConfig.model_validate({"path": str(found), "name": name or _name(rows), **fields})


def _name(rows: Any) -> str:
    named = getattr(rows, "name", None)  # files have one, which may be a number; other objects need not
    return (Path(named).name.split(".")[0] if isinstance(named, str) else "") or "data"


def _local(rows: Any, name: str | None, keep: Keep) -> Path:
    package = type(rows).__module__.partition(".")[0]
    if hasattr(rows, "open") and package == "fsspec":  # `fsspec.open(...)` before it is entered
        with rows as file:
            return _local(file, name, keep)
    if package == "datasets" and hasattr(rows, "cache_files"):
        return _dataset(rows, keep)
    if package == "pandas":
        import pyarrow

        rows, package = pyarrow.Table.from_pandas(rows, preserve_index=False), "pyarrow"
    if package == "pyarrow" and hasattr(rows, "to_batches"):
        return _table(rows, keep)
    if hasattr(rows, "read"):
        own = getattr(rows, "name", None)
        called = Path(own).name if isinstance(own, str) and Path(own).name else "data"
        return spool.save(rows, "python:file", keep, name=called)
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes | Mapping):
        return _rows(rows, keep)
    raise DataError(
        f"a `{type(rows).__name__}` has no rows that can be read",
        hint="give a dataset, a table, an open file or an iterable of dicts",
        code="data.object",
    )


def _dataset(rows: Any, keep: Keep) -> Path:
    """A Hugging Face dataset: its own Arrow file where that holds its rows and no others, else one that is written."""
    table, indices = rows.data, rows._indices  # it has no public name for whether rows are chosen or shuffled
    path = getattr(table, "path", None)
    # what was done to a mapped file since (rows cut off, columns renamed) stands in `replays`
    if indices is None and path is not None and not table.replays and Path(path).is_file():
        return Path(path)

    def fill(target: Path) -> object:
        return rows.to_parquet(str(target))

    return keep.make("python:dataset", rows._fingerprint, "data.parquet", {"shown": "python:dataset"}, fill)


def _table(rows: Any, keep: Keep) -> Path:
    from pyarrow import parquet

    return keep.add(
        "python:table", "data.parquet", {"shown": "python:table"}, lambda target: parquet.write_table(rows, target)
    )


def _rows(rows: Iterable[Any], keep: Keep) -> Path:
    def fill(target: Path) -> None:
        with target.open("w", encoding="utf-8", newline="\n") as out:
            for number, row in enumerate(rows):
                if not isinstance(row, Mapping):
                    raise DataError(
                        f"row {number} is a `{type(row).__name__}`, and rows are dicts",
                        hint='for text: `({"text": line} for line in lines)`',
                        code="data.object",
                    )
                try:
                    text = json.dumps(dict(row), ensure_ascii=False, allow_nan=False)
                except (TypeError, ValueError) as error:
                    hint = "values are text, numbers, booleans, None, and lists and dicts of them"
                    raise DataError(f"row {number} is no JSON: {error}", hint=hint, code="data.object") from error
                out.write(text + "\n")
            if out.tell() == 0:
                raise DataError("the object has no rows", hint="an iterator can be read once", code="data.object")

    return keep.add("python:rows", "data.jsonl", {"shown": "python:rows"}, fill)
