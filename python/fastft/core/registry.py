"""Families of things that a config names by `kind`, found by looking, not by a list.

A `Registry` belongs to one package: the first look-up imports the package's public modules, and
every class that registers while they load is a member. Adding a member is adding a file.
Installed packages add members through entry points of the group `fastft.<noun>`; those are read
when a name is not found among the package's own, or when all names are asked for.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from fastft.core.errors import UnsupportedError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Generic[T]):
    """The members of one family, by name.

    Args:
        noun: what a member is called in messages, and its config key, for example `method`.
        package: the package whose modules define members, for example `fastft.methods`.
    """

    def __init__(self, noun: str, package: str) -> None:
        self.noun = noun
        self.package = package
        self._members: dict[str, T] = {}
        self._loaded = False
        self._plugins_loaded = False

    def add(self, name: str, member: T) -> None:
        """Register a member.

        Raises:
            TypeError: when another class has that name already, naming both modules.
        """
        known = self._members.get(name)
        if known is not None and (
            getattr(known, "__module__", None),
            getattr(known, "__qualname__", None),
        ) != (getattr(member, "__module__", None), getattr(member, "__qualname__", None)):
            raise TypeError(
                f"two {self.noun}s are called `{name}`: one in {known.__module__}, one in {member.__module__}"
            )
        self._members[name] = member

    def get(self, name: str) -> T | None:
        """The member of that name, or None."""
        self._load()
        if name not in self._members:
            self._load_plugins()
        return self._members.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        self._load_plugins()
        return sorted(self._members)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter([(name, self._members[name]) for name in self.names()])

    def closest(self, name: str) -> str | None:
        """The member's name that `name` was probably meant to be."""
        return closest(name, self.names())

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for entry in _plugins():
            if entry.group == f"fastft.{self.noun}":
                try:
                    entry.load()
                except Exception as error:  # whatever a foreign package does on import, its name must be in the message
                    package = entry.dist.name if entry.dist else entry.value
                    raise UnsupportedError(
                        f"the {self.noun} `{entry.name}` of the package `{package}` can't be loaded: {error}",
                        hint=f"mend, update or uninstall `{package}`",
                        code="unsupported.plugin-broken",
                    ) from error


@functools.cache
def _plugins() -> list[EntryPoint]:
    """The entry points of all our groups; the scan reads the metadata of every installed package, so once."""
    from importlib.metadata import distributions

    found: dict[tuple[str, str, str], EntryPoint] = {}
    for package in distributions():
        for entry in package.entry_points:
            if entry.group.startswith("fastft."):
                found.setdefault((entry.group, entry.name, entry.value), entry)
    return list(found.values())


def closest(word: str, candidates: list[str]) -> str | None:
    """The candidate that `word` most looks like, or None when none is near."""
    import difflib

    by_lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def closest_file(name: str, candidates: list[str]) -> str | None:
    """The file name that `name` was probably meant to be; endings that all share count for nothing."""
    from pathlib import PurePath

    stem = PurePath(name).name.partition(".")[0]
    by_stem = {PurePath(candidate).name.partition(".")[0]: candidate for candidate in reversed(candidates)}
    if stem in by_stem:
        return by_stem[stem]
    near = closest(stem, list(by_stem))
    return by_stem[near] if near is not None else None
