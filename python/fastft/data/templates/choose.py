"""From the config's `data.template` to a template that is proven to render right."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastft.core import paths
from fastft.core.errors import ConfigError, DataError, Problem
from fastft.core.registry import closest
from fastft.data.engine import engine
from fastft.data.templates import catalog

if TYPE_CHECKING:
    from fastft.config.kinds import TokenizerFiles

OFFICIAL: Mapping[str, str] = {
    "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788": "smollm2",
    "87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5": "qwen3",
    "93c0e9aa3629bbd77e68dbc0f5621f6e6b23aa8d74b932595cdb8d64684526d7": "llama3",
    "ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6": "gemma",
    "78d976a442bcde2f0be15aafbb8e3050e1104f86732266f68403251b89982a90": "phi3",
    "e7deee034838db2bfc7487788a3013d8a307ab69f72f3c54a85f06fd76007d4e": "mistral",
}
"""SHA-256 of official templates (without whitespace at the ends) to the built-in that renders the same."""

_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


@dataclass(frozen=True)
class ChosenTemplate:
    """A chat template, ready for the engine.

    Attributes:
        name: as the config has it.
        source: Jinja text.
        special_tokens: what the template can print by name.
        rendered_by: `rust`, or `python` where the engine's rendering differs from transformers'.
        fallback: renders one row given as JSON (`messages`, `tools`, `add_generation_prompt`); None for `rust`.
        mask: how answers are found: by `{% generation %}` blocks, or by checked prefixes.
        key: hash of everything above that changes tokens; part of the key of prepared data.
        today: the date that the template prints, `YYYY-MM-DD`; None when it prints none.
        reason: why it is not rendered by the engine.
    """

    name: str
    source: str
    special_tokens: Mapping[str, str]
    rendered_by: Literal["rust", "python"]
    fallback: Callable[[str], str] | None
    mask: Literal["generation", "prefix"]
    key: str
    today: str | None = None
    reason: str | None = None


def choose(
    name: str, tokenizer: TokenizerFiles, *, config_dir: Path | None = None, cache: Path | None = None
) -> ChosenTemplate:
    """Find a template and certify it.

    Args:
        name: `auto`, a built-in name, or a path to a `.jinja` file.
        tokenizer: whose special tokens are printed, and whose own template `auto` is.
        config_dir: where a relative path is looked for when the working directory has no such file.
        cache: where verdicts are kept; None is fastft's cache.

    Raises:
        DataError: `auto`, and the tokenizer has no template.
        ConfigError: no such template, or a file that can't be read or compiled.
    """
    source, reference = _sources(name, tokenizer, config_dir)
    special = dict(tokenizer.special_tokens)
    today = datetime.date.today().isoformat() if "strftime_now" in source else None
    verdict = _verdict(source, reference, special, cache)
    in_rust = verdict is None
    if not in_rust and verdict is not None and verdict.startswith("syntax:"):
        raise ConfigError([_uncompiled(verdict[7:].strip())])
    if not in_rust:
        # Transformers' own rendering is what is left, so the template is the tokenizer's own again.
        source = reference
    by_tags = in_rust and _GENERATION.search(source) is not None
    return ChosenTemplate(
        name=name,
        source=source,
        special_tokens=special,
        rendered_by="rust" if in_rust else "python",
        fallback=None if in_rust else functools.partial(_render, source, special, today),
        mask="generation" if by_tags else "prefix",
        key=_hash({"source": source, "special": special, "by": "rust" if in_rust else _versions(), "today": today}),
        today=today,
        reason=verdict,
    )


def problem_of(name: str, config_dir: Path | None = None) -> Problem | None:
    """What is wrong with `data.template`, as far as it can be known without a tokenizer.

    Args:
        name: as for `choose`; of `auto` nothing is known.
        config_dir: as for `choose`.
    """
    if name == "auto":
        return None
    try:
        source = _named(name, config_dir)
        engine().ChatTemplate(source, {})
    except ConfigError as error:
        return error.problems[0]
    except ValueError as error:  # transformers may compile what the engine can't
        from fastft.data.templates._certify import compiles

        return None if compiles(source) else _uncompiled(str(error))
    return None


def _uncompiled(reason: str) -> Problem:
    return Problem("config.template", "data.template", f"the chat template can't be compiled: {reason}")


def _sources(name: str, tokenizer: TokenizerFiles, config_dir: Path | None) -> tuple[str, str]:
    """The template to render, and the one that says what is right."""
    if name == "auto":
        if tokenizer.chat_template is None:
            raise DataError(
                "the tokenizer has no chat template, and the rows are conversations",
                hint="set `data.template` to a built-in one (`fastft data templates` lists them) or to a `.jinja` file",
                code="data.no-template",
            )
        own = tokenizer.chat_template
        twin = OFFICIAL.get(hashlib.sha256(own.strip().encode()).hexdigest())
        return (own, own) if twin is None else (catalog.source(twin), own)
    source = _named(name, config_dir)
    return source, source


def _named(name: str, config_dir: Path | None) -> str:
    """Jinja text of a built-in template, or of a file."""
    known = catalog.resolve(name)
    if known is not None:
        return catalog.source(known)
    for folder in (Path(), config_dir or Path()):
        path = folder / Path(name).expanduser()
        if path.is_file():
            return _read(path)
    if name.endswith(".jinja"):
        problem = Problem(
            "config.template", "data.template", f"there is no file `{name}`", "give the path of a `.jinja` file"
        )
        raise ConfigError([problem])
    near = closest(name, [*catalog.every_name(), "auto"])
    forms = "`auto`, a built-in name (`fastft data templates` lists them), or a path to a `.jinja` file"
    hint = f"did you mean `{near}`? known: {forms}" if near else f"known: {forms}"
    raise ConfigError([Problem("config.template", "data.template", f"there is no chat template `{name}`", hint)])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem("config.template", "data.template", f"`{path}` can't be read: {error}")
        raise ConfigError([problem]) from error


def _verdict(source: str, reference: str, special: dict[str, str], cache: Path | None) -> str | None:
    """None when the engine renders as transformers does, else the first difference; kept in the cache."""
    folder = (cache or paths.cache_folder()) / "templates"
    key = _hash({"source": source, "reference": reference, "special": special, "versions": _versions()})
    path = folder / f"{key}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        verdict = kept["difference"]
        if verdict is None or isinstance(verdict, str):
            return verdict
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there yet, or broken: made again below
    from fastft.data.templates._certify import difference

    verdict = difference(source, reference, special)
    folder.mkdir(parents=True, exist_ok=True)
    paths.write_atomic(path, json.dumps({"difference": verdict, "versions": _versions()}, indent=1) + "\n")
    return verdict


def _render(source: str, special: dict[str, str], today: str | None, row: str) -> str:
    from fastft.data.templates._certify import render

    call = json.loads(row)
    return render(source, special, call["messages"], call.get("tools"), call["add_generation_prompt"], today)


def _versions() -> str:
    """Of everything that a verdict depends on, found without importing any of it."""
    from fastft.data.templates import probes

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "none"

    code = hashlib.sha256(Path(probes.__file__).read_bytes()).hexdigest()[:16]
    return f"fastft {of('fastft')}, transformers {of('transformers')}, jinja2 {of('jinja2')}, probes {code}"


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
