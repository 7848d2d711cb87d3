"""Print the completion script of a shell."""

from __future__ import annotations

import click

from fastft.cli import console
from fastft.core import env

_SHELLS = ["bash", "zsh", "fish"]


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
def command(shell: str | None) -> None:
    r"""Print the completion script of a shell.

    \b
    bash:  fastft completion bash >> ~/.bashrc
    zsh:   fastft completion zsh >> ~/.zshrc
    fish:  fastft completion fish > ~/.config/fish/completions/fastft.fish
    """
    from click.shell_completion import get_completion_class

    from fastft.cli.main import cli

    shell = shell or (env.get("SHELL") or "").rpartition("/")[2]
    maker = get_completion_class(shell) if shell in _SHELLS else None
    if maker is None:
        raise click.UsageError(f"name a shell: {', '.join(_SHELLS)}")
    console.out(maker(cli, {}, "fastft", "_FASTFT_COMPLETE").source().strip())
