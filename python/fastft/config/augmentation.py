"""What all kinds of `[[data.augment]]` share; the kinds themselves stand in `data/augmentations/`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fastft.config.section import Member
from fastft.core.errors import Problem
from fastft.core.registry import Registry

if TYPE_CHECKING:
    from fastft.config.schema import RunConfig

AUGMENTATIONS: Registry[type[Augmentation]] = Registry("augmentation", "fastft.data.augmentations")

Role = Literal["system", "user", "assistant", "reasoning", "tool", "text"]


class Augmentation(Member):
    """Altered copies of training rows."""

    family: ClassVar[Registry[Any]] = AUGMENTATIONS
    copies: Annotated[int, Field(ge=1, le=100)] = 1
    """How many copies are made of a row; the row itself stays."""
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Part of the rows that get each of these copies."""
    roles: Annotated[list[Role], Field(min_length=1)] = Field(default=["user"])
    """Whose texts are altered; `text` is plain text. Code, links, numbers and placeholders in them stay."""

    def conflicts(self, run: RunConfig) -> Iterable[Problem]:
        """See `Member.conflicts`."""
        if "assistant" in self.roles and self.learns_errors() and run.stage.train_on() != "all":
            place = next(index for index, member in enumerate(run.data.augment) if member is self)
            yield Problem(
                "data.learns-noise",
                f"data.augment.{place}.roles",
                f"`{self.kind}` makes errors in the assistant's answers, which the model would learn to make",
                "leave `assistant` out of `roles`",
            )

    def learns_errors(self) -> bool:
        """Whether a copy is worse than its row, so that nobody should learn to answer like it."""
        return False


class EndpointAugmentation(Augmentation):
    """Copies that a language model writes, asked through an endpoint that speaks OpenAI's API."""

    endpoint: Annotated[str, Field(pattern=r"^https?://")]
    """Address up to and with `/v1`."""
    model: str
    """Name of the model there."""
    key: str | None = None
    """Name of the environment variable that holds the API key; absent asks without one."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """How freely the model writes."""
    max_tokens: Annotated[int, Field(gt=0)] = 2048
    """Tokens of the longest answer; a cut one is rejected."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Requests that are under way at a time."""
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    """How often a request is sent again that failed for the moment; waits double, `Retry-After` is kept."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that an answer may take."""
    max_requests: Annotated[int | None, Field(ge=1)] = None
    """End with an error rather than send more requests than this; answers got so far are kept."""
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.5
    """End with an error when more than this part of the answers can't be used."""
    prompt: str = "{text}"
    """What the model is asked."""

    def steps(self, variant: int) -> list[str | None]:
        """The languages that a text goes through, one request each; None stays in its own."""
        return [None]

    @model_validator(mode="after")
    def _asks_something(self) -> EndpointAugmentation:
        if "{text}" not in self.prompt:
            raise ValueError("`prompt` has no `{text}`, so the model would not see the text")
        return self
