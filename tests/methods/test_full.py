"""Full fine-tuning trains everything, in float32, and refuses quantized weights."""

from __future__ import annotations

import tiny
import torch

from fastft.methods.full import Full


class _Quantized:
    class model:
        class quantize:
            kind = "nf4"


def test_every_weight_is_trained_in_float32():
    model = Full().attach(tiny.model().to(torch.bfloat16))
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_quantized_weights_are_refused():
    (problem,) = Full().conflicts(_Quantized)
    assert problem.key == "model.quantize"
    assert "`nf4`" in problem.message
