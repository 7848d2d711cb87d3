"""Words, streams and exit codes of the command line."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import click
import pytest

from fastft.cli import console
from fastft.cli import main as entry
from fastft.core import errors
from fastft.core.errors import ConfigError, FastftError, Problem


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code when a command raises."""

    def main(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(entry.cli, "main", main)
    return entry.run([])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem("config.x", None, "no")]), 3),
        (errors.DataError("no"), 4),
        (errors.ModelError("no"), 5),
        (errors.DivergedError("no"), 6),
        (errors.ResumeError("no"), 7),
        (errors.VerificationError("no"), 8),
        (errors.Preempted("SIGTERM"), 75),
        (KeyboardInterrupt(), 130),
        (click.UsageError("no"), 2),
        (MemoryError(), 5),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 5),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 5),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_every_end_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error, monkeypatch) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_a_bug_comes_with_its_traceback_and_where_to_report_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(ZeroDivisionError("division by zero"), monkeypatch)
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "error[internal]: ZeroDivisionError: division by zero" in err
    assert "/issues" in err


def test_a_traceback_of_an_expected_error_is_shown_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(errors.ModelError("no model"), monkeypatch)
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setattr(console, "verbose", True)
    raising(errors.ModelError("no model"), monkeypatch)
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_told_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(OSError(errno.ENOSPC, "No space left on device", "/x/y"), monkeypatch)
    assert capsys.readouterr().err == (
        "error[resource.disk-full]: the disk is full: `/x/y` could not be written\n"
        "hint: free some space, or name another folder with --out or FASTFT_CACHE\n"
    )


def test_a_stopped_run_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    raising(errors.Preempted("SIGTERM; step 30 is saved", hint="the same command goes on"), monkeypatch)
    assert capsys.readouterr().err == "stopped: SIGTERM; step 30 is saved\nhint: the same command goes on\n"


def test_help_lists_every_command_in_its_own_words(fastft: Any) -> None:
    answer = fastft("--help")
    assert answer.err == ""
    context = click.Context(entry.cli)
    for name, (_, line) in entry.COMMANDS.items():
        assert f"{name:<12}{line}" in answer.out
        command = entry.cli.get_command(context, name)
        assert command is not None
        assert command.help is not None
        assert command.help.strip().split("\n")[0] == line
        assert command.name == name
    assert max(len(line) for line in answer.out.split("\n")) <= 80


def commands() -> list[tuple[str, ...]]:
    """Every command and subcommand."""
    found: list[tuple[str, ...]] = []
    for name in entry.COMMANDS:
        command = entry.cli.get_command(click.Context(entry.cli), name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.list_commands(click.Context(command))]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_and_every_option_says_what_it_does(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.run([*words, "--help"]) == 0
    assert "Usage: fastft" in capsys.readouterr().out
    command = entry.cli.get_command(click.Context(entry.cli), words[0])
    for word in words[1:]:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{' '.join(words)} {option.opts}"


def test_a_misspelt_command_is_answered_with_the_nearest(fastft: Any) -> None:
    answer = fastft("trian")
    assert (answer.code, answer.out) == (2, "")
    assert "No such command 'trian'. Did you mean 'train'?" in answer.err


def test_the_module_runs_like_the_command(fastft: Any) -> None:
    import fastft as package

    assert fastft("--version").out == f"fastft {package.__version__}\n"


def test_a_reader_that_goes_away_is_no_error(fastft: Any) -> None:
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'fastft', 'config', 'schema'], "
        "stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.read(10); p.stdout.close(); "
        "err = p.stderr.read(); print(p.wait(), err)"
    )
    assert fastft.python("-c", code).out in ("141 b''\n", "0 b''\n")


# colour


def test_colour_is_for_terminals_and_for_who_asks(fastft: Any) -> None:
    words = ("config", "check", "run.toml", "--set", "seed=x")
    plain = fastft(*words)
    assert "\x1b" not in plain.err
    forced = fastft(*words, env={"FORCE_COLOR": "1"})
    assert "\x1b[1;31merror[config.invalid-value]\x1b[0m" in forced.err
    assert "\x1b" not in fastft(*words, env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).err


def test_a_coloured_diagnostic_has_the_same_words(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    import re

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for path in (root / "tests" / "attacks").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        painted = "\n".join(console._paint(line) for line in text.split("\n"))
        assert painted != text
        assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text


def test_tables_are_aligned_also_with_wide_characters() -> None:
    text = console.table([["名字", "1"], ["b", "22"]], ["name", "n"])
    assert text.split("\n") == ["name   n", "名字   1", "b     22"]
    assert console.table([]) == ""


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(fastft: Any, shell: str) -> None:
    answer = fastft("completion", shell)
    assert answer.code == 0
    assert "_FASTFT_COMPLETE" in answer.out
    assert fastft("completion", env={"SHELL": f"/bin/{shell}"}).out == answer.out


def test_completion_without_a_known_shell_asks_for_one(fastft: Any) -> None:
    assert fastft("completion", env={"SHELL": "/bin/tcsh"}).code == 2


def test_keys_are_completed(fastft: Any) -> None:
    env = {"_FASTFT_COMPLETE": "bash_complete", "COMP_WORDS": "fastft config explain method.ra", "COMP_CWORD": "3"}
    assert "plain,method.rank" in fastft(env=env).out
    env = {
        "_FASTFT_COMPLETE": "bash_complete",
        "COMP_WORDS": "fastft train x.toml --set optimizer.l",
        "COMP_CWORD": "4",
    }
    assert "plain,optimizer.lr=" in fastft(env=env).out


def test_json_is_one_line_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    console.out_json({"名": [1, None]})
    out = capsys.readouterr().out
    assert json.loads(out) == {"名": [1, None]}
    assert out.count("\n") == 1


def test_errors_without_a_special_class_are_printed_too(capsys: pytest.CaptureFixture[str]) -> None:
    console.fail(FastftError("there is no run `x`", hint="look", code="run.unknown"))
    assert capsys.readouterr().err == "error[run.unknown]: there is no run `x`\nhint: look\n"
