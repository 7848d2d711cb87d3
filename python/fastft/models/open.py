"""A trained model as people name it: a run, a `final` folder, an adapter, or any model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.core.errors import ModelError
from fastft.models.load import read_model
from fastft.models.merge import CONFIG, adapter_config, load_adapter
from fastft.models.resolve import resolve
from fastft.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Place:
    """Where a trained model lies.

    Attributes:
        base: folder of the whole model, or of the one the adapter belongs to.
        adapter: folder of the adapter, None for a whole model.
    """

    base: Path
    adapter: Path | None

    @property
    def tokenizer(self) -> Path:
        """The folder whose tokenizer was trained with."""
        saved = self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file()
        return self.adapter if saved and self.adapter is not None else self.base


@dataclass(frozen=True)
class Opened:
    """A model ready to answer, in evaluation mode; `place` says what it was read from."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    place: Place


def locate(path: str | Path, *, base: str | None = None) -> Place:
    """Find the parts of a trained model.

    Args:
        path: a run's folder, an adapter's, a model's, or a name that `resolve` knows.
        base: the adapter's base model, when it is no longer where the adapter says.

    Raises:
        ModelError: when something is missing, with what to do.
    """
    folder = Path(path).expanduser()
    if (folder / "run.json").is_file() or (folder / "final").is_dir():
        if not (folder / "final").is_dir():
            raise ModelError(
                f"the run in `{folder}` has no result yet: there is no `final` folder",
                hint="go on with it: `fastft train` with the same config and `--out`",
                code="model.unfinished-run",
            )
        folder = folder / "final"
    if not (folder / CONFIG).is_file():
        return Place(resolve(str(path) if not folder.is_dir() else str(folder)), None)
    described = adapter_config(folder)
    name = base or described.get("base_model_name_or_path")
    if not name:
        raise ModelError(f"the adapter in `{folder}` does not say which model it belongs to", code="model.no-base")
    try:
        return Place(resolve(name, None if base else described.get("revision")), folder)
    except ModelError as error:
        raise ModelError(
            f"the base of the adapter in `{folder}` can't be found: {error.message}",
            hint="go to the folder that the run was started in, or give the base's path",
            code=error.code,
        ) from error


def open_trained(path: str | Path, *, device: torch.device, dtype: torch.dtype, base: str | None = None) -> Opened:
    """Read a trained model; an adapter stays an adapter.

    Raises:
        ModelError: as `locate`, or when a file can't be read.
    """
    from torch import nn

    place = locate(path, base=base)
    tokenizer = load_tokenizer(place.tokenizer)
    whole = read_model(place.base, dtype=dtype)
    model: nn.Module = whole if place.adapter is None else load_adapter(whole, place.adapter)
    nn.Module.to(model, device)
    model.train(False)
    return Opened(model, tokenizer, place)
