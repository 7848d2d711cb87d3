"""Files of web servers and object stores, brought into the cache by the engine.

What an address names is asked each time; a file whose version is in the cache is not fetched again. When nobody answers
and all of what the address named last is in the cache, that is used and told.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.core.events import Warned
from fastft.data.engine import engine
from fastft.data.watch import Watch

if TYPE_CHECKING:
    from fastft.core.events import Bus
    from fastft.data.keep import Keep

ATTEMPTS = 6
"""Requests for the same thing before it is given up."""
PAUSE_S = 0.5
"""Pause after the first failure; each further one is twice as long."""
PIECE_BYTES = 8 << 20
"""Of one request; a larger file takes several at a time."""
LISTING = "files.json"
"""What an address named when it was asked last."""


def fetch(url: str, keep: Keep, bus: Bus) -> list[dict[str, Any]]:
    """Bring what an address names.

    Returns:
        For each file its `path` here, its address as `shown`, and its `etag`, `modified` and `size` as far as the
        server says them; in the order of their names.

    Raises:
        DataError: there is none, the server refuses or can't be reached.
        ResourceError: the disk is full.
    """
    for attempt in range(3):
        try:
            found = _look(url, keep, bus)
            _write_listing(keep, url, found)
            return _bring(found, keep, bus)
        except DataError as error:
            if error.code == "data.remote-changed" and attempt < 2:
                continue
            if error.code != "data.remote-network" or (kept := _kept(url, keep)) is None:
                raise
            said = f"`{shown(url)}` can't be reached, so the copy of it in the cache is used: {error.message}"
            bus.emit(Warned("data.offline-copy", said, hint="it may have changed since"))
            return kept
    raise AssertionError("the last attempt returns or raises")


def shown(url: str) -> str:
    """An address without password and signature."""
    return str(engine().remote_shown(url))


def _look(url: str, keep: Keep, bus: Bus) -> list[dict[str, Any]]:
    # with a copy at hand nobody waits long for a server that may be down
    attempts = min(ATTEMPTS, 3) if (keep.place(url) / LISTING).is_file() else ATTEMPTS
    progress = engine().Progress()
    with Watch(progress, bus):
        found: list[dict[str, Any]] = json.loads(engine().remote_look(url, progress, attempts, PAUSE_S))
    return found


def _bring(found: list[dict[str, Any]], keep: Keep, bus: Bus) -> list[dict[str, Any]]:
    progress = engine().Progress()
    kept = [_file(keep, each) for each in found]
    needed = sum(each["size"] or 0 for each, path in zip(found, kept, strict=True) if path is None)
    progress.expect(needed)
    if needed:
        keep.make_room(needed)
    with Watch(progress, bus):
        for place, each in enumerate(found):
            if kept[place] is not None:
                continue

            def fill(target: Path, each: dict[str, Any] = each) -> None:
                engine().remote_fetch(json.dumps(each), str(target), progress, ATTEMPTS, PAUSE_S, PIECE_BYTES)

            version, about = _version(each), _about(each)
            if version is None:
                kept[place] = keep.add(each["url"], each["name"], about, fill)
            else:
                kept[place] = keep.make(each["url"], version, each["name"], about, fill)
    return [{"path": str(path), **_about(each)} for path, each in zip(kept, found, strict=True)]


def _version(found: dict[str, Any]) -> str | None:
    """What the server calls this content; None when it calls it nothing, so that it is fetched each time."""
    version = found["etag"] or found["modified"]
    return None if version is None else f"{version} {found['size']}"


def _file(keep: Keep, found: dict[str, Any]) -> Path | None:
    version = _version(found)
    return None if version is None else keep.file(found["url"], version, found["name"])


def _about(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("shown", "etag", "modified", "size")}


def _write_listing(keep: Keep, url: str, found: list[dict[str, Any]]) -> None:
    folder = keep.place(url)
    # what was asked for may carry a password, and is not written down
    told = [{**each, "url": None if each["url"] == url else each["url"]} for each in found]
    text = json.dumps(told, ensure_ascii=False)
    try:
        if (folder / LISTING).is_file() and (folder / LISTING).read_text("utf-8") == text:
            return
        folder.mkdir(parents=True, exist_ok=True)
        paths.write_atomic(folder / LISTING, text)
    except OSError:  # a cache that may only be read; nothing is lost but the copy for days without a network
        return


def _kept(url: str, keep: Keep) -> list[dict[str, Any]] | None:
    """What an address named last, when all of it is here."""
    try:
        told = json.loads((keep.place(url) / LISTING).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    found = [{**each, "url": each["url"] or url} for each in told]
    files = [_file(keep, each) or _newest(keep, each) for each in found]
    if not files or any(path is None for path in files):
        return None
    return [{"path": str(path), **_about(each)} for path, each in zip(files, found, strict=True)]


def _newest(keep: Keep, found: dict[str, Any]) -> Path | None:
    """The version that was fetched last of a file whose server names none."""
    if _version(found) is not None:
        return None
    return keep.newest(found["url"], found["name"])
