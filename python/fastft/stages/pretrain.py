"""Continued pre-training: predict every token of plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from fastft.config.kinds import Stage

if TYPE_CHECKING:
    from fastft.config.kinds import Objective, Parts


class Pretrain(Stage, kind="pretrain"):
    """Learn to go on with plain text."""

    rows: ClassVar[Literal["conversation", "text"]] = "text"

    def train_on(self) -> str:
        """Every token carries a loss."""
        return "all"

    def objective(self, parts: Parts) -> Objective:
        """Cross entropy of every token."""
        from fastft.stages._causal import CausalObjective

        return CausalObjective(parts.model)
