"""A copy of a token store in a folder that the user names.

The copy shares the disk's blocks with the cache where the file system lets it (hard links), so it costs nothing;
stores are never written after they are made. It appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.core.errors import ResourceError
from fastft.core.paths import new_folder, writing

if TYPE_CHECKING:
    from fastft.data.prepare import Prepared

MANIFEST = "manifest.json"
"""What makes a folder a store."""
EVAL = "eval"
"""The folder, in the store, of the evaluation rows when they have sources of their own."""


def publish(prepared: Prepared, out: Path) -> None:
    """Put the prepared stores into `out`; nothing is done when they are there already.

    Raises:
        ResourceError: `out` holds something else, or may not be written.
    """
    stores = {"": prepared.train.folder}
    if prepared.eval is not None and prepared.eval.folder != prepared.train.folder:
        stores[EVAL] = prepared.eval.folder
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if _keys(out, stores) == _keys(None, stores):
            return
        other = (out / MANIFEST).is_file()
        first = "" if other or not out.is_dir() else f": `{min(out.iterdir()).name}`"
        raise ResourceError(
            f"`{out}` holds {'another store' if other else 'other files'}{first}",
            hint="choose a new folder, or remove this one",
            code="resource.folder-taken",
        )
    with writing(out), new_folder(out) as work:
        for name, store in stores.items():
            shutil.copytree(store, work / name, dirs_exist_ok=True, copy_function=_link)


def link_tree(store: Path, target: Path) -> None:
    """Put the files of a store, and nothing else that lies beside them, into a folder."""
    manifest = json.loads((store / MANIFEST).read_text("utf-8"))
    listed = [part["name"] for part in (*manifest["parts"], *manifest["lists"])]
    for name in (*listed, MANIFEST, "stamps.json"):
        if (store / name).is_file():
            _link(str(store / name), str(target / name))


def _keys(out: Path | None, stores: dict[str, Path]) -> list[str | None]:
    """The keys of the stores, in the cache or in `out`."""
    folders = [store if out is None else out / name for name, store in stores.items()]
    found: list[str | None] = []
    for folder in folders:
        key = None
        with contextlib.suppress(OSError, ValueError):
            key = json.loads((folder / MANIFEST).read_text("utf-8")).get("key")
        found.append(key)
    return found


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
    return target
