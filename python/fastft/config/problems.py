"""pydantic's errors as `Problem`s: in a user's words, with the place and a way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastft.config.dump import toml_value
from fastft.config.fields import class_at, docs, keys, or_list
from fastft.config.schema import RunConfig
from fastft.config.toml import Path, Spot, dotted
from fastft.core.errors import Origin, Problem
from fastft.core.registry import closest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from fastft.config.section import Section

# What other tools call a thing, where the word alone would not be found by likeness.
_KNOWN_ELSEWHERE = {
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "model_name_or_path": "model.path",
    "lora_rank": "method.rank",
    "lora_r": "method.rank",
    "lora_alpha": "method.alpha",
    "lora_dropout": "method.dropout",
    "lora_target": "method.targets",
    "target_modules": "method.targets",
    "finetuning_type": "method.kind",
    "cutoff_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "dataset": "data.train",
    "per_device_train_batch_size": "batch.micro",
    "gradient_accumulation_steps": "batch.tokens",
    "gradient_checkpointing": "model.recompute",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "eval_steps": "eval.every",
    "val_size": "eval.fraction",
    "warmup_ratio": "schedule.warmup",
    "warmup_steps": "schedule.warmup",
    "lr_scheduler_type": "schedule.kind",
    "logging_steps": "log.every",
    "report_to": "log.tensorboard",
    "quantization_bit": "model.quantize",
    "load_in_4bit": "model.quantize",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
}


def problem_of(error: ErrorDetails, tree: dict[str, Any], spots: Mapping[Path, Spot]) -> tuple[Problem, Path]:
    """One error of pydantic, translated, and the path that it is about.

    Args:
        error: as `ValidationError.errors()` gives it.
        tree: the merged config that was refused.
        spots: where each path of `tree` was written.
    """
    path: Path = error["loc"]
    key = dotted(path)
    context = error.get("ctx") or {}
    at_value = _origin(path, spots)
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(path, tree, spots), path
        case "missing" if isinstance(path[-1], int):  # an element of a list of fixed length
            where = path[:-1]
            table = class_at(RunConfig, where[:-1], tree)
            expected = keys(table)[str(where[-1])].type_name if table and str(where[-1]) in keys(table) else "more"
            message = f"`{dotted(where)}`: expected a {expected}, got {toml_text(error['input'])}"
            return Problem("config.invalid-value", dotted(where), message, None, _origin(where, spots)), where
        case "missing":
            return _missing(path, tree, spots), path
        case "kind_missing":
            hint = f'add `kind = "..."`: {_words(context["kinds"])}'
            return Problem("config.missing-kind", key, f"`{key}` has no `kind`", hint, at_value), path
        case "kind_unknown":
            kinds, kind = context["kinds"], context["kind"]
            near = closest(kind, kinds)
            nearest = f'did you mean `kind = "{near}"`?' if near else f"there is {_words(kinds)}"
            where = (*path, "kind") if (*path, "kind") in spots else path
            missing = f"`{key}`: no {context['noun']} is called `{kind}`"
            return Problem("config.unknown-kind", f"{key}.kind", missing, nearest, _origin(where, spots)), path
        case "literal_error":
            return _not_a_choice(path, error, context, at_value), path
        case "list_type" if _is_list_of_tables(path, tree):
            entry = f"[[{key}]]" if isinstance(error["input"], dict) else f'{{ path = "{error["input"]}" }}'
            hint = f"write `{entry}` for each" if isinstance(error["input"], dict) else f"write `{key} = [{entry}]`"
            return Problem("config.invalid-value", key, f"`{key}` is a list of tables", hint, at_value), path
        case "model_type" | "model_attributes_type" | "table_expected":
            said = f"`{key}` is a table, got {toml_text(error['input'])}"
            return Problem("config.invalid-value", key, said, _keys_hint(path, tree), at_value), path
        case "value_error" | "assertion_error":
            said = error["msg"].partition(", ")[2]
            said = f"`{key}`: {said}" if key else said
            return Problem("config.invalid-value", key or None, said, None, at_value), path
        case _:
            said = error["msg"][:1].lower() + error["msg"][1:]
            message = f"`{key}`: {said}, got {toml_text(error['input'])}"
            written = _type_hint(error["type"], path, error["input"], at_value)
            return Problem("config.invalid-value", key, message, written, at_value), path


def toml_text(value: Any) -> str:
    """A value as it would stand in the file, cut when it is long."""
    text = "a table" if isinstance(value, dict) else toml_value(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_key(path: Path, tree: dict[str, Any], spots: Mapping[Path, Spot]) -> Problem:
    *parents, name = path
    table = class_at(RunConfig, tuple(parents), tree)
    within = f"`{dotted(tuple(parents))}`" if parents else "a config"
    value = tree
    for part in parents:
        value = value[part]  # type: ignore[index]
    kind = value.get("kind") if parents and isinstance(value, dict) else None
    if isinstance(kind, str):
        within += f" of kind `{kind}`" if _stale(path, spots) else ""
    origin = spots[path].key if path in spots else None
    message = f"{within} has no key `{name}`"
    hint = _stale_hint(path, kind, spots) or _nearest_hint(str(name), tuple(parents), table, tree)
    return Problem("config.unknown-key", dotted(path), message, hint, origin)


def _stale(path: Path, spots: Mapping[Path, Spot]) -> bool:
    """Whether the table's `kind` was replaced on the command line, and this key by nobody."""
    chosen = spots.get((*path[:-1], "kind"))
    written = spots.get(path)
    return bool(
        chosen and written and chosen.key.source.startswith("--set ") and not written.key.source.startswith("--set ")
    )


def _stale_hint(path: Path, kind: Any, spots: Mapping[Path, Spot]) -> str | None:
    if not _stale(path, spots):
        return None
    table = dotted(path[:-1])
    return f"the key belongs to another kind; replace the whole table: --set '{table}={{kind=\"{kind}\"}}'"


def _nearest_hint(name: str, parents: Path, table: type[Section] | None, tree: dict[str, Any]) -> str | None:
    here = [*keys(table)] if table is not None else []
    if known := _KNOWN_ELSEWHERE.get(name):
        return f"did you mean `{known}`?"
    if table is not None and (near := closest(name, here)):
        return f"did you mean `{near}`?"
    if elsewhere := _places(name, tree):
        return f"did you mean {or_list([f'`{place}`' for place in elsewhere[:3]])}?"
    if not here:
        return "it has no keys but `kind`" if parents else None
    return f"its keys: {', '.join(here)}"


def _places(name: str, tree: dict[str, Any]) -> list[str]:
    """Tables one level down that have a key of exactly this name."""
    found = [name] if name in keys(RunConfig) else []
    for top in keys(RunConfig):
        table = class_at(RunConfig, (top,), tree)
        if table is not None and name in keys(table):
            found.append(f"{top}.{name}")
    return found


def _missing(path: Path, tree: dict[str, Any], spots: Mapping[Path, Spot]) -> Problem:
    *parents, name = path
    table = class_at(RunConfig, tuple(parents), tree) or RunConfig
    key = keys(table)[str(name)]
    doc = docs(table).get(str(name), "").split(". ")[0].rstrip(".")
    if key.one_of is not None:
        header = f"[[{dotted(path)}]]" if key.is_list else f"[{dotted(path)}]"
        add = f"`{header}` with a `kind`: {_words(key.one_of.family.names())}"
    elif key.section is not None:
        add = f"`[[{dotted(path)}]]`" if key.is_list else f"`[{dotted(path)}]`"
    else:
        add = f"`{name} = ...`, {key.type_name}"
    message = f"`{dotted(tuple(parents))}` has no `{name}`" if parents else f"the config has no `{name}`"
    hint = f"add {add}" if key.one_of is not None or not doc else f"add {add}: {doc[:1].lower() + doc[1:]}"
    origin = next((spots[tuple(path[:n])].key for n in range(len(path) - 1, 0, -1) if tuple(path[:n]) in spots), None)
    return Problem("config.missing-key", dotted(path), message, hint, origin)


def _not_a_choice(path: Path, error: ErrorDetails, context: Mapping[str, Any], origin: Origin | None) -> Problem:
    choices = [part.strip("'") for part in context["expected"].replace(" or ", ", ").split(", ")]
    near = closest(error["input"], choices) if isinstance(error["input"], str) else None
    hint = f'did you mean "{near}"?' if near else None
    expected = or_list([f'"{choice}"' for choice in choices])
    said = f"`{dotted(path)}`: input should be {expected}, got {toml_text(error['input'])}"
    return Problem("config.invalid-value", dotted(path), said, hint, origin)


def _type_hint(kind: str, path: Path, value: Any, origin: Origin | None) -> str | None:
    """For a value of the wrong type, how the right one is written."""
    name = path[-1]
    if kind == "string_pattern_mismatch" and path == ("name",):
        return "letters, digits, `.`, `_` and `-`, and a letter or digit first"
    on_command_line = origin is not None and origin.source.startswith("--set ")
    if kind == "string_type" and isinstance(value, int | float):
        text = json.dumps(value)
        return (
            f"--set '{dotted(path)}=\"{text}\"'" if on_command_line else f'text stands in quotes: `{name} = "{text}"`'
        )
    if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        bare = value.strip().lower()
        if kind == "bool_type" and bare in ("true", "false", "yes", "no", "on", "off"):
            return f"write `{name} = {'true' if bare in ('true', 'yes', 'on') else 'false'}`"
        if bare.replace("_", "").replace(".", "").replace("e-", "").replace("-", "").isdigit():
            return f"a number stands without quotes: `{name} = {bare}`"
    if kind == "bool_type" and value in (0, 1):
        return f"write `{name} = {'true' if value else 'false'}`"
    if kind == "int_type" and isinstance(value, float) and value == int(value):
        return f"write `{name} = {int(value)}`"
    return None


def _keys_hint(path: Path, tree: dict[str, Any]) -> str | None:
    parent = class_at(RunConfig, path[:-1], tree)
    key = keys(parent).get(str(path[-1])) if parent is not None and path else None
    if key is None and len(path) > 1 and isinstance(path[-1], int):
        return f"write `[[{dotted(path[:-1])}]]` and its keys below, or `{{ path = ... }}` in the list"
    if key is not None and key.one_of is not None:
        return f'write `[{dotted(path)}]` and `kind = "..."` below it: {_words(key.one_of.family.names())}'
    return f"write `[{dotted(path)}]` and its keys below" if key is not None else None


def _is_list_of_tables(path: Path, tree: dict[str, Any]) -> bool:
    table = class_at(RunConfig, path[:-1], tree)
    return table is not None and str(path[-1]) in keys(table) and keys(table)[str(path[-1])].is_list


def _origin(path: Path, spots: Mapping[Path, Spot]) -> Origin | None:
    """Where the value stands, or the nearest table round it."""
    for length in range(len(path), 0, -1):
        spot = spots.get(path[:length])
        if spot is not None:
            return spot.value if length == len(path) else spot.key
    return None


def _words(kinds: list[str]) -> str:
    return ", ".join(f"`{kind}`" for kind in kinds) if kinds else "none installed"
