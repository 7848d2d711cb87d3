"""Data: from sources to batches. The work is done by the Rust engine (`rust/`).

prepare             sources -> token stores, with books of what became of each row
Batches             one rank's batches, step after step
evaluation_batches  every evaluation row once
preview             rows as the model will be shown them
"""

from __future__ import annotations

from fastft.data.dataset import Batches, TokenStore, evaluation_batches
from fastft.data.inspect import PreviewRow, preview
from fastft.data.prepare import Prepared, prepare

__all__ = ["Batches", "Prepared", "PreviewRow", "TokenStore", "evaluation_batches", "prepare", "preview"]
