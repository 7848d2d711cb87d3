"""Measure this machine against the alternatives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from fastft.cli.options import json_option
from fastft.core import env
from fastft.core.errors import UnsupportedError

BENCHES = {
    "startup": "startup.py",
    "data": "data/bench.py",
    "pack": "data/pack.py",
    "dedup": "data/dedup.py",
    "tokenizer": "tokenizer/bench.py",
    "scale": "data/scale.py",
    "kernels": "kernels.py",
    "train_step": "train_step.py",
    "s2_curve": "s2_curve.py",
    "crash": "crash.py",
}
"""Name -> its script below `benches/` of the source tree."""


@click.command("bench", context_settings={"ignore_unknown_options": True})
@click.argument("name", type=click.Choice(list(BENCHES)))
@json_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, as_json: bool, arguments: tuple[str, ...]) -> int:
    """Measure this machine against the alternatives.

    The benches are scripts of the source tree; what follows the NAME goes to the script.
    """
    script = folder() / BENCHES[name]
    if not script.is_file():
        raise UnsupportedError(f"there is no `{script}`", hint="update the source tree: git pull", code="bench.missing")
    words = [sys.executable, str(script), *(["--json"] if as_json else []), *arguments]
    return subprocess.run(words, check=False, env=env.child({})).returncode


def folder() -> Path:
    """`benches/` of the source tree that this package runs from, or of the working directory.

    Raises:
        UnsupportedError: fastft is installed without its source tree.
    """
    import fastft

    for root in (Path(fastft.__file__).parents[2], Path.cwd()):
        if (root / "benches" / "startup.py").is_file():
            return root / "benches"
    raise UnsupportedError(
        "the benches are not part of the installed package",
        hint="run this inside a clone of the repository",
        code="bench.no-source-tree",
    )
