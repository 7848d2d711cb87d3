"""RMS norm, SwiGLU and rotary positions of a model of transformers through the ops of fastft.

Nothing of transformers is changed. A module is served only if its code is, instruction for instruction,
the code that an op is known to equal (Llama's or Gemma's norm, Llama's MLP with SiLU, Llama's rotation),
which most families share; others stay as they are. Such a module gets a subclass of its own class under
the same name, so weights, names and `isinstance` are what they were. An attention module keeps its forward
pass too, over a copy of its globals in which the rotation is ours.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor, nn
from transformers.activations import SiLUActivation
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama import modeling_llama as llama

from fastft.ops import rms_norm, rope, swiglu
from fastft.ops.table import has_kernel

_SILU = (nn.SiLU, SiLUActivation)


def fuse(model: nn.Module) -> Counter[str]:
    """Serve what can be served.

    Args:
        model: on its device; its modules' classes are replaced in place.

    Returns:
        Number of modules by op: `rms_norm`, `swiglu`, `rope`; none where no kernel serves the model's device.
    """
    served: Counter[str] = Counter()
    device = next(model.parameters()).device.type.upper()
    for module in model.modules():
        for op, make in ((op, make) for op, make in MAKERS.items() if has_kernel(op, device)):
            fused = make(type(module))
            if fused is not None and (op != "swiglu" or isinstance(module.act_fn, _SILU)):
                module.__class__ = fused
                served[op] += 1
    return served


@functools.cache
def _norm(kind: type[nn.Module]) -> type[nn.Module] | None:
    if _same(kind.forward, llama.LlamaRMSNorm.forward):
        offset, eps = 0.0, "variance_epsilon"
    elif _same(kind.forward, Gemma3RMSNorm.forward) and _same(getattr(kind, "_norm", None), Gemma3RMSNorm._norm):
        offset, eps = 1.0, "eps"
    else:
        return None
    plain = kind.forward

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != self.weight.dtype:
            return plain(self, hidden_states)  # type: ignore[no-any-return]
        return rms_norm(hidden_states, self.weight, eps=getattr(self, eps), offset=offset)

    return _subclass(kind, forward)


@functools.cache
def _mlp(kind: type[nn.Module]) -> type[nn.Module] | None:
    if not _same(kind.forward, llama.LlamaMLP.forward):
        return None

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-any-return]

    return _subclass(kind, forward)


@functools.cache
def _attention(kind: type[nn.Module]) -> type[nn.Module] | None:
    plain = kind.forward
    if not isinstance(plain, FunctionType) or hasattr(plain, "__wrapped__"):
        return None
    rotation: Any = plain.__globals__.get("apply_rotary_pos_emb")
    if "apply_rotary_pos_emb" not in plain.__code__.co_names or not _same(rotation, llama.apply_rotary_pos_emb):
        return None
    if not _same(rotation.__globals__.get("rotate_half"), llama.rotate_half):
        return None
    names = plain.__globals__ | {"apply_rotary_pos_emb": functools.partial(_rotate, rotation)}
    served = FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__, plain.__closure__)
    served.__kwdefaults__ = plain.__kwdefaults__
    return _subclass(kind, served)


def _rotate(
    plain: Callable[..., tuple[Tensor, Tensor]], q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    if unsqueeze_dim != 1 or cos.dim() != 3 or not q.dtype == k.dtype == cos.dtype == sin.dtype:
        return plain(q, k, cos, sin, unsqueeze_dim)
    return rope(q, k, cos, sin)


MAKERS: dict[str, Callable[[Any], type[nn.Module] | None]] = {
    "rms_norm": _norm,
    "swiglu": _mlp,
    "rope": _attention,
}


def _same(one: Any, known: Any) -> bool:
    """Whether a function does what a known one does, names of files and lines aside."""
    return isinstance(one, FunctionType) and _meaning(one.__code__) == _meaning(known.__code__)


def _meaning(code: CodeType) -> tuple[Any, ...]:
    constants = code.co_consts[1:] if code.co_consts and isinstance(code.co_consts[0], str) else code.co_consts
    return code.co_code, code.co_names, code.co_varnames, tuple(c for c in constants if c is not None)


def _subclass(kind: type[nn.Module], forward: Callable[..., Any]) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
