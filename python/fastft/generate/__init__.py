"""Text from models: streaming, with a KV cache, greedy or sampled."""

from fastft.generate.stream import Sampling, stop_ids, stream

__all__ = ["Sampling", "stop_ids", "stream"]
