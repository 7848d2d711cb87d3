"""Where the ops of fastft are defined: one `torch.library` namespace, `fastft`.

A module of this package defines its op here once: schema, a reference in plain torch that
serves every device, a fake for tracing. A compiled library (`_load.py`) adds kernels for CPU
or CUDA beside it; what it lacks, the reference answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

NAMESPACE = "fastft"


def define(
    schema: str, *, reference: Callable[..., Any], fake: Callable[..., Any], backend: bool = True
) -> torch._ops.OpOverload:
    """Define one op.

    Args:
        schema: as torch writes it, for example `square(Tensor x) -> Tensor`.
        reference: what the op means, in plain torch, for any device.
        fake: the shapes and dtypes of the results, without data.
        backend: False for an op on no tensor, which has no fake.
    """
    name = f"{NAMESPACE}::{schema.split('(')[0]}"
    torch.library.define(name, schema[schema.index("(") :])
    torch.library.impl(name, "CompositeExplicitAutograd", reference)
    if backend:
        torch.library.register_fake(name, fake)
    return getattr(getattr(torch.ops, NAMESPACE), schema.split("(")[0]).default  # type: ignore[no-any-return]
