"""From the config to what the engine is told: paths, formats, template and options as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.config import urls
from fastft.config.augmentation import EndpointAugmentation
from fastft.config.files import BRACKETS, cleaning_file_problems, matches
from fastft.core.errors import ConfigError, DataError, Problem
from fastft.data import dataset_info, proof
from fastft.data.cleaning import clean_plan, trial
from fastft.data.engine import engine
from fastft.data.sources import Located, localize, names_by_path, tell_left_out

if TYPE_CHECKING:
    from fastft.config.augmentation import Augmentation
    from fastft.config.kinds import Stage, TokenizerFiles
    from fastft.config.schema import DataConfig, SourceConfig
    from fastft.core.events import Bus


_PROCESSOR = re.compile(r'"post_processor"\s*:\s*(?=\{)')
"""Where a tokenizer.json says what is put around a text; a word of its vocabulary has a number there."""


@dataclass(frozen=True)
class EnginePlan:
    """What the engine is told.

    Attributes:
        json: the plan.
        fallback: renders conversations in Python, where the template can't be certified.
        names: of the sources, in order.
        mix: how sources become one order, as the engine takes it.
        slow_template: why the chat template is rendered in Python, None when the engine renders it.
        unused: by source, columns that its format does not read and its `ignore` does not name; without a tokenizer
            nobody looks for them.
        origins: for each source what the record of a run keeps of where it came from; empty for paths.
        ids: who makes the ids; None without a tokenizer.
    """

    json: str
    fallback: Callable[[str], str] | None
    names: tuple[str, ...]
    mix: dict[str, Any]
    slow_template: str | None
    unused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    origins: tuple[dict[str, Any], ...] = ()
    ids: proof.Proof | None = None


def make_plan(
    data: DataConfig,
    sources: Sequence[SourceConfig],
    stage: Stage,
    tokenizer: TokenizerFiles | None,
    *,
    config_dir: Path | None,
    cache: Path,
    augment_seed: int | None = None,
    as_they_are: bool = False,
    asks: bool = False,
    bus: Bus | None = None,
) -> EnginePlan:
    """Say what is to be done with `sources`; without a tokenizer, for a look at the rows themselves.

    Args:
        data: how rows become tokens.
        sources: which rows.
        stage: which tokens carry a loss.
        tokenizer: makes ids.
        config_dir: where relative paths are looked for when the working directory has no such file.
        cache: folder of prepared data.
        augment_seed: seed of the altered copies; None makes none.
        as_they_are: for rows to evaluate on: nothing is repaired, filtered, altered, or looked up among duplicates, or
            a score would be that of another set.
        asks: whether the caller gets the copies that an endpoint writes (`data/copies.py`) before it uses the plan.
        bus: hears of files that are fetched from elsewhere.

    Raises:
        DataError: a source has no files, or its format can't be told.
        ConfigError: the template or a file of `data.clean` can't be found, or an endpoint is wanted where nobody
            asks it; with everything else that the engine can't do, which it tells by itself otherwise.
    """
    sources = plain_sources(sources, config_dir)
    names = names_of(sources)
    ids = None if tokenizer is None else proof.proof(tokenizer, cache)
    located = [_located(source, config_dir, cache, bus) for source in sources]
    origins = tuple(found.origin for found in located)
    plan: dict[str, Any] = {
        "sources": [
            {
                "name": name,
                "path": found.path,
                "files": found.files,
                "encoding": source.encoding,
                "format": None if source.format is None else source.format.mapping(),
                "rows": source.rows,
                "ignore": source.ignore,
            }
            for name, source, found in zip(names, sources, located, strict=True)
        ],
        "rows": stage.rows,
        "tokenizer": {
            "file": str(tokenizer.folder / "tokenizer.json"),
            "kept": str(proof.folder(cache)),
            "key": tokenizer.key if ids.reason is None else f"{tokenizer.key} by the library",
            "own": ids.reason is None,
            "vocab_size": tokenizer.vocab_size,
            "special_tokens": dict(tokenizer.special_tokens),
        }
        if tokenizer is not None and ids is not None
        else {"file": "", "key": "", "vocab_size": 0},
        "encode": {
            "train_on": stage.train_on(),
            "needs_target": stage.learns,
            "special_in_text": data.special_in_text,
            "thinking": data.thinking,
            "append_eos_to_text": tokenizer is not None and tokenizer.eos_id is not None,
            "add_bos_to_text": False,
        },
        "max_length": data.max_length,
        "truncate": data.truncate,
        "fail_on_bad": data.on_bad == "fail",
        "threads": data.threads,
        "clean": None if as_they_are else clean_plan(data.clean, data.decontaminate, config_dir),
        "dedup": None if as_they_are or data.dedup is None else data.dedup.plan(),
        "cache": str(cache),
    }
    if tokenizer is None:
        return EnginePlan(json.dumps(plan), None, names, make_mix(data, sources), None, origins=origins)
    problems = [] if as_they_are else cleaning_file_problems(data.clean, data.decontaminate, config_dir)
    looks = json.loads(engine().looks(json.dumps(plan)))
    kinds = {look["format"]["kind"] for look in looks}
    unused = not_ignored(names, sources, [look["unused"] for look in looks])
    fallback, slow_template = None, None
    if kinds - {"text"}:
        try:
            fallback, slow_template = _add_template(plan, data, tokenizer, config_dir, cache)
        except ConfigError as error:
            problems += error.problems
    if "text" in kinds:
        plan["encode"]["add_bos_to_text"] = tokenizer.bos_id is not None and adds_bos(tokenizer)
    if augment_seed is not None and data.augment and not as_they_are:
        problems += roles_of_nothing(data.augment) if kinds == {"text"} else []
        problems += [] if asks else endpoints_unasked(data.augment)
        plan["augment"] = augment_plan(data.augment, augment_seed, plan["tokenizer"]["special_tokens"], config_dir)
    if problems:
        known = {problem.key for problem in problems}
        tried = trial(plan["clean"], plan.get("augment"))
        raise ConfigError([*problems, *(problem for problem in tried if problem.key not in known)])
    return EnginePlan(json.dumps(plan), fallback, names, make_mix(data, sources), slow_template, unused, origins, ids)


def _located(source: SourceConfig, config_dir: Path | None, cache: Path, bus: Bus | None) -> Located:
    if urls.is_elsewhere(source.path):
        return localize(source, cache=cache, bus=bus)
    path = locate(source.path, config_dir)
    if "[" in str(path) and not path.exists() and not (_is_pattern(path) and matches(Path(path.anchor), str(path))):
        raise DataError(f"`{source.path}`: `[...]` is no part of a pattern here", hint=BRACKETS, code="data.source")
    if path.is_dir():
        tell_left_out(path, bus)
    return Located(str(path))


def plain_sources(sources: Sequence[SourceConfig], config_dir: Path | None) -> list[SourceConfig]:
    """The sources with the datasets of a `dataset_info.json` in their places.

    Raises:
        DataError: a dataset is not there, or can't be used.
    """
    plain: list[SourceConfig] = []
    for source in sources:
        if source.dataset is None and Path(source.path).name != dataset_info.FILE_NAME:
            plain.append(source)
        elif urls.is_elsewhere(source.path):
            said = f"`{source.path}`: a {dataset_info.FILE_NAME} is read from this machine only"
            hint = "download it; the datasets that it names may be elsewhere"
            raise DataError(said, hint=hint, code="data.dataset-info")
        else:
            plain += dataset_info.expand(source, locate(source.path, config_dir))
    return plain


def not_ignored(
    names: Sequence[str], sources: Sequence[SourceConfig], unused: Sequence[Sequence[str]]
) -> dict[str, list[str]]:
    """The unused columns to tell of, by source: those that its `ignore` does not name."""
    found = {}
    for name, source, columns in zip(names, sources, unused, strict=True):
        left = [] if "*" in source.ignore else [column for column in columns if column not in source.ignore]
        if left:
            found[name] = left
    return found


def make_mix(data: DataConfig, sources: Sequence[SourceConfig]) -> dict[str, Any]:
    """How sources become one order; empty when each row of each is used once."""
    mix: dict[str, Any] = {}
    if any(source.repeat > 1 for source in sources):
        mix["repeats"] = [source.repeat for source in sources]
    if data.mixing != "concat":
        weights = [1.0 if source.weight is None else source.weight for source in sources]
        mix |= {"mixing": data.mixing, "weights": weights, "temperature": data.temperature}
    return mix


def augment_plan(
    tables: Sequence[Augmentation], seed: int, special_tokens: Mapping[str, str], config_dir: Path | None
) -> dict[str, Any]:
    """The tables that the engine serves; numbers of copies run through all of them, those of endpoints too.

    `derived` is for the files of copies that endpoints wrote, see `data/copies.py`.
    """
    ops: list[dict[str, Any]] = []
    for index, (first, table) in enumerate(numbered(tables)):
        if isinstance(table, EndpointAugmentation):
            continue
        op = {"kind": table.kind, "first": first, **table.model_dump()}
        if index != len(ops):
            op["table"] = index  # an endpoint's table stands before it
        if op.get("dictionary"):
            op["dictionary"] = str(locate(op["dictionary"], config_dir))
        ops.append(op)
    control = [text for text in special_tokens.values() if isinstance(text, str)]
    return {"seed": seed & (2**64 - 1), "control": control, "ops": ops, "derived": []}


def roles_of_nothing(tables: Sequence[Augmentation]) -> list[Problem]:
    """Roles that plain text does not have: nothing would be altered."""
    return [
        Problem(
            "data.no-such-role",
            f"data.augment.{index}.roles",
            f"`data.augment.{index}`: the rows are plain text, so there is nothing of {' or '.join(table.roles)} to alter",
            'set `roles = ["text"]`',
        )
        for index, table in enumerate(tables)
        if "text" not in table.roles
    ]


def endpoints_unasked(tables: Sequence[Augmentation]) -> list[Problem]:
    """Tables that would do nothing, as nobody asks their endpoints."""
    return [
        Problem(
            "data.endpoint-needs-prepare",
            f"data.augment.{index}.kind",
            f"`data.augment.{index}`: `{table.kind}` asks an endpoint, which one process does before it makes tokens; "
            "shards, Ray and `data.streaming` do not ask",
            "use `fastft data prepare` on one machine, or leave the table out",
        )
        for index, table in enumerate(tables)
        if isinstance(table, EndpointAugmentation)
    ]


def numbered(tables: Sequence[Augmentation]) -> list[tuple[int, Augmentation]]:
    """Each table with the number of its first copy, from 1."""
    firsts = [1 + sum(table.copies for table in tables[:index]) for index in range(len(tables))]
    return list(zip(firsts, tables, strict=True))


def locate(path: str, config_dir: Path | None) -> Path:
    """A path of the config: from the working directory if it exists there, else from the config's folder."""
    here = Path(path).expanduser()
    if here.is_absolute() or config_dir is None or here.exists():
        return here
    return here if _is_pattern(here) and matches(Path(), path) else config_dir / here


def _is_pattern(path: Path) -> bool:
    return any(letter in str(path) for letter in "*?")


def names_of(sources: Sequence[SourceConfig]) -> tuple[str, ...]:
    """What reports call the sources.

    A pattern that would be called as one before it is called by more of its folders; other equal names get numbers.
    """
    names: list[str] = []
    for source in sources:
        wanted = [source.name] if source.name else names_by_path(source.path)
        name = next((each for each in wanted if each not in names), wanted[0])
        first, number = name, 2
        while name in names:
            name, number = f"{first}-{number}", number + 1
        names.append(name)
    return tuple(names)


def _add_template(
    plan: dict[str, Any], data: DataConfig, tokenizer: TokenizerFiles, config_dir: Path | None, cache: Path
) -> tuple[Callable[[str], str] | None, str | None]:
    from fastft.data import templates

    chosen = templates.choose(data.template, tokenizer, config_dir=config_dir, cache=cache)
    plan["tokenizer"] |= {
        "template": chosen.source,
        "template_key": chosen.key,
        "special_tokens": dict(chosen.special_tokens),
    }
    plan["encode"]["today"] = chosen.today
    return chosen.fallback, chosen.reason if chosen.rendered_by == "python" else None


def adds_bos(tokenizer: TokenizerFiles) -> bool:
    """Whether the tokenizer itself puts its BOS token before a text."""
    text = (tokenizer.folder / "tokenizer.json").read_text("utf-8")
    found = _PROCESSOR.search(text)
    if found is None:
        return False
    processor, _ = json.JSONDecoder().raw_decode(text, found.end())
    return _starts_with(processor, tokenizer.special_tokens.get("bos_token"))


def _starts_with(processor: Any, bos: str | None) -> bool:
    if not isinstance(processor, dict) or bos is None:
        return False
    if processor.get("type") == "Sequence":
        return any(_starts_with(part, bos) for part in processor.get("processors", []))
    if processor.get("type") in ("RobertaProcessing", "BertProcessing"):
        return bool(processor["cls"][0] == bos)
    first = (processor.get("single") or [{}])[0]
    return isinstance(first, dict) and first.get("SpecialToken", {}).get("id") == bos
