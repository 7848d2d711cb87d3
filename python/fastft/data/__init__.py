"""Data: from sources to batches. The work is done by the Rust engine (`rust/`).

prepare             sources -> token stores, with books of what became of each row
Batches             one rank's batches, step after step
load                a config's rows as a torch-compatible, stateful dataset
open_stream         sources -> windows that are made while they are trained on
StreamBatches       one rank's batches in the block order, of a stream or of a store
evaluation_batches  every evaluation row once
preview             rows as the model will be shown them
check               every row that can't be used, with its place
measure             how much there is, how long rows are, what is cut
source              rows of a Python object: a dataset, a table, an open file, dicts
publish             a copy of a token store in a folder of its own
"""

from __future__ import annotations

from fastft.data.check import Finding, check
from fastft.data.dataset import Batches, TokenStore, evaluation_batches
from fastft.data.inspect import PreviewRow, RejectedRow, preview
from fastft.data.ledger import Ledger
from fastft.data.load import load
from fastft.data.objects import source
from fastft.data.prepare import Prepared, prepare
from fastft.data.publish import publish
from fastft.data.stats import Packed, Stats, measure, packed
from fastft.data.stream import BlockOrder, Stream, Streamed, open_stream
from fastft.data.stream_batches import StreamBatches, parts

__all__ = [
    "Batches",
    "BlockOrder",
    "Finding",
    "Ledger",
    "Packed",
    "Prepared",
    "PreviewRow",
    "RejectedRow",
    "Stats",
    "Stream",
    "StreamBatches",
    "Streamed",
    "TokenStore",
    "check",
    "evaluation_batches",
    "load",
    "measure",
    "open_stream",
    "packed",
    "parts",
    "prepare",
    "preview",
    "publish",
    "source",
]
