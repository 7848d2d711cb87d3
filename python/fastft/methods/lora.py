"""LoRA: train a low-rank update of chosen linear layers.

    y = x W^T + (alpha / r) (x A^T) B^T,    A: (r, in), B: (out, r), B starts at 0

Hu et al. 2021, https://arxiv.org/abs/2106.09685. `rslora` divides by sqrt(r) instead
(Kalajdzievski 2023, https://arxiv.org/abs/2312.03732). `dora` adds a trained length for each row of
the adapted weight (Liu et al. 2024, https://arxiv.org/abs/2402.09353). The adapter is PEFT's, in PEFT's file
format; its weights are held in float32 whatever the base is held in.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from fastft.config.kinds import Method
from fastft.core.errors import ModelError
from fastft.core.registry import closest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def _targets(value: Any) -> Any:
    """Refuse what is neither, in one message rather than one for each side of the union."""
    names = isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(name, str) for name in value)
    if value != "all-linear" and not names:
        raise ValueError(f'expected "all-linear" or a list of module names, got {value!r}')
    return value


class LoRA(Method, kind="lora"):
    """Train a low-rank update of chosen linear layers."""

    saves: ClassVar[Literal["adapter", "model"]] = "adapter"

    rank: Annotated[int, Field(gt=0)] = 16
    """Width r of the update."""
    alpha: Annotated[int, Field(gt=0)] = 32
    """Scale of the update; the effective factor is alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on x before A."""
    targets: Annotated[list[str] | Literal["all-linear"], BeforeValidator(_targets)] = "all-linear"
    """Names of the linear layers to adapt, or `all-linear`: every one but the output head."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank)."""
    dora: bool = False
    """Train the lengths of the adapted weight's rows apart from their directions (DoRA)."""

    def attach(self, model: PreTrainedModel) -> nn.Module:
        """Wrap the model in a PEFT model whose adapter alone is trainable.

        Raises:
            ModelError: when `targets` names a layer that the model does not have, or its output head.
        """
        from peft import LoraConfig, get_peft_model

        from fastft.methods._fused_lora import fuse, group

        if self.targets != "all-linear":
            self._check_targets(model)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.targets,
            use_rslora=self.rslora,
            use_dora=self.dora,
            task_type="CAUSAL_LM",
        )
        fuse(config, model)
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5 by the old name; remove when peft has moved to the new one
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            adapted = get_peft_model(model, config)
        group(adapted)
        return adapted

    def _check_targets(self, model: PreTrainedModel) -> None:
        """PEFT takes a list of which one name matches nothing; a typo must not train less in silence."""
        modules = [name for name, module in model.named_modules() if name and not list(module.children())]
        leaves = sorted({name.rsplit(".", 1)[-1] for name in modules})
        output: object = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        head = next((name for name, module in model.named_modules() if module is output), None)
        for target in self.targets:
            if head is not None and (head == target or head.endswith(f".{target}")):
                raise ModelError(
                    f"`method.targets`: `{target}` is the output head, whose weight the loss reads without an adapter",
                    hint="leave it out",
                    code="method.head-adapted",
                )
            if not any(name == target or name.endswith(f".{target}") for name in modules):
                near = closest(target, leaves)
                hint = f"did you mean `{near}`?" if near else f"its layers: {', '.join(leaves)}"
                raise ModelError(
                    f"`method.targets`: the model has no layer called `{target}`",
                    hint=hint,
                    code="method.no-such-layer",
                )
