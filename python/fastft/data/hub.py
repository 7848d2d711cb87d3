"""Data sets of the Hugging Face Hub: which files of one are meant, and where they are once fetched.

    hf://datasets/ORG/NAME[@REVISION][/FILE, folder or pattern][?subset=NAME&split=NAME]

`huggingface_hub` fetches, into its own cache, and honours HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE. The
revision is resolved to a commit first, and all files are those of that commit. Subsets and splits are those of the
data set card (`configs:`), without which they are read from names as the hub reads them: `data/train-00000-of-00002`,
`validation/x.jsonl`; a file without such a word is of `train`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.core.events import Warned
from fastft.core.need import need
from fastft.data.engine import engine
from fastft.data.keep import Keep

if TYPE_CHECKING:
    from fastft.core.events import Bus

_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Words of names, and the splits they mean."""


@dataclass(frozen=True)
class Address:
    """What an `hf://` address says.

    Attributes:
        url: all of it.
        repository: ORG/NAME.
        revision: branch, tag or commit; None is the main branch.
        path: a file, folder or pattern in it; empty means all.
        subset: a configuration of the card, or a folder.
        split: one of its splits.
    """

    url: str
    repository: str
    revision: str | None
    path: str
    subset: str | None
    split: str | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take an address apart.

        Raises:
            DataError: it names no data set, or asks for what there is not.
        """
        before, _, query = url.partition("://")[2].partition("?")
        kind, *parts = [part for part in before.split("/") if part]
        fields = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(fields.keys() - {"subset", "split"})
        if kind != "datasets" or not parts or unknown:
            said = f"has the unknown field `{unknown[0]}`" if unknown else "names no data set"
            hint = "such an address is `hf://datasets/ORG/NAME[@REVISION][/FILE][?subset=NAME&split=NAME]`"
            raise DataError(f"`{url}` {said}", hint=hint, code="data.address")
        # a name of old has no organization, and then nothing else can follow
        names = 1 if len(parts) == 1 or "@" in parts[0] else 2
        name, _, revision = "/".join(parts[:names]).partition("@")
        path = unquote("/".join(parts[names:]))
        return cls(
            url, name, unquote(revision) or None, path, fields.get("subset") or None, fields.get("split") or None
        )


def fetch(url: str, keep: Keep, bus: Bus) -> list[dict[str, Any]]:
    """Bring the files of an address.

    Returns:
        For each its `path` here, its address as `shown` with the commit, and the `revision`.

    Raises:
        DataError: there is no such data set, file, subset or split; the hub can't be reached and nothing is kept.
    """
    need("huggingface_hub", what=f"`{url}`")
    from huggingface_hub import hf_hub_download

    address = Address.parse(url)
    listed = _listing(address, keep, bus)
    wanted = choose(address, listed["files"], listed["configs"])
    found = []
    for name in wanted:
        with _explained(address):
            local = hf_hub_download(
                address.repository, name, repo_type="dataset", revision=listed["commit"], tqdm_class=None
            )
        shown = f"hf://datasets/{address.repository}@{listed['commit']}/{name}"
        found.append({"path": local, "shown": shown, "revision": listed["commit"]})
    return found


def choose(address: Address, files: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The files that an address means, sorted by name.

    Args:
        address: what is asked for.
        files: all of the repository.
        configs: `configs` of the data set card.

    Raises:
        DataError: none, or it can't be told which; the message lists what there is.
    """
    names = sorted(files)
    if address.path:
        names = _matching([address.path], names)
        if not names:
            shown = ", ".join(f"`{name}`" for name in _matching([""], files)[:8]) or "no data file at all"
            raise _missing(address, f"`{address.repository}` has no data at `{address.path}`", f"there is {shown}")
        splits = {"train": names} if address.split is None else _by_name(names)
        return _split(address, splits) if address.split else names
    tables = [table for table in configs if isinstance(table, Mapping) and "data_files" in table]
    if tables:
        table = _subset(address, tables)
        return _split(address, _of_card(table, names))
    names = _matching([""], names)
    if address.subset is not None:
        folders = sorted({part for name in names for part in Path(name).parts[:-1]})
        names = [name for name in names if address.subset in Path(name).parts[:-1]]
        if not names:
            raise _missing(
                address, f"`{address.repository}` has no subset `{address.subset}`", _there("folders", folders)
            )
    if not names:
        raise _missing(address, f"`{address.repository}` has no data files", "is it one that a script makes?")
    return _split(address, _by_name(names))


def _subset(address: Address, tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    names = [str(table.get("config_name", "default")) for table in tables]
    if address.subset is not None:
        if address.subset not in names:
            said = f"`{address.repository}` has no subset `{address.subset}`"
            raise _missing(address, said, _there("subsets", names))
        return tables[names.index(address.subset)]
    chosen = [at for at, table in enumerate(tables) if table.get("default") is True or len(tables) == 1]
    chosen = chosen or [at for at, name in enumerate(names) if name == "default"]
    if len(chosen) != 1:
        said = f"`{address.repository}` has several subsets, and the address names none"
        raise _missing(address, said, f"add `?subset=NAME`; {_there('subsets', names)}")
    return tables[chosen[0]]


def _of_card(table: Mapping[str, Any], names: Sequence[str]) -> dict[str, list[str]]:
    """The splits that a table of the card spells out."""
    said, folder = table["data_files"], str(table.get("data_dir") or "").strip("/")
    entries = said if isinstance(said, list) and any(isinstance(each, Mapping) for each in said) else None
    if entries is None:
        entries = (
            [{"split": "train", "path": said}]
            if not isinstance(said, Mapping)
            else [{"split": split, "path": path} for split, path in said.items()]
        )
    splits: dict[str, list[str]] = {}
    for entry in entries:
        patterns = [entry["path"]] if isinstance(entry["path"], str) else list(entry["path"])
        patterns = [f"{folder}/{pattern}".lstrip("/") for pattern in patterns]
        splits.setdefault(str(entry.get("split", "train")), []).extend(_matching(patterns, names))
    return splits


def _by_name(names: Sequence[str]) -> dict[str, list[str]]:
    """Splits by the words of names; the file's own name first, then its folders from within."""
    splits: dict[str, list[str]] = {}
    for name in names:
        words = (re.split(r"[^a-z]+", part.lower()) for part in reversed(Path(name).parts))
        found = next((_WORDS[word] for part in words for word in part if word in _WORDS), "train")
        splits.setdefault(found, []).append(name)
    return splits


def _split(address: Address, splits: Mapping[str, list[str]]) -> list[str]:
    there = [split for split, names in splits.items() if names]
    wanted = address.split
    if wanted is None:
        if len(there) != 1:
            said = f"`{address.repository}` has {'several splits' if there else 'no files'}, and the address names none"
            raise _missing(address, said, f"add `?split=NAME`; {_there('splits', there)}")
        wanted = there[0]
    # by names, `valid` and `dev` are `validation`; a card has its own words
    names = splits.get(wanted) or splits.get(_WORDS.get(wanted, wanted))
    if not names:
        raise _missing(address, f"`{address.repository}` has no split `{wanted}`", _there("splits", there))
    return sorted(dict.fromkeys(names))


def _matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for pattern in patterns:
        found |= {pattern} & set(names) or set(engine().chosen_names(pattern, list(names)))
    return sorted(found)


def _listing(address: Address, keep: Keep, bus: Bus) -> dict[str, Any]:
    """Commit, files and `configs` of a data set: asked now, or as they were when the hub was asked last."""
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    place = keep.place(f"hf://datasets/{address.repository}@{address.revision or ''}") / "files.json"
    try:
        with _explained(address, but=(hub.OfflineModeIsEnabled,)):
            info = HfApi().dataset_info(address.repository, revision=address.revision)
    except (DataError, hub.OfflineModeIsEnabled) as error:
        if isinstance(error, DataError) and error.code != "data.remote-network":
            raise
        try:
            kept: dict[str, Any] = json.loads(place.read_text("utf-8"))
        except (OSError, ValueError):
            if isinstance(error, DataError):
                raise error from None
            hint = "unset HF_HUB_OFFLINE, or fetch it once where there is a network"
            said = f"`{address.url}` is not in the cache, and HF_HUB_OFFLINE is set"
            raise DataError(said, hint=hint, code="data.remote-network") from error
        said = f"the hub is not asked for `{address.url}`, so commit {kept['commit'][:12]} of it is used, which was the last"
        bus.emit(Warned("data.offline-copy", said))
        return kept
    card = info.card_data
    configs = card.get("configs") if card is not None else None
    listed = {
        "commit": info.sha,
        "files": [file.rfilename for file in info.siblings or []],
        "configs": configs if isinstance(configs, list) else [],
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    paths.write_atomic(place, json.dumps(listed, ensure_ascii=False))
    return listed


@contextmanager
def _explained(address: Address, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Errors of the hub as ours."""
    from huggingface_hub import errors as hub

    login = "`hf auth login` or HF_TOKEN; the page of the data set says whether its terms have to be accepted"
    try:
        yield
    except but:
        raise
    except hub.GatedRepoError as error:
        raise _missing(
            address, f"`{address.url}`: who asks may not read it", login, "data.remote-credentials"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise _missing(address, f"`{address.repository}` has no revision `{address.revision}`", None) from error
    except hub.RepositoryNotFoundError as error:
        hint = f"look at the spelling; a private one needs {login}"
        raise _missing(address, f"the hub has no data set `{address.repository}`", hint) from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
        hint = "fetch it once where there is a network"
        raise _missing(
            address, f"`{address.url}` is not in the cache and can't be fetched", hint, "data.remote-network"
        ) from error
    except hub.EntryNotFoundError as error:
        raise _missing(address, f"`{address.url}`: {error}", None) from error
    except hub.HfHubHTTPError as error:
        status = error.response.status_code
        refused = status in (401, 403)
        code = (
            "data.remote-credentials" if refused else "data.remote-missing" if status == 404 else "data.remote-network"
        )
        raise _missing(address, f"`{address.url}`: HTTP {status}", login if refused else None, code) from error
    except hub.HFValidationError as error:
        raise _missing(address, f"`{address.url}`: {error}", None, "data.address") from error
    # its HTTP client has changed its name before; the class of that client's errors is imported there
    except (OSError, hub.HTTPError) as error:  # type: ignore[attr-defined]
        raise _missing(
            address, f"`{address.url}`: the hub can't be reached: {error}", None, "data.remote-network"
        ) from error


def _there(what: str, names: Sequence[str]) -> str:
    return f"there are the {what} " + ", ".join(f"`{name}`" for name in names) if names else f"there are no {what}"


def _missing(address: Address, message: str, hint: str | None, code: str = "data.remote-missing") -> DataError:
    return DataError(message, hint=hint, code=code, path=address.url)
