"""All that a run must remember, as JSON values and named tensors, and back.

    trained.safetensors     the weights that are trained, by name
    optimizer.safetensors   tensors of the optimizer's state; optimizer.json says whose they are
    random.safetensors      random generators of each rank, `<rank>/<name>`
    trainer.json            step, tokens, place in the data, the config

The optimizer's state is keyed by the names of parameters, so it does not depend on their order, and is put
back as it was: `Optimizer.load_state_dict` would cast a float32 state of a bfloat16 weight down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastft.core.errors import DivergedError, ResumeError, UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_ITS_OWN = frozenset({"params", "param_names", "lr", "initial_lr"})
"""Keys of an optimizer's group that come from the config and the schedule, never from a checkpoint."""


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that the run trains, by name, in the model's order; tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def require_finite(weights: Mapping[str, Tensor], step: int) -> None:
    """Refuse to save weights that are not finite.

    Raises:
        DivergedError: naming the first such weight.
    """
    import torch

    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise DivergedError(
                f"after step {step} the weight `{name}` is not finite; it was not saved",
                hint="lower `optimizer.lr`; the checkpoint before this one is whole",
            )


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy saved weights into the model.

    Raises:
        ResumeError: when names or shapes differ.
    """
    import torch

    own = trained(model)
    differing = sorted(set(own) ^ set(tensors)) or sorted(
        name for name, weight in own.items() if weight.shape != tensors[name].shape
    )
    if differing:
        raise ResumeError(
            f"the checkpoint trains other weights than this run: {len(differing)} differ, the first is `{differing[0]}`"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(tensors[name])


def optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The optimizer's state as a JSON value and tensors, by parameter name."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    tensors: dict[str, Tensor] = {}
    entries = {}
    for parameter, values in optimizer.state.items():
        name = names[id(parameter)]
        entries[name] = {key: _pack(value, f"{name}/{key}", tensors) for key, value in values.items()}
    groups = [
        {key: _pack(value, f"group{index}/{key}", tensors) for key, value in group.items() if key not in _ITS_OWN}
        for index, group in enumerate(optimizer.param_groups)
    ]
    return {"state": entries, "groups": groups}, tensors


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    document: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Put back what `optimizer_state` took.

    Raises:
        ResumeError: when it belongs to other parameters or groups.
    """
    unknown = sorted(set(document["state"]) - set(parameters))
    if unknown or len(document["groups"]) != len(optimizer.param_groups):
        raise ResumeError(f"the checkpoint's optimizer holds other parameters{f': `{unknown[0]}`' if unknown else ''}")
    optimizer.state.clear()
    for name, values in document["state"].items():
        parameter = parameters[name]
        optimizer.state[parameter] = {key: _unpack(value, tensors, parameter.device) for key, value in values.items()}
    for group, saved in zip(optimizer.param_groups, document["groups"], strict=True):
        device = group["params"][0].device
        group.update({key: _unpack(value, tensors, device) for key, value in saved.items()})


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """A JSON value for `value`; its tensors go to `tensors`."""
    import torch

    if isinstance(value, torch.Tensor):
        tensors[place] = value
        # AdamW keeps its step counter on the CPU beside moments on the GPU: each goes back to its own place.
        return {"tensor": place, "on": "cpu" if value.device.type == "cpu" else "parameter"}
    if value is None or isinstance(value, bool | int | str):
        return {"value": value}
    if isinstance(value, float):
        return {"float": value.hex()}  # exact, and has a word for infinity
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(item, f"{place}/{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _pack(item, f"{place}/{key}", tensors) for key, item in value.items()}}
    raise UnsupportedError(
        f"the optimizer keeps a {type(value).__name__} (`{place}`), which can't be saved without pickle"
    )


def _unpack(packed: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    match packed:
        case {"tensor": place, "on": where}:
            return tensors[place].clone() if where == "cpu" else tensors[place].to(device, copy=True)
        case {"value": value}:
            return value
        case {"float": text}:
            return float.fromhex(text)
        case {"list": items}:
            return [_unpack(item, tensors, device) for item in items]
        case {"tuple": items}:
            return tuple(_unpack(item, tensors, device) for item in items)
        case {"dict": items}:
            return {key: _unpack(item, tensors, device) for key, item in items.items()}
    raise ResumeError(f"the checkpoint's optimizer state has an unknown form: {packed}")
