"""`fastft data`: check what is learnt from, see it, prepare it."""

from __future__ import annotations

import click

from fastft.cli.lazy import LazyGroup

COMMANDS = {
    "check": ("check", "Tell every row that can't be used, each with its place."),
    "preview": ("preview", "Show rows as the model gets them, and which tokens carry a loss."),
    "stats": ("stats", "Say how much there is, how long rows are, and what is cut."),
    "prepare": ("prepare", "Make tokens of the rows, or find those made before."),
    "clean": ("clean", "Write the rows that cleaning keeps, and why the others went."),
    "dedup": ("dedup", "Write the rows without duplicates, and of which the others are."),
    "mix": ("mix", "Show what an epoch is made of, and in which order."),
    "plan": ("plan", "Plan a preparation that several machines share."),
    "run": ("run", "Do one shard of what was planned."),
    "commit": ("commit", "Make one store of what the shards have done."),
    "export": ("export", "Write prepared rows as files of other tools."),
    "explain-key": ("explain_key", "Say why two configs, stores or runs have different data keys."),
    "templates": ("templates", "List the built-in chat templates, or print one."),
}
"""Command -> its module in this package, and its line in `fastft data --help`."""

_HELP = """Check, see and prepare what the model learns from.

\b
fastft data check my.toml       what is wrong, and where
fastft data preview my.toml     what the model will be shown
fastft data stats my.toml       how much there is, and what is cut
"""


@click.command("data", cls=LazyGroup, table=COMMANDS, package=__name__, help=_HELP)
def command() -> None:
    """Check, see and prepare what the model learns from."""
