"""The `fastft` command: a group whose commands are imported when they are called.

Exit codes: 0 done; 1 a bug of ours; 2 wrong words on the command line; 3 config; 4 data;
5 model, device or memory; 6 diverged; 7 resume refused; 8 a check failed; 75 stopped by a signal
with a checkpoint saved; 130 and 143 stopped at once.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any, NoReturn

import click

import fastft
from fastft.cli import console
from fastft.cli.lazy import LazyGroup
from fastft.core import env
from fastft.core.errors import FastftError, UnsupportedError

COMMANDS = {
    "train": ("train", "Train as a config says."),
    "config": ("config", "Check, show and explain configs, or begin one."),
    "data": ("data", "Check, see and prepare what the model learns from."),
    "chat": ("chat", "Talk to a run or a model."),
    "export": ("export", "Write a run as a folder that other tools load."),
    "runs": ("runs", "List runs and look at one."),
    "doctor": ("doctor", "Say what is here, what is missing, and how to get it."),
    "bench": ("bench", "Measure this machine against the alternatives."),
    "completion": ("completion", "Print the completion script of a shell."),
}
"""Command -> its module in this package, and its line in `fastft --help`; a test holds it to the command's own words."""


_HELP = """Fine-tune language models: exact, fast, and honest about what was done.

\b
fastft config init my.toml      a config to begin with
fastft train my.toml            train it
fastft chat runs/my-run         talk to the result
"""


@click.command(
    cls=LazyGroup,
    table=COMMANDS,
    package="fastft.cli",
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(fastft.__version__, message="fastft %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of every error.")
def cli(verbose: bool) -> None:
    """Remember how much to tell; the commands do the rest."""
    console.verbose = verbose


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with the exit code of what happened."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line; every way it may end becomes an exit code and words on stderr."""
    env.share_cores()
    stdout = sys.stdout
    try:
        with redirect_stdout(stdout):  # click wraps the stream when its reader has gone; this puts it back
            try:
                result: Any = cli.main(args, prog_name="fastft", standalone_mode=False)
            except SystemExit:
                if sys.stdout is not stdout:  # it leaves with 1 then, which is our code for a bug
                    raise BrokenPipeError from None
                raise
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as refused:
        refused.show()
        return refused.exit_code
    except (click.Abort, KeyboardInterrupt):
        console.say("stopped")
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone; nothing more can be said to it, and that is no error of ours.
        console.abandon_stdout()
        return 141
    except FastftError as error:
        if console.verbose:
            console.traceback()
        console.fail(error)
        return error.exit_code
    except OSError as error:
        known = console.os_problem(error)
        if known is None:
            return console.bug(error)
        if console.verbose:
            console.traceback()
        console.fail(known)
        return known.exit_code
    except MemoryError:
        console.fail(UnsupportedError("the machine is out of memory", code="resource.memory"))
        return 5
    except Exception as error:
        return console.bug(error)
