"""Arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Config keys that begin with what is typed."""
    from click.shell_completion import CompletionItem

    from fastft.config.explain import entries

    end = "=" if param.name == "overrides" else ""
    return [
        CompletionItem(entry.path + end, help=entry.doc) for entry in entries() if entry.path.startswith(incomplete)
    ]


def config_argument(command: F) -> F:
    """The config's path. That it is there is `load`'s to say, with a hint."""
    return click.argument("config", type=click.Path(path_type=Path))(command)


def set_option(command: F) -> F:
    """Repeatable `--set KEY=VALUE`."""
    return click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        shell_complete=complete_key,
        help="Change a key: --set optimizer.lr=2e-4. The value is TOML or a bare word; an empty one takes the key"
        " away; tables are replaced whole: --set 'stage={kind=\"sft\"}'. Repeatable.",
    )(command)


def json_option(command: F) -> F:
    """`--json` on what is read."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)
