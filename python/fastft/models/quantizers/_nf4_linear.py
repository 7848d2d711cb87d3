"""A frozen linear layer whose weight is held in NF4.

    y = x W'^T + b        dx = dy W'        W' = the weight, dequantized

W' lives for the product only, as a whole or strip by strip (`ops/frozen_linear.py`): the backward pass decodes
again, so nothing but the packed form is saved. The weight and the bias receive no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastft.core.errors import UnsupportedError
from fastft.ops import NF4Weight, nf4_matmul_small, nf4_quantize
from fastft.ops.frozen_linear import frozen_linear, frozen_linear_bwd, parts_of
from fastft.ops.nf4_matmul_small import LIMIT

_STATISTICS = ("absmax", "nested", "offset")


class NF4Linear(nn.Linear):
    """`nn.Linear` over packed weights; PEFT's LoRA wraps it as any other.

    Attributes:
        weight: the packed bytes, ((in * out + 1) // 2, 1) uint8, no gradient.
        absmax, nested, offset: as `NF4Weight`; they keep their dtype when the model is cast.
    """

    absmax: Tensor
    nested: Tensor | None
    offset: Tensor | None

    def __init__(self, weight: NF4Weight, bias: Tensor | None) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would allocate the full weight
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(weight.packed, requires_grad=False)
        # A parameter stays the same one: a loader may have marked it.
        kept = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)
        self.register_parameter("bias", kept)
        if kept is not None:
            kept.requires_grad_(False)
        self.blocksize = weight.blocksize
        self.dtype = weight.dtype
        for name in _STATISTICS:
            self.register_buffer(name, getattr(weight, name))

    @classmethod
    def of(cls, linear: nn.Module, *, blocksize: int = 64, double_quant: bool = True) -> NF4Linear:
        """Quantize a linear layer."""
        assert isinstance(linear, nn.Linear)
        weight = nf4_quantize(linear.weight.detach(), blocksize=blocksize, double_quant=double_quant)
        return cls(weight, linear.bias).train(linear.training)

    def quantized(self) -> NF4Weight:
        """The weight as a value."""
        return NF4Weight(
            packed=self.weight.data,
            absmax=self.absmax,
            nested=self.nested,
            offset=self.offset,
            shape=(self.out_features, self.in_features),
            dtype=self.dtype,
            blocksize=self.blocksize,
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name that nn.Linear gives it
        """Apply the layer: (..., in) to (..., out), in the dtype of the input."""
        if not (torch.is_grad_enabled() and input.requires_grad) and input.numel() <= LIMIT * self.in_features:
            return nf4_matmul_small(input, self.quantized(), bias=self.bias)
        result: Tensor = _Product.apply(input, self.quantized(), self.bias)  # type: ignore[no-untyped-call]
        return result

    def extra_repr(self) -> str:
        """What `print` shows in brackets."""
        return f"{super().extra_repr()}, nf4, blocksize={self.blocksize}, double_quant={self.nested is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NF4Linear:
        before = {name: self._buffers[name] for name in _STATISTICS}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)  # a rounded scale would be another weight
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for key, tensor in self.quantized().state_dict().items():
            destination[f"{prefix}weight.{key}" if key else f"{prefix}weight"] = tensor
        if self.bias is not None:
            destination[f"{prefix}bias"] = self.bias if keep_vars else self.bias.detach()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = f"{prefix}weight"
        parts = {key[len(own) :].removeprefix("."): state_dict[key] for key in state_dict if _belongs(key, own)}
        if not parts:
            missing_keys.append(own)
            return
        weight = NF4Weight.from_state_dict(parts).to(self.weight.device)
        if weight.shape != (self.out_features, self.in_features):
            raise UnsupportedError(f"`{own}` is {weight.shape}, not {(self.out_features, self.in_features)}")
        self.weight.data = weight.packed
        self.blocksize, self.dtype = weight.blocksize, weight.dtype
        for name in _STATISTICS:
            self._buffers[name] = getattr(weight, name)
        if self.bias is not None:
            self.bias.data.copy_(state_dict[f"{prefix}bias"])


def _belongs(key: str, own: str) -> bool:
    return key == own or key.startswith(f"{own}.")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: NF4Weight, bias: Tensor | None) -> Tensor:
        ctx.weight, ctx.shape = weight, x.shape
        rows, columns = weight.shape
        x_MK = x.reshape(-1, columns)
        s_M0, b_N0 = x.new_zeros((x_MK.shape[0], 0)), x.new_zeros((rows, 0))  # no low-rank term
        return frozen_linear(x_MK, *parts_of([weight]), bias, s_M0, b_N0, 0.0).view(*x.shape[:-1], rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        (dy,) = grads
        if not ctx.needs_input_grad[0]:
            return None, None, None
        dy_MN = dy.reshape(-1, dy.shape[-1])
        ds_M0, a_0K = dy.new_zeros((dy_MN.shape[0], 0)), dy.new_zeros((0, ctx.weight.shape[1]))
        return frozen_linear_bwd([dy_MN], *parts_of([ctx.weight]), [ds_M0], [a_0K]).view(ctx.shape), None, None
