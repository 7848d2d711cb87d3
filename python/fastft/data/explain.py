"""Why two stores have different keys: what their keys are made of, side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.data.copies import with_known_copies
from fastft.data.engine import engine
from fastft.data.plan import make_plan

if TYPE_CHECKING:
    from fastft.config.kinds import Stage, TokenizerFiles
    from fastft.config.schema import DataConfig

Fields = dict[str, str]
"""What a key is made of, by name; long values are digests."""


@dataclass(frozen=True)
class Difference:
    """A field in which two keys differ; None where one has none of that name."""

    name: str
    one: str | None
    two: str | None


def fields_of_store(folder: Path) -> Fields:
    """What the key of a prepared store was made of.

    Raises:
        DataError: the folder is no store.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        return dict(manifest["key_fields"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"`{folder}` is no prepared store of this version",
            hint="`fastft data prepare` makes one; a config or a run may be named as well",
            code="data.store",
        ) from error


def fields_of_config(
    data: DataConfig, stage: Stage, tokenizer: TokenizerFiles, *, seed: int, config_dir: Path, cache: Path | None = None
) -> Fields:
    """What the key of the training data of a config is made of; the files are hashed unless that is known.

    Raises:
        DataError: a source can't be used.
        ConfigError: the template can't be found.
    """
    cache, chosen = cache or paths.cache_folder(), data.chosen_seed(seed)
    options: dict[str, Any] = {"config_dir": config_dir, "cache": cache, "augment_seed": chosen, "asks": True}
    plan = make_plan(data, data.train, stage, tokenizer, **options)
    plan = with_known_copies(plan, data, seed=chosen, cache=cache)
    return dict(json.loads(engine().plan_key(plan.json)[1]))


def differences(one: Fields, two: Fields) -> list[Difference]:
    """Fields that are not the same, in the order of the first, then those that only the second has."""
    names = [*one, *(name for name in two if name not in one)]
    return [Difference(name, one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)]
