"""Supervised fine-tuning: predict the answers of given conversations.

    loss = - sum over trained tokens of log p(token | everything before it)

Which tokens are trained is decided where the ids are made (`data/`); the loss is the same as
in pre-training and stands in `_causal.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fastft.config.kinds import Stage
from fastft.core.errors import Problem

if TYPE_CHECKING:
    from fastft.config.kinds import Objective, Parts
    from fastft.config.schema import RunConfig

_TRAIN_ON = {"response": "responses", "last_response": "last_response", "all": "all", "per_message": "per_message"}


class SFT(Stage, kind="sft"):
    """Learn to answer as the conversations do."""

    rows: ClassVar[Literal["conversation", "text"]] = "conversation"

    loss_on: Literal["response", "last_response", "all", "per_message"] = "response"
    """Tokens that carry the loss: every answer, only the last one, the whole conversation, or (`per_message`) exactly
    the messages of which the row says so by `train` or `weight`, which always go before this rule."""

    def train_on(self) -> str:
        """Which tokens carry a loss, in the data engine's words."""
        return _TRAIN_ON[self.loss_on]

    def objective(self, parts: Parts) -> Objective:
        """Cross entropy of the trained tokens."""
        from fastft.stages._causal import CausalObjective

        return CausalObjective(parts.model)

    def conflicts(self, run: RunConfig) -> Iterable[Any]:
        """A conversation can't be cut into pieces that each make sense."""
        if run.data.truncate == "split":
            yield Problem(
                "stage.split-conversation",
                "data.truncate",
                '`truncate = "split"` cuts text into pieces, and `sft` learns from whole conversations',
                hint='use `truncate = "turns"`, which drops the oldest turns, or `stage.kind = "pretrain"`',
            )
