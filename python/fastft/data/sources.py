"""Where rows come from: every source becomes local files before the engine sees it.

    a path                       as it is
    http(s)://, s3://, gs://,
    az://, abfs(s)://            fetched by the engine          remote.py
    hf://datasets/...            fetched by huggingface_hub     hub.py
    -                            standard input, spooled        spool.py
    other addresses              fetched by fsspec              spool.py

Reports name rows by the address, not by where the copy lies.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.config import urls
from fastft.core import env
from fastft.core.errors import DataError
from fastft.core.events import Bus, Warned
from fastft.data import hub, remote, spool
from fastft.data.engine import engine
from fastft.data.keep import Keep
from fastft.data.watch import first_of

if TYPE_CHECKING:
    from fastft.config.schema import SourceConfig

_PACKED = re.compile(r"\.(xz|lzma|bz2|7z|zip|rar|lz4|tar|tgz|tar\.gz|tar\.zst)$")


@dataclass(frozen=True)
class Located:
    """A source whose files are here.

    Attributes:
        path: what reports call the source: a path, or the address without secrets.
        files: its files, each with its `path` here and its address as `shown`; None: look under `path`.
        origin: what the record of a run keeps of where they came from; empty for paths.
    """

    path: str
    files: list[dict[str, str]] | None = None
    origin: dict[str, Any] = field(default_factory=dict)


def localize(source: SourceConfig, *, cache: Path, bus: Bus | None = None) -> Located:
    """Bring the files of a source that is elsewhere.

    Args:
        source: its `path` is an address or `-`.
        cache: folder of prepared data; what is brought is kept below it.
        bus: hears of progress and warnings.

    Raises:
        DataError: the address can't be one, nothing is there, or it can't be reached.
    """
    keep, bus, path = Keep(cache), bus or Bus(), source.path
    if path == urls.STDIN:
        if env.world_size() > 1:
            said = "`-` is the standard input of one process, and several take part"
            raise DataError(said, hint="save the rows as a file first", code="data.stdin")
        found, shown = [spool.stdin(keep)], path
    elif (wrong := urls.trouble(path)) is not None:
        raise DataError(wrong[0], hint=wrong[1], code="data.address")
    elif urls.scheme_of(path) == urls.HUB:
        found, shown = hub.fetch(path, keep, bus), path
    elif urls.scheme_of(path) in urls.ENGINE:
        found, shown = remote.fetch(path, keep, bus), remote.shown(path)
    else:
        found, shown = spool.fsspec(path, keep, bus), path
    files = [{"path": each["path"], "shown": each["shown"]} for each in found]
    return Located(shown, files, {"url": shown, "files": [_told(each) for each in found]})


def tell_left_out(folder: Path, bus: Bus | None) -> None:
    """Name the files of a folder that are not read; those that are packed as nothing here unpacks end it.

    Raises:
        DataError: a file of data is packed so.
    """
    files: list[str] = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]  # the engine enters no hidden one either
        files += [str(Path(parent) / name) for name in names if not name.startswith(".")]
    read = set(engine().chosen_names(str(folder), files))
    left_out = sorted(file for file in files if file not in read)
    packed = [file for file in left_out if _PACKED.search(file.lower())]
    if packed:
        more = f" and {len(packed) - 1:,} more" if len(packed) > 1 else ""
        raise DataError(
            f"`{packed[0]}`{more} can't be read: xz, bzip2, lz4, 7z, zip and rar are not unpacked here",
            hint="unpack it, pack it with gzip or zstd, or name the files to read (a pattern as `folder/*.jsonl`)",
            code="data.packed",
            path=packed[0],
        )
    if left_out and bus is not None:
        shown = first_of([os.path.relpath(file, folder) for file in left_out])
        bus.emit(
            Warned(
                "data.left-out",
                f"files in `{folder}` that are not taken for data are left out: {shown}",
                hint="a source that names a file, or a pattern, reads it whatever its name is",
            )
        )


def names_by_path(path: str) -> list[str]:
    """What a source may be called by its path, the shortest first.

    A file is called by its name without the ending, a folder by its name, and a pattern by the last folder before
    its first star and what follows: `wiki/*.jsonl`, `raw/wiki/*.jsonl`.
    """
    if path == urls.STDIN:
        return ["stdin"]
    scheme = urls.scheme_of(path)
    whole, stars = "", "*?"
    if scheme is None or scheme in ("s3", "s3a", "gs"):
        plain = path if scheme is None else path.partition("://")[2]
    elif scheme == urls.HUB:
        # of a whole data set its name; a dot in it is no ending
        address = hub.Address.parse(path)
        plain, whole = address.path, address.repository.rpartition("/")[2]
    else:
        plain, stars = path.partition("://")[2].partition("?")[0], "*"
    parts = [part for part in plain.rstrip("/*").split("/") if part not in ("", ".", "~")]
    first = next((at for at, part in enumerate(parts) if any(star in part for star in stars)), None)
    if first is None:
        return [(Path(parts[-1]).stem if parts else "") or whole or "data"]
    return ["/".join(parts[start:]) for start in range(max(first - 1, 0), -1, -1)]


def _told(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "path" and value is not None}
