"""A file and overrides -> `RunConfig`, or every problem at once, each with its place.

`extends = "base.toml"` takes another file (relative to this one) as the ground: tables are
merged key by key, lists and tables of another `kind` are replaced. `--set a.b=value` comes last,
left to right: the value is TOML, a bare word is a string, an empty value takes the key away.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fastft.config import toml
from fastft.config.problems import problem_of
from fastft.config.schema import RunConfig
from fastft.config.toml import Path as KeyPath
from fastft.config.toml import Spot, dotted
from fastft.core.errors import ConfigError, Origin, Problem

DEFAULT = Origin("default")
_SET = "--set "
_MOST_BYTES = 2**20
_NOT_TOML = (".yaml", ".yml", ".json", ".jsonl", ".txt", ".py")


@dataclass(frozen=True)
class Loaded:
    """A config and where each of its values comes from.

    Attributes:
        config: validated and frozen.
        origins: dotted key -> where its value was written; a key that is absent has its default.
        path: the file that was named.
        texts: every file that was read, the named one first, then what it extends.
    """

    config: RunConfig
    origins: Mapping[str, Origin]
    path: Path
    texts: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where relative paths of the config are looked for after the working directory."""
        return self.path.parent

    def placed(self, problem: Problem) -> Problem:
        """A problem with its place: where its key was written, the key's table, or else the file."""
        return _placed(problem, self.origins, self.path)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Say of each problem that is found inside where its key was written."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(self.placed(problem) for problem in error.problems) from error


@dataclass
class _Draft:
    """The merged tables before validation."""

    tree: dict[str, Any] = field(default_factory=dict)
    spots: dict[KeyPath, Spot] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def load(path: str | Path, overrides: Iterable[str] = (), *, files: bool = False) -> Loaded:
    """Read a config.

    Args:
        path: the TOML file.
        overrides: `key=value`, as `--set` takes them.
        files: also see that the files it names exist; their problems come with the others. A `model.path` that is
            there beside the config only becomes that path, so that everyone after finds the model.

    Raises:
        ConfigError: with one `Problem` for each thing wrong, in file order, overrides last.
    """
    path = Path(path)
    draft = _Draft()
    _read(path, draft, ())
    draft.overrides = list(overrides)
    for override in draft.overrides:
        _apply(override, draft)
    config, problems, readable = _validate(draft)
    problems = draft.problems + problems
    origins = {dotted(key): spot.value for key, spot in draft.spots.items()}
    if readable is not None and files:
        from fastft.config.files import file_problems

        known = [problem.key for problem in problems]
        problems += [found for found in file_problems(readable, path.parent) if not _under(found.key, known)]
    if problems:
        raise ConfigError(_in_order([_placed(problem, origins, path) for problem in problems], draft))
    assert config is not None
    if files:
        from fastft.config.files import with_model_found

        config = with_model_found(config, path.parent)
    return Loaded(config, origins, path, draft.texts)


def _read(path: Path, draft: _Draft, above: tuple[Path, ...], asked: Origin | None = None) -> None:
    """Read a file and what it extends into the draft, the farthest first."""
    if path.suffix in _NOT_TOML:
        said = f"`{path}` is no TOML file"
        raise _unreadable(path, said, "`fastft config init` writes a config to begin with", asked)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise _unreadable(path, f"`{path}` is larger than 1 MiB, which no config is", None, asked)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise _unreadable(path, f"there is no file `{path}`", _similar(path), asked) from None
    except IsADirectoryError:
        inside = sorted(found.name for found in path.glob("*.toml"))
        hint = f"it holds {', '.join(f'`{name}`' for name in inside[:5])}" if inside else None
        raise _unreadable(path, f"`{path}` is a folder, not a config file", hint, asked) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        said = f"byte 0x{error.object[error.start]:02x} is no UTF-8"
        raise ConfigError(
            [Problem("config.not-utf8", None, said, "save the file as UTF-8", Origin(str(path), line))]
        ) from None
    except OSError as error:
        raise _unreadable(path, f"`{path}` can't be read: {error.strerror}", None, asked) from None
    draft.texts[str(path)] = text
    document = toml.parse(text, str(path))
    base = document.values.pop("extends", None)
    spot = document.spots.pop(("extends",), None)
    if spot is not None:
        here = spot.value
        if not isinstance(base, str):
            said = f"`extends` names one file, got {json.dumps(base, default=str)}"
            draft.problems.append(Problem("config.invalid-value", "extends", said, None, here))
        else:
            target = Path(os.path.normpath(path.parent / Path(base).expanduser()))
            chain = (*above, path)
            if any(target.resolve() == known.resolve() for known in chain):
                said = f"`extends` goes in a circle: {' -> '.join(str(p) for p in (*chain, target))}"
                raise ConfigError([Problem("config.circle", "extends", said, "one of them must stand alone", here)])
            _read(target, draft, chain, here)
    _merge(draft.tree, document.values, (), draft)
    draft.spots.update(document.spots)


def _merge(ground: dict[str, Any], over: dict[str, Any], path: KeyPath, draft: _Draft) -> None:
    for name, value in over.items():
        here = (*path, name)
        known = ground.get(name)
        if (
            isinstance(known, dict)
            and isinstance(value, dict)
            and ("kind" not in value or value["kind"] == known.get("kind"))
        ):
            _merge(known, value, here, draft)
        else:
            _forget(here, draft)
            ground[name] = value


def _forget(path: KeyPath, draft: _Draft) -> None:
    for known in [known for known in draft.spots if known[: len(path)] == path]:
        del draft.spots[known]


def _apply(override: str, draft: _Draft) -> None:
    """Put one `key=value` into the draft, or a problem."""
    shown = Origin(f"{_SET}{override}")

    def refuse(code: str, message: str, hint: str | None = None) -> None:
        draft.problems.append(Problem(f"config.{code}", None, message, hint, shown))

    name, equals, text = override.partition("=")
    try:
        path = _split(name)
    except tomllib.TOMLDecodeError:
        said = f"`{name}` is no dotted key" if name else f"`{override}` has no key"
        return refuse("bad-override", said, "for example --set optimizer.lr=2e-4")
    if not equals:
        return refuse("bad-override", f"`{override}` has no `=`", f"write --set {override}=VALUE")
    try:
        value = _value(text)
    except tomllib.TOMLDecodeError:
        hint = "look at its quotes and brackets; in a shell, single quotes go round the whole"
        return refuse("bad-override", f"`{text}` is no TOML value", hint)
    current: Any = draft.tree  # a table or a list
    done: KeyPath = ()
    for step, part in enumerate(path):
        last = step == len(path) - 1
        if isinstance(current, list):
            where = dotted(done)
            if not part.isdigit():
                follow = ".".join(path[step:])
                return refuse("bad-override", f"`{where}` is a list", f"name an entry: --set {where}.0.{follow}=...")
            index = int(part)
            if index > len(current) or (index == len(current) and text == ""):
                held = f"{len(current)} {'entry' if len(current) == 1 else 'entries'}"
                return refuse("bad-override", f"`{where}` has {held}; there is no `{where}.{index}`", "the first is 0")
            if index == len(current):
                current.append({})
            slot: Any = index
        else:
            slot = part
        done = (*done, slot)
        if last:
            if text == "":
                current.pop(slot, None)
                _forget(done, draft)
                return None
            current[slot] = value
            _forget(done, draft)
            _note(done, value, shown, draft)
            return None
        child = current[slot] if isinstance(current, list) else current.get(slot)
        if child is None or (isinstance(child, str) and path[step + 1] != "kind" and _is_choice(done, draft)):
            # `optimizer = "adamw"` in the file and `--set optimizer.lr=...`: the text is the table's kind.
            spot = draft.spots.get(done, Spot(shown, shown))
            child = {} if child is None else {"kind": child}
            current[slot] = child
            draft.spots[done] = spot
            draft.spots.update({(*done, "kind"): spot} if child else {})
        if not isinstance(child, dict | list):
            said = f"`{dotted(done)}` is {json.dumps(child, default=str)}, not a table"
            return refuse("bad-override", said, f"--set {dotted(done)}=... replaces it")
        current = child
    return None


def _split(name: str) -> list[str]:
    """`data.train.0."odd key"` -> its parts, by TOML's own rules for dotted keys."""
    parsed: Any = tomllib.loads(f"{name.strip()} = 0")
    if len(parsed) != 1 or "\n" in name:
        raise tomllib.TOMLDecodeError("not one key")
    parts = []
    while isinstance(parsed, dict):
        part, parsed = next(iter(parsed.items()))
        parts.append(part)
    return parts


def _value(text: str) -> Any:
    """A TOML value; what is none and begins like none is a bare word."""
    if text.strip() == "":
        return None
    try:
        parsed = tomllib.loads(f"value = {text}")
        if set(parsed) == {"value"}:
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        if re.match(r"\s*[\[{\"']", text):
            raise
    return text


def _note(path: KeyPath, value: Any, origin: Origin, draft: _Draft) -> None:
    draft.spots[path] = Spot(origin, origin)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        _note((*path, name), inner, origin, draft)


def _is_choice(path: KeyPath, draft: _Draft) -> bool:
    from fastft.config.fields import class_at, keys

    parent = class_at(RunConfig, path[:-1], draft.tree)
    key = keys(parent).get(str(path[-1])) if parent is not None else None
    return key is not None and key.one_of is not None


def _validate(draft: _Draft) -> tuple[RunConfig | None, list[Problem], RunConfig | None]:
    """Validate; when refused, take away what is wrong and look at the rest, so that all is told at once.

    Returns:
        The config without what is wrong, or None; the problems; and a config to look for files in,
        which exists more often: choices that are wrong are replaced by any.
    """
    tree = json.loads(json.dumps(draft.tree, default=str))
    problems: list[Problem] = []
    taken: list[str | None] = []
    config: RunConfig | None = None
    for _ in range(5):  # each round finds what the one before hid: a bad table's neighbours, then whole-table rules
        try:
            config = RunConfig.model_validate_json(json.dumps(tree), strict=True)
            break
        except ValidationError as refused:
            found = [problem_of(error, tree, draft.spots) for error in refused.errors(include_url=False)]
        problems += [problem for problem, path in found if not _under(dotted(path), taken)]
        taken += [dotted(path) for _, path in found]
        pruned = [_prune(tree, path) for _, path in found]
        if not any(pruned):
            break
    if config is None:
        return None, problems, _stand_in(tree)
    problems += [problem for problem in _conflicts(config) if not _under(problem.key, taken)]
    return config, problems, config


def _stand_in(tree: dict[str, Any]) -> RunConfig | None:
    """The config with any valid choice in place of what is missing, only to see the files that it names."""
    from fastft.config.fields import keys

    for name in ("stage", "method", "optimizer"):
        one_of = keys(RunConfig)[name].one_of
        if name not in tree and one_of is not None:
            tree[name] = {"kind": next(iter(one_of.family.names()), "")}
    tree.setdefault("model", {}).setdefault("path", "any/model")
    try:
        return RunConfig.model_validate_json(json.dumps(tree), strict=True)
    except (ValidationError, AttributeError):
        return None


def _prune(tree: Any, path: KeyPath) -> bool:
    """Take away what is at `path`; False when there is nothing to take."""
    for part in path[:-1]:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return False
    if isinstance(tree, dict):
        return bool(path) and tree.pop(path[-1], DEFAULT) is not DEFAULT
    return False


def _conflicts(config: RunConfig) -> list[Problem]:
    """What the chosen members say about the rest of the config."""
    from fastft.config.section import Member

    found: list[Problem] = []
    members: list[Any] = [config.stage, config.method, config.optimizer, config.schedule, config.model.quantize]
    members += [source.format for source in (*config.data.train, *config.data.eval)]
    members += config.data.augment
    for member in members:
        if isinstance(member, Member):
            found += member.conflicts(config)
    return found


def _under(key: str | None, wrong: list[str | None]) -> bool:
    return key is not None and any(w is not None and (key == w or key.startswith(f"{w}.")) for w in wrong)


def _placed(problem: Problem, origins: Mapping[str, Origin], path: Path) -> Problem:
    """Give a problem its place: where the key was written, its table, or else the file."""
    if problem.origin is not None:
        return problem
    from dataclasses import replace

    key = problem.key or ""
    while key:
        if key in origins:
            return replace(problem, origin=origins[key])
        key = key.rpartition(".")[0]
    return replace(problem, origin=Origin(str(path)))


def _in_order(problems: list[Problem], draft: _Draft) -> list[Problem]:
    files = list(draft.texts)
    sets = [f"{_SET}{override}" for override in draft.overrides]

    def place(problem: Problem) -> tuple[int, float, int, int]:
        origin = problem.origin
        assert origin is not None
        if origin.source.startswith(_SET):
            order = sets.index(origin.source) if origin.source in sets else len(sets)
            return (len(files), 0.0, order, 0)
        rank = files.index(origin.source) if origin.source in files else 0
        return (rank, float("inf") if origin.line is None else origin.line, origin.column, 0)

    return sorted(problems, key=place)


def _unreadable(path: Path, message: str, hint: str | None, asked: Origin | None) -> ConfigError:
    return ConfigError([Problem("config.unreadable", None, message, hint, asked)])


def _similar(path: Path) -> str | None:
    from fastft.core.registry import closest_file

    if not path.parent.is_dir():
        return f"there is no folder `{path.parent}` either"
    near = closest_file(path.name, [found.name for found in path.parent.iterdir() if found.suffix == ".toml"])
    return f"did you mean `{path.parent / near}`?" if near else "`fastft config init` writes one to start from"
