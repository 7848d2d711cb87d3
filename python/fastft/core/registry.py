"""Families of things that a config names by `kind`, found by looking, not by a list.

A `Registry` belongs to one package: the first look-up imports the package's public modules,
then the entry points of the group `fastft.<noun>`, and every class that registers while they load is a
member. Adding a member is adding a file.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

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
        return self._members.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._members)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        self._load()
        return iter(sorted(self._members.items()))

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
        for entry in entry_points(group=f"fastft.{self.noun}"):
            entry.load()


def closest(word: str, candidates: list[str]) -> str | None:
    """The candidate that `word` most looks like, or None when none is near."""
    found = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return found[0] if found else None
