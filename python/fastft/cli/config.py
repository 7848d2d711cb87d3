"""Check, show and explain configs, or begin one."""

from __future__ import annotations

from pathlib import Path

import click

from fastft.cli import console
from fastft.cli.options import complete_key, config_argument, json_option, set_option
from fastft.core.errors import ConfigError


@click.group("config")
def command() -> None:
    """Check, show and explain configs, or begin one."""


@command.command()
@click.argument("configs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CONFIG...")
@set_option
@json_option
def check(configs: tuple[Path, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Tell everything that is wrong with configs, each with its place.

    Looks for the files they name, loads neither data nor model.
    """
    from fastft.config.load import load

    problems = []
    for config in configs:
        try:
            load(config, overrides, files=True)
        except ConfigError as error:
            problems += error.problems
        else:
            if not as_json:
                console.out(f"{console.style('ok', 'green')}  {config}")
    if as_json:
        console.out_json({"ok": not problems, "problems": [_as_json(problem) for problem in problems]})
        if problems:
            raise click.exceptions.Exit(ConfigError.exit_code)
    elif problems:
        raise ConfigError(problems)


@command.command()
@config_argument
@set_option
@click.option("--origin", is_flag=True, help="Say for each value where it was written.")
@json_option
def show(config: Path, overrides: tuple[str, ...], origin: bool, as_json: bool) -> None:
    """Print the config as a run would use it: merged, with defaults."""
    from fastft.config.dump import dump, rows
    from fastft.config.load import load

    loaded = load(config, overrides)
    if as_json:
        console.out_json([{"key": k, "value": v, "origin": o} for k, v, o in rows(loaded.config, loaded.origins)])
    else:
        console.out(dump(loaded.config, loaded.origins if origin else None).rstrip("\n"))


@command.command()
def schema() -> None:
    """Print the JSON schema, for editors."""
    from fastft.config.jsonschema import schema_text

    console.out(schema_text().rstrip("\n"))


@command.command()
@click.argument("key", required=False, shell_complete=complete_key)
@click.option("--all", "everything", is_flag=True, help="Every key there is.")
@click.option("--markdown", is_flag=True, help="As a page, with --all.")
@json_option
def explain(key: str | None, everything: bool, markdown: bool, as_json: bool) -> None:
    """Say what a key means: its type, default and choices."""
    from dataclasses import asdict

    from fastft.config.explain import entries, explain
    from fastft.config.explain import markdown as page

    if (key is None) == (not everything):
        raise click.UsageError("name a KEY, or --all")
    if markdown and not everything:
        raise click.UsageError("--markdown goes with --all")
    found = list(entries()) if key is None else explain(key)
    if as_json:
        console.out_json([asdict(entry) for entry in found])
    elif markdown:
        console.out(page().rstrip("\n"))
    else:
        from fastft.cli.explain import text

        console.out(text(found, brief=everything))


@command.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("fastft.toml"))
@click.option("--model", default="embedded:smollm2-135m", show_default=True, help="What to write as `model.path`.")
@click.option("--data", default="data/train.jsonl", show_default=True, help="What to write as the training file.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(path: Path, model: str, data: str, force: bool) -> None:
    """Write a config to begin with, its keys explained."""
    from fastft.config.starter import starter
    from fastft.core.paths import write_atomic

    if path.exists() and not force:
        raise click.UsageError(f"{path} exists; --force writes over it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, starter(path.stem, model, data))
    console.say(f"wrote {path}; next: fastft train {path} --dry-run")


def _as_json(problem: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(problem)  # type: ignore[call-overload, no-any-return]
